"""Looks for notices and has Ray drain this node when there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ray_advpose.errors import UserError
from ray_advpose.spot.notices import Notice, NoticeSource

LOOK_EVERY_S = 1.0
_RETRY_S = 1.0


class Drainable(Protocol):
    """What can be drained; see `ray_advpose.spot.draining.DrainedNode`."""

    def drain(self, left_s: float, reason: str) -> str:
        """Drain it and return its name; `ConnectionError` or `UserError` if that fails for now."""


def await_notice(sources: Sequence[NoticeSource], say: Callable[[str], None]) -> Notice:
    """Look until one of the sources has a notice.

    Args:
        sources: Where to look, all of them about once a second.
        say: Told of a source that cannot be read, once, and when it can be again.
    """
    failing: dict[str, str] = {}
    while True:
        for source in sources:
            try:
                notice = source.look()
            except OSError as error:
                if source.name not in failing:
                    say(f"{source.name} cannot be asked, which goes on being tried: {error}")
                failing[source.name] = str(error)
                continue
            if failing.pop(source.name, None) is not None:
                say(f"{source.name} can be asked again")
            if notice is not None:
                return notice
        time.sleep(LOOK_EVERY_S)


def hand_on(notice: Notice, node: Drainable, say: Callable[[str], None]) -> bool:
    """Have Ray drain the node; tried until the machine's deadline.

    Returns:
        Whether Ray has accepted it.
    """
    said = ""
    while True:
        try:
            drained = node.drain(notice.left_s, notice.said)
        except (ConnectionError, UserError) as error:
            if str(error) != said:
                said = str(error)
                say(said)
            if notice.left_s == 0.0:
                return False
            time.sleep(min(_RETRY_S, notice.left_s))
            continue
        say(f"Ray drains node {drained}, {notice.left_s:.0f} s before its end")
        return True
