"""`launch/evidence.py` as a user runs it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from command_runs import run, settings, start

from ray_advpose.cluster.run_card import alone_in
from ray_advpose.pose.gain import Gain

ARMS = ("--seeds", "1", "--parallel", "2")
FIELDS = settings(run__probe_images=2)


def of_folder(folder: Path) -> dict[str, bytes]:
    return {f"{path.parent.name} {path.name}": path.read_bytes() for path in folder.glob("runs/*/predictions_*.npz")}


def test_arms_are_compared_in_pieces_and_written_down(people, tmp_path):
    command = ("evidence.py", "--data", people, *FIELDS, *ARMS, "--tune", "2", "--out", "found")
    code, output = run(*command, "--minutes", "0.01", cwd=tmp_path)
    assert code == 75, output
    assert "goes on" in output
    assert not (tmp_path / "found" / "evidence.json").exists()
    code, output = run(*command, cwd=tmp_path)
    assert code == 0, output
    page = (tmp_path / "found" / "evidence.md").read_text()
    numbers = json.loads((tmp_path / "found" / "evidence.json").read_text())
    arms = numbers["sizes"]["120"]
    assert list(arms) == ["random", "tuned random", "uniform", "asr", "aho", "asr+aho"]
    assert numbers["split"] == "test"
    assert "Random augmentation alone stood at" in page
    assert "D's learning rate dropped after epoch 1 of stage 3. " in page
    for arm, found in arms.items():
        assert f"| {arm} | 1 |" in page
        for change in ("turned", "scaled", "occluded"):
            assert found[f"{change}_gains"].keys() == found["gains"].keys() == arms.keys() - {arm}
        result = found["seeds"]["0"]["result"]
        assert result["images_with_gradient"] == arms["random"]["seeds"]["0"]["result"]["images_with_gradient"]
        files = {"val": "predictions_val.npz", "test": "predictions_test.npz", "changed": "robustness.npz"}
        assert result["predictions_sha256"].keys() == files.keys()
        for what, digest in result["predictions_sha256"].items():
            path = tmp_path / "found" / "runs" / result["name"] / files[what]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    for picture in ("robustness", "loss", "thresholds", "training", "rotations"):
        assert (tmp_path / "found" / f"{picture}-120.png").stat().st_size > 5000
        assert f"({picture}-120.png)" in page
    before = of_folder(tmp_path / "found")
    assert len(before) == 2 * 2 + 6 * 2

    code, output = run(*command, cwd=tmp_path)
    assert code == 0, output
    assert of_folder(tmp_path / "found") == before

    # Arms of two folders, here one and the same, compare as arms of one do.
    code, output = run("../benchmarks/across.py", "found:asr", "found:random", cwd=tmp_path)
    assert code == 0, output
    by_change = [Gain(**arms["asr"][what]["random"]) for what in ("gains", "turned_gains")]
    assert [str(gain) in line for gain, line in zip(by_change, output.splitlines(), strict=True)] == [True, True]
    code, output = run("../benchmarks/across.py", "found:asr", "found:asr", "--over", "random", cwd=tmp_path)
    assert code == 0, output
    assert "as they are: +0.00 [" in output
    code, output = run("../benchmarks/across.py", "found:asr", "found:ahoo", cwd=tmp_path)
    assert code == 2, output

    # What was tuned there is taken here: the same run again, bit for bit, and nothing is tuned.
    elsewhere = ("--arms", "tuned random", "--tuned", "found", "--out", "elsewhere")
    code, output = run("evidence.py", "--data", people, *FIELDS, *ARMS, *elsewhere, cwd=tmp_path)
    assert code == 0, output
    again = of_folder(tmp_path / "elsewhere")
    assert again.keys() == {f"tuned-random-120-seed0 predictions_{split}.npz" for split in ("val", "test")}
    assert again.items() <= before.items()
    page = (tmp_path / "elsewhere" / "evidence.md").read_text()
    assert re.search(r"\| random \| \d+\.\d\d, the best of 2 on 120 images \| scale_times=", page)
    code, output = run("evidence.py", "--data", people, *FIELDS, *ARMS, *elsewhere, cwd=tmp_path)
    assert code == 0, output

    other = ("--tuned", "found", "--out", "more")
    code, output = run("evidence.py", *FIELDS, *ARMS, *other, cwd=tmp_path)
    assert code == 2, output
    assert "--tuned found: tuned on other persons" in output
    numbers["tuned"]["settings"]["random"] = {"random.scale": 1.0}
    (tmp_path / "found" / "evidence.json").write_text(json.dumps(numbers))
    code, output = run("evidence.py", "--data", people, *FIELDS, *ARMS, *other, cwd=tmp_path)
    assert code == 2, output
    assert "found/evidence.json: unknown field 'random.scale'" in output
    assert not (tmp_path / "more").exists()


def test_smaller_sets_and_chosen_arms(people, tmp_path):
    code, output = run(
        "evidence.py", "--data", people, *FIELDS, *ARMS, "--arms", "random,uniform", "--sizes", "40,120", cwd=tmp_path
    )
    assert code == 0, output
    (folder,) = (tmp_path / "runs").iterdir()
    numbers = json.loads((folder / "evidence.json").read_text())
    assert "tuned" not in numbers
    sizes = numbers["sizes"]
    assert {size: list(arms) for size, arms in sizes.items()} == {
        "120": ["random", "uniform"],
        "40": ["random", "uniform"],
    }
    assert (folder / "sizes.png").stat().st_size > 5000
    assert "tuned" not in (folder / "evidence.md").read_text()


@pytest.mark.parametrize("everybody", [False, True])
@pytest.mark.parametrize("cut", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_cut_leaves_no_process_and_loses_no_run(cut, everybody, people, tmp_path):
    command = ("evidence.py", "--data", people, *settings(run__probe_images=0), *ARMS, "--arms", "random,aho")
    command = (*command, "--set", "stages.pose_epochs=40", "--out", "found")
    process = start(*command, cwd=tmp_path)
    history = tmp_path / "found" / "runs" / "stage1-120-seed0" / "history.json"
    deadline = time.monotonic() + 120
    while not history.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    if everybody and cut is signal.SIGKILL:
        pytest.skip("what all processes are killed by loses what was trained since the last checkpoint")
    for pid in _of(tmp_path) if everybody else [process.pid]:  # as a terminal, or a batch system, does
        os.kill(pid, cut)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == (-9 if cut is signal.SIGKILL else 130), output
    while _of(tmp_path):
        assert time.monotonic() < deadline + 60, _of(tmp_path)
        time.sleep(0.2)
    assert "Traceback" not in output
    kept = history.parent / "checkpoint" / "manifest.json"
    assert kept.exists(), "every run at work leaves a checkpoint"


def _of(folder: Path) -> list[int]:
    """Processes that work in a folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if (process / "cwd").readlink() == folder:
                    found.append(int(process.name))
            except OSError:
                continue  # it has ended, or is somebody else's
    return found


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--arms", "randm"), "unknown arm 'randm' (did you mean 'random'?)"),
        (("--arms", "tuned random"), "'tuned random' needs --tune"),
        (("--arms", "aho:aho.cells=1"), "--arms aho:aho.cells=1: unknown field 'aho.cells'"),
        (
            ("--arms", "aho:loss.target_sigma_px=2"),
            "loss.target_sigma_px decides stage 1, which all runs of a seed share",
        ),
        (
            ("--arms", "asr:asr.max_scale_log2=0.8", "--tune", "1"),
            "--arms asr:asr.max_scale_log2=0.8: asr.max_scale_log2 with",
        ),
        (("--arms", "aho:"), "--arms aho: '': expected FIELD=VALUE"),
        (("--arms", "aho,aho:reward.alpha=2020-13-45"), "cannot read the value '2020-13-45'"),
        (("--arms", "aho,aho:reward.alpha=0.3,reward.beta=1"), "settings of a variant have a colon before each"),
        (("--arms", "aho,aho:reward.alpha=0.3:reward.alpha=0.4"), "a field is given twice"),
        (("--arms", "aho,aho:preset=a/../b"), "names a folder"),
        (("--arms", "random,aho:reward.alpha=0.3"), "--arms aho:reward.alpha=0.3: is compared with 'aho', which"),
        (("--arms", "aho,aho:reward.alpha=0.2"), "--arms aho:reward.alpha=0.2: trains as 'aho' does"),
        (("--arms", "aho,aho:reward.alpha=0.3,aho:reward.alpha=0.30"), "=0.3: trains as 'aho:reward.alpha=0.30' does"),
        (("--arms", "uniform,uniform:reward.alpha=0.3"), "trains as 'uniform' does"),
        (("--arms", "aho,aho:asr.scale_bins=5"), "trains as 'aho' does"),
        (("--arms", "asr,asr+aho,asr:aho.enabled=true"), "trains as"),
        (("--arms", "tuned random,tuned random:random.scale_times=1"), "'tuned random' needs --tune"),
        (("--arms", "aho:optim.plateau_patience_epochs=2"), "arms would drop D's rate at different epochs"),
        (("--set", "optim.plateau_patience_epochs=2"), "optim.plateau_patience_epochs = 2: arms would drop D's rate"),
        (("--arms", "aho:stages.joint_epochs=9"), "stages.joint_epochs decides how many images D learns from"),
        (("--sizes", "many"), "--sizes many: expected numbers"),
        (("--sizes", "121"), "--sizes 121: expected from 12, a batch, to 120"),
        (("--sizes", "5"), "--sizes 5: expected from 12"),
        (("--seeds", "0"), "--seeds 0"),
        (("--parallel", "0"), "--parallel 0: expected at least 1"),
        (("--set", "run.seed=1000"), "seed 1000 is what settings are tuned with"),
        (("--tune", "1", "--joint-space", "none.py"), "there is no search space none.py"),
        (("--tune", "1", "--tuned", "other"), "--tune 1: nothing is drawn or tried with --tuned"),
        (("--joint-space", "mine.py", "--tuned", "other"), "--joint-space mine.py: nothing is drawn or tried"),
        (("--random-space", "mine.py"), "--random-space mine.py: needs --tune"),
        (("--tuned", "other"), "--tuned other: cannot read other/evidence.json"),
        (("--set", "asr.policy=even"), "asr.policy"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments, says, people, refused, tmp_path):
    assert says in refused("evidence.py", "--data", people, *arguments, "--out", "found")
    assert not (tmp_path / "found").exists()


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ('SearchSpace({"loss.target_sigma_px": Uniform(1, 2)}, 2, RunAll())', "loss.target_sigma_px decides stage 1"),
        ('SearchSpace({"asr.scale_bins": Choice((5, 7))}, 2, RunAll(), draw="grid")', "gives 2 settings where"),
        ('SearchSpace({"asr.max_scale_log2": Uniform(0.7, 0.8)}, 2, RunAll())', "asr.max_scale_log2 with its sigma"),
    ],
)
def test_spaces_are_tried_before_anything_is_trained(space, says, people, refused, tmp_path):
    (tmp_path / "space.py").write_text(
        "from ray_advpose.search.domains import Choice, Uniform\n"
        "from ray_advpose.search.scheduling import RunAll\n"
        f"from ray_advpose.search.space import SearchSpace\nSPACE = {space}\n"
    )
    assert says in refused("evidence.py", "--data", people, "--tune", "3", "--joint-space", "space.py")


