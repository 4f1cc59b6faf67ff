from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_advpose.errors import UserError
from ray_advpose.search.budget import Budget, Meter, Spent, read_spent
from ray_advpose.search.session import Means

UNBOUND = Budget()


class Clock:
    """A module ``time`` whose time passes when told."""

    def __init__(self):
        self.now_s = 1000.0

    def monotonic(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("ray_advpose.search.budget.time", clock)
    return clock


def passed(meter, clock, seconds, running):
    clock.now_s += seconds
    meter.count(running)


def test_a_search_that_has_not_begun_has_used_nothing(tmp_path):
    assert read_spent(tmp_path) == Spent(hours=0.0, device_hours=0.0)


def test_wall_time_passes_once_and_device_time_for_each_device_of_each_trial(tmp_path, clock):
    meter = Meter(tmp_path, Budget(price=2.5), devices_each=2.0)
    passed(meter, clock, 1800, running=0)
    passed(meter, clock, 3600, running=3)
    assert meter.spent == Spent(hours=1.5, device_hours=6.0)
    assert meter.cost == 15.0


def test_without_a_price_there_is_no_cost(tmp_path, clock):
    meter = Meter(tmp_path, UNBOUND, 1.0)
    passed(meter, clock, 3600, running=1)
    assert meter.cost is None


def test_a_restarted_search_goes_on_from_what_it_has_used(tmp_path, clock):
    first = Meter(tmp_path, UNBOUND, 1.0)
    passed(first, clock, 3600, running=2)
    first.write()
    clock.now_s = 7.0  # another machine; what lies between the two starts is not counted
    second = Meter(tmp_path, UNBOUND, 1.0)
    assert second.spent == Spent(hours=1.0, device_hours=2.0)
    passed(second, clock, 900, running=1)
    second.write()
    assert read_spent(tmp_path) == Spent(hours=1.25, device_hours=2.25)
    assert [path.name for path in tmp_path.iterdir()] == ["spent.json"]


def test_a_search_that_is_killed_loses_a_few_seconds(tmp_path, clock):
    meter = Meter(tmp_path, UNBOUND, 1.0)
    for _ in range(600):
        passed(meter, clock, 1.0, running=1)
        assert 0 <= 3600 * (meter.spent.hours - read_spent(tmp_path).hours) < 6.5
    assert meter.spent.hours == pytest.approx(600 / 3600)


def test_the_disk_is_not_written_to_at_every_look(tmp_path, clock):
    meter = Meter(tmp_path, UNBOUND, 1.0)
    passed(meter, clock, 4.0, running=1)
    assert list(tmp_path.iterdir()) == []
    passed(meter, clock, 4.0, running=1)
    assert json.loads((tmp_path / "spent.json").read_text()) == {"hours": 8 / 3600, "device_hours": 8 / 3600}
    passed(meter, clock, 4.0, running=1)
    assert read_spent(tmp_path).hours == 8 / 3600


@given(
    looks=st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 20)), max_size=12),
    cuts=st.sets(st.integers(0, 11)),
    devices=st.floats(0.25, 8),
)
def test_what_is_used_is_the_sum_wherever_a_search_is_cut(tmp_path_factory, looks, cuts, devices):
    folder, clock = tmp_path_factory.mktemp("cut"), Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray_advpose.search.budget.time", clock)
        meter = Meter(folder, UNBOUND, devices)
        for number, (seconds, running) in enumerate(looks):
            passed(meter, clock, seconds, running)
            if number in cuts:
                meter.write()
                clock.now_s += 12_345
                meter = Meter(folder, UNBOUND, devices)
    assert meter.spent.hours == pytest.approx(sum(seconds for seconds, _ in looks) / 3600)
    device_s = sum(seconds * running * devices for seconds, running in looks)
    assert meter.spent.device_hours == pytest.approx(device_s / 3600)


def test_hours_are_used_up_when_they_have_passed(tmp_path, clock):
    meter = Meter(tmp_path, Budget(max_hours=1.5), 1.0)
    assert meter.exceeded() is None
    passed(meter, clock, 5399, running=100)
    assert meter.exceeded() is None
    passed(meter, clock, 1, running=0)
    assert meter.exceeded() == "--max-hours 1.5 is reached"


def test_the_cost_is_used_up_by_what_runs(tmp_path, clock):
    meter = Meter(tmp_path, Budget(max_cost=6, price=2), devices_each=0.5)
    passed(meter, clock, 360_000, running=0)
    assert meter.exceeded() is None
    passed(meter, clock, 3599, running=6)
    assert meter.exceeded() is None
    passed(meter, clock, 1, running=6)
    assert meter.exceeded() == "--max-cost 6 is reached"


def test_a_budget_that_is_used_up_stays_so_until_it_is_raised(tmp_path, clock):
    meter = Meter(tmp_path, Budget(max_hours=1), 1.0)
    passed(meter, clock, 3600, running=1)
    meter.write()
    assert Meter(tmp_path, Budget(max_hours=1), 1.0).exceeded() == "--max-hours 1 is reached"
    assert Meter(tmp_path, Budget(max_hours=1, max_cost=1, price=1), 1.0).exceeded() == "--max-hours 1 is reached"
    assert Meter(tmp_path, Budget(max_hours=2, max_cost=1, price=1), 1.0).exceeded() == "--max-cost 1 is reached"
    assert Meter(tmp_path, Budget(max_hours=2), 1.0).exceeded() is None


def test_without_a_bound_nothing_is_ever_used_up(tmp_path, clock):
    meter = Meter(tmp_path, Budget(max_trials=1, price=1000.0), 8.0)
    passed(meter, clock, 1e9, running=20)
    assert meter.exceeded() is None
    assert meter.left() is None


def test_what_is_left_is_told_and_never_less_than_nothing(tmp_path, clock):
    meter = Meter(tmp_path, Budget(max_hours=2, max_cost=10, price=4), 1.0)
    passed(meter, clock, 1800, running=2)
    assert meter.left() == "1.50 h and 6.00 of the cost left of the budget"
    passed(meter, clock, 36_000, running=2)
    assert meter.left() == "0.00 h and 0.00 of the cost left of the budget"
    assert Meter(tmp_path / "other", Budget(max_hours=2), 1.0).left() == "2.00 h left of the budget"


@pytest.mark.parametrize("name", ["max_hours", "max_trials", "max_cost", "price"])
@pytest.mark.parametrize("value", [0, -2])
def test_a_part_of_a_budget_that_is_nothing_is_refused_by_its_option(name, value):
    option = "--" + name.replace("_", "-")
    with pytest.raises(UserError, match=re.escape(f"{option} {value}: expected more than 0")):
        Budget(**{"price": 1.0, name: value})


def test_a_bound_on_the_cost_needs_a_price():
    with pytest.raises(UserError, match=r"--max-cost 20 needs --price"):
        Budget(max_cost=20)
    assert Budget(max_cost=20, price=0.5).price == 0.5


def test_means_are_said_as_arguments():
    means = Means("head:6379", "s3://bucket/search", Budget(max_hours=2), at_once=3)
    spoken = " ".join(means.arguments())
    assert spoken == "--cluster head:6379 --storage s3://bucket/search --max-hours 2 --at-once 3"
    assert Means().arguments() == []
