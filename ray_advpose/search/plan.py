"""What a search will take, before it starts: trials, machines, disk, time, money."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ray_advpose.cluster.layout import Layout
from ray_advpose.config import Config, is_structural
from ray_advpose.data.shards import ShardSet
from ray_advpose.pose.skeleton import skeleton_named
from ray_advpose.search.budget import Budget
from ray_advpose.search.early_ends import expected_joint_share
from ray_advpose.search.speed import Speed
from ray_advpose.search.stored import Search
from ray_advpose.search.trained import NOTHING, Trained
from ray_advpose.training.pose_stage import pose_stage_key
from ray_advpose.training.schedule import Stage, make_schedule


@dataclass(frozen=True)
class Estimate:
    """Time and cost, at one of two ends.

    Attributes:
        hours: Wall time of training; start-up comes on top.
        device_hours: Hours in which trials hold a GPU, or a CPU where they have none.
        cost: At the price that was given; None without one.
    """

    hours: float
    device_hours: float
    cost: float | None


@dataclass(frozen=True)
class Plan:
    """What a search will take.

    Attributes:
        trials: How many.
        ended: How many of them have ended already; time and cost are those of what is left.
        scheduling: What becomes of them.
        drawn: Fields that differ between trials, with their domains in words.
        structural: Those of them that decide the networks' shapes.
        mutates: Fields that change within a trial.
        epochs: Of a whole trial, by stage.
        images: That a whole trial trains on, by stage.
        workers: Training workers of a trial.
        cpus_per_trial: CPUs of all workers of a trial.
        gpus_per_trial: GPUs of all workers of a trial.
        at_once: Trials that run at a time.
        cluster_cpus: CPUs of the cluster.
        cluster_gpus: GPUs of the cluster.
        joint_share: Mean share of stage 3 that a trial is likely to train.
        checkpoint_bytes: Of one checkpoint.
        disk_bytes: Of all checkpoints in the end, about.
        data_bytes: Of the prepared data.
        images_per_s: Of one trial, by stage; empty if it is not known.
        speed_source: Where that is from.
        data_rate: Decoded bytes a second for all trials at once, at their fastest; None if not known.
        likely: Time and cost if trials are stopped as expected; None if not known.
        at_most: Time and cost if none is stopped early; None if not known.
    """

    trials: int
    ended: int
    scheduling: str
    drawn: Mapping[str, str]
    structural: tuple[str, ...]
    mutates: tuple[str, ...]
    epochs: Mapping[str, int]
    images: Mapping[str, int]
    workers: int
    cpus_per_trial: float
    gpus_per_trial: float
    at_once: int
    cluster_cpus: float
    cluster_gpus: float
    joint_share: float
    checkpoint_bytes: int
    disk_bytes: int
    data_bytes: int
    images_per_s: Mapping[str, float]
    speed_source: str
    data_rate: float | None
    likely: Estimate | None
    at_most: Estimate | None

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return asdict(self)


def make_plan(
    search: Search,
    shards: ShardSet,
    layout: Layout,
    cluster: Mapping[str, float],
    speed: Speed | None,
    budget: Budget,
    trained: Trained = NOTHING,
) -> Plan:
    """Work out what a search will take.

    Args:
        search: What is to be done.
        shards: Its data.
        layout: How many trials run at a time.
        cluster: Its ``cpus`` and ``gpus``.
        speed: Of one trial; None if it is not known.
        budget: The price, if it has one; and how many trials are started.
        trained: What has been trained already, of a search that goes on.
    """
    config, space = search.config, search.space
    trials = search.trials if budget.max_trials is None else min(search.trials, budget.max_trials)
    spans = make_schedule(config, shards.count("train")).spans
    images = {span.stage.label: span.epochs * span.images for span in spans}
    share = expected_joint_share(space.scheduling, trials, config.stages.joint_epochs)
    image_bytes = 3 * shards.manifest.canvas.canvas_px**2
    checkpoint = _checkpoint_bytes(search)
    likely = at_most = None
    if speed is not None:
        likely, at_most = (
            _estimate(search, trials, layout.slots, images, speed, joint, budget.price, trained)
            for joint in (share, 1.0)
        )
    return Plan(
        trials=trials,
        ended=len(trained.ended),
        scheduling=str(space.scheduling),
        drawn={name: str(domain) for name, domain in space.fields.items()},
        structural=tuple(filter(is_structural, space.fields)),
        mutates=tuple(getattr(space.scheduling, "mutate", ())),
        epochs={span.stage.label: span.epochs for span in spans},
        images=images,
        workers=layout.workers,
        cpus_per_trial=layout.workers * config.run.cpus_per_worker,
        gpus_per_trial=layout.workers * config.run.gpus_per_worker,
        at_once=layout.slots,
        cluster_cpus=cluster["cpus"],
        cluster_gpus=cluster["gpus"],
        joint_share=share,
        checkpoint_bytes=checkpoint,
        disk_bytes=round(
            _checkpoints(search, trials, 0.5, _within_an_epoch(config, spans[-1].images, speed)) * checkpoint
        ),
        data_bytes=sum(shard.bytes for shard in shards.manifest.shards),
        images_per_s={} if speed is None else dict(speed.images_per_s),
        speed_source="" if speed is None else speed.source,
        data_rate=None if speed is None else max(speed.images_per_s.values()) * layout.slots * image_bytes,
        likely=likely,
        at_most=at_most,
    )


def _estimate(
    search: Search,
    trials: int,
    slots: int,
    images: Mapping[str, int],
    speed: Speed,
    joint_share: float,
    price: float | None,
    trained: Trained,
) -> Estimate:
    def seconds_left(trial: int, joint_share: float) -> dict[str, float]:
        """Return the time that each stage of a trial still takes."""
        shares = {Stage.JOINT.label: joint_share}
        done = trained.images.get(trial, {})
        return {
            stage: max(0.0, count * shares.get(stage, 1.0) - done.get(stage, 0)) / speed.images_per_s[stage]
            for stage, count in images.items()
        }

    left = [trial for trial in range(trials) if trial not in trained.ended]
    # Some trial goes on to the end of stage 3.
    longest = max((sum(seconds_left(trial, 1.0).values()) for trial in left), default=0.0)
    shared = _trials_that_share_stage_1(search, trials, slots)
    # Each trial begins where one has ended.
    busy_until = [0.0] * slots
    for trial in left:
        seconds = seconds_left(trial, joint_share)
        first = busy_until.index(min(busy_until))
        busy_until[first] += sum(seconds.values()) - (seconds[Stage.POSE.label] if trial in shared else 0.0)
    device_hours = sum(busy_until) * devices_of(search.config) / 3600
    return Estimate(max(longest, *busy_until) / 3600, device_hours, None if price is None else price * device_hours)


def devices_of(config: Config) -> float:
    """Return what a running trial is charged for: its GPUs, or its CPUs where it has no GPU."""
    run = config.run
    return run.num_workers * (run.gpus_per_worker or run.cpus_per_worker)


def disk_needed(search: Search, shards: ShardSet, speed: Speed | None) -> int:
    """Return the bytes of all checkpoints of a search in the end, at most; arguments as `make_plan`."""
    within = _within_an_epoch(search.config, shards.count("train"), speed)
    return round(_checkpoints(search, search.trials, older_best=1.0, within=within) * _checkpoint_bytes(search))


def _checkpoint_bytes(search: Search) -> int:
    # Imports torch, which a search's driver needs on a cluster and for a plan only.
    from ray_advpose.training.checkpoint_size import checkpoint_bytes

    joints = len(skeleton_named(ShardSet.open(search.data).manifest.skeleton).joints)
    return checkpoint_bytes(search.config, joints)


def _trials_that_share_stage_1(search: Search, trials: int, slots: int) -> set[int]:
    """Return the trials that begin after an equal stage 1 has been trained by one of those before them."""
    keys = [pose_stage_key(search.config.replaced(each, "trial")) for each in search.overrides[:trials]]
    return {place for place, key in enumerate(keys) if place >= slots and key in keys[:place]}


def _within_an_epoch(config: Config, images: int, speed: Speed | None) -> int:
    """Return how many checkpoints within its last epoch a trial has in the end; none if its speed is not known."""
    if speed is None:
        return 0
    epoch_s = images / speed.images_per_s[Stage.JOINT.label]
    return min(config.run.keep_last_checkpoints, math.floor(epoch_s / config.run.checkpoint_every_s))


def _checkpoints(search: Search, trials: int, older_best: float, within: int) -> float:
    """Count the checkpoints there are in the end.

    Args:
        search: Whose.
        trials: How many are trained.
        older_best: Share of the trials whose best is older than the last ones that are kept.
        within: Of each trial, those taken within an epoch.
    """
    config = search.config
    epochs = sum((config.stages.pose_epochs, config.stages.pretrain_epochs, config.stages.joint_epochs))
    ends = math.ceil(epochs / config.run.checkpoint_every_epochs)
    of_trial = min(ends, config.run.keep_last_checkpoints + older_best) + within
    keys = Counter(pose_stage_key(config.replaced(each, "trial")) for each in search.overrides[:trials])
    shared = sum(count > 1 for count in keys.values())
    copy_of_the_best = 1
    return trials * of_trial + shared + copy_of_the_best
