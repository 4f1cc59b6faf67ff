"""Whether a cluster is fit for a search: every node is asked before the first trial starts."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private.state import state as cluster_state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_advpose.cluster.runtime import HEAD
from ray_advpose.cluster.software import software
from ray_advpose.data.shards import ShardSet, read_persons
from ray_advpose.errors import UserError

# Longer than a store that fails is asked for a shard, so that the node can say what is wrong with it.
_TIMEOUT_S = 300.0
_GPU_TIMEOUT_S = 60.0
_MAX_SKEW_S = 5.0
_LEAST_SHARED_MEMORY = 256 << 20
_COUNT_GPUS = """
import torch
for index in range(torch.cuda.device_count()):
    torch.ones(1, device=f"cuda:{index}").sum().item()
print(torch.cuda.device_count())
"""


@dataclass(frozen=True)
class NodeReport:
    """What one node found.

    Attributes:
        node: Its address.
        checks: What was looked at, and what was found: empty where all is well, else the sentence that
            says what is wrong and what to do.
        remarks: What is worth knowing, and no reason not to start.
    """

    node: str
    checks: dict[str, str]
    remarks: list[str]

    @property
    def problems(self) -> list[str]:
        """All that is wrong."""
        return [problem for problem in self.checks.values() if problem]


def examine_cluster(data: str, fingerprint: str, output: Path, needed_bytes: int) -> list[NodeReport]:
    """Ask every node of the connected cluster; the driver's own among them.

    Args:
        data: Place of the shards.
        fingerprint: What every node must find there.
        output: Folder of the search, made if needed.
        needed_bytes: Of checkpoints, in the end.
    """
    output.mkdir(parents=True, exist_ok=True)
    note = output / f".preflight-{uuid.uuid4().hex}"
    note.mkdir()
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        asked = [
            # On a node that is drained nothing new is started.
            _on(node, _look).remote(data, fingerprint, note, needed_bytes, bool(node["Resources"].get("GPU")))
            if _stays(node)
            else None
            for node in nodes
        ]
        return [_answer(node, answer, note) for node, answer in zip(nodes, asked, strict=True)]
    finally:
        shutil.rmtree(note, ignore_errors=True)


def check_fit(reports: Sequence[NodeReport]) -> None:
    """Print remarks; `UserError` with every problem of every node if there is one."""
    for report in reports:
        for remark in report.remarks:
            print(f"node {report.node}: {remark}", flush=True)
    problems = [f"  node {report.node}: {problem}" for report in reports for problem in report.problems]
    if problems:
        raise UserError("\n".join(["the cluster is not fit for this search:", *problems]))


def _on(node: Mapping[str, Any], function: Callable[..., Any]) -> Any:
    """Return a function to be called on a node."""
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(num_cpus=0, max_retries=0)(function).options(scheduling_strategy=there)


def _answer(node: Mapping[str, Any], asked: ray.ObjectRef | None, note: Path) -> NodeReport:
    name, resources = str(node["NodeManagerAddress"]), node["Resources"]
    if asked is None:
        return NodeReport(name, {}, ["it is being drained, and was not asked"])
    try:
        checks, versions, gpus = ray.get(asked, timeout=_TIMEOUT_S)
        skew = _skew(node)
    except ray.exceptions.RayError as error:
        if not _stays(node):
            # Nothing is started on it any more, so that it can be no problem.
            return NodeReport(name, {}, ["it went, or was about to go, while it was asked"])
        if not isinstance(error, ray.exceptions.GetTimeoutError):
            first = str(error).strip().splitlines()[-1]
            return NodeReport(name, {"package": f"the package does not run there: {first}"}, [])
        return NodeReport(name, {"reach": f"it did not answer within {_TIMEOUT_S:.0f} s; look at its logs"}, [])
    checks = {"reach": "", "package": "", **checks}
    announced = int(resources.get("GPU", 0))
    if announced:
        checks["GPUs"] = "" if isinstance(gpus, int) and gpus >= announced else _gpu_problem(announced, gpus)
    checks["versions"] = "; ".join(
        f"{package} is {versions.get(package, 'missing')} there and {wanted} here, make them equal"
        for package, wanted in {**software(), "python": platform.python_version()}.items()
        if versions.get(package) != wanted
    )
    checks["clock"] = f"its clock differs by {skew:.1f} s; synchronise it" if skew > _MAX_SKEW_S else ""
    written = note / str(versions["written"])
    checks["storage is shared"] = (
        "" if written.is_file() else f"what it writes to {note.parent} does not arrive here; name a shared --out"
    )
    return NodeReport(name, checks, _remarks(node, resources))


def _skew(node: Mapping[str, Any]) -> float:
    """Return by how many seconds a node's clock and ours differ at least; a process that answers is there by now."""
    before = time.time()
    there = float(ray.get(_on(node, _clock).remote(), timeout=_TIMEOUT_S))
    return max(0.0, before - there, there - time.time())


