from __future__ import annotations

import pytest
import torch

from ray_advpose.cluster.storage import store_at
from ray_advpose.presets import QUICK
from ray_advpose.training.restoring import take_snapshot
from ray_advpose.training.state import make_state


@pytest.fixture(scope="session")
def state():
    config = QUICK.replaced({"net.channels": 8, "net.input_px": 32, "net.poolings": 2})
    return make_state(config, 14, torch.device("cpu"))


@pytest.fixture
def snapshot(state):
    """Makes a snapshot of a step; epochs have ended at the given ones, best first."""

    def make(step, epoch_ends=()):
        state.step = step
        taken = take_snapshot(state)
        return type(taken)(step, taken.config, taken.content, tuple(epoch_ends))

    return make


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    """A store of each kind, empty."""
    if request.param == "folder":
        return store_at(str(tmp_path / "checkpoints"))
    base, _, options = request.getfixturevalue("bucket").partition("?")
    return store_at(f"{base}/{tmp_path.name}?{options}")
