"""Checkpoints in an object store, by pyarrow's file systems.

An object store has no rename. A checkpoint appears there by its manifest, which is copied last.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from ray_advpose.cluster.checkpoint_store import PREFIX, PROBE, CheckpointStore, is_checkpoint, step_of
from ray_advpose.data.object_place import copy_in, copy_out, file_system_at, patiently
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import MANIFEST, DataIdentity, Snapshot, write_checkpoint

_SCRATCH = "advpose-"


class ObjectStore(CheckpointStore):
    """Checkpoints in an object store, by pyarrow's file systems."""

    def __init__(self, place: str) -> None:
        base, question, options = place.partition("?")
        super().__init__(place)
        self._base, self._options = base.rstrip("/"), question + options
        self._files, self._root = patiently(lambda: file_system_at(f"{self._base}{self._options}"))

    def place_of(self, step: int) -> str:
        """See `CheckpointStore`."""
        return f"{self._base}/{PREFIX}{step:09d}{self._options}"

    def steps(self) -> list[int]:
        """See `CheckpointStore`."""
        return sorted(step_of(checkpoint) for checkpoint, file in self._held() if file == MANIFEST)

    def commit(self, snapshot: Snapshot, data: DataIdentity) -> str:
        """See `CheckpointStore`."""
        folder = self._path(snapshot.step)
        with _scratch() as scratch:
            local = scratch / "checkpoint"
            write_checkpoint(local, snapshot, data)
            if snapshot.step in self.steps():
                self.delete(snapshot.step)
            self._files.create_dir(folder)
            names = [path.name for path in local.iterdir() if path.name != MANIFEST]
            for name in (*names, MANIFEST):
                patiently(partial(copy_in, self._files, local / name, f"{folder}/{name}"))
        return self.place_of(snapshot.step)

    def delete(self, step: int) -> None:
        """See `CheckpointStore`."""
        # The manifest goes first: without it nobody takes the rest for a checkpoint.
        self._files.delete_file(f"{self._path(step)}/{MANIFEST}")
        self._files.delete_dir(self._path(step))

    def sweep(self) -> None:
        """See `CheckpointStore`."""
        _sweep_scratch()
        held = self._held()
        whole = {checkpoint for checkpoint, file in held if file == MANIFEST}
        for checkpoint in {checkpoint for checkpoint, _ in held} - whole:
            self._files.delete_dir(f"{self._root}/{checkpoint}")

    def probe(self) -> None:
        """See `CheckpointStore`."""
        file = f"{self._root}/probe-{uuid.uuid4().hex}"

        def try_out() -> bytes:
            self._files.create_dir(self._root)
            with self._files.open_output_stream(file) as stream:
                stream.write(PROBE)
            with self._files.open_input_stream(file) as stream:
                content = bytes(stream.read())
            self._files.delete_file(file)
            return content

        try:
            found = patiently(try_out)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"checkpoints cannot be kept in {self.place}: {error}") from None
        if found != PROBE:
            raise UserError(f"{self.place} does not give back what is written to it")

    def _put_note(self, name: str, content: bytes) -> None:
        def put() -> None:
            self._files.create_dir(self._root)
            with self._files.open_output_stream(f"{self._root}/{name}") as stream:
                stream.write(content)

        patiently(put)

    def _note(self, name: str) -> bytes | None:
        path = f"{self._root}/{name}"

        def get() -> bytes | None:
            if self._files.get_file_info(path).type == pyarrow.fs.FileType.NotFound:
                return None
            with self._files.open_input_stream(path) as stream:
                return bytes(stream.read())

        return patiently(get)

    def _path(self, step: int) -> str:
        return f"{self._root}/{PREFIX}{step:09d}"

    def _held(self) -> list[tuple[str, str]]:
        """Return the names of checkpoints, whole or not, and of their files; others' files may lie below as well."""
        selector = pyarrow.fs.FileSelector(self._root, recursive=True, allow_not_found=True)
        infos = patiently(lambda: self._files.get_file_info(selector))
        paths = [
            info.path.removeprefix(f"{self._root}/").split("/")
            for info in infos
            if info.type == pyarrow.fs.FileType.File
        ]
        return [(path[0], path[1]) for path in paths if len(path) == 2 and is_checkpoint(path[0])]


@contextmanager
def _scratch() -> Iterator[Path]:
    """Have a folder on this machine for the time being, which is known for this process's."""
    with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-") as folder:
        yield Path(folder)


def _sweep_scratch() -> None:
    """Delete what processes that were killed while they wrote or read have left on this machine."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*-*"):
        owner = folder.name.removeprefix(_SCRATCH).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def downloaded(place: str) -> Iterator[Path]:
    """Have a checkpoint of an object store in a local folder for the time being."""
    files, path = patiently(lambda: file_system_at(place))
    with _scratch() as scratch:
        local = scratch / path.rstrip("/").rpartition("/")[2]
        local.mkdir()
        for info in patiently(lambda: files.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))):
            patiently(partial(copy_out, files, info.path, local / info.base_name))
        yield local
