"""Ground truth in the forms of MPII, LSP, LSPET and this package."""

from __future__ import annotations

import numpy as np
import pytest
from painted_data import body_labels
from saved_arrays import save

from ray_advpose.data.rescoring import score_file
from ray_advpose.data.sources.lsp import read_lspet
from ray_advpose.data.truth_files import read_truth
from ray_advpose.errors import UserError


def mpii_arrays(persons=4):
    part = np.random.default_rng(0).uniform(1, 300, (persons, 16, 2))
    part[1, 3] = 0
    visible = np.ones((persons, 16))
    visible[0, 5] = 0
    return {
        "part": part,
        "normalize": np.full(persons, 30.0),
        "visible": visible,
        "imgname": np.array([b"005.jpg", b"005.jpg", b"017.jpg", b"018.jpg"][:persons]),
        "person": np.array([0.0, 2.0, 0.0, 1.0])[:persons],
    }


def own_arrays(persons=4, **changes):
    arrays = {
        "truth_px": body_labels(persons),
        "annotated": np.ones((persons, 14), dtype=bool),
        "normalizer_px": np.full(persons, 30.0),
        "person_id": np.array([f"im{k}" for k in range(persons)]),
        "protocol": np.array("lspet"),
    }
    return {name: array for name, array in (arrays | changes).items() if array is not None}


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".mat"])
def test_mpii(tmp_path, suffix):
    arrays = mpii_arrays()
    truth = read_truth(save(tmp_path / f"valid{suffix}", **arrays), "mpii")
    assert truth.protocol == "mpii"
    np.testing.assert_array_equal(truth.joints_px, arrays["part"])
    assert np.argwhere(~truth.annotated).tolist() == [[1, 3]]
    assert np.argwhere(~truth.visible).tolist() == [[0, 5], [1, 3]]
    np.testing.assert_array_equal(truth.normalizer_px, arrays["normalize"])
    assert not truth.edges_at_integers
    assert truth.person_id == ("005#1", "005#3", "017#1", "018#2")


def prepared_mpii_file(folder, chosen, names):
    """Write perfect predictions of some persons of `mpii_arrays` as this package does."""
    part = mpii_arrays()["part"][chosen]
    arrays = own_arrays(
        len(chosen),
        truth_px=part - 0.5 + np.random.default_rng(1).uniform(-0.009, 0.009, part.shape),
        annotated=(part != 0).any(axis=2),
        person_id=np.array(names),
        protocol=np.array("mpii"),
        predictions_px=part - 0.5,
    )
    return save(folder / "predictions.npz", **arrays)


# The persons of each image, counted without those that valid.h5 leaves out.
PREPARED_NAMES = ["005#1", "005#2", "017#1", "018#1"]


def test_persons_of_mpii_meet_in_their_order_where_only_their_labels_are_the_same(tmp_path):
    truth = save(tmp_path / "valid.h5", **mpii_arrays())
    scored = score_file(prepared_mpii_file(tmp_path, [0, 1, 2, 3], PREPARED_NAMES), truth)
    assert (scored.score.persons, scored.score.pooled) == (4, 100)
    assert "of the 4 persons" not in scored.caption
    assert any("same labels under other names: matched in their order" in note for note in scored.notes)


def test_persons_of_mpii_meet_by_name_where_the_labels_are_the_same_too(tmp_path):
    truth = save(tmp_path / "valid.h5", **mpii_arrays())
    scored = score_file(prepared_mpii_file(tmp_path, [3, 1], ["018#2", "005#3"]), truth)
    assert scored.score.pooled == 100
    assert scored.caption.endswith("2 of the 4 persons in valid.h5")


@pytest.mark.parametrize(
    ("chosen", "names", "words"),
    [
        ([0, 1, 3, 2], PREPARED_NAMES, r"2 of whom .*valid\.h5 does not know among its 4, '005#2' for one"),
        ([0, 2], ["005#1", "018#2"], r"other labels than .*valid\.h5 for 1 of 2 persons of the same name"),
    ],
)
def test_persons_of_mpii_under_others_names_are_refused(tmp_path, chosen, names, words):
    truth = save(tmp_path / "valid.h5", **mpii_arrays())
    with pytest.raises(UserError, match=words):
        score_file(prepared_mpii_file(tmp_path, chosen, names), truth)


def test_text_of_any_length_names_persons_too(tmp_path):
    arrays = mpii_arrays() | {"imgname": np.array([b"5.jpg", b"a/17.jpg", b"1.jpg", b"2.jpg"], dtype=object)}
    assert read_truth(save(tmp_path / "valid.h5", **arrays)).person_id[1] == "17#3"


def test_mpii_without_what_is_optional(tmp_path):
    arrays = mpii_arrays()
    truth = read_truth(save(tmp_path / "valid.h5", **{name: arrays[name] for name in ("part", "normalize")}))
    assert truth.visible is None
    assert truth.person_id is None
    assert "MPII's part, normalize, 4 persons" in truth.note


def test_lsp_counts_every_joint_and_knows_the_occluded(tmp_path):
    joints = np.concatenate([body_labels(4), np.zeros((4, 14, 1))], axis=2).transpose(2, 1, 0)
    joints[2, 6, 1] = 1
    truth = read_truth(save(tmp_path / "joints.mat", **{"joints": joints}))
    assert truth.protocol == "lsp"
    np.testing.assert_array_equal(truth.joints_px, body_labels(4))
    assert truth.annotated.all()
    assert np.argwhere(~truth.visible).tolist() == [[1, 6]]
    np.testing.assert_allclose(truth.normalizer_px, np.linalg.norm(body_labels(4)[:, 9] - body_labels(4)[:, 2], axis=1))
    assert truth.person_id[0] == "im0001"
    assert "third row 1 = occluded" in truth.note


