"""One local Ray cluster for all tests that need one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from ray_advpose.drill.leaks import still_held


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Four logical CPUs; at the end nothing may be left on the cluster but Ray's own actors."""
    with pytest.MonkeyPatch.context() as patch:
        # Worker processes unpickle functions of the test modules by name.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.setenv("OMP_NUM_THREADS", "1")
        ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
        yield
        leftovers = still_held(timeout_s=10)
        ray.shutdown()
    assert not leftovers


@pytest.fixture
def clean_cluster(ray_cluster: None) -> Iterator[None]:
    """The cluster, with the proof that one test has left nothing behind."""
    yield
    assert not still_held(timeout_s=10)
