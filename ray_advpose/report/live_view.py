"""How a running search looks: one table that is redrawn on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

_TAIL_BYTES = 4096
# More rows than a terminal has lines would scroll with every redraw.
_FRAME_LINES = 8


@dataclass(frozen=True)
class TrialRow:
    """What a search shows of one trial.

    Attributes:
        name: Its name.
        state: ``waits``, a stage and its epoch, or how it ended.
        step: Steps trained and in all, e.g. ``300/824``.
        images_per_s: As it was last told.
        score: The last, in percent.
        best: The best so far, in percent.
        copied: How often it has copied another.
        runs: Whether it is training now.
    """

    name: str
    state: str
    step: str
    images_per_s: str
    score: str
    best: str
    copied: int
    runs: bool


class View(Protocol):
    """Where a search tells how it stands.

    Attributes:
        redraws: Whether there is a table, which is worth gathering the rows of.
    """

    redraws: bool

    def say(self, line: str, lasting: bool = True) -> None:
        """Tell an event; what the table shows as well need not last."""

    def show(self, rows: Sequence[TrialRow], score_name: str, summary: str) -> None:
        """Show how all trials stand."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Lines:
    """One line an event, for logs."""

    redraws = False

    def say(self, line: str, lasting: bool = True) -> None:
        """See `View`."""
        print(line, flush=True)

    def show(self, rows: Sequence[TrialRow], score_name: str, summary: str) -> None:
        """See `View`; events say it."""

    def close(self) -> None:
        """See `View`."""


class Redrawn:
    """One table that is redrawn; events that last are printed above it.

    Args:
        console: A terminal.
    """

    redraws = True

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def say(self, line: str, lasting: bool = True) -> None:
        """See `View`."""
        if lasting:
            self._console.print(Text(line))

    def show(self, rows: Sequence[TrialRow], score_name: str, summary: str) -> None:
        """See `View`."""
        self._live.update(frame(rows, score_name, summary, self._console.height), refresh=True)

    def close(self) -> None:
        """See `View`."""
        self._live.stop()


def view_for(console: Console) -> View:
    """Return a redrawn table for a terminal, lines for anything else."""
    return Redrawn(console) if console.is_terminal else Lines()


def frame(rows: Sequence[TrialRow], score_name: str, summary: str, height: int) -> Group:
    """Return the table: trials that run first, then the best, as many as the terminal has lines for."""
    table = Table("trial", "state", "step", "images/s", score_name, "best", "copies", box=box.SIMPLE_HEAD)
    in_order = sorted(rows, key=lambda row: (not row.runs, -(float(row.best) if row.best else -1.0)))
    room = max(1, height - _FRAME_LINES)
    for row in in_order[:room]:
        table.add_row(
            row.name,
            row.state,
            row.step,
            row.images_per_s,
            row.score,
            row.best,
            str(row.copied or ""),
            style="bold" if row.runs else "",
        )
    hidden = len(rows) - min(room, len(rows))
    return Group(table, Text(summary + (f" | {hidden} more trials" if hidden else "")))


def last_progress(log: Path) -> tuple[str, str] | None:
    """Return the step and the images a second that a trial's log told last; None if it has told none.

    Args:
        log: As `ray_advpose.cluster.records.progress_line` writes it.
    """
    content = b""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        content = file.read()
    for line in reversed(content.decode(errors="replace").splitlines()):
        parts = [part.strip() for part in line.split("|")]
        if len(parts) > 2 and parts[1].startswith("step ") and parts[2].endswith(" images/s"):
            return parts[1].removeprefix("step "), parts[2].removesuffix(" images/s")
    return None
