from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from command_runs import run

from ray_advpose.data.identity import identity_of
from ray_advpose.data.persons import BOX_MARGIN
from ray_advpose.data.shards import read_persons
from ray_advpose.pose.heatmap import decode
from ray_advpose.training.checkpoint import write_checkpoint
from ray_advpose.training.restoring import load_networks, take_snapshot
from ray_advpose.training.state import make_state


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tiny_config, drawn_people):
    """Of a network that has learned nothing: where it finds joints depends on the picture all the same."""
    state = make_state(tiny_config, 14, torch.device("cpu"))
    folder = tmp_path_factory.mktemp("checkpoint") / "step_0"
    write_checkpoint(folder, take_snapshot(state), identity_of(drawn_people))
    return folder


@pytest.fixture(scope="module")
def person(drawn_people):
    return cv2.cvtColor(read_persons(drawn_people, "val", [0]).canvas[0], cv2.COLOR_RGB2BGR)


def predicted(folder, checkpoint, *arguments):
    code, output = run("predict.py", "--checkpoint", checkpoint, *arguments, cwd=folder)
    assert code == 0, output
    return json.loads((folder / "predictions" / "predictions.json").read_text()), output


def joints(annotation):
    return np.array(annotation["keypoints"]).reshape(-1, 3)


@pytest.mark.parametrize("size", [(1, 1), (400, 30), (20, 300), (700, 900)])
def test_pictures_of_any_size(tmp_path, checkpoint, person, size):
    cv2.imwrite(str(tmp_path / "a.png"), cv2.resize(person, size))
    content, output = predicted(tmp_path, checkpoint, "a.png")
    assert "1 person in 1 picture:" in output
    (annotation,) = content["annotations"]
    assert annotation["bbox"][2] == max(size)
    assert len(annotation["keypoints"]) == 3 * 14
    overlay = cv2.imread(str(tmp_path / "predictions" / "a.jpg"))
    assert overlay.shape[1::-1] == size
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "predictions"}


def test_joints_move_with_the_person(tmp_path, checkpoint, person):
    """In a larger picture, by its box, a person's joints are where they were, moved along."""
    side = person.shape[0]
    large = np.zeros((3 * side, 4 * side, 3), np.uint8)
    large[side : 2 * side, 2 * side : 3 * side] = person
    cv2.imwrite(str(tmp_path / "small.png"), person)
    cv2.imwrite(str(tmp_path / "large.png"), large)
    box = np.array([0.3 * side, 0.3 * side, 0.4 * side, 0.4 * side])
    found = []
    for name, offset in (("small.png", (0, 0)), ("large.png", (2 * side, side))):
        moved = ",".join(map(str, box + np.array([*offset, 0, 0])))
        content, _ = predicted(tmp_path, checkpoint, name, "--box", moved, "--flip-test")
        found.append(joints(content["annotations"][0])[:, :2] - offset)
    assert np.allclose(found[0], found[1], atol=0.05)
    assert np.ptp(found[0], axis=0).max() > 1


def test_many_pictures_with_boxes_from_a_file(tmp_path, checkpoint, person):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "one" / "a.png"), person)
    cv2.imwrite(str(tmp_path / "one" / "b.png"), cv2.cvtColor(person, cv2.COLOR_BGR2GRAY))
    boxes = [{"file_name": "a.png", "bbox": [2, 2, 30, 40]}, {"file_name": "a.png", "bbox": [10, 10, 20, 20]}]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    content, output = predicted(tmp_path, checkpoint, "one", "--boxes", "boxes.json", "--batch-size", 1)
    assert "2 persons in 2 pictures" in output
    assert "no box, and so nobody, in 1 of them: b.png" in output
    assert [each["image_id"] for each in content["annotations"]] == [1, 1]
    # Two pictures of one name have overlays of their own.
    cv2.imwrite(str(tmp_path / "two" / "a.png"), person)
    predicted(tmp_path, checkpoint, "one", "two", "--out", "predictions")
    assert (tmp_path / "predictions" / "a_2.jpg").is_file()


