"""Where a notice that this machine will be taken away comes from: AWS, Google Cloud, or a file.

The addresses are those of the clouds' metadata servers, which every machine of theirs reaches. The
environment variables that the clouds' own libraries read name others.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

GCP_LEFT_S = 30.0
"""Between a preemption's being announced and the end of a machine of Google Cloud."""

_ANSWER_TIMEOUT_S = 2.0
_AWS_TOKEN_LASTS_S = 21600
# Proxies are for the world; a machine's metadata is beside it.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Notice:
    """That this machine will be taken away.

    Attributes:
        deadline: When, in seconds since the epoch.
        said: By whom, and how.
    """

    deadline: float
    said: str

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return max(0.0, self.deadline - time.time())


class NoticeSource(ABC):
    """Somewhere a notice may appear."""

    name: str
    """What it is called in messages."""

    @abstractmethod
    def look(self) -> Notice | None:
        """Return the notice if there is one; `OSError` if the place cannot be read."""


class AwsNotices(NoticeSource):
    """Interruptions of EC2 spot instances: two minutes' notice, by the instance metadata service, version 2."""

    name = "AWS"

    def __init__(self) -> None:
        self._endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
        self._token: str | None = None

    def look(self) -> Notice | None:
        """See `NoticeSource`."""
        if self._token is None:
            lasts = {"X-aws-ec2-metadata-token-ttl-seconds": str(_AWS_TOKEN_LASTS_S)}
            self._token = _answer(f"{self._endpoint}/latest/api/token", lasts, "PUT")
        try:
            answer = _answer(
                f"{self._endpoint}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": self._token}
            )
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            if error.code == 401:  # the token is used up; the next look takes another
                self._token = None
            raise
        try:
            action = json.loads(answer)
            return Notice(_instant(action["time"]), f"AWS announces: {action['action']} at {action['time']}")
        except (ValueError, KeyError, TypeError):
            raise OSError(f"its answer is not an instance action: {answer!r}") from None


class GcpNotices(NoticeSource):
    """Preemptions of Google Cloud's spot machines: 30 seconds' notice, by the metadata server."""

    name = "Google Cloud"

    def __init__(self) -> None:
        host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
        self._place = f"http://{host}/computeMetadata/v1/instance/preempted"

    def look(self) -> Notice | None:
        """See `NoticeSource`."""
        if _answer(self._place, {"Metadata-Flavor": "Google"}).strip().upper() != "TRUE":
            return None
        return Notice(time.time() + GCP_LEFT_S, "Google Cloud announces that it preempts this machine")


class FileNotices(NoticeSource):
    """A file that somebody makes when the machine is about to go.

    It may hold the seconds that were left when it was written, or an ISO 8601 time; without either a
    machine is taken to have as long as one of Google Cloud's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    def look(self) -> Notice | None:
        """See `NoticeSource`."""
        try:
            content = self._path.read_text(encoding="utf-8", errors="replace").strip()
            written = self._path.stat().st_mtime
        except FileNotFoundError:
            return None
        said = f"{self._path} is there"
        for deadline in (lambda: written + float(content), lambda: _instant(content)):
            try:
                if math.isfinite(at := deadline()):
                    return Notice(at, f"{said} and says {content!r}")
            except ValueError:
                continue
        return Notice(written + GCP_LEFT_S, said)


def _instant(text: str) -> float:
    """Return an ISO 8601 time, in UTC unless it says otherwise, as seconds since the epoch."""
    instant = datetime.fromisoformat(text)
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


def _answer(url: str, headers: dict[str, str], method: str = "GET") -> str:
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with _OPENER.open(request, timeout=_ANSWER_TIMEOUT_S) as response:
            return str(response.read().decode(errors="replace"))
    except http.client.HTTPException as error:
        raise OSError(f"its answer is not HTTP: {error!r}") from None
