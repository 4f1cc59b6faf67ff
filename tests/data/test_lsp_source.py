from collections import Counter

import numpy as np
import pytest
import scipy.io
from painted_data import HEIGHT, WIDTH, body_labels, paint

from ray_advpose.data.sources.lsp import read_lsp, read_lspet
from ray_advpose.errors import UserError
from ray_advpose.pose.skeleton import LSP


@pytest.fixture
def lsp_dir(tmp_path):
    n = 20
    joints = np.concatenate([body_labels(n), np.zeros((n, 14, 1))], axis=2).transpose(2, 1, 0).copy()
    joints[2, 4, 0] = 1
    for k in range(n):
        paint(tmp_path / "images" / f"im{k + 1:04d}.jpg", k)
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": joints})
    return tmp_path


def test_lspet_splits_by_position(lspet_dir):
    source = read_lspet(lspet_dir(20))
    persons = list(source.persons)
    assert source.count == 20
    assert (source.name, source.protocol, source.skeleton) == ("lspet", "lspet", "lsp")
    assert [person.split for person in persons] == ["train"] * 15 + ["val"] * 2 + ["test"] * 3
    assert persons[0].person_id == "im00001"


def test_lspet_labels_lose_half_a_pixel_and_boxes_follow_the_joints(lspet_dir):
    def two_known(joints):
        joints[:, 2, 0] = 0
        joints[2, :, 0] = 31, 41, 1
        joints[9, :, 0] = 61, 81, 1

    first = next(iter(read_lspet(lspet_dir(20, two_known)).persons))
    np.testing.assert_array_equal(np.flatnonzero(first.annotated), [2, 9])
    np.testing.assert_array_equal(first.joints_px[[2, 9]], [[30.5, 40.5], [60.5, 80.5]])
    assert (first.joints_px[0] == 0).all()
    np.testing.assert_array_equal(first.center_px, [45.5, 60.5])
    assert first.box_px == 1.25 * 40
    assert first.normalizer_px == 50


def test_lspet_normalizer_needs_both_joints(lspet_dir):
    def no_shoulder(joints):
        joints[9, 2, 0] = 0

    persons = list(read_lspet(lspet_dir(20, no_shoulder)).persons)
    assert np.isnan(persons[0].normalizer_px)
    assert np.isfinite(persons[1].normalizer_px)


def test_lspet_drops_joints_just_outside_and_says_so(lspet_dir):
    def outside(joints):
        joints[13, 0, 3] = -1.0
        joints[9, 1, 4] = HEIGHT + 2.0

    source = read_lspet(lspet_dir(20, outside))
    persons = list(source.persons)
    assert not persons[3].annotated[13]
    assert not persons[4].annotated[9]
    assert np.isnan(persons[4].normalizer_px)
    assert source.notes[0].startswith("2 joints")


def test_lspet_leaves_out_persons_without_two_joints(lspet_dir):
    def nobody(joints):
        joints[:, 2, 5] = 0
        joints[3, 2, 5] = 1

    source = read_lspet(lspet_dir(20, nobody))
    assert source.count == 19
    assert "im00006" not in {person.person_id for person in source.persons}
    assert source.notes[1].startswith("1 of 20 persons")


@pytest.mark.parametrize("value", [np.nan, np.inf, 5.0 * WIDTH])
def test_impossible_coordinates_are_refused(lspet_dir, value):
    def impossible(joints):
        joints[13, 0, 6] = value

    with pytest.raises(UserError, match=r"joints\.mat, person 7, joint head_top"):
        read_lspet(lspet_dir(20, impossible))


def test_unannotated_joints_may_hold_anything(lspet_dir):
    def unused(joints):
        joints[13, :, 6] = np.nan, np.inf, 0

    persons = list(read_lspet(lspet_dir(20, unused)).persons)
    assert (persons[6].joints_px[13] == 0).all()


def test_lsp_splits_boxes_and_occlusion(lsp_dir):
    source = read_lsp(lsp_dir, val_fraction=0.2)
    persons = list(source.persons)
    assert Counter(person.split for person in persons) == {"train": 8, "val": 2, "test": 10}
    assert [person.split for person in persons[7:11]] == ["train", "val", "val", "test"]
    assert persons[0].annotated.all()
    assert np.flatnonzero(persons[0].occluded).tolist() == [4]
    joints_px = persons[0].joints_px
    np.testing.assert_allclose(persons[0].box_px, 1.25 * np.ptp(joints_px, axis=0).max())
    test = persons[10]
    np.testing.assert_array_equal(test.center_px, [WIDTH / 2, HEIGHT / 2])
    assert test.box_px == WIDTH
    torso = test.joints_px[LSP.index("left_shoulder")] - test.joints_px[LSP.index("right_hip")]
    np.testing.assert_allclose(test.normalizer_px, np.hypot(*torso))


def test_each_layout_is_refused_by_the_other_reader(lsp_dir):
    with pytest.raises(UserError, match=r"3 x 14 x 20, expected 14 x 3 x N"):
        read_lspet(lsp_dir)


def test_lsp_persons_without_labels_are_refused(lsp_dir):
    joints = scipy.io.loadmat(lsp_dir / "joints.mat")["joints"]
    joints[:, :, 4] = 0
    scipy.io.savemat(lsp_dir / "joints.mat", {"joints": joints})
    with pytest.raises(UserError, match=r"person 5: all joints lie on one point"):
        read_lsp(lsp_dir)


def test_fractions_are_checked(lsp_dir):
    with pytest.raises(UserError, match=r"val_fraction = 1.5"):
        read_lsp(lsp_dir, val_fraction=1.5)


def test_the_real_subset(real_data):
    source = read_lspet(real_data / "lspet")
    persons = list(source.persons)
    assert Counter(person.split for person in persons) == {"train": 3000, "val": 400, "test": 600}
    scored = np.mean([np.isfinite(person.normalizer_px) for person in persons])
    assert 0.70 < scored < 0.74
    assert source.notes[0].startswith("13 joints")
