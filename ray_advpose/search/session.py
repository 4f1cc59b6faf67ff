"""A search as a user runs it: on which cluster, in which folder, and what is there in the end."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray_advpose.cluster.layout import local_cpus, plan_layout
from ray_advpose.cluster.preflight import NodeReport, check_fit, examine_cluster
from ray_advpose.cluster.run_card import alone_in
from ray_advpose.cluster.runtime import cluster_nodes, joined_ray, local_ray
from ray_advpose.cluster.signals import code_after, exit_on_sigterm, stop_on_signals
from ray_advpose.cluster.software import software, write_versions
from ray_advpose.cluster.timeline import mark
from ray_advpose.config import Config
from ray_advpose.data.checks import check_config, check_data
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError
from ray_advpose.pose.protocols import score_name
from ray_advpose.search.budget import Budget, Meter
from ray_advpose.search.domains import Choice
from ray_advpose.search.mirror import mirrored
from ray_advpose.search.mirror_fetch import mirror_of
from ray_advpose.search.plan import devices_of, disk_needed
from ray_advpose.search.scheduling import Exploiting
from ray_advpose.search.space import SearchSpace
from ray_advpose.search.speed import recorded_speed
from ray_advpose.search.stored import Search

if TYPE_CHECKING:
    from ray_advpose.search.population import Ended


@dataclass(frozen=True)
class Means:
    """What a search is run with; changes nothing of what comes out.

    Attributes:
        address: Of a running Ray cluster; None for one on this machine alone.
        storage: A URI at which a copy of the search's folder is kept; None for where it was kept before, if at all.
        budget: What it may use.
        at_once: Trials to run at a time on a cluster that grows for them; None for what its nodes hold.
    """

    address: str | None = None
    storage: str | None = None
    budget: Budget = field(default_factory=Budget)
    at_once: int | None = None

    def arguments(self) -> list[str]:
        """Return the command-line arguments that say the same."""
        cluster = ["--cluster", self.address] if self.address is not None else []
        storage = ["--storage", self.storage] if self.storage is not None else []
        at_once = ["--at-once", str(self.at_once)] if self.at_once is not None else []
        return [*cluster, *storage, *self.budget.arguments(), *at_once]


def new_search(
    base: Config,
    data: str | Path,
    space: SearchSpace,
    trials: int,
    overrides: list[dict[str, Any]],
    labels: Sequence[str] = (),
) -> Search:
    """Lay out a search over prepared data; arguments as the fields of `Search`.

    Raises:
        UserError: The data cannot be used with the config of some trial.
    """
    if base.run.min_workers is not None:
        raise UserError("run.min_workers is for a single run; the trials of a population keep their workers")
    if isinstance(space.scheduling, Exploiting):
        # What is copied must be what was scored.
        base = base.replaced({"run.checkpoint_every_epochs": 1})
    shards = check_data(base, data)
    check_trials(base, space, overrides, shards)
    return Search(
        base=base.model_dump(),
        data=str(shards.place),
        fingerprint=shards.fingerprint,
        score_name=score_name(shards.manifest.protocol),
        space=space,
        trials=trials,
        overrides=overrides,
        labels=list(labels),
        software=software(),
        train_images=shards.count("train"),
    )


def check_trials(base: Config, space: SearchSpace, overrides: Sequence[Mapping[str, Any]], shards: ShardSet) -> None:
    """Check that every trial can be trained on the data, wherever its settings may go; `UserError` if not."""
    for trial, fields in enumerate(overrides):
        for reachable in (fields, *_extremes(space, fields)):
            check_config(base.replaced(reachable, f"trial {trial}"), shards)


def _extremes(space: SearchSpace, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the least and the most that a trial's numbers may come to; all at once, as they share the canvas."""
    if isinstance(space.scheduling, Exploiting):
        numbers = [name for name in space.scheduling.mutate if not isinstance(space.fields[name], Choice)]
        for end in (0, -1):
            yield {**fields, **{name: space.fields[name].extremes[end] for name in numbers}}


def conduct(search: Search, output: Path, means: Means) -> int:
    """Run a search to its end and show what came of it.

    Args:
        search: What to do.
        output: The search's folder.
        means: What to run it with.

    Returns:
        0, also when the budget is used up; 1 if no trial came to a checkpoint; if a signal has cut the
        search 128 and the signal's number.

    Raises:
        UserError: As `train_population`.
    """
    go_on = f"python launch/tune.py {shlex.join(['--resume', str(output), *means.arguments()])}"
    used_up = Meter(output, means.budget, devices_of(search.config)).exceeded()
    if used_up is not None:
        print(f"{used_up} by what was trained before; go on with more of it: {go_on}")
        return 0
    try:
        with exit_on_sigterm(), mirrored(output, means.storage or mirror_of(output), say=print):
            ended = train_population(search, output, means)
            # With it comes torch, which the process that only leads a search needs no sooner.
            from ray_advpose.search.closing import close

            return close(search, ended, output, ShardSet.open(search.data), go_on)
    except (KeyboardInterrupt, SystemExit) as cut:
        code = code_after(cut)
        print(f"interrupted, without checkpoints of this moment; go on with: {go_on}")
        return code


def train_population(search: Search, output: Path, means: Means) -> Ended:
    """Train all trials on a cluster, arguments as `conduct`.

    Raises:
        UserError: Not one trial fits the cluster, or a node of it cannot do what it is needed for.
        KeyboardInterrupt: A second signal did not wait for checkpoints.
    """
    config, trials = search.config, search.trials
    if isinstance(search.space.scheduling, Exploiting) and (means.budget.max_trials or trials) < trials:
        raise UserError(f"--max-trials {means.budget.max_trials}: trials that copy each other all start, {trials} here")
    cluster = ray_for(search, means.address)
    mark(output, "command read")
    with alone_in(output), cluster:
        mark(output, "Ray runs")
        # Tune's imports take a second, in which Ray's first processes start.
        from ray_advpose.search.population import Limits, run_search

        layout = plan_layout(config, trials, cluster_nodes(), means.at_once)
        if means.address is not None:
            check_fit(examined(search, output))
        print(f"{output}: {trials} trials on {search.data}; {layout}", flush=True)
        write_versions(output)
        meter = Meter(output, means.budget, devices_of(config))
        with stop_on_signals() as stop:
            return run_search(search, output, layout, Limits(stop, meter, means.budget.max_trials))


def examined(search: Search, output: Path) -> list[NodeReport]:
    """Have every node of the connected cluster try what the search needs of it."""
    there = sum(path.stat().st_size for path in output.glob("trials/*/checkpoints*/*/*"))
    needed = disk_needed(search, ShardSet.open(search.data), recorded_speed(output.parent, search.config))
    return examine_cluster(search.data, search.fingerprint, output, max(0, needed - there))


def ray_for(search: Search, address: str | None) -> AbstractContextManager[None]:
    """Return the Ray that a search runs on; `UserError` if this machine has too few cores for one trial."""
    return joined_ray(address) if address else local_ray(local_cpus(search.config, search.trials))
