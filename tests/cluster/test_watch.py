"""When training is interrupted, by a clock and notices of the tests' own."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest

from ray_advpose.cluster import watch as module
from ray_advpose.cluster.watch import Call, Drain, Watch


class World:
    """A clock, a drain notice and a wish to stop, with every question that was asked."""

    def __init__(self):
        self.now = 1000.0
        self.drain = None
        self.stop = False
        self.asked = []

    def train(self, watch, steps, seconds_a_step, start):
        """Take steps; return those at which there was something to do."""
        calls = {}
        for step in range(start + 1, start + steps + 1):
            self.now += seconds_a_step
            asked = len(self.asked)
            if (call := watch.call(step)) is not Call.GO_ON:
                calls[step] = call
            if len(self.asked) > asked:
                self.asked[-1] = (step, self.now)
        return calls

    def notice(self):
        self.asked.append(None)
        return self.drain


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(module.time, "monotonic", lambda: world.now)
    monkeypatch.setattr(module, "_drain_notice", world.notice)
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(module.ray.train, "get_context", lambda: context)
    return world


def gaps(world):
    times = [now for _, now in world.asked]
    return [later - earlier for earlier, later in pairwise(times)]


def test_questions_are_about_a_second_apart_whatever_a_step_takes(world):
    for seconds in (0.001, 0.02, 0.4, 3.0):
        world.asked.clear()
        watch = Watch(0, 1e9, lambda: False)
        world.train(watch, round(max(60, 60 / seconds)), seconds, 0)
        late = gaps(world)[len(world.asked) // 2 :]
        assert all(0.5 <= gap <= max(1.6, seconds * 1.1) for gap in late), seconds


def test_a_slower_stage_is_asked_soon(world):
    watch = Watch(0, 1e9, lambda: False)
    world.train(watch, 3000, 0.02, 0)
    watch.epoch_begins(3000)
    world.asked.clear()
    world.train(watch, 20, 1.0, 3000)
    assert world.asked[0][0] == 3001
    assert max(gaps(world)) <= 2.0


def test_checkpoints_come_after_the_interval_and_the_first_one_early(world):
    watch = Watch(0, 300.0, lambda: False)
    calls = world.train(watch, 7000, 0.1, 0)
    assert set(calls.values()) == {Call.CHECKPOINT}
    seconds = [step * 0.1 for step in calls]
    assert seconds == pytest.approx([20, 320, 620], abs=4)


def test_a_drain_is_answered_at_once_and_then_often(world):
    watch = Watch(0, 300.0, lambda: False)
    world.train(watch, 300, 0.1, 0)
    world.drain = Drain(frozenset({"a"}), 60.0)
    calls = world.train(watch, 300, 0.1, 300)
    assert next(iter(calls.values())) is Call.CHECKPOINT_NOW
    assert min(calls) - 300 <= 20
    assert list(calls.values())[1:] == [Call.CHECKPOINT] * (len(calls) - 1)
    assert len(calls) >= 3
    # Another node is news, the same one is not.
    world.drain = Drain(frozenset({"a", "b"}), 60.0)
    assert Call.CHECKPOINT_NOW in world.train(watch, 30, 0.1, 600).values()


def test_a_wish_to_stop_goes_before_everything(world):
    watch = Watch(0, 300.0, lambda: world.stop)
    world.train(watch, 50, 0.1, 0)
    world.stop, world.drain = True, Drain(frozenset({"a"}), None)
    assert next(iter(world.train(watch, 30, 0.1, 50).values())) is Call.STOP
