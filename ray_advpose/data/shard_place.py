"""Where prepared data is: a folder, or an object store whose files are kept on this machine once they were read."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow.fs

from ray_advpose.data.manifest import ShardInfo
from ray_advpose.data.object_place import check_public, file_system_at, patiently, spelled
from ray_advpose.errors import UserError

CACHE_VARIABLE = "RAY_ADVPOSE_CACHE"
"""Names the folder for what was read from object stores."""

ShardPlace = Path | str
"""An absolute folder, or the URI of an object store such as ``s3://bucket/shards``."""

_COPY_BYTES = 8 << 20
# A part that nobody has added to for so long is nobody's any more.
_LEFT_AFTER_S = 3600.0
# A run that wants its next shard has time, and much to lose.
_WAITS_TO_FETCH_S = (1.0, 4.0, 15.0, 60.0, 120.0)


def shard_place(given: str | Path) -> ShardPlace:
    """Return the one spelling of a place; `UserError` for a URI that holds a secret."""
    text = str(given)
    if "://" not in text:
        return Path(given).absolute()
    check_public(text)
    return spelled(text)


def file_sizes(place: ShardPlace) -> Mapping[str, int]:
    """Return the bytes of all files right at a place, by name; `OSError` if they cannot be listed."""
    if isinstance(place, Path):
        return {path.name: path.stat().st_size for path in place.iterdir() if path.is_file()}

    def listed() -> list[pyarrow.fs.FileInfo]:
        files, root = file_system_at(place)
        return list(files.get_file_info(pyarrow.fs.FileSelector(root, allow_not_found=True)))

    infos = patiently(listed)
    return {info.base_name: info.size for info in infos if info.type == pyarrow.fs.FileType.File}


def file_content(place: ShardPlace, name: str) -> bytes:
    """Return a small file's content; `OSError` if it cannot be read."""
    if isinstance(place, Path):
        return (place / name).read_bytes()

    def read() -> bytes:
        files, root = file_system_at(place)
        with files.open_input_stream(f"{root}/{name}") as stream:
            return bytes(stream.read())

    return patiently(read)


def local_file(place: ShardPlace, shard: ShardInfo) -> Path:
    """Return where a shard is on this machine; one of an object store is fetched unless it was before.

    What is fetched has the name of its hash, so that it serves every data set, run and process that
    has the same; it is never deleted here, and may be deleted at any time.

    Raises:
        UserError: It cannot be fetched or kept, or is not what the manifest says.
    """
    if isinstance(place, Path):
        return place / shard.file
    kept = cache_folder() / f"{shard.sha256}{Path(shard.file).suffix}"
    if not kept.is_file():
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(_no_room(kept.parent, error)) from None
        _sweep(kept)
        partial = kept.with_name(f".{kept.name}.{uuid.uuid4().hex}")
        try:
            patiently(lambda: _fetch(place, shard, partial), _WAITS_TO_FETCH_S)
            partial.replace(kept)
        except OSError as error:
            raise UserError(f"cannot read shard {shard.file} in {place}: {error}") from None
        finally:
            partial.unlink(missing_ok=True)
    return kept


def cache_folder() -> Path:
    """Return the folder for what was read from object stores."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).absolute()
    general = os.environ.get("XDG_CACHE_HOME")
    return (Path(general) if general else Path.home() / ".cache") / "ray_advpose" / "shards"


def _sweep(kept: Path) -> None:
    """Delete what processes that were killed while they fetched a shard have left of it."""
    for partial in kept.parent.glob(f".{kept.name}.*"):
        with suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > _LEFT_AFTER_S:
                partial.unlink()


def _fetch(place: str, shard: ShardInfo, target: Path) -> None:
    files, root = file_system_at(place)
    with files.open_input_stream(f"{root}/{shard.file}") as source, _Writer(target) as writer:
        shutil.copyfileobj(source, writer, _COPY_BYTES)
    if writer.digest.hexdigest() != shard.sha256:
        raise UserError(f"shard {shard.file} in {place} was altered: its hash differs from the one in the manifest")


class _Writer:
    """A file that is hashed while it is written, and whose troubles are not taken for the store's."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.digest = hashlib.sha256()

    def __enter__(self) -> _Writer:
        try:
            self._file = self._target.open("wb")
        except OSError as error:
            raise UserError(_no_room(self._target.parent, error)) from None
        return self

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            raise UserError(_no_room(self._target.parent, error)) from None

    def __exit__(self, *exception: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise UserError(_no_room(self._target.parent, error)) from None


def _no_room(folder: Path, error: OSError) -> str:
    return f"cannot keep shards in {folder}: {error.strerror}; name another folder in {CACHE_VARIABLE}"
