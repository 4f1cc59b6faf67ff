"""One run of an experiment in its folder: trained in pieces, and its predictions written when it ends."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ray_advpose.data.identity import identity_of
from ray_advpose.data.probe_images import read_probe_images
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.task import cell_shares, task_for
from ray_advpose.data.validation import SplitPredictions
from ray_advpose.evidence.arms import Run
from ray_advpose.evidence.held import HeldSplit, subset_of
from ray_advpose.evidence.robustness import DISTANCES, measure_robustness
from ray_advpose.training.checkpoint import MANIFEST, write_checkpoint
from ray_advpose.training.evaluation import predict
from ray_advpose.training.history import EpochRecord, Validation
from ray_advpose.training.loop import train_epochs
from ray_advpose.training.pose_stage import decides_pose_stage, ends_pose_stage
from ray_advpose.training.pose_step import Task
from ray_advpose.training.probe import measure_probe
from ray_advpose.training.restoring import load_checkpoint, take_snapshot
from ray_advpose.training.schedule import make_schedule
from ray_advpose.training.state import TrainState, make_state
from ray_advpose.training.take_over import load_pose_stage

CHECKPOINT, HISTORY, RESULT = "checkpoint", "history.json", "result.json"
# What an arm may have otherwise than the stage 1 it goes on from.
_AFTER_STAGE_ONE = ("random.random_range", "random.scale_times", "random.rotation_times", "random.rotated_share")


def decides_stage_one(name: str) -> bool:
    """Whether a setting would have stage 1 be another, so that no arm may have it otherwise than the others."""
    return decides_pose_stage(name) and name not in _AFTER_STAGE_ONE


@dataclass(frozen=True)
class Means:
    """What a process has to train runs with.

    Attributes:
        shards: Prepared data.
        splits: By name, held where networks are.
        folder: Of all runs.
        device: Where networks are.
    """

    shards: ShardSet
    splits: dict[str, HeldSplit]
    folder: Path
    device: torch.device


def predictions_file(folder: Path, run_name: str, split: str) -> Path:
    """Return where a finished run's predictions of a split are."""
    return folder / run_name / f"predictions_{split}.npz"


def is_done(folder: Path, run_name: str) -> bool:
    """Whether a run has ended."""
    return (folder / run_name / RESULT).exists()


def read_history(folder: Path, run_name: str) -> list[EpochRecord]:
    """Return the epochs that a run has ended."""
    path = folder / run_name / HISTORY
    return [EpochRecord.from_dict(each) for each in json.loads(path.read_text())] if path.exists() else []


def train_run(run: Run, means: Means, go_on: Callable[[], bool]) -> bool:
    """Train a run to its end, or until it may not go on; its folder then has what it goes on from.

    Args:
        run: Which one.
        means: What to train it with.
        go_on: Asked after every step.

    Returns:
        Whether it has ended.
    """
    folder = means.folder / run.name
    if is_done(means.folder, run.name):
        return True
    folder.mkdir(parents=True, exist_ok=True)
    task = task_for(run.config, means.shards)
    state = _begun(run, means, task, folder)
    if run.kind == "stage 1" and state.history and ends_pose_stage(state.history[-1], run.config):
        # Cut after its last checkpoint and before it could say that it had ended.
        _finish(run, state, {}, folder)
        return True
    subset = subset_of(len(means.splits["train"]), run.images)
    schedule = make_schedule(run.config, len(means.splits["train"]))
    train, val = means.splits["train"], means.splits["val"]
    places = torch.from_numpy(subset).to(means.device)
    images = read_probe_images(means.shards, run.config.run.probe_images)
    probed = None if images is None else images.to(means.device)
    saved_at = time.monotonic()
    epochs = train_epochs(
        state,
        task,
        schedule,
        train.batches(schedule, state.step, subset),
        lambda: Validation.of(_predict(state, task, val, means).score()),
        cell_shares(train.joints_cv[places].cpu(), train.annotated[places].cpu(), task),
        on_progress=lambda progress: None,
        go_on=go_on,
        probe=lambda: (
            None if probed is None else measure_probe(task, probed, state.pose_net, state.asr_net, state.aho_net)
        ),
    )
    for record in epochs:
        _write_json(folder / HISTORY, [asdict(each) for each in state.history])
        if run.kind == "stage 1" and ends_pose_stage(record, run.config):
            _save(state, means, folder)
            _finish(run, state, {}, folder)
            return True
        if time.monotonic() - saved_at > run.config.run.checkpoint_every_s:
            _save(state, means, folder)
            saved_at = time.monotonic()
        if not go_on():
            break
    if state.step < schedule.total_steps:
        _save(state, means, folder)
        return False
    _score(run, state, task, means, folder)
    return True


