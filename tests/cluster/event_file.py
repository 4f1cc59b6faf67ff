"""Reading TensorBoard event files back, as TensorBoard does."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event


def values_in(events: Path) -> Iterator[tuple[str, int, Any]]:
    """Yield tag, step and value of everything in a folder's event files, oldest file first."""
    for path in sorted(events.glob("events.out.tfevents.*")):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += 12 + length + 4
            for value in event.summary.value:
                yield value.tag, event.step, value
