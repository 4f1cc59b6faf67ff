"""What every rank of a worker group does with an assignment: one run through the three stages."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import ray.train
import ray.train.torch
import torch

from ray_advpose.cluster.checkpoint_store import OvertakenError
from ray_advpose.cluster.examination import Examination
from ray_advpose.cluster.mailbox import Assignment
from ray_advpose.cluster.records import RunRecords, run_records
from ray_advpose.cluster.sample_log import logged
from ray_advpose.cluster.saving import CheckpointSaver, checkpoint_saver
from ray_advpose.cluster.serving import Session
from ray_advpose.cluster.storage import fetched, share_checkpoint, step_at, store_at
from ray_advpose.cluster.stretches import Stretch, StretchRecorder, read_stretches
from ray_advpose.cluster.watch import Call, Watch
from ray_advpose.cluster.worker_records import record_worker
from ray_advpose.config import config_from_dict
from ray_advpose.data.identity import identity_of
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.stream import StreamKeeper
from ray_advpose.data.task import occlusion_target, task_for
from ray_advpose.errors import UserError
from ray_advpose.sections import RunSection
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.checkpoint import DataIdentity
from ray_advpose.training.digests import digests
from ray_advpose.training.history import metrics_of
from ray_advpose.training.loop import train_epochs
from ray_advpose.training.modes import be_deterministic
from ray_advpose.training.pose_stage import ends_pose_stage
from ray_advpose.training.restoring import load_checkpoint, take_snapshot
from ray_advpose.training.schedule import Schedule, make_schedule
from ray_advpose.training.state import TrainState, make_state
from ray_advpose.training.take_over import load_member, load_pose_stage

_ELASTIC_EVERY_S = 60.0
_STREAMS = StreamKeeper()
"""Of this process, whatever it is assigned."""


def train_assignment(assignment: Assignment, session: Session) -> None:
    """Train from the assignment's checkpoint to the end, or until the trial says to leave.

    Every rank runs this; rank 0 writes checkpoints, the log and the TensorBoard events.

    Args:
        assignment: Config, data, where to write, where to start from.
        session: Speaks with the trial.
    """
    taken_at = time.time()
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    config = config_from_dict(assignment.config, f"trial {assignment.trial_id}")
    torch.set_num_threads(config.run.torch_threads_per_worker)
    be_deterministic(config.run.deterministic)
    shards = ShardSet.open(assignment.data)
    schedule = make_schedule(config, shards.count("train"))
    start = _start_step(assignment, schedule)
    with ExitStack() as open_until_left:
        # While it starts, networks are made and loaded.
        batches: Iterable[CanvasBatch] = open_until_left.enter_context(
            _STREAMS.streaming(shards, schedule, start, rank, workers)
        )
        task = task_for(config, shards)
        identity = identity_of(shards)
        state = make_state(config, len(task.skeleton.joints), ray.train.torch.get_device())
        source, mapped = _take_up(state, assignment, identity)
        assert state.step == start, f"{source} lies at step {state.step}, not {start}"
        output = Path(assignment.output)
        stretch = Stretch(
            generation=assignment.generation,
            checkpoint=source,
            step=start,
            taken_at=taken_at,
            loaded_at=time.time(),
            trained_at=0.0,
            mapped=mapped,
            digests=digests(state.state_dict()) if assignment.generation else {},
        )
        record_worker(output, rank, workers, state.step)
        records, saver = None, None
        if rank == 0:
            records = open_until_left.enter_context(run_records(output, config, state.step, state.history))
            store, keep = store_at(assignment.checkpoints), config.run.keep_last_checkpoints
            saver = open_until_left.enter_context(
                checkpoint_saver(
                    store, identity, keep, session.saved, records.logger, records.checkpoint, assignment.writer
                )
            )
            records.begin(state.step, source, workers, _notes(state))
        if config.run.log_samples:
            batches = logged(batches, output, rank)
        recorder = StretchRecorder(output, stretch, records.stretch) if records is not None else None
        interruptions = _Interruptions(state, session, saver, records, recorder)
        examination = Examination(state, task, shards, output, records)
        if assignment.generation and all(each.generation != assignment.generation for each in read_stretches(output)):
            examination.become_a_copy()
        if assignment.checkpoint is None and assignment.pose_stage is not None:
            examination.take_over(Path(assignment.pose_stage))
        share = Path(assignment.share_pose_stage) if assignment.share_pose_stage is not None else None
        for record in train_epochs(
            state,
            task,
            schedule,
            batches,
            examination.validate,
            cell_target=occlusion_target(shards, task),
            on_progress=records.progress if records else lambda progress: None,
            go_on=interruptions.go_on,
            probe=examination.probe,
        ):
            done = state.step >= schedule.total_steps
            due = done or record.epoch % config.run.checkpoint_every_epochs == 0
            checkpoint = None
            examination.epoch_ended(record, share)
            if records is not None and saver is not None:
                records.epoch(record, state.history)
                if due:
                    if done or assignment.report_whole:
                        checkpoint = saver.save_now(take_snapshot(state))
                    else:
                        saver.save(take_snapshot(state))
                if share is not None and ends_pose_stage(record, config):
                    share_checkpoint(take_snapshot(state), identity, share)
            if not session.report(metrics_of(state.history, schedule.total_steps), checkpoint, done):
                return
            if not interruptions.go_on_to_the_next_epoch(saved=due):
                break
        if state.step < schedule.total_steps:
            # Only a wish to stop ends a run before its end.
            session.report({"step": state.step}, interruptions.checkpoint, done=False, cut=True)
        else:
            # An earlier start has trained everything and died before it could say so.
            session.report(metrics_of(state.history, schedule.total_steps), source, done=True)


def _start_step(assignment: Assignment, schedule: Schedule) -> int:
    """Return the step that an assignment starts from, before anything is loaded."""
    if assignment.checkpoint is not None:
        return step_at(assignment.checkpoint)
    return schedule.spans[0].end_step if assignment.pose_stage is not None else 0


def _take_up(state: TrainState, assignment: Assignment, identity: DataIdentity) -> tuple[str | None, list[str]]:
    """Load what the assignment starts from; return its place, and fields in which heads were mapped."""
    place, mapped = assignment.checkpoint or assignment.pose_stage, list[str]()
    if place is None:
        return None, mapped
    with fetched(place) as folder:
        if assignment.checkpoint is not None and assignment.any_member:
            mapped = load_member(folder, state, identity, assignment.allow_changes)
        elif assignment.checkpoint is not None:
            load_checkpoint(folder, state, identity, assignment.allow_changes)
        else:
            load_pose_stage(folder, state, identity)
    if not place.startswith(f"{assignment.checkpoints.partition('?')[0]}/"):
        state.lineage.append(place)
    return place, mapped


class _Interruptions:
    """Does between two steps what the watch calls for.

    Attributes:
        watch: What there is to do.
        checkpoint: The last checkpoint that training waited for.
    """

    def __init__(
        self,
        state: TrainState,
        session: Session,
        saver: CheckpointSaver | None,
        records: RunRecords | None,
        recorder: StretchRecorder | None,
    ) -> None:
        self.watch = Watch(state.step, _checkpoint_every_s(state.config.run), session.stop_wanted)
        self.checkpoint: str | None = None
        self._state = state
        self._session = session
        self._saver = saver
        self._records = records
        self._recorder = recorder

    def go_on_to_the_next_epoch(self, saved: bool) -> bool:
        """As `go_on`, at an epoch's end; ``saved`` tells whether its checkpoint has been taken."""
        if saved:
            self.watch.saved()
        self.watch.epoch_begins(self._state.step - 1)
        return self.go_on()

    def go_on(self) -> bool:
        """Take a checkpoint if one is due, and return whether training goes on; asked on every rank."""
        if self._recorder is not None:
            self._recorder.stepped()
        call = self.watch.call(self._state.step)
        if call is Call.GO_ON:
            return True
        if call is Call.CHECKPOINT_NOW and self._records is not None and self.watch.drain is not None:
            self._records.draining(self.watch.drain, self._state.step)
        if self._saver is None or self._records is None:
            # Rank 0 writes, but every rank adds its statistics.
            self._state.state_dict()
        elif call is Call.CHECKPOINT:
            self._saver.save(take_snapshot(self._state))
        else:
            self._save_now(self._saver, self._records, drained=call is Call.CHECKPOINT_NOW)
        return call is not Call.STOP

    def _save_now(self, saver: CheckpointSaver, records: RunRecords, drained: bool) -> None:
        try:
            self.checkpoint = saver.save_now(take_snapshot(self._state), urgent=drained)
            self._session.saved(self.checkpoint)
        except UserError as error:
            if not drained or isinstance(error, OvertakenError):
                raise
            records.logger.warning("%s; training goes on", error)


def _checkpoint_every_s(run: RunSection) -> float:
    # Ray Train restarts workers without notice when it can have more of them.
    return run.checkpoint_every_s if run.min_workers is None else min(run.checkpoint_every_s, _ELASTIC_EVERY_S)


def _notes(state: TrainState) -> list[str]:
    """Say where the occlusion grid is read from if that is not the lowest resolution, as in the paper."""
    net, lowest = state.aho_net, state.config.net.lowest_px
    if net is None or net.head_side == lowest:
        return []
    height, width = net.grid
    return [
        f"the {height} x {width} occlusion grid is finer than the {lowest} px map; it is read at {net.head_side} px"
    ]