def _begun(run: Run, means: Means, task: Task, folder: Path) -> TrainState:
    state = make_state(run.config, len(task.skeleton.joints), means.device)
    identity = identity_of(means.shards)
    beside, place = folder / f"{CHECKPOINT}.part", folder / CHECKPOINT
    if (beside / MANIFEST).exists():
        # Whole, as the manifest is written last, and newer than what `_save` was cut while deleting.
        shutil.rmtree(place, ignore_errors=True)
        beside.rename(place)
    if place.exists():
        load_checkpoint(place, state, identity)
    elif run.after is not None:
        load_pose_stage(means.folder / run.after / CHECKPOINT, state, identity, _AFTER_STAGE_ONE)
    return state


def _save(state: TrainState, means: Means, folder: Path) -> None:
    """Put a checkpoint in the place of the last one; a cut in between leaves one of the two."""
    beside, place = folder / f"{CHECKPOINT}.part", folder / CHECKPOINT
    shutil.rmtree(beside, ignore_errors=True)
    write_checkpoint(beside, take_snapshot(state), identity_of(means.shards))
    shutil.rmtree(place, ignore_errors=True)
    beside.rename(place)


def _score(run: Run, state: TrainState, task: Task, means: Means, folder: Path) -> None:
    """Predict with the last weights. The test part is for arms alone, and opened once: here."""
    splits = ["val", "test"] if run.kind == "arm" and "test" in means.splits else ["val"]
    hashes = {}
    for split in splits:
        path = predictions_file(means.folder, run.name, split)
        found = _predict(state, task, means.splits[split], means)
        found.write(path)
        hashes[split] = _sha256(path)
    if run.kind == "arm":
        measure_robustness(task, means.splits[splits[-1]], state.pose_net).write(folder, splits[-1])
        hashes["changed"] = _sha256(folder / DISTANCES)
    _finish(run, state, hashes, folder)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)


def _finish(run: Run, state: TrainState, hashes: dict[str, str], folder: Path) -> None:
    trains_pose = [record for record in state.history if record.stage != "pretrain"]
    result = {
        "name": run.name,
        "arm": run.arm,
        "kind": run.kind,
        "seed": run.config.run.seed,
        "training_images": run.images,
        "images_with_gradient": sum(record.images for record in trains_pose),
        "val": state.history[-1].metric,
        "seconds": {
            stage: sum(record.seconds for record in state.history if record.stage == stage)
            for stage in ("pose", "pretrain", "joint")
        },
        "predictions_sha256": hashes,
        "ended": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "config": run.config.flat(),
    }
    _write_json(folder / RESULT, result)


def _predict(state: TrainState, task: Task, split: HeldSplit, means: Means) -> SplitPredictions:
    found = predict(state.pose_net, split.evaluated(task.config.run.eval_batch_size), task).joints_px
    return SplitPredictions(
        np.asarray(found), split.truth, means.shards.manifest.protocol, task.config.loss.decoder, flip_test=False
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_json(path: Path, content: object) -> None:
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(json.dumps(content, indent=1), encoding="utf-8")
    beside.rename(path)
