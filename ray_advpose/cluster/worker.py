"""What every rank of a worker group does with an assignment: one run through the three stages."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

import ray.train
import ray.train.torch
import torch

from ray_advpose.cluster.mailbox import Assignment
from ray_advpose.cluster.records import run_records
from ray_advpose.cluster.serving import Metrics, ReportFunction
from ray_advpose.cluster.storage import commit_checkpoint, keep_checkpoints, share_checkpoint
from ray_advpose.config import config_from_dict
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.stream import stream_batches
from ray_advpose.data.task import identity_of, occlusion_target, task_for
from ray_advpose.data.validation import ScoredSplit
from ray_advpose.training.checkpoint import load_checkpoint
from ray_advpose.training.loop import train_epochs
from ray_advpose.training.pose_stage import ends_pose_stage, load_pose_stage
from ray_advpose.training.schedule import Stage, make_schedule
from ray_advpose.training.state import EpochRecord, TrainState, make_state

CHECKPOINTS = "checkpoints"


def train_assignment(assignment: Assignment, report: ReportFunction) -> None:
    """Train from the assignment's checkpoint to the end, or until ``report`` answers False.

    Every rank runs this; rank 0 writes checkpoints, the log and the TensorBoard events.

    Args:
        assignment: Config, data, where to write, where to start from.
        report: Called after every epoch, on every rank.
    """
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    config = config_from_dict(assignment.config, f"trial {assignment.trial_id}")
    torch.set_num_threads(config.run.torch_threads_per_worker)
    shards = ShardSet.open(Path(assignment.data))
    task = task_for(config, shards)
    identity = identity_of(shards)
    schedule = make_schedule(config, shards.count("train"))
    state = make_state(config, len(task.skeleton.joints), ray.train.torch.get_device())
    source = assignment.checkpoint or assignment.pose_stage
    if assignment.checkpoint is not None:
        load_checkpoint(Path(assignment.checkpoint), state, identity)
    elif assignment.pose_stage is not None:
        load_pose_stage(Path(assignment.pose_stage), state, identity)
    output = Path(assignment.output)
    validation = ScoredSplit(shards, "val", task)
    with ExitStack() as open_until_left:
        records = open_until_left.enter_context(run_records(output, config)) if rank == 0 else None
        # Closed here rather than whenever collected: the next assignment's stream needs the CPU it holds.
        stream = open_until_left.enter_context(
            closing(stream_batches(shards, schedule, state.step, rank, workers, config.run.cpus_per_data_task))
        )

        def validate() -> float:
            score = validation.score(state.pose_net)
            if records is not None:
                records.validated(score)
            return score.pooled

        if records is not None:
            records.begin(state.step, source, _notes(state))
        for record in train_epochs(
            state,
            task,
            schedule,
            stream,
            validate,
            cell_target=occlusion_target(shards, task),
            on_progress=records.progress if records else lambda progress: None,
        ):
            done = state.step >= schedule.total_steps
            checkpoint = None
            if records is not None:
                records.epoch(record, state.history)
                if done or record.epoch % config.run.checkpoint_every_epochs == 0:
                    checkpoint = str(commit_checkpoint(state, identity, output / CHECKPOINTS))
                    keep_checkpoints(
                        output / CHECKPOINTS,
                        [record.step for record in sorted(state.history, key=lambda record: -record.metric)],
                        config.run.keep_last_checkpoints,
                    )
                if assignment.share_pose_stage is not None and ends_pose_stage(record, config):
                    share_checkpoint(state, identity, Path(assignment.share_pose_stage))
            if not report(_metrics(record, state, schedule.total_steps), checkpoint, done):
                break


def _notes(state: TrainState) -> list[str]:
    """Say where the occlusion grid is read from if that is not the lowest resolution, as in the paper."""
    net, lowest = state.aho_net, state.config.net.lowest_px
    if net is None or net.head_side == lowest:
        return []
    height, width = net.grid
    return [
        f"the {height} x {width} occlusion grid is finer than the {lowest} px map; it is read at {net.head_side} px"
    ]


def _metrics(record: EpochRecord, state: TrainState, total_steps: int) -> Metrics:
    return {
        "metric": record.metric,
        "best_metric": state.best_metric,
        "stage": record.stage,
        "epoch": record.epoch,
        "joint_epochs": sum(other.stage == Stage.JOINT.label for other in state.history),
        "step": record.step,
        "total_steps": total_steps,
        "images_per_s": record.images / record.seconds,
        "epoch_seconds": record.seconds,
        "waiting_share": record.waiting_share,
        **record.means,
        **{f"lr_{name}": rate for name, rate in record.learning_rates.items()},
    }
