from __future__ import annotations

import json
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_advpose.data.persons import BOX_MARGIN
from ray_advpose.data.pictures import (
    boxed_person,
    check_pictures,
    listed_pictures,
    parse_box,
    read_boxes,
    read_picture,
)
from ray_advpose.errors import UserError

PICTURE = np.zeros((40, 60, 3), np.uint8)


def written(path, picture):
    assert cv2.imwrite(str(path), picture)
    return path


@given(st.floats(-50, 59), st.floats(-30, 39), st.floats(1, 500), st.floats(1, 500))
def test_a_box_becomes_the_square_around_its_centre(left, top, width, height):
    if left + width <= 0 or top + height <= 0:
        with pytest.raises(UserError, match="outside of the picture"):
            boxed_person("a.jpg", PICTURE, (left, top, width, height), 14)
        return
    person = boxed_person("a.jpg", PICTURE, (left, top, width, height), 14)
    assert person.center_px == pytest.approx([left + width / 2, top + height / 2])
    assert person.box_px == pytest.approx(BOX_MARGIN * max(width, height))


def test_without_a_box_the_picture_is_the_person():
    person = boxed_person("a.jpg", PICTURE, None, 14)
    assert (person.center_px.tolist(), person.box_px, person.joints_px.shape) == ([30, 20], 60, (14, 2))


@pytest.mark.parametrize("box", [(60, 0, 5, 5), (0, 40, 5, 5), (-9, 0, 9, 5), (0, -9, 5, 9)])
def test_a_box_beside_the_picture_is_refused(box):
    with pytest.raises(UserError, match=r"b\.jpg: the box .* 60 x 40"):
        boxed_person("b.jpg", PICTURE, box, 14)


@pytest.mark.parametrize("box", [(5, 5, 0.9, 0.5), (5, 5, 1e-300, 1e-300), (-1e4, 0, 2e4, 5), (-8e307, 0, 1.7e308, 5)])
def test_a_box_that_no_person_fills_is_refused(box):
    with pytest.raises(UserError, match=r"a\.jpg: the box .* longer side of .* 1 to 100 times"):
        boxed_person("a.jpg", PICTURE, box, 14)


def test_all_pictures_and_boxes_are_checked_before_any_is_predicted(tmp_path):
    whole = written(tmp_path / "whole.png", PICTURE)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(cv2.imencode(".jpg", PICTURE)[1].tobytes()[:-9])
    told = []
    check_pictures([(whole, [None, (1, 1, 5, 5)]), (whole, [])], lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    with pytest.raises(UserError, match=r"cut\.jpg"):
        check_pictures([(whole, [None]), (cut, [])])
    with pytest.raises(UserError, match="outside of the picture"):
        check_pictures([(whole, [None]), (whole, [(90, 1, 5, 5)])])


def test_folders_are_all_their_pictures(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "none").mkdir()
    assert listed_pictures([tmp_path, tmp_path / "a.jpg"]) == [tmp_path / "a.jpg", tmp_path / "b.PNG"]
    with pytest.raises(UserError, match="holds no picture"):
        listed_pictures([tmp_path / "none"])
    with pytest.raises(UserError, match="no such picture"):
        listed_pictures([tmp_path / "c.jpg"])


@pytest.mark.parametrize(
    "picture",
    [
        np.full((9, 7), 100, np.uint8),
        np.full((9, 7), 100 * 257, np.uint16),
        np.dstack([np.full((9, 7, 3), 100, np.uint8), np.zeros((9, 7), np.uint8)]),
    ],
    ids=["grey", "16 bit", "transparent"],
)
def test_every_kind_of_picture_becomes_colour(tmp_path, picture):
    found = read_picture(written(tmp_path / "a.png", picture))
    assert (found.shape, found.dtype, set(found.ravel())) == ((9, 7, 3), np.uint8, {100})


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, :16] = 255
    plain = cv2.imencode(".jpg", wide)[1].tobytes()
    # Exif with one entry: orientation 6, to be turned clockwise.
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"
    path = tmp_path / "turned.jpg"
    path.write_bytes(plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:])
    found = read_picture(path)
    assert found.shape == (48, 16, 3)
    assert found[:12].mean() > 240
    assert found[20:].mean() < 15