def test_two_do_not_train_in_one_folder(people, refused, tmp_path):
    with alone_in(tmp_path / "found"):
        assert "another process is training" in refused("evidence.py", "--data", people, *FIELDS, "--out", "found")


def test_arms_and_seeds_may_be_added_but_nothing_else_changed(people, refused, tmp_path):
    command = ("--data", people, *FIELDS, "--parallel", "2", "--out", "found")
    variant = "aho:reward.reward_by=pckh:reward.probability_cap=2"
    one, more = ("--arms", "random", "--seeds", "1"), ("--arms", f"random,aho,{variant}", "--seeds", "2")
    code, output = run("evidence.py", *command, *one, cwd=tmp_path)
    assert code == 0, output
    before = of_folder(tmp_path / "found")
    code, output = run("evidence.py", *command, *more, cwd=tmp_path)
    assert code == 0, output
    after = of_folder(tmp_path / "found")
    assert len(after) == 6 * len(before)
    assert before.items() <= after.items()
    arms = json.loads((tmp_path / "found" / "evidence.json").read_text())["sizes"]["120"]
    assert list(arms) == ["random", "aho", variant]
    assert all(list(found["seeds"]) == ["0", "1"] for found in arms.values())
    assert arms[variant]["gains"].keys() == {"random", "aho"}
    page = (tmp_path / "found" / "evidence.md").read_text()
    assert f"- **{variant}**: as aho, with reward.reward_by=pckh and reward.probability_cap=2" in page
    assert page.count("over the arm it varies") == 4  # too few people to tell them by how they lie
    assert "begun with other arms; name another --out" in refused("evidence.py", *command, *one)
    assert "begun with other config" in refused("evidence.py", *command, *more, "--set", "optim.joint_lr=0.001")
