"""The bridge between Ray Tune and Ray Train: a trial that trains on a lasting worker group.

With ``reuse_actors=True`` Tune hands a finished, stopped or paused trial's actor to the next trial;
its worker group stays alive and is merely given another assignment.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import DONE, SHOULD_CHECKPOINT

from ray_advpose.cluster.checkpoint_store import FolderStore
from ray_advpose.cluster.group import GroupLayout, WorkerGroup
from ray_advpose.cluster.layout import MAX_SLOTS
from ray_advpose.cluster.mailbox import Assignment
from ray_advpose.cluster.run_files import read_history
from ray_advpose.cluster.storage import is_whole, last_untold, step_at, still_there
from ray_advpose.cluster.timeline import mark
from ray_advpose.config import config_from_dict
from ray_advpose.search.endings import ENDINGS, FINISHED, STOPPED, read_endings
from ray_advpose.search.places import Pointer, checkpoints_of, place_now, trial_folder
from ray_advpose.search.stop_board import StopBoard
from ray_advpose.training.history import metrics_of
from ray_advpose.training.pose_stage import pose_stage_key
from ray_advpose.training.schedule import Schedule, make_schedule

TRIAL_PROCESS = "a trial's process"
_CLOSE_TIMEOUT_S = 8.0
_LOOK_EVERY_S = 0.2


@dataclasses.dataclass(frozen=True)
class TrialConstants:
    """What all trials of a search share.

    Attributes:
        base: The config that a trial's overrides are applied to, as ``model_dump()``.
        data: Folder of the shards; absolute, since Ray changes the working directory.
        fingerprint: Of that data.
        train_images: How many images of it are trained on.
        allow_changes: What may differ from a checkpoint, as ``data``.
        experiment: Folder of the search; trials write below it.
        layout: The worker group of each trial.
        train: What every rank does with an assignment, by its name.
        shared_pose_stages: Keys of the stages 1 that more than one trial of the search begins with.
    """

    base: dict[str, Any]
    data: str
    fingerprint: str
    train_images: int
    experiment: str
    layout: GroupLayout
    train: str
    shared_pose_stages: frozenset[str] = frozenset()
    allow_changes: tuple[str, ...] = ()


def trial_resources(slots: int) -> tune.PlacementGroupFactory:
    """Return what a trial requests so that ``slots`` trials run at a time.

    A trial computes nothing, and its worker group reserves its own CPUs and GPUs. But Tune does not
    accept an empty request, so a trial takes a share of the resource that each cluster's head node
    has 1.0 of. That also keeps trials off nodes that may be preempted, and lets Tune swap paused
    trials in and out, which a bound on the number of unfinished trials would not.
    """
    assert 1 <= slots <= MAX_SLOTS
    return tune.PlacementGroupFactory([{"node:__internal_head__": int(10_000 / (slots + 0.5)) / 10_000}])


class _NobodyTrainsError(Exception):
    """The search ends, and no worker has taken this trial's assignment: there is nothing to save."""


