from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_advpose.cluster.layout import local_cpus, plan_layout
from ray_advpose.errors import UserError
from ray_advpose.presets import QUICK


def config(workers: int, cpus: float = 1.0, gpus: float = 0.0):
    return QUICK.replaced(
        {
            "run.num_workers": workers,
            "run.cpus_per_worker": cpus,
            "run.gpus_per_worker": gpus,
            "run.global_batch_size": 12 * workers,
        }
    )


def test_two_cores_hold_two_trials_of_one_thread_each(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    cpus = local_cpus(config(1), trials=6)
    assert cpus == 2
    assert plan_layout(config(1), 6, cpus, 0).slots == 2


def test_one_trial_of_two_workers_fills_two_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    cpus = local_cpus(config(2), trials=6)
    layout = plan_layout(config(2), 6, cpus, 0)
    assert (layout.slots, layout.workers, layout.cpus) == (1, 2, 2)


def test_a_run_that_follows_the_machines_fills_this_one(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert local_cpus(config(8).replaced({"run.min_workers": 1}), trials=1) == 3
    assert local_cpus(config(2).replaced({"run.min_workers": 1}), trials=1) == 2
    with pytest.raises(UserError, match=r"4 worker.* want 4 cores, but this machine has 3"):
        local_cpus(config(8).replaced({"run.min_workers": 4}), trials=1)


def test_never_more_slots_than_trials():
    assert plan_layout(config(1), trials=3, cpus=100, gpus=0).slots == 3


def test_gpus_bound_the_slots_too():
    assert plan_layout(config(2, gpus=1), trials=10, cpus=100, gpus=5).slots == 2


@given(workers=st.integers(1, 4), cpus=st.floats(0.25, 4), cluster=st.integers(1, 200), trials=st.integers(1, 50))
def test_never_more_workers_than_cpus(workers, cpus, cluster, trials):
    try:
        layout = plan_layout(config(workers, cpus), trials, cluster, 0)
    except UserError:
        assert workers * cpus > cluster
        return
    assert layout.slots * workers * cpus <= cluster
    assert layout.cpus == pytest.approx(layout.slots * workers * cpus)


def test_a_run_that_follows_the_cluster_needs_room_for_its_least_workers():
    elastic = config(4).replaced({"run.min_workers": 2})
    assert plan_layout(elastic, 1, cpus=2, gpus=0).workers == 2
    with pytest.raises(UserError, match="needs 2 CPUs"):
        plan_layout(elastic, 1, cpus=1, gpus=0)


def test_a_cluster_without_cpus_is_refused_with_the_numbers():
    with pytest.raises(UserError, match=r"needs 2 CPUs.*2 worker.*has 0 CPUs"):
        plan_layout(config(2), 4, cpus=0, gpus=0)
