import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_advpose.data.persons import Person
from ray_advpose.data.sources.synthetic import draw_person, generate_synthetic, split_of
from ray_advpose.data.sources.synthetic_figure import PARTS, Figure, pose_figure
from ray_advpose.data.sources.synthetic_outline import hidden_by_body, hidden_by_objects, outline_figure
from ray_advpose.data.sources.synthetic_poses import TAIL, sample_family, sample_pose
from ray_advpose.errors import UserError
from ray_advpose.pose.skeleton import LSP

IMAGE_PX = 220


@pytest.fixture(scope="module")
def people() -> list[Person]:
    return list(generate_synthetic(1600).persons)


def picture_of(person: Person) -> np.ndarray:
    assert not isinstance(person.image, (Path, np.ndarray))
    return person.image()


def upright_figure(turn_deg: float = 0.0, abduct_deg: float = 15.0) -> Figure:
    rng = np.random.default_rng(0)
    pose = sample_pose(sample_family(rng), rng)
    still = pose._replace(
        root=np.array([0.0, 0.0, turn_deg]),
        spine=np.zeros(3),
        head=np.zeros(3),
        arms=np.tile([abduct_deg, 0, 0, 10], (2, 1)),
        legs=np.tile([5.0, 0, 0], (2, 1)),
    )
    return pose_figure(still, rng)


def test_source_describes_itself():
    source = generate_synthetic(40)
    people = list(source.persons)
    assert (source.name, source.skeleton, source.protocol, source.count) == ("synthetic", "lsp", "lspet", 40)
    assert len(people) == 40
    assert len({person.person_id for person in people}) == 40


def test_splits_are_75_10_15_percent_and_interleaved():
    splits = [split_of(index) for index in range(1600)]
    assert [splits.count(split) for split in ("train", "val", "test")] == [1200, 160, 240]
    assert {split_of(index) for index in range(8)} == {"train", "val", "test"}


def test_same_seed_same_pictures_and_labels():
    for index in (0, 7, 23):
        first, second = (draw_person(index, 5, IMAGE_PX) for _ in range(2))
        np.testing.assert_array_equal(picture_of(first), picture_of(second))
        np.testing.assert_array_equal(first.joints_px, second.joints_px)
        np.testing.assert_array_equal(first.occluded, second.occluded)


def test_person_does_not_depend_on_count_or_order():
    short, long = list(generate_synthetic(3).persons), list(generate_synthetic(6).persons)
    for a, b in zip(reversed(short), reversed(long[:3]), strict=True):
        assert (a.person_id, a.split) == (b.person_id, b.split)
        np.testing.assert_array_equal(a.joints_px, b.joints_px)
        np.testing.assert_array_equal(picture_of(a), picture_of(b))


def test_painting_twice_gives_the_same_picture():
    person = draw_person(4, 0, IMAGE_PX)
    np.testing.assert_array_equal(picture_of(person), picture_of(person))


def test_person_survives_pickling():
    person = draw_person(2, 0, IMAGE_PX)
    np.testing.assert_array_equal(picture_of(person), picture_of(pickle.loads(pickle.dumps(person))))


def test_seeds_differ():
    a, b = draw_person(0, 0, IMAGE_PX), draw_person(0, 1, IMAGE_PX)
    assert not np.array_equal(a.joints_px, b.joints_px)
    assert not np.array_equal(picture_of(a), picture_of(b))


def test_pictures_are_full_of_detail(people):
    for person in people[:60]:
        picture = picture_of(person)
        assert picture.shape == (IMAGE_PX, IMAGE_PX, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 10
        assert len(np.unique(picture)) > 60


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 2**64 - 1), st.integers(64, 400))
def test_labels_are_inside_the_picture_or_marked_absent(index: int, seed: int, image_px: int):
    person = draw_person(index, seed, image_px)
    known = person.joints_px[person.annotated]
    assert ((known >= 0) & (known < image_px)).all()
    assert (person.joints_px[~person.annotated] == 0).all()
    assert not (person.occluded & ~person.annotated).any()
    assert person.annotated.sum() >= 4
    assert person.box_px > 0


def test_box_is_125_percent_of_the_annotated_joints(people):
    person = people[11]
    known = person.joints_px[person.annotated]
    assert person.box_px == pytest.approx(1.25 * np.ptp(known, axis=0).max())
    np.testing.assert_allclose(person.center_px, (known.min(axis=0) + known.max(axis=0)) / 2)


def test_shares_of_missing_hidden_and_scored(people):
    annotated = np.array([person.annotated for person in people])
    occluded = np.array([person.occluded for person in people])
    assert 0.02 < 1 - annotated.mean() < 0.06
    assert 0.08 < occluded.sum() / annotated.sum() < 0.25
    assert np.isfinite([person.normalizer_px for person in people]).mean() > 0.9


def body_tilt_deg(people: list[Person]) -> np.ndarray:
    right_hip, left_hip, neck = (LSP.index(joint) for joint in ("right_hip", "left_hip", "neck"))
    known = [person.joints_px for person in people if person.annotated[[right_hip, left_hip, neck]].all()]
    up = np.array([joints[neck] - (joints[right_hip] + joints[left_hip]) / 2 for joints in known])
    return np.abs(np.degrees(np.arctan2(up[:, 0], -up[:, 1])))


def test_rotation_has_a_bulk_and_a_long_tail(people):
    tilt = body_tilt_deg(people)
    assert 0.65 < (tilt < 15).mean() < 0.85
    assert 0.05 < (tilt > 60).mean() < 0.15
    assert (tilt > 150).any()


