from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest
import torch

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


@pytest.fixture(scope="session")
def bucket(tmp_path_factory):
    """A bucket on a server that speaks S3, on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path_factory.mktemp("s3") / "log.txt").open("w")
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        _wait_for(port)
        yield f"s3://advpose?endpoint_override=127.0.0.1:{port}&scheme=http&allow_bucket_creation=true"
    server.terminate()
    server.wait()
    log.close()


def _wait_for(port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server has not started")
