"""Checkpoints in an object store, by pyarrow's file systems.

An object store has no rename. A checkpoint appears there by its manifest, which is copied last.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from ray_advpose.cluster.checkpoint_store import PREFIX, PROBE, CheckpointStore, step_of
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import MANIFEST, DataIdentity, Snapshot, write_checkpoint

_COPY_BYTES = 8 << 20


class ObjectStore(CheckpointStore):
    """Checkpoints in an object store, by pyarrow's file systems."""

    def __init__(self, place: str) -> None:
        # What follows the question mark are pyarrow's options, such as endpoint_override.
        base, question, options = place.partition("?")
        super().__init__(place)
        self._base, self._options = base.rstrip("/"), question + options
        try:
            self._files, self._root = pyarrow.fs.FileSystem.from_uri(f"{self._base}{self._options}")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{place} names no storage: {error}") from None
        if not self._root:
            raise UserError(f"{place} names no storage: expected something like s3://bucket/run")

    def place_of(self, step: int) -> str:
        """See `CheckpointStore`."""
        return f"{self._base}/{PREFIX}{step:09d}{self._options}"

    def steps(self) -> list[int]:
        """See `CheckpointStore`."""
        manifests = [info.path for info in self._entries() if info.base_name == MANIFEST]
        return sorted(step_of(path.split("/")[-2]) for path in manifests)

    def commit(self, snapshot: Snapshot, data: DataIdentity) -> str:
        """See `CheckpointStore`."""
        folder = self._path(snapshot.step)
        with tempfile.TemporaryDirectory(prefix="advpose-") as scratch:
            local = Path(scratch) / "checkpoint"
            write_checkpoint(local, snapshot, data)
            if snapshot.step in self.steps():
                self.delete(snapshot.step)
            self._files.create_dir(folder)
            names = [path.name for path in local.iterdir() if path.name != MANIFEST]
            for name in (*names, MANIFEST):
                self._copy_in(local / name, f"{folder}/{name}")
        return self.place_of(snapshot.step)

    def delete(self, step: int) -> None:
        """See `CheckpointStore`."""
        # The manifest goes first: without it nobody takes the rest for a checkpoint.
        self._files.delete_file(f"{self._path(step)}/{MANIFEST}")
        self._files.delete_dir(self._path(step))

    def sweep(self) -> None:
        """See `CheckpointStore`."""
        whole = set(self.steps())
        names = {info.path.split("/")[-2] for info in self._entries() if info.type == pyarrow.fs.FileType.File}
        for name in names:
            if name.startswith(PREFIX) and step_of(name) not in whole:
                self._files.delete_dir(f"{self._root}/{name}")

    def probe(self) -> None:
        """See `CheckpointStore`."""
        file = f"{self._root}/probe-{uuid.uuid4().hex}"
        try:
            self._files.create_dir(self._root)
            with self._files.open_output_stream(file) as stream:
                stream.write(PROBE)
            with self._files.open_input_stream(file) as stream:
                found = stream.read()
            self._files.delete_file(file)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"checkpoints cannot be kept in {self.place}: {error}") from None
        if found != PROBE:
            raise UserError(f"{self.place} does not give back what is written to it")

    def _path(self, step: int) -> str:
        return f"{self._root}/{PREFIX}{step:09d}"

    def _entries(self) -> Sequence[pyarrow.fs.FileInfo]:
        selector = pyarrow.fs.FileSelector(self._root, recursive=True, allow_not_found=True)
        entries: Sequence[pyarrow.fs.FileInfo] = self._files.get_file_info(selector)
        return entries

    def _copy_in(self, local: Path, path: str) -> None:
        with local.open("rb") as source, self._files.open_output_stream(path) as target:
            shutil.copyfileobj(source, target, _COPY_BYTES)


@contextmanager
def downloaded(place: str) -> Iterator[Path]:
    """Have a checkpoint of an object store in a local folder for the time being."""
    files, path = pyarrow.fs.FileSystem.from_uri(place)
    with tempfile.TemporaryDirectory(prefix="advpose-") as scratch:
        local = Path(scratch) / path.rstrip("/").rpartition("/")[2]
        local.mkdir()
        for info in files.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True)):
            with files.open_input_stream(info.path) as source, (local / info.base_name).open("wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
        yield local