def test_mistakes_are_one_sentence_and_leave_nothing(tmp_path, checkpoint, person):
    cv2.imwrite(str(tmp_path / "a.png"), person)
    cv2.imwrite(str(tmp_path / "b.png"), person)
    (tmp_path / "cut.jpg").write_bytes(cv2.imencode(".jpg", person)[1].tobytes()[:200])
    before = {path.name for path in tmp_path.iterdir()}
    for arguments, words in [
        (("a.png", "cut.jpg"), "cut.jpg: its 200 bytes are not a whole picture"),
        (("a.png", "--box", "900,0,5,5"), "lies outside of the picture"),
        (("a.png", "--box=-1e12,-1e12,3e12,3e12"), "expected 1 to 100 times the picture's"),
        (("a.png", "--out", "."), "--out . is the folder of a.png"),
        (("a.png", "b.png", "--box", "1,1,5,5"), "--box is for one picture"),
        (("a.png", "--batch-size", 0), "--batch-size 0"),
        (("a.png", "--out", "b.png"), "--out b.png is a file"),
        (("a.png", "--checkpoint", tmp_path), "is not a whole checkpoint"),
    ]:
        code, output = run("predict.py", "--checkpoint", checkpoint, *arguments, cwd=tmp_path)
        assert code == 2, output
        assert words in output
        assert len(output.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_joint_is_where_the_network_sees_it(tmp_path, checkpoint, tiny_config):
    """Where box and picture are the canvas the network's input is the picture's middle, with nothing to compute."""
    picture = np.random.default_rng(0).integers(0, 256, (72, 72, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    side = 32 / BOX_MARGIN
    content, _ = predicted(tmp_path, checkpoint, f"--box={36 - side / 2},{36 - side / 2},{side},{side}", "a.png")
    state = make_state(tiny_config, 14, torch.device("cpu"))
    load_networks(checkpoint, state)
    seen = torch.tensor(picture[20:52, 20:52, ::-1] / 255.0, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        heatmaps = state.pose_net.eval()(seen)[:, -1]
    (annotation,) = content["annotations"]
    expected = decode(heatmaps, "exact")[0].numpy() * 4 + 20
    np.testing.assert_allclose(joints(annotation)[:, :2], expected, atol=0.02)
    peaks = heatmaps[0].amax(dim=(1, 2)).clamp(0, 1)
    np.testing.assert_allclose(annotation["keypoint_scores"], peaks, atol=2e-4)
    assert annotation["score"] == pytest.approx(float(peaks.mean()), abs=2e-4)


def test_persons_do_not_depend_on_batches(tmp_path, checkpoint, person):
    rng = np.random.default_rng(0)
    boxes = []
    for name, persons in (("a.png", 3), ("b.png", 0), ("c.png", 1), ("d.png", 2)):
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        boxes += [{"file_name": name, "bbox": [5 * k, 4, 40 + k, 30]} for k in range(persons)]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    pictures = [f"{name}.png" for name in "abcd"]
    one, many = (
        predicted(tmp_path, checkpoint, *pictures, "--boxes", "boxes.json", "--batch-size", size)[0] for size in (1, 4)
    )
    assert [each["image_id"] for each in one["annotations"]] == [1, 1, 1, 3, 4, 4]
    for alone, together in zip(one["annotations"], many["annotations"], strict=True):
        assert alone["image_id"] == together["image_id"]
        np.testing.assert_allclose(joints(alone), joints(together), atol=0.02)


@pytest.mark.gpu
def test_cpu_and_gpu_find_the_same_joints(tmp_path, checkpoint, person):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cv2.imwrite(str(tmp_path / "a.png"), person)
    on = [
        joints(predicted(tmp_path, checkpoint, "a.png", "--device", name)[0]["annotations"][0])
        for name in ("cpu", "cuda")
    ]
    assert np.abs(on[0] - on[1]).max() < 1
