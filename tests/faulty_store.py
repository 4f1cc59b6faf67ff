"""An S3 store in trouble: a proxy before one that works, on this machine, that fails as it is told."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ERROR, RESET, CUT, SLOW = "error", "reset", "cut", "slow"
"""Answers 500; closes the connection in the middle of an upload; closes it in the middle of the answer;
answers after two seconds."""

_SLOW_S = 2.0


class FaultyStore(ThreadingHTTPServer):
    """Passes requests on, unless ``trouble`` says otherwise.

    Attributes:
        trouble: Told method and path of each request; returns what goes wrong with it, or None.
        met: How often each kind of trouble was met.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, host: str) -> None:
        super().__init__((host, 0), _Handler)
        self.behind = port
        self.trouble: Callable[[str, str], str | None] = lambda method, path: None
        self.met: dict[str, int] = {}

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that are gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyStore

    def _pass_on(self) -> None:
        trouble = self.server.trouble(self.command, self.path)
        if trouble is not None:
            self.server.met[trouble] = self.server.met.get(trouble, 0) + 1
        parts = self._parts()
        if trouble == RESET:
            next(parts, None)
            return self._reset()
        body = b"".join(parts)
        if trouble == ERROR:
            return self._answer(500, {}, b"<Error><Code>InternalError</Code></Error>")
        if trouble == SLOW:
            time.sleep(_SLOW_S)
        behind = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        # The host is part of what is signed.
        behind.request(self.command, self.path, body, dict(self.headers))
        answer = behind.getresponse()
        content = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _OURS}
        if self.command == "HEAD":
            headers["Content-Length"] = answer.getheader("Content-Length") or "0"
        if trouble == CUT and len(content) > 1:
            self._begin(answer.status, {**headers, "Content-Length": str(len(content))})
            self.wfile.write(content[: len(content) // 2])
            return self._reset()
        return self._answer(answer.status, headers, content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

    def _parts(self) -> Iterator[bytes]:
        """Read a request's body, encoded as it comes."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length = int(self.headers.get("Content-Length") or 0)
            yield self.rfile.read(length // 2)
            yield self.rfile.read(length - length // 2)
            return
        size = 1
        while size:
            line = self.rfile.readline()
            size = int(line.partition(b";")[0], 16)
            yield line + (self.rfile.read(size) if size else b"")
            while not size and (trailer := self.rfile.readline()):
                yield trailer
                if trailer == b"\r\n":
                    return
            yield self.rfile.readline()

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self._begin(status, {"Content-Length": str(len(content)), **headers})
        self.wfile.write(content)

    def _reset(self) -> None:
        """Close as a machine does that goes: with a reset."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


_OURS = {"content-length", "transfer-encoding", "connection", "server", "date"}


class Bursts:
    """Troubles of all kinds at random, some requests long, with well times between."""

    def __init__(self, share: float, seed: int, kinds: tuple[str, ...] = (ERROR, RESET, CUT, SLOW)) -> None:
        self._share = share
        self._random = random.Random(seed)
        self._kinds = kinds
        self._lock = threading.Lock()

    def __call__(self, method: str, path: str) -> str | None:
        with self._lock:
            return self._random.choice(self._kinds) if self._random.random() < self._share else None


@contextmanager
def faulty(bucket: str, host: str = "127.0.0.1") -> Iterator[tuple[str, FaultyStore]]:
    """Put a proxy before a bucket for the time being; its URI and itself.

    Args:
        bucket: URI with an ``endpoint_override`` of this machine.
        host: This machine's address that the proxy is to be reached at.
    """
    before, _, after = bucket.partition("endpoint_override=127.0.0.1:")
    port, ampersand, rest = after.partition("&")
    server = FaultyStore(int(port), host)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{before}endpoint_override={host}:{server.server_port}{ampersand}{rest}", server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
