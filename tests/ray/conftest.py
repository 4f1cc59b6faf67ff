"""One local Ray cluster for all tests that need one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._private.state import actors
from ray.util.placement_group import placement_group_table

# Ray's own: one coordinator for each cluster; and a cleaner of a Train controller that was killed
# looks for it for ever where there is no dashboard to ask.
LASTING_ACTORS = {"_AutoscalingCoordinatorActor", "_StatsActor", "PlacementGroupCleaner"}


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Four logical CPUs; at the end nothing may be left on the cluster but Ray's own actors."""
    with pytest.MonkeyPatch.context() as patch:
        # Worker processes unpickle functions of the test modules by name.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.setenv("OMP_NUM_THREADS", "1")
        ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
        yield
        leftovers = wait_until_clean()
        ray.shutdown()
    assert not leftovers


@pytest.fixture
def clean_cluster(ray_cluster: None) -> Iterator[None]:
    """The cluster, with the proof that one test has left nothing behind."""
    yield
    assert not wait_until_clean()


def wait_until_clean(timeout_s: float = 10.0) -> list[str]:
    """Return what is still held after at most ``timeout_s``: placement groups and actors."""
    deadline = time.monotonic() + timeout_s
    while (held := _held()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return held


def _held() -> list[str]:
    groups = [
        f"placement group {group} is {entry['state']}"
        for group, entry in placement_group_table().items()
        if entry["state"] != "REMOVED"
    ]
    living = [
        f"actor {actor['ActorClassName']} (process {actor['Pid']}) is {actor['State']}"
        for actor in actors().values()
        if actor["State"] != "DEAD" and actor["ActorClassName"] not in LASTING_ACTORS
    ]
    return groups + living
