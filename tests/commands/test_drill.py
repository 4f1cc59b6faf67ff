"""Runs cut for real, through Ray Train and Ray Data, against the same runs undisturbed."""

from __future__ import annotations

import bisect
import json
import tempfile
from pathlib import Path

import pyarrow.fs
import pytest
from command_runs import run
from faulty_store import Bursts, faulty

from ray_advpose.data.shard_place import CACHE_VARIABLE

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1600)]

# 120 images in batches of 12, 96 of them for the augmentation networks, four epochs a stage.
STAGE_ENDS = [40, 72, 112]
EPOCH_ENDS = {*range(10, 41, 10), *range(48, 73, 8), *range(82, 113, 10)}
# Slow enough for faults to take effect before the run has ended, also on a fast machine.
SETTINGS = ("--set", "run.global_batch_size=12", "--set", "net.channels=48", "--set", "net.input_px=64")


def drill(folder, people, faults, *arguments):
    """Run a drill; its outcomes by fault, in their order."""
    given = [part for fault in faults for part in ("--fault", fault)]
    code, output = run(
        "drill.py", "--data", people, "--out", "drill", *given, *SETTINGS, *arguments, cwd=folder, timeout_s=1500
    )
    assert code == 0, output
    verdict = json.loads((folder / "drill" / "verdict.json").read_text())
    questions = [check["question"] for check in verdict["checks"]]
    assert len(questions) == len(set(questions)) == 12 + any("drain" in fault for fault in faults)
    assert all(check["passed"] for check in verdict["checks"])
    return verdict["outcomes"], output


def test_killed_in_every_stage_within_epochs_and_at_their_edges(tmp_path, people):
    faults = ["driver@15", "worker@29", "driver@47", "worker@71", "worker@85", "driver@101"]
    outcomes, output = drill(tmp_path, people, faults)
    assert [outcome["fault"]["kind"] for outcome in outcomes] == [fault.split("@")[0] for fault in faults]
    assert "NO" not in output.split()
    cut_in = {bisect.bisect(STAGE_ENDS, outcome["at_step"]) for outcome in outcomes}
    assert cut_in == {0, 1, 2}, "a fault in each stage"
    resumed_at_edges = {outcome["resumed_step"] in EPOCH_ENDS for outcome in outcomes}
    assert resumed_at_edges == {True, False}, "taken up at an epoch's edge, and within one"


def test_a_drained_node_a_killed_data_task_and_a_node_gone_without_notice(tmp_path, people):
    # A node that is drained goes when its notice has run out, which must be before the run ends.
    outcomes, _ = drill(tmp_path, people, ["drain@20", "reader@50", "node@80"], "--set", "stages.joint_epochs=60")
    log = (tmp_path / "drill" / "disturbed" / "log.txt").read_text()
    assert "is being drained" in log
    # The node goes some seconds after its last checkpoint; what was trained in between is little.
    assert outcomes[0]["resumed_step"] > 20


def test_a_truncated_checkpoint_is_skipped_and_a_stop_loses_no_step(tmp_path, people):
    outcomes, _ = drill(tmp_path, people, ["truncated@60", "stop@90"])
    assert "skipped" in (tmp_path / "drill" / "disturbed.txt").read_text()
    assert outcomes[1]["resumed_step"] == outcomes[1]["at_step"] + 1


def test_on_an_object_store(tmp_path, people, bucket):
    place = bucket.replace("s3://advpose", "s3://advpose/runs")
    outcomes, _ = drill(tmp_path, people, ["worker@30", "truncated@60", "stop@90"], "--storage", place)
    assert len(outcomes) == 3
    assert not list((tmp_path / "drill").glob("*/checkpoints"))
    assert not list(Path(tempfile.gettempdir()).glob("advpose-*"))


def test_on_an_object_store_in_trouble(tmp_path, people, bucket, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    with faulty(bucket.replace("s3://advpose", "s3://advpose/troubled")) as (place, proxy):
        files, root = pyarrow.fs.FileSystem.from_uri(place)
        files.create_dir(f"{root}/shards")
        pyarrow.fs.copy_files(str(people), f"{root}/shards", destination_filesystem=files)
        runs, shards = (place.replace("troubled", f"troubled/{name}") for name in ("runs", "shards"))
        proxy.trouble = Bursts(0.1, seed=3)
        outcomes, _ = drill(tmp_path, shards, ["worker@30", "driver@60", "stop@90"], "--storage", runs)
        print(f"met {proxy.met}")
        assert len(outcomes) == 3
        assert sum(proxy.met.values()) > 20
    assert list((tmp_path / "cache").iterdir())


def test_what_a_drill_cannot_do_is_one_sentence(tmp_path, people):
    for arguments, words in [
        (("--fault", "wroker@5"), "did you mean 'worker'"),
        (("--fault", "worker@9999"), "the run has"),
        (("--fault", "worker"), "expected FAULT@STEP"),
        (("--faults", 5000), "only"),
        (("--cluster", "nowhere:1", "--kinds", "drain"), "does not do to a cluster of yours"),
    ]:
        code, output = run("drill.py", "--data", people, *arguments, *SETTINGS, cwd=tmp_path)
        assert code == 2
        assert words in output
        assert len(output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
