"""What ``--plan`` and ``--check`` print: nothing of the search is started."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from ray_advpose.cluster.layout import Node, local_cpus, plan_layout
from ray_advpose.cluster.object_store import ObjectStore
from ray_advpose.cluster.runtime import cluster_nodes
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError
from ray_advpose.report.plan_table import plan_rows
from ray_advpose.search.mirror_fetch import mirror_of
from ray_advpose.search.plan import make_plan
from ray_advpose.search.session import Means, examined, ray_for
from ray_advpose.search.speed import calibrated_speed, recorded_speed
from ray_advpose.search.stored import Search
from ray_advpose.search.trained import trained_in


def show_plan(search: Search, output: Path, means: Means, calibrate: bool, as_json: bool) -> int:
    """Print what a search will take, and return the command's exit code.

    Args:
        search: What is to be done.
        output: Its folder; runs and searches beside it are looked through for one of the same networks.
        means: What it is to be run with.
        calibrate: Whether to measure the speed, which starts Ray.
        as_json: Print it for machines.

    Raises:
        UserError: Not one trial fits; says which change would.
    """
    config, shards = search.config, ShardSet.open(search.data)
    joined: AbstractContextManager[None] = nullcontext()
    if means.address is not None or calibrate:
        joined = ray_for(search, means.address)
    with joined:
        nodes = [_this_machine(search)] if means.address is None else cluster_nodes()
        layout = plan_layout(config, search.trials, nodes, means.at_once)
        speed = calibrated_speed(config, shards, layout) if calibrate else recorded_speed(output.parent, config)
    cluster = {"cpus": sum(node.cpus for node in nodes), "gpus": sum(node.gpus for node in nodes)}
    plan = make_plan(search, shards, layout, cluster, speed, means.budget, trained_in(output)).as_dict()
    if as_json:
        print(json.dumps(plan, indent=1))
        return 0
    table = Table(title=f"Plan for {output}", title_justify="left", box=box.SIMPLE, show_header=False)
    for row in plan_rows(plan):
        table.add_row(*row)
    Console().print(table)
    return 0


def _this_machine(search: Search) -> Node:
    gpus = 0
    if search.config.run.gpus_per_worker:
        import torch

        gpus = torch.cuda.device_count()
    return Node(local_cpus(search.config, search.trials), gpus)


def show_check(search: Search, output: Path, means: Means) -> int:
    """Print what every node of the cluster says to a search, and return the command's exit code."""
    with ray_for(search, means.address):
        reports, nodes = examined(search, output), cluster_nodes()
    copy = means.storage or mirror_of(output)
    copy_problem = "" if copy is None else _copy_problem(copy)
    table = Table("node", "check", "", title=f"Is the cluster fit for {output}?", title_justify="left", box=box.SIMPLE)
    for report in reports:
        for check, problem in report.checks.items():
            table.add_row(report.node, check, problem or "good")
        for remark in report.remarks:
            table.add_row(report.node, "remark", remark)
    if copy is not None:
        table.add_row("this machine", "copy", copy_problem or "good")
    Console().print(table)
    plan_layout(search.config, search.trials, nodes, means.at_once)
    return 2 if copy_problem or any(report.problems for report in reports) else 0


def _copy_problem(place: str) -> str:
    try:
        ObjectStore(place).probe()
    except (UserError, OSError) as error:
        return f"it cannot be kept up to date: {error}; name another --storage, or see to the credentials"
    return ""
