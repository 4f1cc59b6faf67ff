"""``evaluate.py`` as a user calls it: on published files, on a checkpoint, and with what does not fit."""

from __future__ import annotations

import json
import os
import runpy
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from command_runs import ROOT, run
from scipy.io import loadmat, savemat

from ray_advpose.data.identity import identity_of
from ray_advpose.data.prediction_files import write_predictions
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.errors import run_command
from ray_advpose.pose.skeleton import LSP
from ray_advpose.training.checkpoint import write_checkpoint
from ray_advpose.training.restoring import take_snapshot
from ray_advpose.training.state import make_state


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capsys):
    """Calls ``main`` in an empty folder; returns exit code and what went to stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(ROOT / "launch" / "evaluate.py"))["main"]

    def call(*arguments):
        code = run_command(lambda: main([str(argument) for argument in arguments]))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, drawn_people, tiny_config):
    """An untrained network's checkpoint."""
    folder = tmp_path_factory.mktemp("run") / "checkpoint"
    write_checkpoint(folder, take_snapshot(make_state(tiny_config, 14, torch.device("cpu"))), identity_of(drawn_people))
    return folder


@pytest.fixture
def lspet_files(tmp_path_factory):
    """Labels of six persons and predictions of them, in a folder of their own."""
    folder = tmp_path_factory.mktemp("lspet")
    labels = np.random.default_rng(0).uniform(1, 300, (6, 14, 2))
    joints = np.concatenate([labels, np.ones((6, 14, 1))], axis=2).transpose(1, 2, 0)
    savemat(folder / "joints.mat", {"joints": joints})
    savemat(folder / "preds.mat", {"preds": labels})
    savemat(folder / "fewer.mat", {"preds": labels[:4]})
    savemat(folder / "mpii.mat", {"preds": np.zeros((6, 16, 2))})
    (folder / "broken.mat").write_text("nothing of the kind")
    (folder / "preds.txt").write_text("1 2 3")
    return folder


@pytest.fixture(scope="module")
def published():
    root = os.environ.get("ADVPOSE_DATA")
    if not root or not Path(root, "mpii", "valid.h5").is_file():
        pytest.skip("ADVPOSE_DATA names no folder with mpii/valid.h5")
    folder = Path(root, "mpii")
    predictions, truth = folder / "predictions_hg_s2_b1.mat", folder / "valid.h5"
    return ["--predictions", predictions, "--ground-truth", truth, "--protocol", "mpii"]


def test_published_predictions_score_their_published_figures(evaluate, published):
    code, output, errors = evaluate(*published, "--json")
    assert (code, errors) == (0, "")
    record = json.loads(output)
    expected = {
        "Head": 96.74,
        "Shoulder": 94.57,
        "Elbow": 88.12,
        "Wrist": 83.31,
        "Hip": 86.26,
        "Knee": 80.88,
        "Ankle": 77.47,
    }
    assert record["groups"] == pytest.approx(expected, abs=0.01)
    joints = {joint["joint"]: joint["accuracy"] for joint in record["joints"]}
    assert joints["head_top"] == pytest.approx(95.84, abs=0.01)
    assert joints["pelvis"] is None
    assert record["means"]["mean_joint14"] == pytest.approx(86.76, abs=0.01)
    assert record["means"]["pooled14"] == pytest.approx(87.30, abs=0.01)
    assert record["not_official"] == pytest.approx({"pooled16": 88.20, "pooled14_visible": 92.48}, abs=0.01)
    assert record["persons"] == 2958


def test_published_predictions_under_prepared_names_score_the_same(evaluate, tmp_path, published):
    _, predictions, _, truth, *_ = published
    with h5py.File(truth) as file:
        labels, head_px = file["part"][()], file["normalize"][()]
        images = [Path(name.decode()).stem for name in file["imgname"]]
    on_image: Counter[str] = Counter()
    names = []
    for image in images:
        on_image[image] += 1
        names.append(f"{image}#{on_image[image]}")
    write_predictions(
        tmp_path / "own.npz",
        loadmat(predictions)["preds"] - 0.5,
        names,
        labels - 0.5,
        (labels != 0).any(axis=2),
        head_px,
        protocol="mpii",
        decoder="exact",
        flip_test=True,
    )
    code, output, _ = evaluate("--predictions", "own.npz", "--ground-truth", truth, "--json")
    assert code == 0
    record = json.loads(output)
    assert record["means"]["mean_joint14"] == pytest.approx(86.76, abs=0.01)
    assert record["means"]["pooled14"] == pytest.approx(87.30, abs=0.01)
    assert any("matched in their order" in note for note in record["notes"])
    assert "persons in valid.h5" not in record["definition"]