class JointTrainingTrial(tune.Trainable):
    """One trial at a time on one worker group; `TrialConstants` come by ``tune.with_parameters``.

    The trial's Tune config has one entry, ``overrides``: config values by dotted name.
    """

    config: dict[str, Any]
    _group: WorkerGroup
    _constants: TrialConstants
    _board: StopBoard
    _resolved: dict[str, Any]
    _generation: int
    _checkpoint: str | None
    _reported: int
    _assigned: bool

    def setup(self, config: dict[str, Any], constants: TrialConstants) -> None:
        """Start the worker group in the background.

        Raises:
            UserError: The overrides do not make a valid config.
        """
        mark(Path(constants.experiment), TRIAL_PROCESS)
        self._constants = constants
        self._board = StopBoard(Path(constants.experiment))
        self._take_up(config)
        self._group = WorkerGroup(f"group-{uuid.uuid4().hex[:12]}", constants.layout, constants.train)

    def step(self) -> dict[str, Any]:
        """Let the workers train to their next report and return its metrics."""
        if (metrics := self._ended_before()) is not None:
            return self._result(metrics, done=True)
        if self._assigned:
            self._group.go_on()
        else:
            self._group.assign(self._assignment())
            self._assigned = True
        try:
            report = self._group.next_report(self._pass_on_a_stop)
        except _NobodyTrainsError:
            self._stand_still()
            raise
        if report.cut:
            self._dismiss()
            self._stand_still()
        self._reported = int(report.metrics["step"])
        if report.checkpoint is not None:
            self._checkpoint = report.checkpoint
        return self._result(report.metrics, report.done) | {SHOULD_CHECKPOINT: True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write where the newest checkpoint is that came with, or before, the report last returned."""
        Pointer(self.trial_id, self._generation, self._checkpoint, self._reported).write(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: str) -> None:
        """Start the next assignment from where this trial was saved, or from what it is to copy.

        Raises:
            UserError: That checkpoint is gone, and so is every later one beside it.
        """
        pointer = Pointer.read(Path(checkpoint))
        self._dismiss()
        place = place_now(pointer.checkpoint, Path(self._constants.experiment)) if pointer.checkpoint else None
        self._checkpoint = still_there(place) if place else None
        self._generation = pointer.generation
        self._reported = max(pointer.reported, step_at(self._checkpoint) if self._checkpoint else 0)

    def exploit(self, overrides: dict[str, Any], checkpoint: str, generation: int) -> None:
        """Go on as a copy of another trial, on the same workers, from the next step on.

        Args:
            overrides: The copy's settings.
            checkpoint: What it starts from.
            generation: How often this trial has copied another by now.

        Raises:
            UserError: The overrides do not make a valid config.
        """
        config = self._resolve(overrides)
        # Tune's results tell it.
        self.config = {**self.config, "overrides": overrides}
        self._dismiss()
        self._resolved, self._checkpoint, self._generation = config, checkpoint, generation
        self._reported = step_at(checkpoint)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Leave the current trial and become another one; its assignment waits for the first step.

        Raises:
            UserError: The overrides do not make a valid config.
        """
        self._dismiss()
        self._take_up(new_config)
        return True

    def cleanup(self) -> None:
        """Shut the worker group down; raises if it still holds resources."""
        self._group.close(_CLOSE_TIMEOUT_S)

    def _result(self, metrics: Mapping[str, Any], done: bool) -> dict[str, Any]:
        return {**metrics, "generation": self._generation, "checkpoint": self._checkpoint or "", DONE: done}

    def _ended_before(self) -> dict[str, Any] | None:
        """Return what this trial ended with, if Tune's record is from before that: a driver was killed soon after."""
        experiment = Path(self._constants.experiment)
        if self._assigned or read_endings(experiment / ENDINGS).get(self.trial_id) not in (FINISHED, STOPPED):
            return None
        return metrics_of(read_history(trial_folder(experiment, self.trial_id)), self._schedule().total_steps)

    def _pass_on_a_stop(self) -> None:
        if self._board.asked():
            self._group.ask_to_stop()
            if not self._group.is_at_work():
                raise _NobodyTrainsError

    def _stand_still(self) -> None:
        """Wait for the end of the search; what this trial was cut in is no result of its own."""
        self._board.answer(self.trial_id)
        while not self._board.ended():
            time.sleep(_LOOK_EVERY_S)

    def _furthest(self) -> str | None:
        store = FolderStore(checkpoints_of(Path(self._constants.experiment), self.trial_id, self._generation))
        return last_untold(
            store, self._schedule(), step_at(self._checkpoint) if self._checkpoint else 0, self._reported
        )

    def _schedule(self) -> Schedule:
        config = config_from_dict(self._resolved, f"trial {self.trial_id}")
        return make_schedule(config, self._constants.train_images)

    def _assignment(self) -> Assignment:
        experiment = Path(self._constants.experiment)
        self._checkpoint = self._furthest() or self._checkpoint
        # Decided here and not by the workers, who might look at different moments.
        pose_stage, known = self._pose_stage()
        return Assignment(
            trial_id=self.trial_id,
            generation=self._generation,
            config=self._resolved,
            data=self._constants.data,
            output=str(trial_folder(experiment, self.trial_id)),
            checkpoint=self._checkpoint,
            checkpoints=checkpoints_of(experiment, self.trial_id, self._generation),
            pose_stage=pose_stage if known else None,
            share_pose_stage=None if known else pose_stage,
            allow_changes=self._constants.allow_changes,
            any_member=True,
        )

    def _pose_stage(self) -> tuple[str | None, bool]:
        """Return where trials that begin alike share their stage 1, and whether it is there already."""
        # What comes from a checkpoint may be another trial's, trained with other settings.
        if self._checkpoint is not None:
            return None, False
        key = pose_stage_key(config_from_dict(self._resolved, f"trial {self.trial_id}"))
        if key not in self._constants.shared_pose_stages:
            return None, False
        folder = Path(self._constants.experiment, "pose_stages", f"{key}-{self._constants.fingerprint[:8]}")
        return str(folder), is_whole(folder)

    def _take_up(self, config: dict[str, Any]) -> None:
        self._resolved = self._resolve(config["overrides"])
        self._checkpoint = None
        self._generation = self._reported = 0
        self._assigned = False

    def _resolve(self, overrides: dict[str, Any]) -> dict[str, Any]:
        base = config_from_dict(self._constants.base, "base config")
        return base.replaced(overrides, f"trial {self.trial_id}").model_dump()

    def _dismiss(self) -> None:
        if self._assigned:
            self._group.dismiss()
            self._assigned = False
