"""Durations for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def clock(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def told_now_and_then(
    what: str, every_s: float = 5.0, now: Callable[[], float] = time.monotonic
) -> Callable[[int, int], None]:
    """Return a function of how much is done and of how much, that prints a line to stderr every few seconds.

    Args:
        what: Is counted, e.g. ``pictures predicted``.
        every_s: Seconds between two lines.
        now: The clock, in seconds.
    """
    started = told = now()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if now() - told >= every_s:
            told = now()
            left_s = (told - started) / done * (total - done)
            print(f"{done}/{total} {what} | about {clock(left_s)} left", file=sys.stderr, flush=True)

    return tell
