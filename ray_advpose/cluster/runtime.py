"""Starting or joining Ray, and what a run notes down of the software it ran with."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import ray

_QUIET = {
    # The first three: the commands print their own progress; Ray's would be a second voice.
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # How stale the record of finished reports may be when the driver is killed.
    "TUNE_GLOBAL_CHECKPOINT_S": "2",
    # Workers are given absolute paths, and data folders named on the command line are relative.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    """Run a Ray cluster on this machine for the time being.

    Args:
        cpus: CPUs it announces; more than there are cores, if streams are to get some of their own.
    """
    _prepare_environment()
    ray.init(
        num_cpus=cpus,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        configure_logging=True,
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def joined_ray(address: str) -> Iterator[None]:
    """Connect to a running cluster for the time being."""
    _prepare_environment()
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def software_versions() -> dict[str, str]:
    """Return the versions of what computes, and of this code."""
    packages = ("ray-advpose", "ray", "torch", "numpy", "pyarrow", "opencv-python")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: version(package) for package in packages},
        "commit": _commit(),
    }


def _commit() -> str:
    folder = Path(__file__).resolve().parent
    found = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def _prepare_environment() -> None:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
