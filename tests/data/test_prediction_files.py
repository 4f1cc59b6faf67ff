"""Predictions are read in whatever container, name and order of axes they come in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from saved_arrays import save

from ray_advpose.data.prediction_files import read_predictions, write_predictions
from ray_advpose.errors import UserError

JOINTS_PX = np.random.default_rng(0).uniform(0, 300, (5, 16, 2)).astype(np.float32)


def save_v73(path, **arrays):
    """Write arrays as MATLAB does with ``save -v7.3``: HDF5 behind a text header, axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array.T).attrs["MATLAB_class"] = np.bytes_("double")
        file["#refs#/cell"] = np.zeros((5, 16, 2))
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5", ".hdf5"])
@pytest.mark.parametrize("name", ["preds", "predictions", "pred", "whatever"])
def test_every_container_and_name(tmp_path, suffix, name):
    found = read_predictions(save(tmp_path / f"made{suffix}", **{name: JOINTS_PX}), 16)
    np.testing.assert_array_equal(found.joints_px, JOINTS_PX)
    assert found.joints_px.dtype == np.float64
    assert not found.edges_at_integers
    assert (found.person_id, found.decoder, found.flip_test) == (None, None, None)
    assert (found.truth_px, found.annotated) == (None, None)
    assert f"made{suffix}: array {name}, 5 x 16 x 2, read as n x J x 2, 1-based pixels" in found.note


@pytest.mark.parametrize(
    ("axes", "form"),
    [
        ((0, 1, 2), "n x J x 2"),
        ((0, 2, 1), "n x 2 x J"),
        ((1, 0, 2), "J x n x 2"),
        ((1, 2, 0), "J x 2 x n"),
        ((2, 0, 1), "2 x n x J"),
        ((2, 1, 0), "2 x J x n"),
    ],
)
def test_every_order_of_axes(tmp_path, axes, form):
    found = read_predictions(save(tmp_path / "made.npz", preds=JOINTS_PX.transpose(axes)), 16)
    np.testing.assert_array_equal(found.joints_px, JOINTS_PX)
    assert f"read as {form}," in found.note


def test_matlab_v73_files_are_read_in_matlabs_order(tmp_path):
    # Two persons: without the order that MATLAB had it in, this would be read as another array.
    square = np.random.default_rng(1).uniform(0, 9, (2, 16, 2))
    np.testing.assert_array_equal(read_predictions(save_v73(tmp_path / "a.mat", preds=square), 16).joints_px, square)
    np.testing.assert_array_equal(read_predictions(save_v73(tmp_path / "b.mat", p=JOINTS_PX), 16).joints_px, JOINTS_PX)


def test_a_score_beside_the_coordinates_is_left_out(tmp_path):
    scored = np.concatenate([JOINTS_PX, np.ones((5, 16, 1))], axis=2)
    found = read_predictions(save(tmp_path / "made.npz", preds=scored.transpose(2, 1, 0)), 16)
    np.testing.assert_array_equal(found.joints_px, JOINTS_PX)
    assert "read as 3 x J x n" in found.note
    assert "taken for a score and left out" in found.note


@pytest.mark.parametrize(
    ("shape", "others"),
    [((2, 16, 2), "2 x J x n"), ((16, 16, 2), "J x n x 2"), ((3, 16, 2), "3 x J x n")],
)
def test_a_shape_that_reads_in_two_ways_is_persons_first_and_said(tmp_path, shape, others):
    array = np.random.default_rng(2).uniform(0, 9, shape)
    found = read_predictions(save(tmp_path / "made.npz", preds=array), 16)
    np.testing.assert_array_equal(found.joints_px, array)
    assert f"read as n x J x 2 (it could also be {others})" in found.note


def test_of_two_readings_the_one_with_the_expected_persons_is_taken_and_said(tmp_path):
    array = np.random.default_rng(2).uniform(0, 9, (3, 16, 2))
    path = save(tmp_path / "made.npz", preds=array)
    found = read_predictions(path, 16, persons=2)
    np.testing.assert_array_equal(found.joints_px, array.transpose(2, 1, 0)[:, :, :2])
    assert "read as 3 x J x n (it could also be n x J x 2)" in found.note
    np.testing.assert_array_equal(read_predictions(path, 16, persons=7).joints_px, array)


def test_nothing_is_doubtful_about_a_file_of_this_package(tmp_path):
    found = read_predictions(save(tmp_path / "made.npz", predictions_px=JOINTS_PX[:3]), 16, persons=2)
    np.testing.assert_array_equal(found.joints_px, JOINTS_PX[:3])
    assert "could also be" not in found.note


def test_the_array_that_can_be_joints_is_found_among_others(tmp_path):
    others = {"scores": np.ones((5, 16)), "affine": np.zeros((5, 2, 3)), "names": np.array(["a"] * 5)}
    path = save(tmp_path / "made.npz", keypoints=JOINTS_PX, meta=np.array({"epoch": 3}, dtype=object), **others)
    np.testing.assert_array_equal(read_predictions(path, 16).joints_px, JOINTS_PX)
    path = save(tmp_path / "nested.h5", **{"results/preds": JOINTS_PX, "results/truth": JOINTS_PX + 1})
    assert "array results/preds" in read_predictions(path, 16).note


