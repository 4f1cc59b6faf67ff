import pytest
import torch

from ray_advpose.training.statistics import Meter


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
