"""Where a run's checkpoints are kept, which of them are whole, and which stay.

A place is a folder, local or on a network file system, or the URI of an object store such as
``s3://bucket/run``.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from ray_advpose.cluster.checkpoint_store import PARTIAL, CheckpointStore, FolderStore, step_of
from ray_advpose.cluster.object_store import ObjectStore, downloaded
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import DataIdentity, OtherVersionError, Snapshot, read_manifest, write_checkpoint
from ray_advpose.training.schedule import Schedule


def store_at(place: str) -> CheckpointStore:
    """Return the store at a folder or URI; `UserError` for a URI that is none."""
    return ObjectStore(place) if "://" in place else FolderStore(place)


def fetched(place: str) -> AbstractContextManager[Path]:
    """Have a checkpoint in a local folder for the time being.

    Args:
        place: What `CheckpointStore.place_of` returned.
    """
    return downloaded(place) if "://" in place else nullcontext(Path(place))


def last_whole(store: CheckpointStore, skipped: Callable[[str], None]) -> str | None:
    """Return the place of the last checkpoint that is whole, None if there is none.

    Args:
        store: Where to look.
        skipped: Told, in a sentence, of each later one that is not.

    Raises:
        OtherVersionError: There is one of another version; to start anew beside it would end in deleting it.
    """
    for step in reversed(store.steps()):
        place = store.place_of(step)
        with fetched(place) as folder:
            try:
                read_manifest(folder)
            except OtherVersionError:
                raise
            except UserError as error:
                skipped(f"skipped {place}: {error}")
                continue
        return place
    return None


def last_between(store: CheckpointStore, after: int, before: int) -> str | None:
    """Return the place of the last whole checkpoint of a step between two others; None if there is none."""
    for step in reversed(store.steps()):
        if not after < step < before:
            continue
        place = store.place_of(step)
        with fetched(place) as folder, suppress(UserError):
            read_manifest(folder)
            return place
        # Cut off while it was written; the one before it serves as well.
    return None


def last_untold(store: CheckpointStore, schedule: Schedule, held: int, reported: int) -> str | None:
    """Return the last checkpoint before the end of the epoch that follows the last report; None if there is none.

    That epoch's end is left out, and what comes after: the population has not been told of it.

    Args:
        store: A trial's checkpoints.
        schedule: The trial's.
        held: Step of the checkpoint that the trial would go on from without.
        reported: Steps done at the last report; 0 before the first.
    """
    if reported >= schedule.total_steps:
        return None
    found = last_between(store, held, schedule.epoch_end(reported))
    taken_over = schedule.spans[0].end_step
    if found is None and not reported and taken_over < schedule.total_steps:
        # Who has taken over another's stage 1 begins behind it.
        found = last_between(store, taken_over, schedule.epoch_end(taken_over))
    return found


def step_at(place: str) -> int:
    """Return the step of the checkpoint at a place, by its name."""
    return step_of(place.partition("?")[0].rpartition("/")[2])


def still_there(place: str) -> str:
    """Return a checkpoint's place, or that of the first one after it that is still there.

    A population's record of where its trials stand may be seconds older than their workers, who go on
    until they notice that its driver was killed, and delete what they no longer need.

    Args:
        place: What `CheckpointStore.place_of` returned.

    Raises:
        UserError: Neither it nor a later one is there.
    """
    path, question, options = place.partition("?")
    store, wanted = store_at(f"{path.rpartition('/')[0]}{question}{options}"), step_at(place)
    for step in store.steps():
        if step >= wanted:
            return store.place_of(step)
    raise UserError(f"the checkpoint {place} is gone, and there is none after it")


def keep_checkpoints(store: CheckpointStore, step: int, epoch_ends: Sequence[int], keep_last: int) -> None:
    """Delete checkpoints that nobody needs any more.

    What lies beyond ``step`` goes: an earlier start has left it, and it is trained again. What stays:
    the last ``keep_last`` of epochs' ends, the best of them, and as many of those taken within an epoch
    that are newer than the last end but one. (Until a report has come through, workers that die start
    from what was there before it.)

    Args:
        store: The run's checkpoints.
        step: Of the checkpoint that has just been written.
        epoch_ends: Steps at which epochs ended, best first; not all of them need have a checkpoint.
        keep_last: How many.
    """
    steps = store.steps()
    reached = [each for each in steps if each <= step]
    ends = [each for each in reached if each in epoch_ends]
    within = [each for each in reached if each not in epoch_ends and each > (ends[-2] if len(ends) > 1 else -1)]
    kept = {*ends[-keep_last:], *within[-keep_last:]}
    kept.update([each for each in epoch_ends if each in ends][:1])
    for each in steps:
        if each not in kept:
            store.delete(each)


def share_checkpoint(snapshot: Snapshot, data: DataIdentity, folder: Path) -> None:
    """Write a checkpoint where other runs look for it, unless one of them has put an equal one there."""
    if is_whole(folder):
        return
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex}{PARTIAL}"
    try:
        write_checkpoint(partial, snapshot, data)
        if not is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            # Who comes second at the same moment finds the folder taken, by the same content.
            with suppress(OSError):
                partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a checkpoint with all its files as they were written."""
    try:
        read_manifest(folder)
    except UserError:
        return False
    return True
