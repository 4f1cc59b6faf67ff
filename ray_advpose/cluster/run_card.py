"""What a single run was started with: kept in its folder, so that it can go on from there."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ray_advpose.cluster.checkpoint_store import CHECKPOINTS
from ray_advpose.config import Config, binds_training, config_from_dict, field_of
from ray_advpose.data.identity import identity_of
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import check_data, read_config, read_manifest
from ray_advpose.training.schedule import Schedule, make_schedule
from ray_advpose.training.setting_changes import SettingChange, config_in_epoch, joint_epoch_of

_CARD = "run.json"
DATA = "data"
# How a run is spread over machines and what is kept of it does not change what is trained.
_FREE = {
    "preset",
    "run.num_workers",
    "run.min_workers",
    "run.torch_threads_per_worker",
    "run.cpus_per_worker",
    "run.gpus_per_worker",
    "run.eval_batch_size",
    "run.probe_images",
    "run.log_samples",
    "run.checkpoint_every_epochs",
    "run.checkpoint_every_s",
    "run.keep_last_checkpoints",
}


@dataclass(frozen=True)
class RunCard:
    """A single run.

    Attributes:
        config: As ``model_dump()``.
        data: Absolute path of the prepared data.
        storage: Folder or URI of its checkpoints; None if they are in the run's folder, wherever that is.
        changes: Settings that change during stage 3, as `SettingChange` holds them.
    """

    config: dict[str, Any]
    data: str
    storage: str | None
    changes: list[dict[str, Any]] = field(default_factory=list)

    def checkpoints(self, output: Path) -> str:
        """Return the place of the checkpoints of the run in a folder."""
        return self.storage or str(output / CHECKPOINTS)

    def write(self, output: Path) -> None:
        """Leave the card in the run's folder, made if needed."""
        output.mkdir(parents=True, exist_ok=True)
        partial = output / f".{_CARD}.partial"
        partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        partial.replace(output / _CARD)


def has_run(output: Path) -> bool:
    """Whether a single run was started in a folder."""
    return (output / _CARD).is_file()


def read_card(output: Path) -> tuple[RunCard, Config, list[SettingChange]]:
    """Return a run's card, its config and what changes in it; `UserError` if there is none in the folder.

    An older card names an absolute place, ``checkpoints``, also for those in the run's own folder. Such a folder
    that is gone, or in the folder of another run, stands for the one in this folder, if there is one.
    """
    path = output / _CARD
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if "checkpoints" in fields:
            place = fields.pop("checkpoints")
            fields["storage"] = None if _were_own(place, output) else place
        card = RunCard(**fields)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{output} holds no run to resume: cannot read {path}: {error}") from None
    config = config_from_dict(card.config, str(path))
    return card, config, [SettingChange(**change) for change in card.changes]


def _were_own(place: str, output: Path) -> bool:
    folder, own = Path(place), output.absolute() / CHECKPOINTS
    if "://" in place or folder.name != CHECKPOINTS:
        return False
    return folder == own or (own.is_dir() and (not folder.exists() or has_run(folder.parent)))


@contextmanager
def alone_in(output: Path) -> Iterator[None]:
    """Be the only process that trains in a folder for the time being; ends with the process, whatever ends that.

    Raises:
        UserError: Another process does, or the folder's file system has no locks.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is training in {output}") from None
        except OSError as error:
            raise UserError(f"{output} cannot be locked: {error.strerror}; its file system must allow that") from None
        yield


def check_allowed(allow: Iterable[str]) -> None:
    """Check that what may differ are names of fields, or ``data``; `UserError` if not."""
    for name in allow:
        if name != DATA:
            field_of(name, "--allow-change")


def check_continues(
    folder: Path, config: Config, changes: Sequence[SettingChange], shards: ShardSet, allow: Container[str]
) -> None:
    """Check that a run may go on from a checkpoint.

    Args:
        folder: The checkpoint, whole.
        config: What the run is to go on with.
        changes: What changes in it.
        shards: What it is to be trained on.
        allow: Fields that may differ, and ``data`` if the images may.

    Raises:
        UserError: The data or a field that decides what is trained differs and is not allowed to, or
            cannot at this step: names both values.
    """
    check_data(folder, identity_of(shards), allow)
    before = read_config(folder)
    saved = before.flat()
    step = read_manifest(folder)["step"]
    count = shards.count("train")
    # What was in force when the checkpoint was taken; a step beyond the new schedule's end is refused below.
    schedule = make_schedule(config, count)
    reached = joint_epoch_of(schedule, min(step, schedule.total_steps) - 1) if step else -1
    for name, value in config_in_epoch(config, changes, reached).flat().items():
        if name in _FREE or saved[name] == value:
            continue
        difference = f"{folder} was trained with {name} = {saved[name]}, not {value}"
        if binds_training(name):
            raise UserError(f"{difference}: other networks or optimisers need another run; name another --out")
        if name not in allow:
            raise UserError(f"{difference}; to go on so anyway, add --allow-change {name}, or name another --out")
    _check_place(folder, step, make_schedule(before, count), schedule)


def _check_place(folder: Path, step: int, before: Schedule, after: Schedule) -> None:
    """Check that what has been trained would have been the same steps of the new schedule."""
    for old in (span for span in before.spans if span.first_step < step):
        new = next((span for span in after.spans if span.stage is old.stage), None)
        same = (
            new is not None
            and before.batch_size == after.batch_size
            and (old.first_step, old.images) == (new.first_step, new.images)
            and (step <= min(old.end_step, new.end_step) or old.end_step == new.end_step)
        )
        if not same:
            raise UserError(
                f"{folder} lies at step {step}, in or after stage {old.stage.label}, whose length, batch or images"
                " cannot change any more; name another --out"
            )
