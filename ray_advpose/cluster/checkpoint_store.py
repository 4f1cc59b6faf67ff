"""What a store of checkpoints can do, and the one that is a folder.

In a folder, local or on a network file system, a checkpoint appears by a rename.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import MANIFEST, DataIdentity, Snapshot, flush, write_checkpoint

CHECKPOINTS = "checkpoints"
"""Folder of a run's checkpoints, if they are kept with it."""
PREFIX = "step_"
PARTIAL = ".partial"
PROBE = b"ray_advpose"
_WRITER = "writer.json"


class OvertakenError(UserError):
    """Another start of the run writes its checkpoints now."""


class CheckpointStore(ABC):
    """The checkpoints of one run at one place.

    Attributes:
        place: Folder or URI, as given.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def place_of(self, step: int) -> str:
        """Return the folder or URI of the checkpoint of a step."""
        return f"{self.place}/{PREFIX}{step:09d}"

    def claim(self) -> str:
        """Become the only one whose checkpoints are kept here, and return the name to `check_claim` by.

        Who wrote here before, on a machine that is on its way out or cut off, ends at its next checkpoint.

        Raises:
            UserError: The place cannot be written to.
        """
        writer = uuid.uuid4().hex
        try:
            self._put_note(_WRITER, json.dumps({"writer": writer, "host": socket.gethostname()}).encode())
        except OSError as error:
            raise UserError(f"{self.place} cannot be claimed: {error}") from None
        return writer

    def check_claim(self, writer: str) -> None:
        """Check that nobody has claimed the place since; `OvertakenError` if somebody has."""
        content = self._note(_WRITER)
        if content is None:
            return
        found = json.loads(content)
        if found["writer"] != writer:
            raise OvertakenError(
                f"the run with checkpoints in {self.place} was gone on with on {found['host']}; it ends here"
            )

    @abstractmethod
    def _put_note(self, name: str, content: bytes) -> None:
        """Write a small file beside the checkpoints, whole or not at all."""

    @abstractmethod
    def _note(self, name: str) -> bytes | None:
        """Return what `_put_note` wrote; None if nothing."""

    @abstractmethod
    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint with a manifest, ascending."""

    @abstractmethod
    def commit(self, snapshot: Snapshot, data: DataIdentity) -> str:
        """Write a checkpoint and return its place.

        A step that is repeated, as after a worker's death, replaces what was there.

        Raises:
            OSError: The place cannot be written to, or is full. What is left of the attempt is no
                checkpoint, and `sweep` removes it.
        """

    @abstractmethod
    def delete(self, step: int) -> None:
        """Remove a checkpoint; cut in the middle, it is not left looking whole."""

    @abstractmethod
    def sweep(self) -> None:
        """Remove what interrupted writes have left. Only for the one who writes here."""

    @abstractmethod
    def probe(self) -> None:
        """Write something, read it back and remove it.

        Raises:
            UserError: The place cannot be used.
        """


class FolderStore(CheckpointStore):
    """Checkpoints in a folder that every node can reach."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self._folder = Path(place)

    def steps(self) -> list[int]:
        """See `CheckpointStore`."""
        names = [path.parent.name for path in self._folder.glob(f"{PREFIX}*/{MANIFEST}")]
        return sorted(step_of(name) for name in names if is_checkpoint(name))

    def commit(self, snapshot: Snapshot, data: DataIdentity) -> str:
        """See `CheckpointStore`."""
        final = Path(self.place_of(snapshot.step))
        partial = self._hidden(final)
        try:
            write_checkpoint(partial, snapshot, data)
            if final.exists():
                self.delete(snapshot.step)
            partial.rename(final)
            flush(self._folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return str(final)

    def adopt(self, source: Path) -> str:
        """Take up a whole checkpoint of another store under its own name, and return its place here.

        Files are shared where the file system can (hard links), so this costs no time or space; deleting the
        source leaves this one whole.
        """
        final = self._folder / source.name
        partial = self._hidden(final)
        try:
            shutil.copytree(source, partial, copy_function=_link_or_copy)
            for path in (*partial.iterdir(), partial):
                flush(path)
            if final.exists():
                self.delete(step_of(final.name))
            partial.rename(final)
            flush(self._folder)
            flush(self._folder.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return str(final)

    def delete(self, step: int) -> None:
        """See `CheckpointStore`."""
        leaving = Path(self.place_of(step))
        hidden = self._hidden(leaving)
        leaving.rename(hidden)
        shutil.rmtree(hidden)

    def sweep(self) -> None:
        """See `CheckpointStore`."""
        for left in self._folder.glob(f".{PREFIX}*{PARTIAL}"):
            shutil.rmtree(left, ignore_errors=True)

    def probe(self) -> None:
        """See `CheckpointStore`."""
        file = self._folder / f".probe.{uuid.uuid4().hex}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(PROBE)
            found = file.read_bytes()
            file.unlink()
        except OSError as error:
            with suppress(OSError):
                file.unlink()
            raise UserError(f"checkpoints cannot be kept in {self.place}: {error}") from None
        if found != PROBE:
            raise UserError(f"{self.place} does not give back what is written to it")

    def _put_note(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f".{name}.{uuid.uuid4().hex[:8]}{PARTIAL}"
        try:
            partial.write_bytes(content)
            partial.replace(self._folder / name)
        finally:
            partial.unlink(missing_ok=True)

    def _note(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def _hidden(self, final: Path) -> Path:
        return self._folder / f".{final.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{PARTIAL}"


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def is_checkpoint(name: str) -> bool:
    """Whether a checkpoint's folder is called so."""
    return name.startswith(PREFIX) and name.removeprefix(PREFIX).isdecimal()


def step_of(name: str) -> int:
    """Return the step in a checkpoint's name."""
    return int(name.removeprefix(PREFIX))