def test_damage_is_noticed(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    for name, content in (("cut.jpg", data[: len(data) // 2]), ("text.jpg", b"no picture"), ("empty.jpg", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: its \d+ bytes are not a whole picture"):
            read_picture(tmp_path / name)


def test_a_header_that_promises_too_many_pixels_is_damage(tmp_path):
    data = bytearray(cv2.imencode(".png", PICTURE)[1])
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UserError, match="not a whole picture"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "", "1,2,3,4,5"])
def test_what_is_no_box_is_refused(text):
    with pytest.raises(UserError, match="expected X,Y,W,H"):
        parse_box(text)


def test_boxes_have_a_size():
    assert parse_box("1,2.5,3,4") == (1, 2.5, 3, 4)
    for text, words in (("1,2,0,4", "more than 0"), ("1,2,3,-4", "more than 0"), ("nan,2,3,4", "finite")):
        with pytest.raises(UserError, match=words):
            parse_box(text)


def test_boxes_are_read_by_file_name(tmp_path):
    pictures = [tmp_path / "a.jpg", tmp_path / "sub" / "b.jpg", tmp_path / "c.jpg"]
    entries = [
        {"file_name": "b.jpg", "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": "a.jpg", "bbox": [5, 6, 7, 8]},
        {"file_name": "b.jpg", "bbox": [9, 9, 9, 9]},
    ]
    file = tmp_path / "boxes.json"
    for content in (entries, {"annotations": entries}):
        file.write_text(json.dumps(content))
        found = read_boxes(file, pictures)
        assert list(found.values()) == [[(5, 6, 7, 8)], [(1, 2, 3, 4), (9, 9, 9, 9)], []]


def test_coco_files_name_pictures_by_number_and_may_hold_others(tmp_path):
    entries = [{"image_id": 7, "bbox": [1, 2, 3, 4]}, {"image_id": 8, "bbox": [5, 6, 7, 8]}]
    images = [{"id": 7, "file_name": "val/a.jpg"}, {"id": 8, "file_name": "val/b.jpg"}]
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps({"images": images, "annotations": entries}))
    assert list(read_boxes(file, [tmp_path / "b.jpg"]).values()) == [[(5, 6, 7, 8)]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot read boxes"),
        ('{"images": [3], "annotations": []}', "images: expected objects with id and file_name"),
        ("3", "expected a list"),
        ("[3]", "detection 0: expected an object, found 3"),
        ('[{"file_name": "aa.jpg", "bbox": [1, 2, 3, 4]}]', "did you mean 'a.jpg'"),
        ('[{"file_name": ["a.jpg"], "bbox": [1, 2, 3, 4]}]', "has no box of these pictures"),
        ('[{"image_id": 785, "bbox": [1, 2, 3, 4]}]', "it names .785."),
        (f'[{{"file_name": "a.jpg", "bbox": [1, 2, 3, 1{"0" * 400}]}}]', "expected finite numbers"),
        ('[{"file_name": "a.jpg"}]', "bbox = None, expected four numbers"),
        ('[{"file_name": "a.jpg", "bbox": [1, 2, 3, true]}]', "expected four numbers"),
        ('[{"file_name": "a.jpg", "bbox": [1, 2, 0, 3]}]', "detection 0: bbox .* more than 0"),
    ],
)
def test_files_that_hold_no_boxes_are_refused(tmp_path, content, words):
    file = tmp_path / "boxes.json"
    file.write_text(content)
    with pytest.raises(UserError, match=words):
        read_boxes(file, [tmp_path / "a.jpg"])


def test_names_must_tell_pictures_apart(tmp_path):
    file = tmp_path / "boxes.json"
    file.write_text("[]")
    with pytest.raises(UserError, match=r"two are called a\.jpg"):
        read_boxes(file, [tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.jpg"])
