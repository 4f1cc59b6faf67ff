"""How a search asks its trials to stop, and how they answer: files, since a trial's process is busy training."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

_FOLDER = "stop"
_ASKED, _ENDED = "asked", "ended"


class StopBoard:
    """The notes of one search.

    Args:
        output: The search's folder.
    """

    def __init__(self, output: Path) -> None:
        self._folder = output / _FOLDER

    def clear(self) -> None:
        """Forget a former stop."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self) -> None:
        """Ask every trial to take a checkpoint and stand still."""
        self._folder.mkdir(exist_ok=True)
        (self._folder / _ASKED).touch()

    def asked(self) -> bool:
        """Whether trials are asked to stop."""
        return (self._folder / _ASKED).exists()

    def answer(self, trial_id: str) -> None:
        """Say that a trial stands still and that its checkpoint is whole."""
        self._note(f"{trial_id}.stopped")

    def answered(self, trial_id: str) -> bool:
        """Whether a trial stands still."""
        return (self._folder / f"{trial_id}.stopped").exists()

    def end(self) -> None:
        """Let the trials that stand still go."""
        self._note(_ENDED)

    def ended(self) -> bool:
        """Whether trials that stand still may go."""
        return (self._folder / _ENDED).exists() or not self._folder.exists()

    def _note(self, name: str) -> None:
        # A search that was started anew meanwhile has cleared the board of this one.
        with suppress(FileNotFoundError):
            (self._folder / name).touch()
