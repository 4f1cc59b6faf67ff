"""A copy of a search's folder in an object store, from which another machine can go on.

The copy must look like the folder of a search that was cut: Tune's record may be behind the lineage,
and that behind the checkpoints, never the other way. So records are read first, Tune's before all
others; then checkpoints are copied, then the records as they were read, Tune's last.
"""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from ray_advpose.errors import UserError
from ray_advpose.search.stored import has_search
from ray_advpose.training.checkpoint import MANIFEST

EVERY_S = 20.0
_COPY_BYTES = 8 << 20
_KNOWN = ".mirror.json"
_OWNER = "owner.json"
_FIRST_READ = "tune"
# Ray Train's own records and notes between processes are of no use to another machine.
_LEFT_OUT = {"train", "stop"}
_LARGE = ("checkpoints", "pose_stages", "best_checkpoint", "events")

_Seen = tuple[int, int]
"""Time of the last change in nanoseconds, and size."""


class Mirror:
    """Keeps the copy up to date, in a thread.

    Args:
        output: The search's folder.
        place: A URI that pyarrow knows, e.g. ``s3://bucket/search``; options follow a question mark.
        say: Told what goes wrong.
        every_s: Seconds between two looks at the folder.

    Raises:
        UserError: The place cannot be used, or another process keeps a search there.
    """

    def __init__(self, output: Path, place: str, say: Callable[[str], None], every_s: float = EVERY_S) -> None:
        self._output = output
        self._place = place
        self._say = say
        self._every_s = every_s
        self._files, self._root = _storage(place)
        self._owner = json.dumps({"host": socket.gethostname(), "start": uuid.uuid4().hex})
        self._beat = 0
        self._failing = False
        held = _known_in(output)
        self._known: dict[str, _Seen] = held[1] if held is not None and held[0] == place else {}
        self._claim()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Copy no more."""
        self._stop.set()

    def close(self) -> None:
        """Copy what is left, and let others have the place."""
        self._stop.set()
        self._thread.join()
        if self._try_update():
            self._files.delete_file(f"{self._root}/{_OWNER}")

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._try_update()

    def _try_update(self) -> bool:
        try:
            self._update()
        except (pa.ArrowException, OSError) as error:
            # Said once, not at every look; what failed is tried again at the next.
            if not self._failing:
                self._say(f"{self._output} cannot be copied to {self._place}, which is tried again: {error}")
            self._failing = True
            return False
        if self._failing:
            self._say(f"{self._output} is copied to {self._place} again")
        self._failing = False
        return True

    def _update(self) -> None:
        self._check_owner()
        records = self._read(self._changed(_is_tunes))
        records |= self._read(self._changed(lambda name: not _is_large(name) and not _is_tunes(name)))
        # A checkpoint is whole by its manifest.
        for name in sorted(self._changed(_is_large), key=lambda name: name.endswith(MANIFEST)):
            self._copy(name)
        for name in sorted(records, key=_is_tunes):
            seen, content = records[name]
            self._put(name, content)
            self._known[name] = seen
        for name in [name for name in self._known if not (self._output / name).is_file()]:
            self._delete(name)
            del self._known[name]
        _write_known(self._output, self._place, self._known)

    def _changed(self, wanted: Callable[[str], bool]) -> list[str]:
        """Return files that are not as they were when they were last copied; those that are not whole yet are none."""
        names = [
            name
            for path in self._output.rglob("*")
            for name in [path.relative_to(self._output).as_posix()]
            if wanted(name) and not _is_left_out(name) and path.is_file()
        ]
        return [name for name in names if self._stat(name) not in (None, self._known.get(name))]

    def _read(self, names: Sequence[str]) -> dict[str, tuple[_Seen, bytes]]:
        """Return files as they are now; those that are gone by now are left out."""
        found = {}
        for name in names:
            # What changes while it is read is read again at the next look.
            if (seen := self._stat(name)) is not None:
                with suppress(FileNotFoundError):
                    found[name] = (seen, (self._output / name).read_bytes())
        return found

    def _stat(self, name: str) -> _Seen | None:
        try:
            found = (self._output / name).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size

    def _copy(self, name: str) -> None:
        seen = self._stat(name)
        # Deleted while others were copied, it is none of the search's any more.
        if seen is not None:
            with suppress(FileNotFoundError), (self._output / name).open("rb") as source, self._open(name) as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
                self._known[name] = seen

    def _put(self, name: str, content: bytes) -> None:
        with self._open(name) as target:
            target.write(content)

    def _open(self, name: str) -> pa.NativeFile:
        path = f"{self._root}/{name}"
        self._files.create_dir(path.rpartition("/")[0])
        return self._files.open_output_stream(path)

    def _delete(self, name: str) -> None:
        path = f"{self._root}/{name}"
        if self._files.get_file_info(path).type != pyarrow.fs.FileType.NotFound:
            self._files.delete_file(path)

    def _claim(self) -> None:
        """Wait until it is clear that nobody else keeps a search here."""
        try:
            before = self._read_owner()
            if before is not None:
                self._say(f"{self._place} was in use by {before['host']}; seeing whether it still is")
                deadline = time.monotonic() + 3 * self._every_s
                while time.monotonic() < deadline:
                    time.sleep(self._every_s / 10)
                    if self._read_owner() not in (before, None):
                        raise UserError(f"{self._place}: a search on {before['host']} is being kept there")
            self._check_owner(claim=True)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"a search cannot be kept in {self._place}: {error}") from None

    def _check_owner(self, claim: bool = False) -> None:
        """Say that the place is still in use; raises if another process has taken it."""
        found = self._read_owner()
        mine = json.loads(self._owner)
        if not claim and found is not None and {name: found[name] for name in mine} != mine:
            raise OSError(f"a search on {found['host']} has taken the place over")
        self._beat += 1
        self._put(_OWNER, json.dumps({**mine, "beat": self._beat}).encode())

    def _read_owner(self) -> dict[str, object] | None:
        path = f"{self._root}/{_OWNER}"
        if self._files.get_file_info(path).type == pyarrow.fs.FileType.NotFound:
            return None
        with self._files.open_input_stream(path) as stream:
            owner: dict[str, object] = json.loads(stream.read())
        return owner


@contextmanager
def mirrored(output: Path, place: str | None, say: Callable[[str], None]) -> Iterator[None]:
    """Keep a copy for the time being, arguments as `Mirror`; none without a place."""
    if place is None:
        yield
        return
    output.mkdir(parents=True, exist_ok=True)
    mirror = Mirror(output, place, say)
    try:
        yield
    except KeyboardInterrupt:
        # A second signal does not wait.
        mirror.leave()
        raise
    except BaseException:
        mirror.close()
        raise
    mirror.close()


def mirror_of(output: Path) -> str | None:
    """Return where a folder's copy is kept; None if none is."""
    known = _known_in(output)
    return None if known is None else known[0]


