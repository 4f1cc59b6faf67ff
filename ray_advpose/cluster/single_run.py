"""A single run as a user starts it: checked before Ray starts, gone on with where it was cut."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ray_advpose.cluster.checkpoint_store import CHECKPOINTS, CheckpointStore
from ray_advpose.cluster.layout import local_cpus, plan_layout
from ray_advpose.cluster.run_card import (
    RunCard,
    alone_in,
    check_allowed,
    check_continues,
    has_run,
    read_card,
)
from ray_advpose.cluster.run_files import read_history
from ray_advpose.cluster.runtime import cluster_nodes, joined_ray, local_ray
from ray_advpose.cluster.signals import SIGNALLED, code_after, exit_on_sigterm
from ray_advpose.cluster.storage import fetched, last_whole, step_at, store_at
from ray_advpose.cluster.trainer import run_training
from ray_advpose.config import Config
from ray_advpose.data.checks import check_config, check_data
from ray_advpose.data.object_place import spelled
from ray_advpose.data.shard_place import ShardPlace
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import read_manifest
from ray_advpose.training.schedule import make_schedule
from ray_advpose.training.setting_changes import SettingChange, config_in_epoch


@dataclass(frozen=True)
class SingleRun:
    """What a user asks for.

    Attributes:
        config: The run's config.
        data: Prepared data.
        output: The run's folder, absolute.
        storage: Folder or URI for checkpoints; None for one in the run's folder.
        allow_changes: Fields that may differ from what the run was trained with, and ``data``.
        changes: Settings that change during stage 3.
    """

    config: Config
    data: ShardPlace
    output: Path
    storage: str | None = None
    allow_changes: Sequence[str] = ()
    changes: Sequence[SettingChange] = ()


def conduct_run(run: SingleRun, address: str | None) -> int:
    """Train a run to its end, or go on with what there is of it.

    Args:
        run: What to do.
        address: Of a running Ray cluster; None for one on this machine alone.

    Returns:
        0; if a signal has cut the run 128 and the signal's number, 130 if a second one did not wait.

    Raises:
        UserError: Data, config, storage or cluster do not allow the run.
    """
    check_allowed(run.allow_changes)
    shards = check_data(run.config, run.data)
    for change in run.changes:
        if change.after_joint_epochs >= run.config.stages.joint_epochs:
            raise UserError(
                f"the schedule changes {', '.join(change.overrides)} after {change.after_joint_epochs} epochs of"
                f" stage 3, which has stages.joint_epochs = {run.config.stages.joint_epochs}"
            )
        check_config(config_in_epoch(run.config, run.changes, change.after_joint_epochs), shards)
    changes = [asdict(change) for change in run.changes]
    card = RunCard(run.config.model_dump(), str(shards.place), _storage(run), changes)
    store = store_at(card.checkpoints(run.output))
    store.probe()
    with alone_in(run.output):
        checkpoint = _last_checkpoint(run, store)
        if checkpoint is not None and _is_done(checkpoint, run, shards):
            print(f"{run.output}: done already; {_best(run.output)}last checkpoint {checkpoint}")
            return 0
        card.write(run.output)
        source = f", going on from {checkpoint}" if checkpoint else ""
        print(f"{run.output}: {run.config.preset} on {card.data}{source}", flush=True)
        return _train(run, card, checkpoint, address)


def _train(run: SingleRun, card: RunCard, checkpoint: str | None, address: str | None) -> int:
    go_on = f"go on with: {_resume_command(run, address)}"
    try:
        with exit_on_sigterm(), joined_ray(address) if address else local_ray(local_cpus(run.config, trials=1)):
            plan_layout(run.config, 1, cluster_nodes())
            checkpoint, writer = _claimed(run, card, checkpoint)
            outcome = run_training(run.config, card, run.output, checkpoint, run.allow_changes, run.changes, writer)
    except (KeyboardInterrupt, SystemExit) as cut:
        code = code_after(cut)
        print(f"interrupted, without a checkpoint of this moment; {go_on}")
        return code
    if outcome.cut_by is not None:
        where = f"at {outcome.checkpoint}" if outcome.checkpoint else "while no workers were there to take a checkpoint"
        print(f"cut {where}; {go_on}")
        return SIGNALLED + outcome.cut_by
    print(f"{_best(run.output)}last checkpoint {outcome.checkpoint}")
    return 0


def _claimed(run: SingleRun, card: RunCard, checkpoint: str | None) -> tuple[str | None, str | None]:
    """Take storage over from whoever trains this run on another machine, once this one can train.

    The lock is of the folder, and another machine's folder has the same storage: who starts last goes on.

    Returns:
        The last checkpoint, later than the given one if the other has written more; and the name of the claim, None
        for a run that keeps its checkpoints in its folder.
    """
    if card.storage is None:
        return checkpoint, None
    store = store_at(card.storage)
    writer = store.claim()
    steps = store.steps()
    if steps and (checkpoint is None or steps[-1] > step_at(checkpoint)):
        checkpoint = _last_checkpoint(run, store)
        if checkpoint is not None and _is_done(checkpoint, run, ShardSet.open(card.data)):
            raise UserError(f"another machine has trained the run in {card.storage} to its end meanwhile")
    return checkpoint, writer


def _storage(run: SingleRun) -> str | None:
    """Return where checkpoints are kept if that is not the run's folder, in its one spelling."""
    if run.storage is None:
        return None
    place = spelled(run.storage) if "://" in run.storage else str(Path(run.storage).absolute())
    return None if place == str(run.output / CHECKPOINTS) else place


def _last_checkpoint(run: SingleRun, store: CheckpointStore) -> str | None:
    """Return the place of the checkpoint to go on from; None for a run that begins.

    Raises:
        UserError: The run has been trained, and what there is of it would be left behind.
    """
    checkpoint = last_whole(store, skipped=lambda sentence: print(sentence, flush=True))
    if checkpoint is not None:
        return checkpoint
    if has_run(run.output):
        former = read_card(run.output)[0].checkpoints(run.output)
        if former != store.place and store_at(former).steps():
            raise UserError(
                f"{run.output} keeps its checkpoints in {former}, and there are none in {store.place};"
                " copy them there first, or name the former with --storage"
            )
    history = read_history(run.output)
    # One that was cut soon may have none yet; storage that is not there, a volume that is not mounted, looks alike.
    if len(history) > run.config.run.checkpoint_every_epochs + 1 and not store.steps():
        raise UserError(
            f"{run.output} has trained {len(history)} epochs by its history.json, but there is no checkpoint in"
            f" {store.place}; name the place of its checkpoints with --storage, or begin anew with another --out"
        )
    return None


def _is_done(checkpoint: str, run: SingleRun, shards: ShardSet) -> bool:
    """Check that the run may go on from a checkpoint, and return whether it is at its end."""
    with fetched(checkpoint) as folder:
        check_continues(folder, run.config, run.changes, shards, run.allow_changes)
        step: int = read_manifest(folder)["step"]
    return step >= make_schedule(run.config, shards.count("train")).total_steps


def _best(output: Path) -> str:
    history = read_history(output)
    if not history:
        return ""
    best = max(history, key=lambda record: record.metric)
    return f"best score {best.metric:.2f} at step {best.step}; "


def _resume_command(run: SingleRun, address: str | None) -> str:
    cluster = ["--cluster", address] if address else []
    allowed = [part for name in run.allow_changes for part in ("--allow-change", name)]
    return f"python launch/train.py {shlex.join(['--resume', str(run.output), *cluster, *allowed])}"
