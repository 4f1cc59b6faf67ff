from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_advpose.cluster.layout import MAX_SLOTS, Layout, Node, local_cpus, plan_layout
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


def advised(config, nodes):
    """The change that a refusal says would fit, by field and value; None if it names none."""
    with pytest.raises(UserError) as refused:
        plan_layout(config, 1, nodes)
    assert "\n" not in str(refused.value)
    found = re.search(r"(run\.\w+) = (\d+) would fit", str(refused.value))
    return {found[1]: int(found[2])} if found else None


def fits(config, nodes):
    try:
        plan_layout(config, 1, nodes)
    except UserError:
        return False
    return True


def test_two_cores_hold_two_trials_of_one_thread_each(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    cpus = local_cpus(config(1), trials=6)
    assert cpus == 2
    assert plan_layout(config(1), 6, [Node(cpus, 0)]).slots == 2


def test_one_trial_of_two_workers_fills_two_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    cpus = local_cpus(config(2), trials=6)
    assert plan_layout(config(2), 6, [Node(cpus, 0)]) == Layout(slots=1, workers=2, cpus=2, gpus=0)


def test_a_run_that_follows_the_machines_fills_this_one(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert local_cpus(config(8).replaced({"run.min_workers": 1}), trials=1) == 3
    assert local_cpus(config(2).replaced({"run.min_workers": 1}), trials=1) == 2
    with pytest.raises(UserError, match=r"4 worker.* want 4 cores, but this machine has 3"):
        local_cpus(config(8).replaced({"run.min_workers": 4}), trials=1)


def test_never_more_slots_than_trials():
    assert plan_layout(config(1), trials=3, nodes=[Node(100, 0)]).slots == 3


def test_gpus_bound_the_slots_too():
    assert plan_layout(config(2, gpus=1), trials=10, nodes=[Node(100, 5)]).slots == 2


@pytest.mark.parametrize(("share", "trials"), [(0.6, 2), (0.5, 4), (0.4, 4), (0.3, 6), (0.1, 20), (1.5, 1), (2, 1)])
def test_a_share_of_a_gpu_is_of_one_gpu(share, trials):
    assert plan_layout(config(1, gpus=share), trials=100, nodes=[Node(100, 2)]).slots == trials


def test_a_gpu_helps_only_beside_the_cpus_of_its_worker():
    nodes = [Node(8, 0), Node(1, 8)]
    assert plan_layout(config(1, gpus=1), 4, nodes).slots == 1
    assert plan_layout(config(1), 20, nodes).slots == 9


def test_workers_of_a_trial_may_be_on_different_nodes():
    assert plan_layout(config(3), 4, [Node(2, 0), Node(2, 0), Node(2, 0)]).slots == 2


def test_a_worker_must_fit_on_one_node():
    nodes = [Node(2, 0), Node(2, 0)]
    with pytest.raises(UserError, match=r"cpus_per_worker = 3 .* the cluster has 4 CPUs .* at most 2 CPUs on a node"):
        plan_layout(config(1, cpus=3), 1, nodes)
    assert advised(config(1, cpus=3), nodes) == {"run.cpus_per_worker": 2}
    assert plan_layout(config(1, cpus=2), 1, nodes).slots == 1


@given(workers=st.integers(1, 4), cpus=st.floats(0.25, 4), node=st.integers(1, 200), trials=st.integers(1, 50))
def test_never_more_workers_than_cpus(workers, cpus, node, trials):
    try:
        layout = plan_layout(config(workers, cpus), trials, [Node(node, 0)])
    except UserError:
        assert workers * cpus > node
        return
    assert layout.slots * workers * cpus <= node
    assert layout.cpus == pytest.approx(layout.slots * workers * cpus)


NODES = st.lists(st.builds(Node, st.integers(0, 6), st.integers(0, 2)), max_size=4)


@given(
    workers=st.integers(1, 6), cpus=st.sampled_from([0.5, 1, 1.5, 3, 5]), gpus=st.sampled_from([0, 0.5, 1]), nodes=NODES
)
def test_fewer_workers_that_are_said_to_fit_do(workers, cpus, gpus, nodes):
    wanted = config(workers, cpus, gpus)
    change = None if fits(wanted, nodes) else advised(wanted, nodes)
    if change and "run.num_workers" in change:
        assert 1 <= change["run.num_workers"] < workers
        assert fits(wanted.replaced(change), nodes)
        assert not fits(wanted.replaced({"run.num_workers": change["run.num_workers"] + 1}), nodes)


@given(workers=st.integers(1, 6), cpus=st.sampled_from([1.5, 3, 5, 7]), gpus=st.sampled_from([0, 0.5, 1]), nodes=NODES)
def test_fewer_cpus_that_are_said_to_fit_do(workers, cpus, gpus, nodes):
    wanted = config(workers, cpus, gpus)
    change = None if fits(wanted, nodes) else advised(wanted, nodes)
    if change and "run.cpus_per_worker" in change:
        assert fits(wanted.replaced(change), nodes)


def test_a_run_that_follows_the_cluster_needs_room_for_its_least_workers():
    elastic = config(4).replaced({"run.min_workers": 2})
    assert plan_layout(elastic, 1, [Node(2, 0)]).workers == 2
    with pytest.raises(UserError, match=r"needs 2 worker\(s\) .* has 1 CPUs"):
        plan_layout(elastic, 1, [Node(1, 0)])


def test_what_would_fit_a_run_that_follows_the_cluster_is_a_config():
    elastic, nodes = config(4).replaced({"run.min_workers": 3}), [Node(2, 0)]
    change = advised(elastic, nodes)
    assert change
    assert fits(elastic.replaced(change), nodes)


@pytest.mark.parametrize("nodes", [[], [Node(0, 0), Node(0, 0)]])
def test_a_cluster_without_cpus_is_refused_with_the_numbers(nodes):
    with pytest.raises(UserError, match=r"needs 2 worker.* has 0 CPUs .*; it needs more nodes"):
        plan_layout(config(2), 4, nodes)


def test_gpus_that_are_not_there_can_be_done_without():
    with pytest.raises(UserError, match=r"4 CPUs and 0 GPUs, .*; run\.gpus_per_worker = 0 would train on CPUs"):
        plan_layout(config(2, gpus=1), 1, [Node(4, 0)])
    assert plan_layout(config(2), 1, [Node(4, 0)]).slots == 1


def test_a_cluster_that_grows_is_asked_for_what_it_does_not_have_yet():
    assert plan_layout(config(2, gpus=1.0), 12, [Node(8, 0)], at_once=5) == Layout(slots=5, workers=2, cpus=10, gpus=10)
    assert plan_layout(config(1), 3, [], at_once=5).slots == 3, "no more than there are trials"
    assert plan_layout(config(1), 100, [], at_once=50).slots == MAX_SLOTS