def test_a_process_prints_the_published_figures(tmp_path, published):
    code, output = run("evaluate.py", *published, cwd=tmp_path)
    assert code == 0
    assert "| 96.74 | 94.57 | 88.12 | 83.31 | 86.26 | 80.88 | 77.47 |" in output
    assert "| head_top | 95.84 |" in output
    assert "| 86.76 | 86.76 | 87.30 |" in output
    assert "Not the official definition" in output
    assert "| 88.20 | 92.48 |" in output
    assert "predictions_hg_s2_b1.mat: array preds, 2958 x 16 x 2, read as n x J x 2" in output
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoints_figures_are_those_of_the_file_it_leaves(evaluate, tmp_path, checkpoint, drawn_people):
    data = ["--data", drawn_people.place, "--split", "test"]
    code, output, errors = evaluate("--checkpoint", checkpoint, *data, "--out", "scored", "--json")
    assert (code, errors) == (0, "")
    assert {path.name for path in (tmp_path / "scored").iterdir()} == {"predictions.npz", "predictions.png"}
    assert cv2.imread(str(tmp_path / "scored" / "predictions.png")) is not None
    code, again, _ = evaluate("--predictions", "scored/predictions.npz", "--json")
    assert code == 0
    assert json.loads(again) == json.loads(output)
    record = json.loads(output)
    assert (record["protocol"], record["decoder"], record["flip_test"]) == ("lspet", "exact", False)
    assert record["persons"] + len(record["left_out"]) == 9
    with np.load(tmp_path / "scored" / "predictions.npz") as file:
        assert set(file.files) == {
            "predictions_px",
            "truth_px",
            "annotated",
            "normalizer_px",
            "person_id",
            "protocol",
            "decoder",
            "flip_test",
        }
        assert file["predictions_px"].shape == file["truth_px"].shape == (9, 14, 2)


def test_a_checkpoint_is_scored_without_leaving_a_file(evaluate, tmp_path, checkpoint, drawn_people):
    code, output, _ = evaluate("--checkpoint", checkpoint, "--data", drawn_people.place, "--flip-test")
    assert code == 0
    assert "pooled14 @0.1" in output
    assert "decoder exact, flip test on" in output
    assert "array predictions_px, 6 x 14 x 2" in output
    assert list(tmp_path.iterdir()) == []


def test_a_split_that_cannot_be_scored_is_not_predicted(evaluate, tmp_path_factory, tmp_path, checkpoint):
    people = generate_synthetic(4, image_px=64)
    shoulder = LSP.index("left_shoulder")
    persons = [replace(person, annotated=np.arange(14) != shoulder) for person in people.persons]
    data = tmp_path_factory.mktemp("shards") / "torsoless"
    write_shards(replace(people, persons=persons), data, 32, workers=1)
    code, _, errors = evaluate("--checkpoint", checkpoint, "--data", data, "--split", "train", "--out", "scored")
    assert code == 2
    assert f"{data}: none of " in errors
    assert "in split 'train' has a positive finite normaliser" in errors
    assert list(tmp_path.iterdir()) == []


def test_the_protocol_may_be_left_to_the_ground_truth(evaluate, lspet_files):
    code, output, _ = evaluate("--predictions", lspet_files / "preds.mat", "--ground-truth", lspet_files / "joints.mat")
    assert code == 0
    assert "protocol lspet" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["either --checkpoint", "or --predictions"]),
        (["--checkpoint", "a", "--predictions", "b"], ["either --checkpoint", "or --predictions"]),
        (["--checkpoint", "a", "--ground-truth", "b"], ["--ground-truth does not go with --checkpoint"]),
        (["--checkpoint", "a", "--protocol", "lsp"], ["--protocol does not go with --checkpoint"]),
        (["--predictions", "a", "--data", "b"], ["--data does not go with --predictions"]),
        (["--predictions", "a", "--split", "val"], ["--split does not go with --predictions"]),
        (["--predictions", "a", "--flip-test"], ["--flip-test does not go with --predictions"]),
        (["--predictions", "a", "--out", "b"], ["--out does not go with --predictions"]),
        (["--predictions", "nowhere.npz"], ["nowhere.npz is not there"]),
        (["--predictions", "{}/preds.mat"], ["preds.mat holds no ground truth", "--ground-truth"]),
        (["--predictions", "{}/preds.txt", "--ground-truth", "{}/joints.mat"], ["preds.txt", "'.txt' is not known"]),
        (["--predictions", "{}/broken.mat", "--ground-truth", "{}/joints.mat"], ["cannot read", "broken.mat"]),
        (["--predictions", "{}/preds.mat", "--ground-truth", "{}/broken.mat"], ["cannot read", "broken.mat"]),
        (["--predictions", "{}/preds.mat", "--ground-truth", "{}/preds.mat"], ["preds.mat holds no ground truth"]),
        (["--predictions", "{}/mpii.mat", "--ground-truth", "{}/joints.mat"], ["preds is 6 x 16 x 2", "14 joints"]),
        (["--predictions", "{}/fewer.mat", "--ground-truth", "{}/joints.mat"], ["of 4 persons", "of 6"]),
        (
            ["--predictions", "{}/preds.mat", "--ground-truth", "{}/joints.mat", "--protocol", "lsp"],
            ["joints.mat", "'lspet'", "'lsp' was asked for"],
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(evaluate, tmp_path, lspet_files, arguments, words):
    code, output, errors = evaluate(*(argument.format(lspet_files) for argument in arguments), "--json")
    assert (code, output) == (2, "")
    assert len(errors.splitlines()) == 1
    assert errors.startswith("error: ")
    assert all(word in errors for word in words), errors
    assert list(tmp_path.iterdir()) == [], "nothing half-written"


def test_a_file_in_the_place_of_the_folder_is_refused_before_predicting(evaluate, tmp_path):
    (tmp_path / "taken").write_text("")
    code, _, errors = evaluate("--checkpoint", "a", "--out", "taken")
    assert code == 2
    assert "--out taken is a file" in errors


def test_a_checkpoint_that_is_none_leaves_no_folder(evaluate, tmp_path, drawn_people):
    code, _, errors = evaluate("--checkpoint", "nowhere", "--data", drawn_people.place, "--out", "scored")
    assert code == 2
    assert "nowhere" in errors
    assert list(tmp_path.iterdir()) == []
