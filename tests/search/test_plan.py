from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_advpose.errors import UserError
from ray_advpose.presets import QUICK
from ray_advpose.search.plan import local_cpus, plan_layout


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
    assert cpus == 4
    assert plan_layout(config(1), 6, cpus, 0).slots == 2


def test_one_trial_of_two_workers_fills_two_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    cpus = local_cpus(config(2), trials=6)
    layout = plan_layout(config(2), 6, cpus, 0)
    assert (layout.slots, layout.workers, layout.cpus) == (1, 2, 4)


def test_never_more_slots_than_trials():
    assert plan_layout(config(1), trials=3, cpus=100, gpus=0).slots == 3


def test_gpus_bound_the_slots_too():
    assert plan_layout(config(2, gpus=1), trials=10, cpus=100, gpus=5).slots == 2


@given(workers=st.integers(1, 4), cpus=st.floats(0.25, 4), cluster=st.integers(1, 200), trials=st.integers(1, 50))
def test_every_running_stream_gets_a_whole_cpu(workers, cpus, cluster, trials):
    try:
        layout = plan_layout(config(workers, cpus), trials, cluster, 0)
    except UserError:
        assert workers * (cpus + 1) > cluster
        return
    streams = layout.slots * workers
    assert (cluster - streams * cpus) // streams >= 1


def test_a_cluster_without_cpus_is_refused_with_the_numbers():
    with pytest.raises(UserError, match=r"needs 4 CPUs.*run\.num_workers = 2.*has 0 CPUs"):
        plan_layout(config(2), 4, cpus=0, gpus=0)
