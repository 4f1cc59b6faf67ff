"""One local Ray cluster for all tests that need one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.util.placement_group import placement_group_table
from ray.util.state import list_actors

# Ray's own, one for each cluster and for as long as the cluster lives.
LASTING_ACTORS = {"_AutoscalingCoordinatorActor"}


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Four logical CPUs; at the end nothing may be left on the cluster but Ray's own actors."""
    with pytest.MonkeyPatch.context() as patch:
        # Worker processes unpickle functions of the test modules by name.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.setenv("OMP_NUM_THREADS", "1")
        # Ray Train's cleaner asks the dashboard whether a controller has died.
        ray.init(num_cpus=4, include_dashboard=True, log_to_driver=False)
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
    actors = [
        f"actor {actor.class_name} (process {actor.pid}) is {actor.state}"
        for actor in list_actors(filters=[("state", "!=", "DEAD")], timeout=20)
        if actor.class_name not in LASTING_ACTORS
    ]
    return groups + actors