def test_lspet_counts_annotated_joints(tmp_path):
    joints = np.concatenate([body_labels(4), np.ones((4, 14, 1))], axis=2).transpose(1, 2, 0)
    joints[9, :, 3] = np.nan, np.nan, 0
    truth = read_truth(save(tmp_path / "joints.mat", **{"joints": joints}))
    assert truth.protocol == "lspet"
    assert np.argwhere(~truth.annotated).tolist() == [[3, 9]]
    assert (truth.joints_px[3, 9] == 0).all()
    assert np.isnan(truth.normalizer_px).tolist() == [False, False, False, True]
    assert truth.visible is None
    assert truth.person_id[3] == "im00004"


def test_names_and_normalisers_are_those_of_prepared_persons(lspet_dir):
    directory = lspet_dir(20)
    truth = read_truth(directory / "joints.mat")
    persons = list(read_lspet(directory).persons)
    assert list(truth.person_id) == [person.person_id for person in persons]
    np.testing.assert_allclose(truth.normalizer_px, [person.normalizer_px for person in persons])
    np.testing.assert_array_equal(truth.joints_px - 0.5, [person.joints_px for person in persons])


def test_own_predictions_bring_their_ground_truth(tmp_path):
    arrays = own_arrays(annotated=np.eye(4, 14) > 0)
    truth = read_truth(save(tmp_path / "predictions.npz", **arrays))
    assert truth.protocol == "lspet"
    np.testing.assert_array_equal(truth.joints_px, arrays["truth_px"])
    np.testing.assert_array_equal(truth.annotated, arrays["annotated"])
    assert truth.annotated.dtype == bool
    assert truth.edges_at_integers
    assert truth.person_id == ("im0", "im1", "im2", "im3")


def test_own_leeds_predictions_are_measured_by_the_torso_and_mpiis_by_the_file(tmp_path):
    arrays = own_arrays(normalizer_px=np.array([np.nan, 1.0, 0.0, 7.0]))
    truth = read_truth(save(tmp_path / "predictions.npz", **arrays))
    torso = arrays["truth_px"][:, 9] - arrays["truth_px"][:, 2]
    np.testing.assert_allclose(truth.normalizer_px, np.linalg.norm(torso, axis=1))
    joints = {"truth_px": np.ones((4, 16, 2)), "annotated": np.ones((4, 16)), "protocol": np.array("mpii")}
    truth = read_truth(save(tmp_path / "predictions.npz", **arrays | joints))
    np.testing.assert_array_equal(truth.normalizer_px, arrays["normalizer_px"])


def test_one_person_is_no_persons(tmp_path):
    assert "1 person, protocol lspet" in read_truth(save(tmp_path / "predictions.npz", **own_arrays(1))).note
    assert "2 persons, protocol mpii" in read_truth(save(tmp_path / "valid.npz", **mpii_arrays(2))).note


def test_another_protocol_is_refused(tmp_path):
    path = save(tmp_path / "valid.h5", **mpii_arrays())
    with pytest.raises(UserError, match=r"valid\.h5 holds ground truth of protocol 'mpii', but 'lsp' was asked for"):
        read_truth(path, "lsp")


def test_infinite_labels_are_named(tmp_path):
    arrays = mpii_arrays()
    arrays["part"][2, 9, 1] = np.inf
    with pytest.raises(UserError, match=r"valid\.h5, person 3, joint head_top: coordinates \(.*, inf\)"):
        read_truth(save(tmp_path / "valid.h5", **arrays))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"preds": np.ones((3, 16, 2))}, r"truth_px .*part and normalize .*joints .*found preds \(3 x 16 x 2\)"),
        ({"joints": np.ones((4, 14, 3))}, r"joints is 4 x 14 x 3 of float64, expected numbers, 3 x 14 x N"),
        ({"joints": np.ones((3, 14, 5), dtype=bool)}, "joints is 3 x 14 x 5 of bool"),
        ({"joints": np.ones((3, 14, 0))}, "the ground truth of no person"),
        (mpii_arrays() | {"part": np.ones((4, 14, 2))}, "part is 4 x 14 x 2 of float64, expected 4 x 16 x 2"),
        (mpii_arrays() | {"normalize": np.ones(3)}, "normalize is 3 of float64, expected 4 of numbers"),
        (mpii_arrays() | {"visible": np.ones((4, 14))}, "visible is 4 x 14 of float64, expected 4 x 16 of numbers"),
        (own_arrays(protocol=np.array("coco")), "protocol is 'coco', expected one of mpii, lsp, lspet"),
        (own_arrays(protocol=np.array(3)), "protocol is a single value of int64, expected 1 of text"),
        (own_arrays(protocol=None), "holds no array protocol"),
        (own_arrays(protocol=np.array("mpii")), "annotated is 4 x 14 of bool, expected 4 x 16 of numbers"),
        (
            own_arrays(protocol=np.array("lsp"), annotated=np.arange(56).reshape(4, 14) != 20),
            "person 2, joint right_wrist is not annotated, but protocol 'lsp' counts every joint",
        ),
        (own_arrays(annotated=None), "holds no array annotated"),
        (own_arrays(normalizer_px=np.array(["a"] * 4)), "normalizer_px is 4 of <U1, expected 4 of numbers"),
        (own_arrays(person_id=np.arange(4)), "person_id is 4 of int64, expected 4 of text"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, arrays, words):
    with pytest.raises(UserError, match=rf"given\.npz.*{words}"):
        read_truth(save(tmp_path / "given.npz", **arrays))
