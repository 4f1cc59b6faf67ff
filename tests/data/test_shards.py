import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from painted_data import body_labels

from ray_advpose.data import shard_writer, shards
from ray_advpose.data.canvas import canvas_side, cut_canvas
from ray_advpose.data.persons import Person, Source, joints_box, torso_px
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet, read_persons
from ray_advpose.errors import UserError

BOX_PX = 32


def people(n=24, seed=0):
    labels = body_labels(n, seed)
    for k in range(n):
        rng = np.random.default_rng((seed, k))
        image = np.full((90, 120, 3), rng.integers(0, 256, 3), dtype=np.uint8)
        annotated = rng.random(14) < 0.8
        annotated[:2] = True
        center_px, box_px = joints_box(labels[k], annotated)
        yield Person(
            person_id=f"p{k}",
            split=("train", "val", "test")[k % 3],
            image=image if k % 2 else lambda image=image: image,
            joints_px=np.where(annotated[:, None], labels[k], 0.0),
            annotated=annotated,
            occluded=rng.random(14) < 0.2,
            center_px=center_px,
            box_px=box_px,
            normalizer_px=torso_px(labels[k], annotated),
        )


def source(n=24, seed=0, persons=None):
    return Source("painted", "lsp", "lspet", n, people(n, seed) if persons is None else persons, ("a note",))


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shard_writer, "SHARD_ROWS", 3)


@pytest.fixture
def prepared(tmp_path, small_shards):
    write_shards(source(), tmp_path / "out", BOX_PX, workers=2)
    return ShardSet.open(tmp_path / "out")


def listing(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_rows_come_back_as_written_in_any_order(prepared):
    asked = [5, 0, 7, 2, 2]
    rows = read_persons(prepared, "val", asked)
    expected = [person for person in people() if person.split == "val"]
    side = canvas_side(BOX_PX)
    assert rows.index.tolist() == asked
    assert rows.canvas.shape == (5, side, side, 3)
    for row, k in enumerate(asked):
        person = expected[k]
        image = person.image if isinstance(person.image, np.ndarray) else person.image()
        cut = cut_canvas(image, person, BOX_PX, side)
        assert rows.person_id[row] == person.person_id
        np.testing.assert_array_equal(rows.joints_cv[row], cut.joints_cv.astype(np.float32))
        np.testing.assert_array_equal(rows.annotated[row], person.annotated)
        np.testing.assert_array_equal(rows.occluded[row], person.occluded)
        np.testing.assert_array_equal(rows.center_px[row], person.center_px)
        np.testing.assert_array_equal(rows.box_px[row], person.box_px)
        np.testing.assert_array_equal(rows.normalizer_px[row], person.normalizer_px)
        np.testing.assert_array_equal(rows.image_from_canvas[row], cut.image_from_canvas)
        middle = side // 2
        np.testing.assert_allclose(rows.canvas[row, middle, middle], cut.canvas_bgr[middle, middle, ::-1], atol=6)
    assert rows.joints_cv.dtype == np.float32
    assert rows.annotated.dtype == np.bool_
    assert rows.image_from_canvas.dtype == np.float64


def test_manifest_describes_the_shards(prepared):
    manifest = prepared.manifest
    assert (manifest.source, manifest.protocol, manifest.skeleton) == ("painted", "lspet", "lsp")
    assert manifest.notes == ("a note",)
    assert [prepared.count(split) for split in ("train", "val", "test")] == [8, 8, 8]
    assert [(shard.file, shard.first_index, shard.rows) for shard in manifest.shards[:3]] == [
        ("train-00000.parquet", 0, 3),
        ("train-00001.parquet", 3, 3),
        ("train-00002.parquet", 6, 2),
    ]
    assert manifest.canvas.canvas_px == canvas_side(BOX_PX)


def test_shards_are_bounded_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "SHARD_BYTES", 1)
    report = write_shards(source(6), tmp_path / "out", BOX_PX, workers=2)
    assert [shard.rows for shard in report.manifest.shards] == [1] * 6


