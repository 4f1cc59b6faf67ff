"""What tests in more than one place need: drawn people, a tiny config, an object store, a browser; and their order."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from selenium import webdriver
from selenium.common.exceptions import WebDriverException

from ray_advpose.config import Config, config_from_dict
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.synthetic import generate_synthetic

# Whoever else has the machine decides how long an example takes.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def drawn_people(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """45 persons to train on, 6 to validate with, 9 to test with."""
    out = tmp_path_factory.mktemp("shards") / "drawn"
    write_shards(generate_synthetic(60, image_px=96), out, box_px=32, workers=1)
    return ShardSet.open(out)


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """32 px inputs, 8 px heatmaps, a lowest map of 2 px, 8 channels."""
    return config_from_dict(
        {
            "net": {"channels": 8, "input_px": 32, "poolings": 2},
            "asr": {"scale_bins": 3, "rotation_bins": 4},
            "aho": {"grid_width": 2, "grid_height": 2, "max_cells": 2},
            "loss": {"foreground_weight": 5.0, "decoder": "exact"},
            "stages": {"pose_epochs": 2, "pretrain_epochs": 2, "pretrain_images": 12, "joint_epochs": 2},
            "optim": {"optimizer": "adam", "pose_lr": 2e-3, "pretrain_lr": 1e-3, "joint_lr": 1e-3},
            "run": {"global_batch_size": 12, "eval_batch_size": 4},
        },
        "tiny",
    )


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
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


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server has not started")


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """A headless Chromium of the system's; with its driver's place given selenium downloads nothing."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not on PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # What it leaves behind in the folder for temporary files goes with that folder.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        service = webdriver.ChromeService(executable_path=driver, env={**os.environ, "TMPDIR": folder})
        try:
            started = webdriver.Chrome(options, service)
        except WebDriverException as error:
            pytest.skip(f"chromium does not start: {error.msg}")
        yield started
        started.quit()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what starts a Ray cluster last, so that a plain mistake shows within seconds."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is not None)