@pytest.mark.parametrize("names", [("a", "b"), ("preds", "pred")])
def test_two_arrays_that_could_be_it_are_named(tmp_path, names):
    path = save(tmp_path / "made.npz", **dict.fromkeys(names, JOINTS_PX))
    with pytest.raises(UserError, match=rf"made\.npz: any of {names[0]} \(5 x 16 x 2\), {names[1]} \(5 x 16 x 2\)"):
        read_predictions(path, 16)


def test_another_number_of_joints_is_refused(tmp_path):
    path = save(tmp_path / "made.mat", preds=JOINTS_PX)
    with pytest.raises(UserError, match=r"made\.mat: preds is 5 x 16 x 2, expected persons, 14 joints"):
        read_predictions(path, 14)


@pytest.mark.parametrize("arrays", [{}, {"preds": JOINTS_PX[0]}, {"preds": JOINTS_PX != 0}, {"a": np.ones((5, 16, 4))}])
def test_a_file_without_predictions_says_what_it_holds(tmp_path, arrays):
    path = save(tmp_path / "made.npz", **arrays)
    with pytest.raises(UserError, match=r"made\.npz holds no array of numbers with three axes") as caught:
        read_predictions(path, 16)
    assert all(name in str(caught.value) for name in arrays)


@pytest.mark.parametrize(
    ("suffix", "array", "form"),
    [
        (".npz", np.zeros((5, 16, 8, 4), dtype=np.float32), "5 x 16 x 8 x 4 of float32"),
        (".mat", np.zeros((5, 16, 8, 4)), "5 x 16 x 8 x 4 of float64"),
        (".h5", np.zeros((5, 16, 8, 4)), "5 x 16 x 8 x 4 of float64"),
        (".npz", np.array([{"a": 1}, None]), "2 of object"),
        (".mat", np.array([{"a": 1}, "b"]), "1 x 2 of object"),
        (".npz", JOINTS_PX.astype(np.complex128), "5 x 16 x 2 of complex128"),
        (".h5", JOINTS_PX.astype(np.complex128), "5 x 16 x 2 of complex128"),
    ],
)
def test_arrays_of_kinds_that_are_not_read_are_named(tmp_path, suffix, array, form):
    path = save(tmp_path / f"made{suffix}", heatmaps=array, other=np.ones((5, 16)))
    with pytest.raises(UserError, match=rf"found other \(5 x 16\), heatmaps \({form}, not read\)$"):
        read_predictions(path, 16)


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5"])
@pytest.mark.parametrize("damage", [lambda content: b"no such file", lambda content: content[: len(content) // 2]])
def test_a_broken_file_is_one_sentence(tmp_path, suffix, damage):
    path = save(tmp_path / f"made{suffix}", preds=JOINTS_PX)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"^cannot read .*made\{suffix} as ") as caught:
        read_predictions(path, 16)
    assert "\n" not in str(caught.value)


def test_paths_that_cannot_be_predictions(tmp_path):
    for name, words in (
        ("missing.npz", "is not there"),
        ("made.txt", r"ending in '\.txt' is not known, known are \.npz"),
        ("folder.npz", "is a folder"),
    ):
        (tmp_path / "folder.npz").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=words):
            read_predictions(tmp_path / name, 16)


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "predictions.npz"
    names = [f"im{k}" for k in range(5)]
    write_predictions(
        path,
        JOINTS_PX,
        names,
        JOINTS_PX + 1,
        JOINTS_PX[:, :, 0] > 0,
        np.ones(5),
        protocol="mpii",
        decoder="exact",
        flip_test=True,
    )
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.npz"]
    found = read_predictions(path, 16)
    np.testing.assert_array_equal(found.joints_px, JOINTS_PX)
    assert found.edges_at_integers
    assert (found.person_id, found.decoder, found.flip_test) == (tuple(names), "exact", True)
    np.testing.assert_array_equal(found.truth_px, JOINTS_PX + 1)
    np.testing.assert_array_equal(found.annotated, JOINTS_PX[:, :, 0] > 0)
    assert "array predictions_px" in found.note
    assert found.note.endswith("edges at integers")


def test_names_must_be_as_many_as_persons(tmp_path):
    path = save(tmp_path / "made.npz", predictions_px=JOINTS_PX, person_id=np.array(["a", "b"]))
    with pytest.raises(UserError, match="person_id is 2, expected one for each of 5 persons"):
        read_predictions(path, 16)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "predictions.npz"
    path.write_bytes(b"old")
    ragged = [[1.0], [1.0, 2.0]]
    with pytest.raises(ValueError, match="inhomogeneous"):
        write_predictions(
            path, ragged, [], JOINTS_PX, JOINTS_PX, JOINTS_PX, protocol="mpii", decoder="exact", flip_test=False
        )
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_one_file_may_be_written_by_several_at_once(tmp_path):
    """As by trials that end an equal stage 1 at the same moment."""
    path = tmp_path / "shared.npz"

    def write(_):
        truth_px = JOINTS_PX[:, :14].astype(float)
        annotated = np.ones((5, 14), bool)
        names = [str(each) for each in range(5)]
        write_predictions(
            path,
            truth_px,
            names,
            truth_px,
            annotated,
            np.full(5, 9.0),
            protocol="lspet",
            decoder="exact",
            flip_test=False,
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert [each.name for each in tmp_path.iterdir()] == ["shared.npz"]
    assert len(read_predictions(path, 14, 5).joints_px) == 5
