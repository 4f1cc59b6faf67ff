import json

import numpy as np
import pytest
import scipy.io
from painted_data import HEIGHT, WIDTH, paint

from ray_advpose.data.sources.mpii import read_mpii
from ray_advpose.errors import UserError


def struct_array(items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def point(joint, x, y, is_visible):
    return {"id": joint, "x": x, "y": y, "is_visible": is_visible}


def rectangle(points, scale=0.3):
    return {
        "x1": 10.0,
        "y1": 20.0,
        "x2": 40.0,
        "y2": 60.0,
        "annopoints": {"point": struct_array(points)},
        "scale": scale,
        "objpos": {"x": 50.0, "y": 40.0},
    }


def write_release(directory, annotations, img_train):
    release = {"annolist": struct_array(annotations), "img_train": np.array(img_train)}
    scipy.io.savemat(directory / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})


@pytest.fixture
def mat_dir(tmp_path):
    """Ten training images (the first with two persons and one that has no joints), two test images."""
    body = [point(k, 30.0 + k, 20.0 + k, 1) for k in range(16)]
    annotations = []
    for k in range(12):
        name = f"{k:09d}.jpg"
        paint(tmp_path / "images" / name, k)
        annotations.append({"image": {"name": name}, "annorect": rectangle(body)})
    few = [point(9, 60.0, 30.0, "0"), point(2, 55.0, 50.0, "1"), point(0, 52.0, 70.0, np.empty(0))]
    nobody = {"x1": 1.0, "y1": 1.0, "x2": 2.0, "y2": 2.0}
    annotations[0]["annorect"] = struct_array([rectangle(body), rectangle(few, scale=0.4), nobody])
    annotations[10]["annorect"] = np.empty(0)
    annotations[11]["annorect"] = {"scale": 0.3, "objpos": {"x": 1.0, "y": 1.0}}
    write_release(tmp_path, annotations, [1] * 10 + [0, 0])
    return tmp_path


def json_person(image="000000000.jpg", **fields):
    joints = [[30.0 + k, 20.0 + k] for k in range(16)]
    return {
        "image": image,
        "center": [50.0, 40.0],
        "scale": 0.3,
        "joints": joints,
        "joints_vis": [1] * 16,
        **fields,
    }


@pytest.fixture
def json_dir(tmp_path):
    def build(**files):
        paint(tmp_path / "images" / "000000000.jpg", 0)
        for name, people in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(people))
        return tmp_path

    return build


def test_official_file(mat_dir):
    source = read_mpii(mat_dir, val_fraction=0.0)
    persons = list(source.persons)
    assert source.count == len(persons) == 11
    assert (source.name, source.protocol, source.skeleton) == ("mpii", "mpii", "mpii")
    assert "1 of 12 persons left out" in source.notes[0]
    first, second = persons[:2]
    assert (first.person_id, second.person_id) == ("000000000#1", "000000000#2")
    assert first.image == mat_dir / "images" / "000000000.jpg"
    np.testing.assert_array_equal(first.joints_px[3], [32.5, 22.5])
    assert first.annotated.all()
    assert first.normalizer_px == pytest.approx(0.6 * 50)
    assert first.box_px == pytest.approx(200 * 0.3 * 1.25)
    np.testing.assert_allclose(first.center_px, [49.5, 40 + 15 * 0.3 - 0.5])
    np.testing.assert_array_equal(np.flatnonzero(second.annotated), [0, 2, 9])
    np.testing.assert_array_equal(np.flatnonzero(second.occluded), [9])


def test_official_file_holds_out_whole_images(mat_dir):
    def split_of(seed):
        persons = read_mpii(mat_dir, val_fraction=0.3, seed=seed).persons
        return {person.person_id: person.split for person in persons}

    for seed in range(8):
        splits = split_of(seed)
        assert splits["000000000#1"] == splits["000000000#2"]
        by_image = {person_id.partition("#")[0]: split for person_id, split in splits.items()}
        assert sorted(by_image.values()) == ["train"] * 7 + ["val"] * 3
    assert split_of(0) == split_of(0)
    assert split_of(0) != split_of(1)


def test_json_files_give_the_splits(json_dir):
    away = [[-1.0, -1.0], *json_person()["joints"][1:]]
    partly = json_person(joints=away, joints_vis=[0] + [1] * 15)
    directory = json_dir(train=[json_person(), partly], valid=[json_person()], other=[json_person()])
    persons = list(read_mpii(directory).persons)
    assert [(person.person_id, person.split) for person in persons] == [
        ("000000000#1", "test"),
        ("000000000#2", "train"),
        ("000000000#3", "train"),
        ("000000000#4", "val"),
    ]
    assert np.isnan(persons[0].normalizer_px)
    np.testing.assert_array_equal(persons[0].joints_px[0], [29.5, 19.5])
    np.testing.assert_allclose(persons[0].center_px, [49.5, 40 + 15 * 0.3 - 0.5])
    assert not persons[2].annotated[0]
    assert (persons[2].joints_px[0] == 0).all()


def test_json_that_repeats_both_splits_is_left_out(json_dir):
    source = read_mpii(json_dir(train=[json_person()], trainval=[json_person(), json_person()]))
    assert source.count == 1
    assert source.notes[0].startswith("trainval.json left out")


def test_json_persons_without_labels_are_counted(json_dir):
    unlabelled = {"image": "000000000.jpg", "center": [-1.0, -1.0], "scale": -1.0}
    source = read_mpii(json_dir(test=[unlabelled, json_person()]))
    assert source.count == 1
    assert source.notes[0].startswith("1 of 2 persons")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"joints": [[1.0, 2.0]]}, r"train\.json: 0\.joints"),
        ({"scale": "big"}, r"train\.json: 0\.scale"),
        ({"joints": [[4.0 * WIDTH, 3.0]] * 16}, r"train\.json, person 000000000#1, joint right_ankle.*outside"),
        ({"joints": [[3.0, -2.0 * HEIGHT]] * 16}, "joint right_ankle.*outside"),
        ({"joints": [[float("nan"), 3.0]] * 16}, "joint right_ankle.*not finite"),
        ({"center": [float("nan"), 3.0]}, "position .* is not finite"),
    ],
)
def test_bad_json_names_file_and_field(json_dir, fields, message):
    with pytest.raises(UserError, match=message):
        read_mpii(json_dir(train=[json_person(**fields)]))


def test_other_mat_files_are_refused(tmp_path):
    scipy.io.savemat(tmp_path / "other.mat", {"joints": np.zeros((3, 14, 2))})
    with pytest.raises(UserError, match=r"other\.mat: found 0 RELEASE\.annolist"):
        read_mpii(tmp_path)


def test_joint_ids_out_of_range_are_refused(tmp_path):
    body = [point(k, 30.0, 20.0, 1) for k in range(17)]
    annotations = [{"image": {"name": "a.jpg"}, "annorect": rectangle(body)} for _ in range(2)]
    write_release(tmp_path, annotations, [1, 1])
    with pytest.raises(UserError, match=r"a\.jpg has id 16, expected 0\.\.15"):
        read_mpii(tmp_path)


def test_the_real_images(real_data):
    source = read_mpii(real_data / "mpii")
    persons = list(source.persons)
    assert source.count == 5
    assert {person.split for person in persons} == {"test"}
    assert [int(person.annotated.sum()) for person in persons] == [16, 16, 14, 14, 16]
    assert persons[0].box_px == pytest.approx(250 * 4.718488)
