"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALLED = 128
"""Exit codes of what a signal has ended are this and the signal's number, as shells have them."""


@dataclass
class StopRequest:
    """What has asked for an end.

    Attributes:
        signal: Which signal; None before.
        ending: Whether an end is under way without one, so that the first does not wait.
    """

    signal: signal.Signals | None = None
    ending: bool = False


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Take SIGINT and SIGTERM for the time being; used in a process's main thread.

    Raises:
        KeyboardInterrupt: At the second signal, or the first while an end is under way; wherever the process is then.
    """
    request = StopRequest()

    def receive(number: int, frame: FrameType | None) -> None:
        if request.signal is not None or request.ending:
            raise KeyboardInterrupt
        request.signal = signal.Signals(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def code_after(cut: KeyboardInterrupt | SystemExit) -> int:
    """Return the exit code of what Ctrl-C, or SIGTERM by `exit_on_sigterm`, has cut; any other exit is raised again."""
    if isinstance(cut, KeyboardInterrupt):
        return SIGNALLED + signal.SIGINT
    if cut.code != signal.SIGTERM:
        raise cut
    return SIGNALLED + signal.SIGTERM


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Have SIGTERM raise `SystemExit` with its number for the time being, as Ray does once it is being started."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
