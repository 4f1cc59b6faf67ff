import pytest
import torch

from ray_advpose.training.statistics import Meter, RunningEpoch


def test_means_weigh_steps_by_their_images():
    meter = Meter()
    meter.add({"loss": (torch.tensor(6.0), 3)})
    meter.add({"loss": (torch.tensor(4.0), 1), "rewarded": (torch.tensor(1), 2)})
    assert meter.local_means() == {"loss": 2.5, "rewarded": 0.5}
    assert meter.means(torch.device("cpu")) == meter.local_means()


def test_many_small_values_are_not_lost():
    meter = Meter()
    meter.add({"loss": (torch.tensor(1e8), 1)})
    for _ in range(999):
        meter.add({"loss": (torch.tensor(1.0), 1)})
    assert meter.local_means()["loss"] == pytest.approx((1e8 + 999) / 1000, abs=1e-6)


def test_nothing_added():
    assert Meter().means(torch.device("cpu")) == Meter().local_means() == {}


def saved_by(*workers):
    """What two workers' meters leave in a checkpoint; each is given its values of one statistic."""
    tables = []
    for values in workers:
        meter = Meter()
        for value in values:
            meter.add({"loss": (torch.tensor(value), 1)})
        tables += meter.state_dict()["tables"]
    return {"names": ["loss"], "tables": tables}


def test_one_worker_takes_up_what_two_have_added():
    meter = Meter()
    meter.load_state_dict(saved_by([1.0, 2.0], [3.0]), torch.device("cpu"))
    meter.add({"loss": (torch.tensor(6.0), 1)})
    assert meter.local_means() == {"loss": 3.0}


def test_a_running_epoch_is_read_back():
    epoch = RunningEpoch(steps=3, seconds=1.5, waited_s=0.5)
    epoch.meter.add({"loss": (torch.tensor(6.0), 3)})
    again = RunningEpoch.from_state_dict(epoch.state_dict(), torch.device("cpu"))
    assert (again.steps, again.seconds, again.waited_s) == (3, 1.5, 0.5)
    assert again.meter.local_means() == {"loss": 2.0}
    fresh = RunningEpoch.from_state_dict(RunningEpoch().state_dict(), torch.device("cpu"))
    assert fresh.steps == 0
    assert fresh.meter.local_means() == {}
