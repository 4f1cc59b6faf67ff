"""What is still held on a cluster when nothing should be."""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path

from ray._private.state import actors
from ray.util.placement_group import placement_group_table

# Ray's own: one coordinator for each cluster; and a cleaner of a Train controller that was killed
# looks for it for ever where there is no dashboard to ask.
_LASTING_ACTORS = {"_AutoscalingCoordinatorActor", "_StatsActor", "PlacementGroupCleaner", "_UsageCollectionActor"}
_MARK = "ADVPOSE_DRILL"
_READING = "ray::ReadCanvases"
_TITLE_LETTERS = 60
_SHARED_MEMORY = Path("/dev/shm")


def still_held(timeout_s: float, but: Container[str] = ()) -> list[str]:
    """Return the placement groups and actors on the connected cluster that are still there after a while.

    Args:
        timeout_s: How long to wait for them to go.
        but: What was there before, as this function told it.
    """
    deadline = time.monotonic() + timeout_s
    while (held := [each for each in _held() if each not in but]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return held


def forgotten_shared_memory() -> set[str]:
    """Return the names of the files in this machine's shared memory that no living process has in use.

    Semaphores are left out: whoever has one in use knows it by another name, and Ray makes none.
    """
    if not _SHARED_MEMORY.is_dir():
        return set()
    names = {path.name for path in _SHARED_MEMORY.iterdir() if not path.name.startswith("sem.")}
    return names - {name for folder in Path("/proc").glob("[0-9]*") for name in _in_use(folder)}


def _in_use(process: Path) -> Iterator[str]:
    prefix = f"{_SHARED_MEMORY}/"
    with suppress(OSError):  # gone meanwhile, or somebody else's
        for line in (process / "maps").read_text().splitlines():
            if prefix in line:
                yield line.partition(prefix)[2].partition("/")[0].removesuffix(" (deleted)")
        for descriptor in (process / "fd").iterdir():
            target = str(descriptor.readlink())
            if target.startswith(prefix):
                yield target.removeprefix(prefix).partition("/")[0]


def mark_processes(mark: str) -> None:
    """Have every process that this one starts from now on, and their own, carry a mark."""
    os.environ[_MARK] = mark


def marked_processes(mark: str) -> set[int]:
    """Return the ids of the living processes that carry a mark, but for this one; empty where /proc is not."""
    wanted = f"{_MARK}={mark}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # gone meanwhile, or somebody else's
        if wanted in environment and int(folder.name) != os.getpid():
            found.add(int(folder.name))
    return found


def reading_processes(mark: str) -> set[int]:
    """Return the ids of the marked processes that are within a task of a stream."""
    return {process for process in marked_processes(mark) if process_title(process).startswith(_READING)}


def process_title(process: int) -> str:
    """Return what a process calls itself, cut short; empty once it is gone."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return ""
    return words.replace(b"\0", b" ").decode(errors="replace").strip()[:_TITLE_LETTERS]


def _held() -> list[str]:
    groups = [
        f"placement group {group} is {entry['state']}"
        for group, entry in placement_group_table().items()
        if entry["state"] != "REMOVED"
    ]
    living = [
        f"actor {actor['ActorClassName']} (process {actor['Pid']}) is {actor['State']}"
        for actor in actors().values()
        if actor["State"] != "DEAD" and actor["ActorClassName"] not in _LASTING_ACTORS
    ]
    return groups + living
