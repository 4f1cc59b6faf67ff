"""A metadata server as a cloud's machine has beside it, on loopback, whose machine can be told to go."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MetadataServer(ThreadingHTTPServer):
    """Speaks AWS's protocol, version 2, and Google Cloud's.

    Attributes:
        goes_at: When the machine will go; None while it stays.
        trouble: ``error`` answers 500, ``slow`` not for seconds, ``reset`` closes; "" is well.
        requests: What was asked for.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.goes_at: float | None = None
        self.trouble = ""
        self.requests: list[str] = []
        self.tokens: set[str] = set()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that did not wait for a slow answer."""

    def environment(self) -> dict[str, str]:
        """What points the clouds' libraries, and the agent, here."""
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{self.host}", "GCE_METADATA_HOST": self.host}


class _Handler(BaseHTTPRequestHandler):
    server: MetadataServer

    def do_PUT(self) -> None:
        if not self._begin():
            return None
        if self.path != "/latest/api/token" or not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
            return self._answer(400, "")
        token = f"token-{len(self.server.requests)}"
        self.server.tokens.add(token)
        return self._answer(200, token)

    def do_GET(self) -> None:
        if not self._begin():
            return None
        goes_at = self.server.goes_at
        if self.path == "/latest/meta-data/spot/instance-action":
            if self.headers.get("X-aws-ec2-metadata-token") not in self.server.tokens:
                return self._answer(401, "")
            if goes_at is None:
                return self._answer(404, "")
            instant = datetime.fromtimestamp(goes_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return self._answer(200, json.dumps({"action": "terminate", "time": instant}))
        if self.path == "/computeMetadata/v1/instance/preempted":
            if self.headers.get("Metadata-Flavor") != "Google":
                return self._answer(403, "")
            return self._answer(200, "FALSE" if goes_at is None else "TRUE")
        return self._answer(404, "")

    def _begin(self) -> bool:
        self.server.requests.append(f"{self.command} {self.path}")
        if self.server.trouble == "error":
            self._answer(500, "")
        elif self.server.trouble == "slow":
            time.sleep(4)
        elif self.server.trouble == "reset":
            self.close_connection = True
            self.connection.close()
        return not self.server.trouble

    def _answer(self, code: int, content: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def metadata_server() -> Iterator[MetadataServer]:
    """Run one for the time being."""
    server = MetadataServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