def fetch_search(place: str, output: Path) -> None:
    """Have a search's folder here, from its copy; one that came from there before is used as it is.

    Args:
        place: See `Mirror`.
        output: Created, unless it is there.

    Raises:
        UserError: There is no search at the place, it cannot be read, or the folder holds something else.
    """
    if output.exists():
        if has_search(output) and mirror_of(output) == place:
            return
        raise UserError(f"{output} is there and holds no search from {place}; name another --out")
    files, root = _storage(place)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        selector = pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True)
        names = [
            info.path.removeprefix(f"{root}/")
            for info in files.get_file_info(selector)
            if info.type == pyarrow.fs.FileType.File
        ]
        known = {}
        for name in names:
            if name != _OWNER:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                with files.open_input_stream(f"{root}/{name}") as source, (partial / name).open("wb") as target:
                    shutil.copyfileobj(source, target, _COPY_BYTES)
                found = (partial / name).stat()
                known[name] = (found.st_mtime_ns, found.st_size)
    except (pa.ArrowException, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"the search in {place} cannot be read: {error}") from None
    if not has_search(partial):
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"{place} holds no search")
    _write_known(partial, place, known)
    partial.rename(output)


def _storage(place: str) -> tuple[pyarrow.fs.FileSystem, str]:
    try:
        files, root = pyarrow.fs.FileSystem.from_uri(place)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{place} names no storage: {error}") from None
    if not root:
        raise UserError(f"{place} names no storage: expected something like s3://bucket/search")
    return files, root.rstrip("/")


def _is_tunes(name: str) -> bool:
    return name.split("/")[0] == _FIRST_READ


def _is_large(name: str) -> bool:
    return not _is_tunes(name) and any(part.startswith(_LARGE) for part in name.split("/")[:-1])


def _is_left_out(name: str) -> bool:
    parts = name.split("/")
    return parts[0] in _LEFT_OUT or any(part.startswith(".") for part in parts)


def _known_in(output: Path) -> tuple[str, dict[str, _Seen]] | None:
    path = output / _KNOWN
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return content["place"], {name: (time_ns, size) for name, (time_ns, size) in content["known"].items()}


def _write_known(output: Path, place: str, known: dict[str, _Seen]) -> None:
    partial = output / f"{_KNOWN}.partial"
    partial.write_text(json.dumps({"place": place, "known": known}), encoding="utf-8")
    partial.replace(output / _KNOWN)
