"""Files of predictions meet files of ground truth: the right persons, the right half pixel, the right figures."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from ray_advpose.data.prediction_files import write_predictions
from ray_advpose.data.rescoring import score_file
from ray_advpose.errors import UserError
from ray_advpose.pose.skeleton import LSP, MPII


def bodies(persons, joints=14):
    """(n, J, 2) 1-based labels; every person's torso, and so its normaliser, differs from the others'."""
    return np.random.default_rng(0).uniform(1, 300, (persons, joints, 2))


def lsp_file(folder, labels):
    joints = np.concatenate([labels, np.zeros((len(labels), 14, 1))], axis=2)
    savemat(folder / "joints.mat", {"joints": joints.transpose(2, 1, 0)})
    return folder / "joints.mat"


def lspet_file(folder, labels, annotated=None):
    third = np.ones(labels.shape[:2]) if annotated is None else annotated
    joints = np.concatenate([labels, third[:, :, None]], axis=2)
    savemat(folder / "joints.mat", {"joints": joints.transpose(1, 2, 0)})
    return folder / "joints.mat"


def mpii_file(folder, labels, head_px, visible=None):
    with h5py.File(folder / "valid.h5", "w") as file:
        file["part"], file["normalize"] = labels, head_px
        if visible is not None:
            file["visible"] = visible
    return folder / "valid.h5"


def foreign(folder, predictions):
    savemat(folder / "preds.mat", {"preds": predictions})
    return folder / "preds.mat"


def own(folder, predictions_px, truth_px, names, protocol="lspet", normalizer_px=None):
    path = folder / "predictions.npz"
    count, joints = truth_px.shape[:2]
    annotated = np.ones((count, joints), dtype=bool)
    write_predictions(
        path,
        predictions_px,
        names,
        truth_px,
        annotated,
        np.full(count, 50.0) if normalizer_px is None else normalizer_px,
        protocol=protocol,
        decoder="exact",
        flip_test=True,
    )
    return path


def test_a_file_of_this_package_scores_itself(tmp_path):
    truth_px = bodies(4)
    scored = score_file(own(tmp_path, truth_px + np.array([1.0, -2.0]), truth_px, list("abcd")))
    assert scored.protocol == "lspet"
    np.testing.assert_allclose(scored.score.median_error_px, [1, -2])
    assert scored.caption.endswith("decoder exact, flip test on")
    assert (scored.decoder, scored.flip_test) == ("exact", True)
    assert not any("shifted" in note for note in scored.notes)
    assert len(scored.notes) == 2


def test_files_of_others_meet_without_a_shift(tmp_path):
    labels = bodies(4)
    scored = score_file(foreign(tmp_path, labels), lspet_file(tmp_path, labels))
    assert scored.score.median_error_px.tolist() == [0, 0]
    assert scored.score.pooled == 100
    assert scored.caption.endswith("decoder not known, flip test not known")
    assert not any("shifted" in note for note in scored.notes)


def test_own_predictions_meet_labels_with_half_a_pixel_taken_off_the_labels(tmp_path):
    labels = bodies(4)
    names = ["im00001", "im00002", "im00003", "im00004"]
    scored = score_file(own(tmp_path, labels - 0.5, labels - 0.5, names), lspet_file(tmp_path, labels))
    np.testing.assert_allclose(scored.score.median_error_px, [0, 0], atol=1e-12)
    assert any("1-based labels were shifted by -0.5 px" in note for note in scored.notes)


def test_predictions_of_others_meet_own_ground_truth_with_half_a_pixel_taken_off_the_predictions(tmp_path):
    labels = bodies(4)
    scored = score_file(foreign(tmp_path, labels), own(tmp_path, labels - 0.5, labels - 0.5, list("abcd")))
    np.testing.assert_allclose(scored.score.median_error_px, [0, 0], atol=1e-12)
    assert any("1-based predictions were shifted by -0.5 px" in note for note in scored.notes)


def test_named_persons_find_their_labels(tmp_path):
    labels = bodies(9)
    chosen = [7, 2, 4]
    names = [f"im{person + 1:05d}" for person in chosen]
    path = own(tmp_path, labels[chosen] - 0.5, labels[chosen] - 0.5, names)
    scored = score_file(path, lspet_file(tmp_path, labels))
    assert scored.score.pooled == 100
    assert scored.score.persons == 3
    assert any("3 predictions matched with 9 persons of the ground truth by name" in note for note in scored.notes)
    assert scored.caption.endswith("flip test on; 3 of the 9 persons in joints.mat")


def test_the_caption_names_no_part_where_all_are_scored(tmp_path):
    labels = bodies(4)
    names = ["im00004", "im00002", "im00003", "im00001"]
    turned = labels[[3, 1, 2, 0]] - 0.5
    scored = score_file(own(tmp_path, turned, turned, names), lspet_file(tmp_path, labels))
    assert scored.score.pooled == 100
    assert scored.caption.endswith("flip test on")


def test_one_prediction_is_no_predictions(tmp_path):
    labels = bodies(2)
    path = own(tmp_path, labels[:1] - 0.5, labels[:1] - 0.5, ["im00001"])
    assert "1 prediction matched with 2 persons" in " ".join(score_file(path, lspet_file(tmp_path, labels)).notes)


def test_a_name_the_ground_truth_does_not_know_is_refused(tmp_path):
    labels = bodies(3)
    path = own(tmp_path, labels, labels, ["im00001", "im00009", "im00010"])
    with pytest.raises(UserError, match=r"predictions of 3 persons, 2 of whom .*its 3, 'im00009' for one"):
        score_file(path, lspet_file(tmp_path, labels))


def test_ground_truth_that_repeats_a_name_is_refused(tmp_path):
    truth_px = bodies(3)
    with pytest.raises(UserError, match=r"gives 3 persons only 2 different names"):
        score_file(own(tmp_path, truth_px, truth_px, list("aab")))


@pytest.mark.parametrize(
    ("names", "words"),
    [(["im00001", "im00003", "im00001"], "only 2 different names"), (["im00001"] * 3, "one name")],
)
def test_predictions_that_repeat_a_name_are_refused(tmp_path, names, words):
    labels = bodies(5)
    path = own(tmp_path, labels[:3] - 0.5, labels[:3] - 0.5, names)
    with pytest.raises(UserError, match=rf"predictions\.npz gives 3 persons {words}"):
        score_file(path, lspet_file(tmp_path, labels))


def test_the_torso_measures_own_predictions_whatever_normaliser_they_bring(tmp_path):
    truth_px = bodies(4)
    scored = score_file(own(tmp_path, truth_px, truth_px, list("abcd"), normalizer_px=np.full(4, np.nan)))
    assert (scored.score.persons, scored.score.pooled, scored.left_out) == (4, 100, ())


def test_different_lengths_are_refused_with_both_numbers(tmp_path):
    labels = bodies(6)
    with pytest.raises(UserError, match=r"preds\.mat holds predictions of 5 persons, but .*joints\.mat .* of 6"):
        score_file(foreign(tmp_path, labels[:5]), lspet_file(tmp_path, labels))


def test_predictions_without_ground_truth_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"preds\.mat holds no ground truth .*--ground-truth"):
        score_file(foreign(tmp_path, bodies(3)))


@pytest.fixture(scope="module")
def official_lsp(tmp_path_factory):
    labels = bodies(2000)
    return labels, lsp_file(tmp_path_factory.mktemp("lsp"), labels)


def test_a_thousand_predictions_are_of_lsps_test_images(tmp_path, official_lsp):
    labels, truth = official_lsp
    scored = score_file(foreign(tmp_path, labels[1000:].transpose(2, 1, 0)), truth, "lsp")
    assert (scored.score.persons, scored.score.pooled) == (1000, 100)
    assert any("test images, persons 1001..2000" in note for note in scored.notes)
    assert any("2 x J x n" in note for note in scored.notes)


def test_of_two_thousand_predictions_lsps_test_images_are_scored(tmp_path, official_lsp):
    labels, truth = official_lsp
    predictions = labels.copy()
    predictions[:1000] += 500
    scored = score_file(foreign(tmp_path, predictions), truth, "lsp")
    assert (scored.score.persons, scored.score.pooled) == (1000, 100)
    assert any("only LSP's test images are scored" in note for note in scored.notes)


@pytest.mark.parametrize(
    ("chosen", "persons", "ending"),
    [
        (range(900, 1000), 100, "flip test on; 100 persons, none of them of the test half"),
        (range(1900, 2000), 100, "flip test on; 100 of the 1000 test persons"),
        (range(999, 1999), 1000, "flip test on; 1000 persons, 999 of them of the test half"),
        (range(500, 2000), 1500, "flip test on; 1500 persons, 1000 of them of the test half"),
        (range(1000), 1000, "flip test on; 1000 persons, none of them of the test half"),
        (range(1999, 999, -1), 1000, "flip test on"),
        (range(2000), 1000, "flip test on"),
    ],
)
def test_own_lsp_predictions_find_their_images_by_name(tmp_path, official_lsp, chosen, persons, ending):
    labels, truth = official_lsp
    names = [f"im{person + 1:04d}" for person in chosen]
    mine_px = labels[list(chosen)] - 0.5
    scored = score_file(own(tmp_path, mine_px, mine_px, names, "lsp"), truth)
    assert (scored.score.persons, scored.score.pooled) == (persons, 100)
    assert scored.caption.endswith(ending)


def test_another_number_of_lsp_predictions_is_refused(tmp_path, official_lsp):
    labels, truth = official_lsp
    with pytest.raises(UserError, match=r"999 persons, but .* of 2000"):
        score_file(foreign(tmp_path, labels[1001:]), truth)


def test_persons_without_a_head_box_are_left_out_by_name(tmp_path):
    labels = bodies(5, joints=16)
    truth = mpii_file(tmp_path, labels, np.array([30.0, 0.0, 30.0, np.nan, 30.0]))
    scored = score_file(foreign(tmp_path, labels), truth, "mpii")
    assert scored.left_out == ("person 2", "person 4")
    assert (scored.score.persons, scored.score.persons_left_out) == (3, 2)


def test_persons_without_a_torso_are_left_out_by_name(tmp_path):
    labels = bodies(4)
    labels[1, LSP.index("left_shoulder")] = labels[1, LSP.index("right_hip")]
    annotated = np.ones((4, 14))
    annotated[3, LSP.index("left_shoulder")] = 0
    scored = score_file(foreign(tmp_path, labels), lspet_file(tmp_path, labels, annotated))
    assert scored.left_out == ("im00002", "im00004")


def test_nobody_to_score_is_refused(tmp_path):
    labels = bodies(3, joints=16)
    with pytest.raises(UserError, match=r"valid\.h5: none of 3 persons has a positive finite normaliser"):
        score_file(foreign(tmp_path, labels), mpii_file(tmp_path, labels, np.zeros(3)))


def test_missing_predictions_are_wrong_and_counted(tmp_path):
    labels = bodies(4)
    predictions = labels.copy()
    predictions[0, 3] = np.nan
    predictions[1, 5, 0] = np.inf
    annotated = np.ones((4, 14))
    annotated[2, 6] = 0
    predictions[2, 6] = np.nan  # does not count, so it is not missed
    scored = score_file(foreign(tmp_path, predictions), lspet_file(tmp_path, labels, annotated))
    assert scored.score.not_finite == 2
    assert scored.score.pooled == pytest.approx(100 * 53 / 55)
    assert scored.score.median_error_px.tolist() == [0, 0]


def test_other_definitions_are_kept_apart(tmp_path):
    labels = bodies(4, joints=16)
    predictions = labels.copy()
    predictions[:, MPII.index("pelvis")] += 100
    predictions[0, MPII.index("left_knee")] += 100
    visible = np.ones((4, 16))
    visible[0, MPII.index("left_knee")] = 0
    scored = score_file(foreign(tmp_path, predictions), mpii_file(tmp_path, labels, np.full(4, 30.0), visible))
    assert scored.score.pooled == pytest.approx(100 * 55 / 56)
    assert scored.unofficial == {"pooled16": pytest.approx(100 * 59 / 64), "pooled14_visible": 100}
    assert score_file(foreign(tmp_path, bodies(4)), lspet_file(tmp_path, bodies(4))).unofficial == {}


def test_occluded_lsp_joints_count_officially(tmp_path):
    labels = bodies(4)
    joints = np.concatenate([labels, np.zeros((4, 14, 1))], axis=2).transpose(2, 1, 0)
    joints[2, LSP.index("right_hip"), 0] = 1
    savemat(tmp_path / "joints.mat", {"joints": joints})
    predictions = labels.copy()
    predictions[0, LSP.index("right_hip")] += 1000
    scored = score_file(foreign(tmp_path, predictions), tmp_path / "joints.mat")
    assert scored.score.pooled == pytest.approx(100 * 55 / 56)
    # The person's torso ends in the occluded hip and still measures its other joints.
    assert scored.unofficial == {"pooled14_visible": 100}
    assert scored.score.persons == 4


@pytest.fixture(scope="module")
def published():
    root = os.environ.get("ADVPOSE_DATA")
    if not root or not Path(root, "mpii", "valid.h5").is_file():
        pytest.skip("ADVPOSE_DATA names no folder with mpii/valid.h5")
    return Path(root, "mpii")


def test_published_predictions_score_the_same_in_every_form(tmp_path, published):
    straight = score_file(published / "predictions_hg_s2_b1.mat", published / "valid.h5", "mpii")
    assert straight.score.pooled == pytest.approx(87.30, abs=0.01)
    assert straight.unofficial == pytest.approx({"pooled16": 88.20, "pooled14_visible": 92.48}, abs=0.01)
    turned = loadmat(published / "predictions_hg_s2_b1.mat")["preds"].transpose(2, 1, 0)
    again = score_file(foreign(tmp_path, turned), published / "valid.h5", "mpii")
    np.testing.assert_array_equal(again.score.joint_accuracy, straight.score.joint_accuracy)
