"""A single run that is cut and gone on with, and what it refuses to go on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from command_runs import run, settings, start

from ray_advpose.cluster.sample_log import last_step
from ray_advpose.cluster.storage import store_at
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.drill.nodes import local_nodes

pytestmark = pytest.mark.ray

# An epoch of stage 1 takes longer than there is between two checkpoints, also on a fast machine.
SETTINGS = settings(
    net__channels=96,
    net__input_px=64,
    stages__pose_epochs=25,
    stages__joint_epochs=1,
    run__log_samples="true",
    run__checkpoint_every_s=0.3,
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, people):
    """A run that was asked to stop within stage 1; its folder and what it printed."""
    folder = tmp_path_factory.mktemp("cut")
    command = start("train.py", "--data", people, "--out", "run", *SETTINGS, cwd=folder)
    wait_for(lambda: last_step(folder / "run") >= 150, command)
    command.send_signal(signal.SIGTERM)
    output, _ = command.communicate(timeout=60)
    assert command.returncode == 143, output
    return folder / "run", output


def wait_for(condition, command, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert command.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sigterm_takes_a_checkpoint_and_says_how_to_go_on(stopped):
    folder, output = stopped
    assert "SIGTERM: stopping after a checkpoint; once more stops at once" in output
    last = store_at(str(folder / "checkpoints")).steps()[-1]
    assert f"cut at {folder / 'checkpoints'}/step_{last:09d}" in output
    assert f"go on with: python launch/train.py --resume {folder}" in output
    # Not one step is lost: the last batch that was taken was trained on and is in the checkpoint.
    assert last == last_step(folder) + 1


@pytest.mark.slow
def test_a_stop_without_workers_ends_the_run_and_says_how_to_go_on(people, tmp_path):
    with local_nodes(cpus=1) as nodes:
        command = start(
            "train.py", "--data", people, "--out", "run", "--cluster", nodes.address, *SETTINGS, cwd=tmp_path
        )
        store = store_at(str(tmp_path / "run" / "checkpoints"))
        wait_for(store.steps, command)
        nodes.remove(nodes.ids[0])
        time.sleep(3)
        command.send_signal(signal.SIGTERM)
        output, _ = command.communicate(timeout=90)
    assert command.returncode == 143, output
    assert (
        f"cut while no workers were there to take a checkpoint; go on with: python launch/train.py --resume {tmp_path}"
        in output
    )


@pytest.mark.slow
def test_a_run_that_another_machine_has_gone_on_with_ends(people, tmp_path):
    """Another folder with the same storage stands for the other machine."""
    shared = ("--storage", tmp_path / "shared", *SETTINGS)
    overtaken = start("train.py", "--data", people, "--out", "here", *shared, cwd=tmp_path)
    store = store_at(str(tmp_path / "shared"))
    wait_for(store.steps, overtaken)
    code, output = run("train.py", "--data", people, "--out", "there", *shared, cwd=tmp_path)
    assert code == 0, output
    assert f"going on from {tmp_path / 'shared'}/step_" in output
    output, _ = overtaken.communicate(timeout=60)
    assert overtaken.returncode == 2, output
    assert f"the run with checkpoints in {tmp_path / 'shared'} was gone on with on" in output
    assert "Traceback" not in output
    last = store.steps()[-1]
    assert last_step(tmp_path / "there") + 1 == last > last_step(tmp_path / "here")


def test_checkpoints_are_written_within_epochs_too_and_few_are_kept(stopped):
    folder, output = stopped
    steps = [int(line.split()[4]) for line in output.splitlines() if "checkpoint of step" in line]
    assert any(step % 10 for step in steps)
    assert len(list((folder / "checkpoints").iterdir())) <= 2 + 1 + 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "reward.alpha=0.4"], ["reward.alpha = 0.2, not 0.4", "--allow-change reward.alpha"]),
        (["--set", "net.channels=12"], ["net.channels = 96, not 12", "another --out"]),
        (
            ["--set", "stages.pose_epochs=2", "--allow-change", "stages.pose_epochs"],
            ["lies at step", "in or after stage pose"],
        ),
        (["--out", "other"], ["--out does not go with it"]),
        (["--workers", "2:1"], ["run.min_workers = 2 is more than run.num_workers = 1"]),
        (["--workers", "many"], ["--workers many"]),
        (["--allow-change", "reward.alpah"], ["did you mean 'reward.alpha'"]),
        (["--storage", "elsewhere"], ["keeps its checkpoints in", "elsewhere"]),
    ],
)
def test_what_does_not_go_together_is_one_sentence(stopped, refused, arguments, words):
    folder, _ = stopped
    sentence = refused("train.py", "--resume", folder, *arguments)
    for word in words:
        assert word in sentence


def test_other_data_needs_to_be_allowed(stopped, refused, tmp_path):
    folder, _ = stopped
    write_shards(generate_synthetic(persons=160, seed=9), tmp_path / "other", box_px=48)
    assert "this run's data has" in refused("train.py", "--resume", folder, "--data", tmp_path / "other")


def test_it_goes_on_at_that_step_and_then_there_is_nothing_left_to_do(stopped, people):
    folder, _ = stopped
    last = store_at(str(folder / "checkpoints")).steps()[-1]
    code, output = run(
        "train.py", "--resume", folder, "--set", "stages.pose_epochs=20", "--allow-change", "stages.pose_epochs",
        cwd=folder.parent,
    )  # fmt: skip
    assert code == 0, output
    assert f"training starts at step {last} from {folder / 'checkpoints'}/step_{last:09d}, 1 worker(s)" in output
    assert "best score" in output
    # 20 epochs of 10 steps, one of 1 and one of 10.
    history = json.loads((folder / "history.json").read_text())
    assert [record["step"] for record in history] == [*range(10, 201, 10), 201, 211]
    again = ("--resume", folder)
    code, output = run("train.py", *again, cwd=folder.parent)
    assert code == 0, output
    assert "done already" in output
    assert f"last checkpoint {folder / 'checkpoints'}/step_000000211" in output


def test_a_shard_that_is_cut_off_is_one_sentence_and_loses_nothing(stopped, people, refused, tmp_path):
    folder, _ = stopped
    before = store_at(str(folder / "checkpoints")).steps()
    copy = tmp_path / "people"
    subprocess.run(["cp", "-r", people, copy], check=True)
    shard = next(copy.glob("train*.parquet"))
    os.truncate(shard, shard.stat().st_size - 100)
    assert shard.name in refused("train.py", "--resume", folder, "--data", copy)
    assert store_at(str(folder / "checkpoints")).steps() == before


def test_a_shard_that_is_altered_later_ends_the_run_with_one_sentence(people, tmp_path):
    copy = tmp_path / "people"
    subprocess.run(["cp", "-r", people, copy], check=True)
    shard = next(copy.glob("train*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))  # as long as before: only its hash tells, once it is read
    code, output = run("train.py", "--data", copy, "--out", "run", *SETTINGS, cwd=tmp_path)
    assert code == 2, output
    assert output.count("error:") == 1
    assert "Traceback" not in output
    last = output.splitlines()[-1]
    assert last == f"error: shard {shard} was altered: its hash differs from the one in the manifest"


def test_a_disk_that_is_full_ends_the_run_with_one_sentence(people, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        short = settings(stages__pose_epochs=1, stages__joint_epochs=1)
        code, output = run("train.py", "--data", people, "--out", "run", "--storage", disk, *short, cwd=tmp_path)
        left = list(disk.rglob("*"))
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
    assert code == 2, output
    assert "training goes on" in output
    assert "No space left on device" in output.splitlines()[-1]
    assert "the checkpoint of step 21 cannot be written" in output.splitlines()[-1]
    assert [path.name for path in left] == ["writer.json"]
