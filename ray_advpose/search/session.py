"""A search as a user runs it: on which cluster, in which folder, and what is there in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ray_advpose.cluster.layout import local_cpus, plan_layout
from ray_advpose.cluster.run_card import alone_in
from ray_advpose.cluster.runtime import cluster_size, joined_ray, local_ray, write_versions
from ray_advpose.cluster.timeline import mark
from ray_advpose.config import Config
from ray_advpose.data.checks import check_config, check_data
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError
from ray_advpose.pose.protocols import score_name
from ray_advpose.report.ranking import TrialOutcome
from ray_advpose.search.domains import Choice
from ray_advpose.search.scheduling import Exploiting
from ray_advpose.search.space import SearchSpace
from ray_advpose.search.stored import Search


def new_search(
    base: Config,
    data: Path,
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
    for trial, fields in enumerate(overrides):
        for reachable in (fields, *_extremes(space, fields)):
            check_config(base.replaced(reachable, f"trial {trial}"), shards)
    return Search(
        base=base.model_dump(),
        data=str(shards.directory),
        fingerprint=shards.fingerprint,
        score_name=score_name(shards.manifest.protocol),
        space=space,
        trials=trials,
        overrides=overrides,
        labels=list(labels),
    )


def _extremes(space: SearchSpace, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the least and the most that a trial's numbers may come to; all at once, as they share the canvas."""
    if isinstance(space.scheduling, Exploiting):
        numbers = [name for name in space.scheduling.mutate if not isinstance(space.fields[name], Choice)]
        for end in (0, -1):
            yield {**fields, **{name: space.fields[name].extremes[end] for name in numbers}}


def conduct(search: Search, output: Path, address: str | None) -> int:
    """Run a search to its end and show what came of it.

    Args:
        search: What to do.
        output: The search's folder.
        address: Of a running Ray cluster; None for one on this machine alone.

    Returns:
        0; 1 if no trial came to a checkpoint; 130 if the search was cut.

    Raises:
        UserError: As `train_population`.
    """
    shards = unchanged_data(search, output)
    outcomes = train_population(search, output, address)
    # With it comes torch, which the process that only leads a search needs no sooner.
    from ray_advpose.search.closing import close

    return close(search, outcomes, output, shards)


def unchanged_data(search: Search, output: Path) -> ShardSet:
    """Open the data of a search; `UserError` if it changed since the search was started."""
    shards = ShardSet.open(Path(search.data))
    if shards.fingerprint != search.fingerprint:
        raise UserError(
            f"{search.data} has fingerprint {shards.fingerprint}, but the search in {output} was started on"
            f" {search.fingerprint}"
        )
    return shards


def train_population(search: Search, output: Path, address: str | None) -> list[TrialOutcome]:
    """Train all trials on a cluster, arguments as `conduct`; `UserError` if not one trial fits it."""
    config, trials = search.config, search.trials
    cluster: AbstractContextManager[None] = joined_ray(address) if address else local_ray(local_cpus(config, trials))
    mark(output, "command read")
    with alone_in(output), cluster:
        mark(output, "Ray runs")
        # Tune's imports take a second, in which Ray's first processes start.
        from ray_advpose.search.population import run_search

        layout = plan_layout(config, trials, **cluster_size())
        print(f"{output}: {trials} trials on {search.data}; {layout}", flush=True)
        write_versions(output)
        return run_search(search, output, layout)