def test_output_depends_on_persons_only(tmp_path):
    one = write_shards(source(), tmp_path / "a", BOX_PX, workers=1).manifest
    many = write_shards(source(), tmp_path / "b", BOX_PX, workers=5).manifest
    other = write_shards(source(seed=1), tmp_path / "c", BOX_PX, workers=1).manifest
    assert one == many
    assert other.fingerprint != one.fingerprint


def test_a_second_run_replaces_the_first(tmp_path, small_shards):
    write_shards(source(24), tmp_path / "out", BOX_PX)
    write_shards(source(6), tmp_path / "out", BOX_PX)
    shards = ShardSet.open(tmp_path / "out")
    assert shards.count("train") == 2
    assert len(listing(tmp_path / "out")) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("boom")])
def test_a_failing_run_leaves_the_old_output(tmp_path, failure, small_shards):
    def failing():
        yield from people(12)
        raise failure

    write_shards(source(), tmp_path / "out", BOX_PX)
    before = listing(tmp_path / "out")
    with pytest.raises(type(failure)):
        write_shards(source(24, persons=failing()), tmp_path / "out", BOX_PX)
    assert listing(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failing_swap_puts_the_old_output_back(tmp_path, monkeypatch):
    write_shards(source(), tmp_path / "out", BOX_PX)
    before = listing(tmp_path / "out")
    rename = shard_writer.Path.rename

    def refuse_partial(path, target):
        if ".partial-" in path.name:
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(shard_writer.Path, "rename", refuse_partial)
    with pytest.raises(UserError, match="Permission denied"):
        write_shards(source(6), tmp_path / "out", BOX_PX)
    assert listing(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_users_directory_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"holds files but no manifest\.json"):
        write_shards(source(), tmp_path, BOX_PX)
    assert (tmp_path / "thesis.txt").exists()


def test_a_source_without_persons_is_refused(tmp_path):
    with pytest.raises(UserError, match="no person"):
        write_shards(source(0, persons=[]), tmp_path / "out", BOX_PX)
    assert list(tmp_path.iterdir()) == []


def test_a_cut_off_shard_is_noticed_on_opening(prepared):
    path = prepared.place / "train-00001.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=rf"train-00001\.parquet .*{len(data) // 2} bytes found, {len(data)} expected"):
        ShardSet.open(prepared.place)


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: data[:500] + b"?" + data[501:]])
def test_damage_after_opening_is_noticed_on_reading(prepared, damage):
    path = prepared.place / "train-00001.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"train-00001\.parquet"):
        read_persons(prepared, "train", [4])
    assert read_persons(prepared, "train", [0]).index.tolist() == [0]


def test_a_missing_shard(prepared):
    (prepared.place / "val-00000.parquet").unlink()
    with pytest.raises(UserError, match=r"val-00000\.parquet .* is missing"):
        ShardSet.open(prepared.place)


def test_bad_manifests(prepared, tmp_path):
    path = prepared.place / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "schema_version": 9}))
    with pytest.raises(UserError, match=r"manifest\.json .*: schema_version"):
        ShardSet.open(prepared.place)
    path.write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json"):
        ShardSet.open(prepared.place)
    with pytest.raises(UserError, match="not a prepared data set"):
        ShardSet.open(tmp_path)


def test_the_cache_is_bounded(prepared, monkeypatch):
    monkeypatch.setattr(shards, "CACHE_BYTES", 1)
    for index in range(8):
        read_persons(prepared, "train", [index])
        assert len(shards._cache) == 1


def test_the_cache_follows_content(prepared):
    before = read_persons(prepared, "train", [7])
    write_shards(source(seed=1), prepared.place, BOX_PX)
    after = read_persons(ShardSet.open(prepared.place), "train", [7])
    assert not np.array_equal(after.joints_cv, before.joints_cv)


def test_a_shard_set_is_small_when_pickled(prepared):
    data = pickle.dumps(prepared)
    assert len(data) < 4000
    assert pickle.loads(data) == prepared


def test_reading_needs_neither_torch_nor_ray():
    code = (
        "import sys, ray_advpose.data.shards, ray_advpose.data.shard_writer, ray_advpose.data.sources.lsp,"
        " ray_advpose.data.sources.mpii; print(sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