def _clock() -> float:
    return time.time()


def _stays(node: Mapping[str, Any]) -> bool:
    alive = any(each["NodeID"] == node["NodeID"] and each["Alive"] for each in ray.nodes())
    return alive and node["NodeID"] not in cluster_state.get_draining_nodes()


def _gpu_problem(announced: int, found: int | str) -> str:
    sees = f"torch sees {found}" if isinstance(found, int) else f"torch cannot use them ({found})"
    return (
        f"it announces {announced} GPU(s) and {sees}; its driver must be as new as torch's CUDA, and a container needs"
        " its GPUs given"
    )


def _remarks(node: Mapping[str, Any], resources: Mapping[str, float]) -> list[str]:
    here = node["NodeID"] == ray.get_runtime_context().get_node_id()
    if here and HEAD not in resources:
        return [
            "the command runs on a node that is not the head: if that node goes, the search ends and has to be"
            " resumed; start it on the head, or by `ray job submit`"
        ]
    return []


def _look(
    data: str, fingerprint: str, note: Path, needed_bytes: int, has_gpus: bool
) -> tuple[dict[str, str], dict[str, str], int | str]:
    """Look around on a node; returns what is wrong, its versions and what it wrote, and torch's GPUs."""
    checks = {"data": _data_problem(data, fingerprint)}
    token = uuid.uuid4().hex
    try:
        (note / token).write_text(token, encoding="utf-8")
        came_back = (note / token).read_text(encoding="utf-8") == token
        checks["storage"] = "" if came_back else f"what it writes to {note.parent} does not come back"
        free = shutil.disk_usage(note).free
        checks["disk"] = (
            f"{free / 1e9:.1f} GB are free in {note.parent}, and checkpoints take up to {needed_bytes / 1e9:.1f} GB"
            if free < needed_bytes
            else ""
        )
    except OSError as error:
        checks["storage"] = f"it cannot write to {note.parent}: {error.strerror}; name an --out that every node reaches"
    shared = shutil.disk_usage("/dev/shm").total
    checks["shared memory"] = (
        f"/dev/shm has {shared >> 20} MiB, too little for Ray's objects; a container needs --shm-size"
        if shared < _LEAST_SHARED_MEMORY
        else ""
    )
    versions = {**software(), "python": platform.python_version(), "written": token}
    return checks, versions, _gpus() if has_gpus else 0


def _gpus() -> int | str:
    """Return how many GPUs torch can compute on, or its complaint; from a process that Ray hides none from."""
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    command = [sys.executable, "-c", _COUNT_GPUS]
    try:
        asked = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_GPU_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {_GPU_TIMEOUT_S:.0f} s"
    if asked.returncode:
        return (asked.stderr.strip().splitlines() or [f"ended with {asked.returncode}"])[-1]
    return int(asked.stdout.splitlines()[-1])


def _data_problem(data: str, fingerprint: str) -> str:
    try:
        shards = ShardSet.open(data)
        if shards.fingerprint != fingerprint:
            return f"{data} has fingerprint {shards.fingerprint} there and {fingerprint} here"
        read_persons(shards, "train", [0])
    except (UserError, OSError) as error:
        return f"it cannot read the data: {error}; name a --data that every node reaches"
    return ""
