"""`launch/prepare.py` as a user runs it: every bad input is one sentence and leaves nothing."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from ray_advpose.data.shards import ShardSet, read_persons
from ray_advpose.errors import run_command

SCRIPT = Path(__file__).parents[2] / "launch" / "prepare.py"


def _load():
    spec = importlib.util.spec_from_file_location("prepare", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PREPARE = _load()


@pytest.fixture
def prepare(capsys):
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments):
        code = run_command(lambda: PREPARE.main([str(argument) for argument in arguments]))
        output = capsys.readouterr()
        return code, output.out, output.err

    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def refused(prepare, tmp_path):
    """Asserts that a call ends in one sentence with these words, and that nothing was written."""

    def call(*arguments, words):
        before = sorted(path for path in tmp_path.rglob("*"))
        code, out, err = prepare(*arguments)
        sentences = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code == 2
        assert out == ""
        assert len(sentences) == 1
        assert "Traceback" not in err
        for word in words:
            assert word in sentences[0]
        assert sorted(path for path in tmp_path.rglob("*")) == before

    return call


def test_the_script_itself(lspet_dir, tmp_path):
    arguments = ["lspet", "--source", lspet_dir(20), "--out", tmp_path / "out", "--box-px", "48"]
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "15 train, 2 val, 3 test persons in 3 shards" in done.stdout
    shards = ShardSet.open(tmp_path / "out")
    assert shards.fingerprint in done.stdout
    assert shards.manifest.canvas.box_px == 48
    missing = subprocess.run([sys.executable, SCRIPT, *arguments[:2], "nowhere", *arguments[3:]], capture_output=True)
    assert missing.returncode == 2


def test_a_terminated_run_leaves_nothing(tmp_path):
    arguments = ["synthetic", "--persons", "100000", "--out", tmp_path / "out"]
    process = subprocess.Popen([sys.executable, SCRIPT, *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.partial-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert list(tmp_path.iterdir()) == []


def test_synthetic(prepare, tmp_path):
    code, out, _ = prepare("synthetic", "--persons", "20", "--seed", "3", "--out", tmp_path / "out")
    assert code == 0
    assert "15 train, 2 val, 3 test" in out
    shards = ShardSet.open(tmp_path / "out")
    assert (shards.manifest.canvas.box_px, shards.manifest.protocol) == (96, "lspet")


def test_missing_and_empty_directories(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("lsp", "lspet", "mpii"):
        refused(name, "--source", tmp_path / "nowhere", "--out", tmp_path / "out", words=["nowhere does not exist"])
        refused(name, "--source", tmp_path / "empty", "--out", tmp_path / "out", words=["empty is empty"])


def test_wrong_shape(refused, lspet_dir, tmp_path):
    directory = lspet_dir(4, lambda joints: joints.transpose(1, 0, 2))
    words = ["joints.mat", "3 x 14 x 4", "expected 14 x 3 x N"]
    refused("lspet", "--source", directory, "--out", tmp_path / "out", words=words)


def test_not_a_mat_file(refused, lspet_dir, tmp_path):
    directory = lspet_dir(4)
    (directory / "joints.mat").write_bytes(b"MATLAB, honestly")
    refused("lspet", "--source", directory, "--out", tmp_path / "out", words=["joints.mat as a MATLAB file"])


def test_text_instead_of_joints(refused, lspet_dir, tmp_path):
    directory = lspet_dir(4)
    scipy.io.savemat(directory / "joints.mat", {"people": np.zeros(3)})
    refused("lspet", "--source", directory, "--out", tmp_path / "out", words=["no array called joints"])


def test_joints_outside_the_image(refused, lspet_dir, tmp_path):
    def far(joints):
        joints[0, 1, 2] = 5000

    words = ["joints.mat, person 3, joint right_ankle", "4999.5", "outside the image of 120 x 90 px"]
    refused("lspet", "--source", lspet_dir(4, far), "--out", tmp_path / "out", words=words)


def test_broken_image(refused, lspet_dir, tmp_path):
    directory = lspet_dir(4)
    path = directory / "images" / "im00003.jpg"
    path.write_bytes(path.read_bytes()[:400])
    words = ["im00003.jpg", "--skip-broken"]
    refused("lspet", "--source", directory, "--out", tmp_path / "out", words=words)


def test_broken_images_can_be_skipped(prepare, lspet_dir, tmp_path):
    directory = lspet_dir(20)
    (directory / "images" / "im00003.jpg").write_bytes(b"")
    (directory / "images" / "im00016.jpg").unlink()
    code, out, _ = prepare("lspet", "--source", directory, "--out", tmp_path / "out", "--skip-broken")
    assert code == 0
    assert "14 train, 1 val, 3 test" in out
    assert "2 persons left out for a broken image" in out
    shards = ShardSet.open(tmp_path / "out")
    assert [broken.person_id for broken in shards.manifest.broken] == ["im00003", "im00016"]
    assert read_persons(shards, "train", [1, 2]).person_id == ["im00002", "im00004"]


def test_output_that_cannot_be_written(refused, lspet_dir, tmp_path):
    directory = lspet_dir(4)
    (tmp_path / "file").write_text("mine")
    refused("lspet", "--source", directory, "--out", tmp_path / "file", words=["file is a file"])
    refused("lspet", "--source", directory, "--out", tmp_path / "file" / "out", words=["cannot write", "file/out"])
    refused("lspet", "--source", directory, "--out", directory, words=["lspet holds files"])
    refused("lspet", "--source", directory, "--out", "/proc/out", words=["cannot write /proc/out"])


def test_settings_out_of_bounds(refused, lspet_dir, tmp_path):
    directory = lspet_dir(4)
    common = ("lspet", "--source", directory, "--out", tmp_path / "out")
    refused(*common, "--box-px", "0", words=["box_px = 0"])
    refused(*common, "--val-fraction", "0.9", words=["val_fraction + test_fraction = 1.05"])


def test_the_real_mpii_images(prepare, real_data, tmp_path):
    code, out, _ = prepare("mpii", "--source", real_data / "mpii", "--out", tmp_path / "out")
    assert code == 0
    assert "0 train, 0 val, 5 test" in out
    rows = read_persons(ShardSet.open(tmp_path / "out"), "test", range(5))
    back = (
        np.einsum("nij,nkj->nki", rows.image_from_canvas[:, :, :2], rows.joints_cv)
        + rows.image_from_canvas[:, None, :, 2]
    )
    np.testing.assert_allclose(back[0, 0], [804 - 0.5, 711 - 0.5], atol=1e-3)
