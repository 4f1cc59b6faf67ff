"""Starting or joining Ray, and what a run notes down of the software it ran with."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import ray
from ray.data._internal.cluster_autoscaler import get_or_create_autoscaling_coordinator
from ray.data._internal.stats import get_or_create_stats_actor

_SETTINGS = {
    # The first three: the commands print their own progress; Ray's would be a second voice.
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
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


@contextmanager
def joined_ray(address: str) -> Iterator[None]:
    """Connect to a running cluster for the time being."""
    _prepare_environment(_SETTINGS)
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    _start_singletons()
    try:
        yield
    finally:
        ray.shutdown()


def _start_singletons() -> None:
    """Start the actors that a cluster has one of, in the background.

    They are put on the node of whoever needs them first, which else is a trial or a worker that then
    waits for them, on a node that may be taken away.
    """
    get_or_create_autoscaling_coordinator()
    get_or_create_stats_actor()


def cluster_size() -> dict[str, float]:
    """Return the ``cpus`` and ``gpus`` of the connected cluster."""
    resources = ray.cluster_resources()
    return {"cpus": resources.get("CPU", 0.0), "gpus": resources.get("GPU", 0.0)}


def write_versions(folder: Path) -> None:
    """Write the versions of what computes, and of this code, into a run's folder."""
    packages = ("ray-advpose", "ray", "torch", "numpy", "pyarrow", "opencv-python")
    versions = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: version(package) for package in packages},
        "commit": _commit(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "versions.json").write_text(json.dumps(versions, indent=1), encoding="utf-8")


def _commit() -> str:
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _prepare_environment(settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        os.environ.setdefault(name, value)
