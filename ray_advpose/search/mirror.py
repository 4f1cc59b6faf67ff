"""A copy of a search's folder in an object store, from which another machine can go on.

The copy must look like the folder of a search that was cut: Tune's record may be behind the lineage,
and that behind the checkpoints, never the other way. So records are read first, Tune's before all
others and what it says of its trials before their pointers to checkpoints; then checkpoints are
copied, then the records as they were read, the first read last. What goes meanwhile is deleted from
the copy at the next look.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from ray_advpose.data.object_place import copy_in, file_system_at, patiently, spelled
from ray_advpose.errors import UserError
from ray_advpose.search.mirror_order import Rank, is_large, is_left_out, is_record, rank_of
from ray_advpose.search.mirror_place import (
    OWNER,
    Knowledge,
    Seen,
    check_current,
    names_in,
    read_knowledge,
    read_owner,
    write_knowledge,
)
from ray_advpose.training.checkpoint import MANIFEST

EVERY_S = 20.0
_LAST_TRIES = 6


class _LostError(Exception):
    """Another process keeps the copy now."""


class Mirror:
    """Keeps the copy up to date, in a thread.

    Args:
        output: The search's folder.
        place: A URI that pyarrow knows, e.g. ``s3://bucket/search``; options follow a question mark.
        say: Told what goes wrong.
        every_s: Seconds between two looks at the folder.

    Raises:
        UserError: The place cannot be used, holds another search or a newer state of this one, or is kept by
            another process.
    """

    def __init__(self, output: Path, place: str, say: Callable[[str], None], every_s: float = EVERY_S) -> None:
        self._output = output
        self._place = place
        self._say = say
        self._every_s = every_s
        held = read_knowledge(output)
        self._knowledge = held if held is not None and held.place == spelled(place) else Knowledge(spelled(place))
        self._start, self._beat = uuid.uuid4().hex, 0
        self._failing = False
        self._claim()
        self._stop, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        # An update may take long; that the search is alive must show all the same.
        self._heart = threading.Thread(target=self._go_on_beating, name="mirror-beat", daemon=True)
        self._thread.start()
        self._heart.start()

    def leave(self) -> None:
        """Copy no more."""
        self._stop.set()

    def close(self) -> None:
        """Copy what is left, and say that the place is free."""
        self._stop.set()
        self._thread.join()
        self._heart.join()
        for attempt in range(_LAST_TRIES):
            if self._lost.is_set():
                return
            if self._try_update(released=True):
                return
            time.sleep(min(self._every_s, 2.0**attempt))
        self._say(f"the copy of {self._output} in {self._place} is NOT complete; resume the search to complete it")

    def _run(self) -> None:
        while not self._stop.wait(self._every_s) and not self._lost.is_set():
            self._try_update()

    def _go_on_beating(self) -> None:
        while not self._stop.wait(self._every_s) and not self._lost.is_set():
            # A store that cannot be reached is told of by the updates.
            with suppress(Exception):
                self._check_owner()

    def _try_update(self, released: bool = False) -> bool:
        try:
            self._update(released)
        except Exception as error:
            # Whatever it is must not end the copying. Said once, not at every look.
            if not self._failing:
                again = "" if isinstance(error, _LostError) else ", which is tried again"
                self._say(f"{self._output} cannot be copied to {self._place}{again}: {error}")
            self._failing = True
            return False
        if self._failing:
            self._say(f"{self._output} is copied to {self._place} again")
        self._failing = False
        return True

    def _update(self, released: bool = False) -> None:
        self._check_owner()
        known = self._knowledge.files
        gone = [name for name in known if not (self._output / name).is_file()]
        records: dict[str, tuple[Seen, bytes]] = {}
        for rank in sorted(Rank, reverse=True):
            # Listed anew each time: what a record speaks of was there before it, but not before an earlier listing.
            records |= self._read([name for name in self._changed(is_record) if rank_of(name) is rank])
        spoken_of = [name for name in self._listed() if name.endswith(f"/{MANIFEST}")]
        # A checkpoint is whole by its manifest.
        for name in sorted(self._changed(is_large), key=lambda name: name.endswith(MANIFEST)):
            self._copy(name)
        if not all(name in known or self._has_later(name) for name in spoken_of):
            # Deleted before it could be copied: what the records say of it would be said of nothing.
            self._note()
            return
        self._check_owner()
        for name in sorted(records, key=rank_of):
            seen, content = records[name]
            self._put(name, content)
            known[name] = seen
        # Without its manifest a checkpoint is none, whatever of it is left.
        for name in sorted(gone, key=lambda name: not name.endswith(MANIFEST)):
            self._delete(name)
            del known[name]
        if released:
            self._check_owner(released=True)
        self._note()

    def _has_later(self, manifest: str) -> bool:
        """Whether a later checkpoint of the same generation has been copied, as going on would take instead."""
        folder = manifest.rsplit("/", 2)[0]
        later = (name for name in self._knowledge.files if name.startswith(f"{folder}/") and name.endswith(MANIFEST))
        return any(name > manifest for name in later)

    def _note(self) -> None:
        write_knowledge(self._output, self._knowledge)

    def _listed(self) -> list[str]:
        """Return the files of the search, but for those that are not whole yet."""
        found = []
        # Unlike a glob's, its walk goes on where a folder vanishes.
        for folder, _, files in os.walk(self._output):
            base = Path(folder).relative_to(self._output)
            names = [(base / file).as_posix() for file in files]
            found += [name for name in names if not is_left_out(name)]
        return found

    def _changed(self, wanted: Callable[[str], bool]) -> list[str]:
        """Return files that are not as they were when they were last copied."""
        names = [name for name in self._listed() if wanted(name)]
        return [name for name in names if self._stat(name) not in (None, self._knowledge.files.get(name))]

    def _read(self, names: Sequence[str]) -> dict[str, tuple[Seen, bytes]]:
        """Return files as they are now; those that are gone by now are left out."""
        found = {}
        for name in names:
            # What changes while it is read is read again at the next look.
            if (seen := self._stat(name)) is not None:
                with suppress(FileNotFoundError):
                    found[name] = (seen, (self._output / name).read_bytes())
        return found

    def _stat(self, name: str) -> Seen | None:
        try:
            found = (self._output / name).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size

    def _copy(self, name: str) -> None:
        if self._lost.is_set():
            raise _LostError("another process keeps it now")
        seen = self._stat(name)
        # Deleted while others were copied, it is none of the search's any more.
        if seen is not None:
            with suppress(FileNotFoundError):
                copy_in(self._files, self._output / name, self._place_for(name))
                self._knowledge.files[name] = seen

    def _put(self, name: str, content: bytes) -> None:
        with self._files.open_output_stream(self._place_for(name)) as target:
            target.write(content)

    def _place_for(self, name: str) -> str:
        path = f"{self._root}/{name}"
        self._files.create_dir(path.rpartition("/")[0])
        return path

    def _delete(self, name: str) -> None:
        path = f"{self._root}/{name}"
        if self._files.get_file_info(path).type != pyarrow.fs.FileType.NotFound:
            self._files.delete_file(path)

    def _claim(self) -> None:
        """Make sure that the place is this folder's, waiting until it is clear that nobody else keeps it."""
        try:
            self._files, self._root = patiently(lambda: file_system_at(self._place))
            before = read_owner(self._files, self._root)
            if before is not None and not before["released"]:
                self._say(f"{self._place} was in use by {before['host']}; seeing whether it still is")
                deadline = time.monotonic() + 3 * self._every_s
                while time.monotonic() < deadline:
                    time.sleep(self._every_s / 10)
                    if read_owner(self._files, self._root) != before:
                        raise UserError(f"{self._place}: a search on {before['host']} is being kept there")
            check_current(self._output, self._knowledge, before)
            if before is None:
                if names_in(self._files, self._root):
                    raise UserError(f"{self._place} holds other files; name another --storage")
                self._knowledge = Knowledge(self._knowledge.place)
            # First noted, then done: cut in between, the folder is still known to be the copy's.
            self._knowledge.starts.append(self._start)
            self._note()
            patiently(lambda: self._put_owner(released=False))
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"a search cannot be kept in {self._place}: {error}") from None

    def _check_owner(self, released: bool = False) -> None:
        """Show that the place is in use, or that it is free again; raises if another process has taken it."""
        found = read_owner(self._files, self._root)
        if found is None or found["start"] != self._start:
            self._lost.set()
            host = found["host"] if found is not None else "another machine"
            raise _LostError(f"a search on {host} has taken the place over")
        self._put_owner(released)

    def _put_owner(self, released: bool) -> None:
        self._beat += 1
        owner = {"host": socket.gethostname(), "start": self._start, "beat": self._beat, "released": released}
        self._put(OWNER, json.dumps(owner).encode())


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
