"""Starting or joining Ray."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import ray
from ray.data._internal.cluster_autoscaler import get_or_create_autoscaling_coordinator
from ray.data._internal.stats import get_or_create_stats_actor

import ray_advpose
from ray_advpose.cluster.layout import MAX_SLOTS, Node
from ray_advpose.cluster.orphans import leave_nothing_reserved
from ray_advpose.errors import UserError

_PACKAGE = Path(ray_advpose.__file__).parent
_ANSWER_TIMEOUT_S = 10.0
HEAD = "node:__internal_head__"
"""The resource that the head node of each cluster has 1.0 of."""

_SETTINGS = {
    # The first three: the commands print their own progress; Ray's would be a second voice.
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # A search takes Ctrl-C itself: its trials take a checkpoint first.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Tune asks for one trial after the other where it does not know how many come.
    "TUNE_MAX_PENDING_TRIALS_PG": str(MAX_SLOTS),
    # How stale the record of finished reports may be when the driver is killed.
    "TUNE_GLOBAL_CHECKPOINT_S": "2",
    # Workers are given absolute paths, and data folders named on the command line are relative.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
_LOCAL_SETTINGS = {
    # Nobody drains the one machine there is, and watching for it takes a process for each run.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Beyond one process a CPU Ray stops those that have been idle for a second,
    # and a stream would start and import its reader anew for every task.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
}


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    """Run a Ray cluster on this machine for the time being.

    Args:
        cpus: CPUs it announces; more than there are cores, if streams are to get some of their own.
    """
    _prepare_environment(_SETTINGS | _LOCAL_SETTINGS)
    ray.init(
        # Without it Ray would join a cluster that happens to run on this machine.
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        configure_logging=True,
    )
    _start_singletons()
    try:
        yield
    finally:
        ray.shutdown()


def joined_ray(address: str) -> AbstractContextManager[None]:
    """Connect to a running cluster for the time being; its nodes are sent this package's code, and nothing else.

    Raises:
        UserError: There is none at the address.
    """
    _check_answers(address)
    return _joined(address)


@contextmanager
def _joined(address: str) -> Iterator[None]:
    _prepare_environment(_SETTINGS)
    size = sum(path.stat().st_size for path in _PACKAGE.rglob("*.py"))
    print(f"joining Ray at {address}; sending {size / 1e3:.0f} kB of code", file=sys.stderr, flush=True)
    code = {"py_modules": [str(_PACKAGE)]}
    try:
        ray.init(address=address, runtime_env=code, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        # Nobody there; another version of Ray or Python; a job whose own environment sends modules as well.
        sentence = " ".join(str(error).split())
        raise UserError(f"the Ray cluster at {address} cannot be joined: {sentence}") from None
    _start_singletons()
    try:
        yield
        leave_nothing_reserved()
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Check that somebody listens at an address with a port; Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdecimal():
        return  # such as "auto"; Ray looks that up
    try:
        socket.create_connection((host, int(port)), _ANSWER_TIMEOUT_S).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at {address}: {error}") from None


def _start_singletons() -> None:
    """Start the actors that a cluster has one of, in the background, on its head.

    They are put for good on the node of whoever needs them first, which else is a trial or a worker that
    then waits for them, on a node that may be taken away.
    """
    here = ray.get_runtime_context().get_node_id()
    if any(node["NodeID"] == here and HEAD in node["Resources"] for node in ray.nodes()):
        _create_singletons()
    else:
        ray.remote(num_cpus=0, resources={HEAD: 0.001})(_create_singletons).remote()


def _create_singletons() -> None:
    get_or_create_autoscaling_coordinator()
    get_or_create_stats_actor()


def cluster_nodes() -> list[Node]:
    """Return the nodes of the connected cluster that are alive."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in resources]


def _prepare_environment(settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        os.environ.setdefault(name, value)
