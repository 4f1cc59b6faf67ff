"""Where the copy of a search's folder is, who keeps it, and what the folder knows of it.

``owner.json`` in the copy says who keeps it, with a beat that goes on while he does, and stays there
when he is done. The folder remembers whose copy it knows, so that one that has been overtaken, because
another machine went on from the copy, does not replace what is newer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.fs

from ray_advpose.data.object_place import patiently
from ray_advpose.errors import UserError

OWNER = "owner.json"
_KNOWN = ".mirror.json"

Seen = tuple[int, int]
"""Time of the last change in nanoseconds, and size."""


@dataclass
class Knowledge:
    """What a folder knows of its copy.

    Attributes:
        place: Where the copy is.
        starts: Of the processes that have kept it from this folder.
        fetched: Start and beat of the keeper whose state of it this folder came from; None for where it began.
        files: As they were when they were last copied.
    """

    place: str
    starts: list[str] = field(default_factory=list)
    fetched: tuple[str, int] | None = None
    files: dict[str, Seen] = field(default_factory=dict)

    def is_of(self, owner: Mapping[str, Any]) -> bool:
        """Whether the folder has all that is in a copy with this owner."""
        return owner["start"] in self.starts or (owner["start"], owner["beat"]) == self.fetched


def check_current(output: Path, known: Knowledge, owner: Mapping[str, Any] | None) -> None:
    """Check that a folder is not behind its copy; `UserError` if it is, or if the copy is another search's."""
    if owner is None or known.is_of(owner):
        return
    if not known.starts and known.fetched is None:
        raise UserError(f"{known.place} holds another search; name another --storage, or go on with that by --resume")
    raise UserError(
        f"the search in {known.place} was gone on with on {owner['host']}, and {output} is behind it; --resume it into"
        " another --out"
    )


def names_in(files: pyarrow.fs.FileSystem, root: str) -> list[str]:
    """Return the files of a copy."""
    selector = pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True)
    infos = patiently(lambda: files.get_file_info(selector))
    return [info.path.removeprefix(f"{root}/") for info in infos if info.type == pyarrow.fs.FileType.File]


def read_owner(files: pyarrow.fs.FileSystem, root: str) -> dict[str, Any] | None:
    """Return who keeps a copy: host, start, beat, and whether he has released it; None where there is no copy."""
    path = f"{root}/{OWNER}"

    def read() -> dict[str, Any] | None:
        if files.get_file_info(path).type == pyarrow.fs.FileType.NotFound:
            return None
        with files.open_input_stream(path) as stream:
            owner: dict[str, Any] = json.loads(stream.read())
        return owner

    return patiently(read)


def read_knowledge(output: Path) -> Knowledge | None:
    """Return what a folder knows of its copy; None if it has none."""
    path = output / _KNOWN
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    files = {name: (time_ns, size) for name, (time_ns, size) in content["files"].items()}
    fetched = content["fetched"]
    return Knowledge(content["place"], content["starts"], tuple(fetched) if fetched else None, files)


def write_knowledge(output: Path, known: Knowledge) -> None:
    """Keep it in the folder."""
    partial = output / f"{_KNOWN}.partial"
    partial.write_text(json.dumps(vars(known)), encoding="utf-8")
    partial.replace(output / _KNOWN)
