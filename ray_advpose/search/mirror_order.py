"""Which files of a search's folder are copied, and in which order."""

from __future__ import annotations

from enum import IntEnum

_TUNE = "tune"
# Ray Train's own records and notes between processes are of no use to another machine.
_LEFT_OUT = {"train", "stop"}
_LARGE_FOLDERS = ("checkpoints", "pose_stages", "best_checkpoint", "events", "samples")
_LARGE_FILES = (".npz", ".jpg", ".png")


class Rank(IntEnum):
    """What speaks of what: a record speaks of those of lower rank, and is read before and put after them."""

    OURS = 0
    TUNES_TRIALS = 1
    TUNES = 2


def rank_of(name: str) -> Rank:
    """Return the rank of a file, named as below the search's folder."""
    first, *rest = name.split("/")
    if first != _TUNE:
        return Rank.OURS
    return Rank.TUNES if len(rest) == 1 else Rank.TUNES_TRIALS


def is_large(name: str) -> bool:
    """Whether a file is copied as it is then: checkpoints, events and pictures, of which records speak."""
    if rank_of(name) is not Rank.OURS:
        return False
    folders = name.split("/")[:-1]
    return name.endswith(_LARGE_FILES) or any(part.startswith(_LARGE_FOLDERS) for part in folders)


def is_record(name: str) -> bool:
    """Whether a file is read whole first and put later."""
    return not is_large(name)


def is_left_out(name: str) -> bool:
    """Whether a file is of no use to another machine, or is not whole yet."""
    parts = name.split("/")
    return parts[0] in _LEFT_OUT or any(part.startswith(".") for part in parts)
