"""A whole drill: one run undisturbed, the same run under faults, and what they came to."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from ray_advpose.cluster.checkpoint_store import CHECKPOINTS
from ray_advpose.cluster.run_files import LOG
from ray_advpose.cluster.runtime import joined_ray
from ray_advpose.config import Config
from ray_advpose.data.shard_place import ShardPlace
from ray_advpose.data.shards import ShardSet
from ray_advpose.drill.comparison import Check, compare_runs
from ray_advpose.drill.disturbed import Command, Disturbance, FaultOutcome
from ray_advpose.drill.faults import Fault, Kind
from ray_advpose.drill.leaks import (
    forgotten_shared_memory,
    mark_processes,
    marked_processes,
    process_title,
    still_held,
)
from ray_advpose.drill.nodes import local_nodes
from ray_advpose.training.schedule import make_schedule

_SETTLE_S = 15.0


@dataclass(frozen=True)
class Drill:
    """What is run and what is done to it.

    Attributes:
        config: Of both runs.
        data: Prepared data.
        output: Folder of the drill, absolute.
        script: Path of ``launch/train.py``.
        faults: In the order of their steps.
        address: Of a running Ray cluster; None for one that the drill makes on this machine.
        storage: Folder or URI below which the checkpoints of both runs go; None for their own folders.
    """

    config: Config
    data: ShardPlace
    output: Path
    script: Path
    faults: Sequence[Fault]
    address: str | None
    storage: str | None


@dataclass(frozen=True)
class Verdict:
    """What a drill found."""

    outcomes: list[FaultOutcome]
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return all(check.passed for check in self.checks)


def run_drill(drill: Drill, say: Callable[[str], None]) -> Verdict:
    """Train twice and compare; the verdict is also in ``verdict.json``.

    Args:
        drill: What to do.
        say: Told what happens.

    Raises:
        RuntimeError: A run could not be brought to its end.
    """
    shared_before, mark = forgotten_shared_memory(), uuid.uuid4().hex
    mark_processes(mark)
    drill.output.mkdir(parents=True, exist_ok=True)
    config = drill.output / "config.yaml"
    config.write_text(drill.config.to_yaml(), encoding="utf-8")
    schedule = make_schedule(drill.config, ShardSet.open(drill.data).count("train"))
    whole, disturbed = drill.output / "whole", drill.output / "disturbed"
    places = _checkpoints(drill, whole), _checkpoints(drill, disturbed)
    with ExitStack() as cluster:
        nodes = None
        if drill.address is None:
            nodes = cluster.enter_context(local_nodes(cpus=_worker_cpus(drill.config)))
        address = nodes.address if nodes else str(drill.address)
        cluster.enter_context(joined_ray(address))

        held_before = still_held(timeout_s=0)

        def train(output: Path, checkpoints: str, faults: Sequence[Fault]) -> list[FaultOutcome]:
            given = ["--config", str(config), "--data", str(drill.data), "--storage", checkpoints]
            log = drill.output / f"{output.name}.txt"
            command = Command([*given, "--cluster", address], drill.script, output, log)
            started = time.monotonic()
            try:
                return Disturbance(command, output, checkpoints, address, nodes, mark, say).run(faults)
            finally:
                command.end()
                say(f"ended after {time.monotonic() - started:.0f} s")

        say(f"the undisturbed run, {schedule.total_steps} steps: {whole}")
        train(whole, places[0], [])
        say(f"the same under {len(drill.faults)} faults: {disturbed}")
        outcomes = train(disturbed, places[1], drill.faults)
        checks = [
            _all_happened(outcomes),
            _nothing_lost(outcomes),
            *_drains(outcomes, disturbed),
            *compare_runs(whole, disturbed, places, schedule),
        ]
        held = still_held(_SETTLE_S, but=held_before)
        checks.append(Check("no actor, no placement group left", not held, "; ".join(held) or "none"))
    if nodes is not None:
        checks += _machine_checks(shared_before, mark)
    verdict = Verdict(outcomes, checks)
    report = {"outcomes": [asdict(each) for each in outcomes], "checks": [asdict(check) for check in checks]}
    (drill.output / "verdict.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return verdict


def _worker_cpus(config: Config) -> int:
    return math.ceil(config.run.num_workers * config.run.cpus_per_worker)


def _checkpoints(drill: Drill, run: Path) -> str:
    if drill.storage is None:
        return str(run / CHECKPOINTS)
    base, question, options = drill.storage.partition("?")
    # Another drill on the same storage must not find this one's.
    return f"{base.rstrip('/')}/{drill.output.name}-{run.name}{question}{options}"


def _all_happened(outcomes: Sequence[FaultOutcome]) -> Check:
    idle = [outcome.fault.kind for outcome in outcomes if not outcome.happened]
    found = f"{len(outcomes)} faults" if not idle else f"not {', '.join(idle)}"
    return Check("every fault had an effect", not idle, found)


def _drains(outcomes: Sequence[FaultOutcome], disturbed: Path) -> list[Check]:
    """Check that every drain was answered by a checkpoint, and not by one that happened to be due."""
    drains = sum(outcome.fault.kind is Kind.DRAIN and outcome.happened for outcome in outcomes)
    if not drains:
        return []
    answered = (disturbed / LOG).read_text(encoding="utf-8").count("is being drained")
    question = "every drain notice was answered by a checkpoint"
    return [Check(question, answered == drains, f"{answered} of {drains}")]


def _nothing_lost(outcomes: Sequence[FaultOutcome]) -> Check:
    lost = [outcome for outcome in outcomes if not outcome.lost_nothing_else]
    found = f"{len(outcomes)} faults" if not lost else f"{len(lost)} of {len(outcomes)} went back further"
    return Check("nothing lost but what was trained since the last whole checkpoint", not lost, found)


def _machine_checks(shared_before: set[str], mark: str) -> list[Check]:
    deadline = time.monotonic() + _SETTLE_S
    while (processes := marked_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    files = forgotten_shared_memory() - shared_before
    return [
        Check("no process left on this machine", not processes, ", ".join(map(process_title, processes)) or "none"),
        Check("no shared memory left on this machine", not files, f"{len(files)} files"),
    ]