def test_rare_pose_families_are_10_to_20_percent():
    rng = np.random.default_rng(0)
    names = [sample_family(rng).name for _ in range(4000)]
    rare = [family.name for family in TAIL]
    assert 0.1 < np.mean([name in rare for name in names]) < 0.2
    assert set(rare) <= set(names)


def test_person_facing_the_camera_has_the_left_hand_on_the_right_of_the_picture():
    for joint in ("shoulder", "hip", "wrist", "ankle"):
        left, right = LSP.index(f"left_{joint}"), LSP.index(f"right_{joint}")
        facing, turned_away = upright_figure().joints, upright_figure(180).joints
        assert facing[left, 0] > facing[right, 0]
        assert turned_away[left, 0] < turned_away[right, 0]


def test_upright_figure_has_head_above_hips_above_ankles():
    y = upright_figure().joints[:, 1]
    order = [LSP.index(joint) for joint in ("head_top", "neck", "left_hip", "left_knee", "left_ankle")]
    assert (np.diff(y[order]) > 0.1).all()


@settings(max_examples=80)
@given(st.integers(0, 10**6))
def test_limbs_are_as_long_on_both_sides_and_have_human_proportions(seed: int):
    rng = np.random.default_rng(seed)
    joints = pose_figure(sample_pose(sample_family(rng), rng), rng).joints

    def length(a: str, b: str) -> float:
        return float(np.linalg.norm(joints[LSP.index(a)] - joints[LSP.index(b)]))

    limbs = (("shoulder", "elbow", 0.17), ("elbow", "wrist", 0.155), ("hip", "knee", 0.245), ("knee", "ankle", 0.24))
    for upper, lower, expected in limbs:
        right, left = length(f"right_{upper}", f"right_{lower}"), length(f"left_{upper}", f"left_{lower}")
        assert right == pytest.approx(left)
        assert expected * 0.65 < right < expected * 1.35
    assert 0.12 < length("neck", "head_top") < 0.27


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_mirrored_pose_is_the_mirrored_figure(seed: int):
    rng = np.random.default_rng(seed)
    pose = sample_pose(sample_family(rng), rng)
    mirrored = pose._replace(
        root=pose.root * [-1, 1, -1],
        spine=pose.spine * [1, -1, -1],
        head=pose.head * [1, -1, -1],
        arms=pose.arms[::-1],
        legs=pose.legs[::-1],
    )
    figure, other = (pose_figure(each, np.random.default_rng(seed)).joints for each in (pose, mirrored))
    np.testing.assert_allclose(other[LSP.mirror] * [-1, 1, 1], figure, atol=1e-12)


def test_limb_outlines_contain_their_joints():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        figure = pose_figure(sample_pose(sample_family(rng), rng), rng)
        seen = outline_figure(figure, 150.0, np.array([110.0, 110.0]))
        joints_px = figure.joints * 150 + [110, 110, 0]
        for part, joints in (
            ("left_forearm", ("left_elbow", "left_wrist")),
            ("right_shin", ("right_knee", "right_ankle")),
        ):
            places = [LSP.index(joint) for joint in joints]
            assert hidden_by_objects(joints_px[places], [seen.outlines_px[PARTS.index(part)]]).all()


def hidden_joints(turn_deg: float, abduct_deg: float) -> set[str]:
    figure = upright_figure(turn_deg, abduct_deg=abduct_deg)
    seen = outline_figure(figure, 150.0, np.array([110.0, 110.0]))
    flags = hidden_by_body(figure.joints * 150 + [110, 110, 0], seen)
    return {joint for joint, flag in zip(LSP.joints, flags, strict=True) if flag}


def test_nothing_is_hidden_with_arms_out_and_the_far_shoulder_is_in_profile():
    assert hidden_joints(turn_deg=0, abduct_deg=70) == set()
    # A turn of +90 degrees brings the own left to the camera.
    for turn_deg, near, far in ((90, "left", "right"), (-90, "right", "left")):
        hidden = hidden_joints(turn_deg, abduct_deg=10)
        assert {f"{far}_shoulder", f"{far}_hip"} <= hidden
        assert not hidden & {f"{near}_shoulder", f"{near}_elbow", f"{near}_wrist", f"{near}_ankle", "neck", "head_top"}


def test_painted_person_covers_the_pixels_of_its_joints():
    person = next(p for p in (draw_person(i, 0, IMAGE_PX) for i in range(50)) if p.annotated.all() and p.box_px > 150)
    picture = picture_of(person).astype(np.float64)
    moved = person.image.args[0]._replace(outlines_px=[outline + 1000 for outline in person.image.args[0].outlines_px])
    empty = person.image.func(moved, *person.image.args[1:]).astype(np.float64)
    difference = np.abs(picture - empty).max(axis=2)
    at_joints = [difference[int(y), int(x)] for x, y in person.joints_px]
    assert np.mean(np.array(at_joints) > 8) > 0.8
    assert np.median(difference) < 8


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"persons": 0}, "persons = 0"), ({"seed": -1}, "seed = -1"), ({"image_px": 10}, "image_px = 10")],
)
def test_bad_arguments_name_field_and_value(arguments, field):
    with pytest.raises(UserError, match=field):
        generate_synthetic(**arguments)


def test_normalizer_is_nan_without_left_shoulder_or_right_hip(people):
    shoulder, hip = LSP.index("left_shoulder"), LSP.index("right_hip")
    for person in people[:300]:
        assert math.isnan(person.normalizer_px) == (not (person.annotated[shoulder] and person.annotated[hip]))
