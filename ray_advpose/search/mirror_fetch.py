"""Going on from the copy of a search's folder: having it here."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from ray_advpose.data.object_place import copy_out, file_system_at, patiently, spelled
from ray_advpose.errors import UserError
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
from ray_advpose.search.stored import has_search


def mirror_of(output: Path) -> str | None:
    """Return where a folder's copy is kept; None if none is."""
    known = read_knowledge(output)
    return None if known is None else known.place


def fetch_search(place: str, output: Path) -> None:
    """Have a search's folder here, from its copy; a folder that has all that is in the copy is used as it is.

    Args:
        place: See `Mirror`.
        output: Created, unless it is there.

    Raises:
        UserError: There is no search at the place, it cannot be read, or the folder holds something else or
            an older state.
    """
    try:
        files, root = patiently(lambda: file_system_at(place))
        if output.exists():
            known = read_knowledge(output)
            if known is None or known.place != spelled(place) or not has_search(output):
                raise UserError(f"{output} is there and holds no search from {place}; name another --out")
            check_current(output, known, read_owner(files, root))
            return
        partial = output.with_name(f".{output.name}.partial")
        owner = read_owner(files, root)
        _download(files, root, partial)
        # What was put meanwhile may be ahead of what was read before.
        while (after := read_owner(files, root)) != owner:
            if after is None or not after["released"]:
                raise UserError(f"{place}: a search on {(after or {}).get('host')} is being kept there")
            owner = after
            _download(files, root, partial)
        if owner is None or not has_search(partial):
            raise UserError(f"{place} holds no search")
        known = Knowledge(spelled(place), [], (owner["start"], owner["beat"]), _seen_in(partial))
        write_knowledge(partial, known)
        partial.rename(output)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"the search in {place} cannot be read: {error}") from None
    finally:
        shutil.rmtree(output.with_name(f".{output.name}.partial"), ignore_errors=True)


def _download(files: pyarrow.fs.FileSystem, root: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name in names_in(files, root):
        if name != OWNER:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            patiently(partial(copy_out, files, f"{root}/{name}", folder / name))


def _seen_in(folder: Path) -> dict[str, Seen]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}
