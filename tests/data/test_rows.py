import numpy as np
import pytest

from ray_advpose.data.rows import read_steps
from ray_advpose.data.shards import read_persons
from ray_advpose.errors import UserError
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.schedule import make_schedule


@pytest.fixture
def schedule(tiny_config, drawn_people):
    return make_schedule(tiny_config, drawn_people.count("train"))


def test_rows_come_step_by_step_and_slot_by_slot(drawn_people, schedule):
    slots = np.array([1, 4, 7])
    rows = read_steps(drawn_people, schedule, range(3, 5), slots)
    assert rows["step"].tolist() == [3, 3, 3, 4, 4, 4]
    assert rows["slot"].tolist() == [1, 4, 7, 1, 4, 7]
    assert rows["sample"].tolist() == [*schedule.samples(3)[slots], *schedule.samples(4)[slots]]
    persons = read_persons(drawn_people, "train", rows["sample"])
    np.testing.assert_array_equal(rows["canvas"], persons.canvas)
    np.testing.assert_array_equal(rows["joints_cv"], persons.joints_cv)
    np.testing.assert_array_equal(rows["annotated"], persons.annotated)


def test_workers_read_between_them_what_one_would(drawn_people, schedule):
    whole = read_steps(drawn_people, schedule, range(1), np.arange(12))
    for rank in range(3):
        part = read_steps(drawn_people, schedule, range(1), np.arange(rank, 12, 3))
        for name, values in part.items():
            np.testing.assert_array_equal(values, whole[name][rank::3])


def test_the_normaliser_is_the_torso_on_the_canvas(drawn_people, schedule):
    rows = read_steps(drawn_people, schedule, range(3), np.arange(12))
    shoulder, hip = 9, 2
    torso_cv = np.linalg.norm(rows["joints_cv"][:, shoulder] - rows["joints_cv"][:, hip], axis=1)
    known = rows["annotated"][:, [shoulder, hip]].all(axis=1)
    assert 0 < known.sum() < len(known)
    np.testing.assert_allclose(rows["normalizer_cv"][known], torso_cv[known], rtol=1e-4)
    assert np.isnan(rows["normalizer_cv"][~known]).all()


def test_rows_make_a_batch(drawn_people, schedule):
    rows = read_steps(drawn_people, schedule, range(2, 3), np.arange(0, 12, 2))
    batch = CanvasBatch.from_rows(2, rows)
    assert (batch.step, len(batch)) == (2, 6)
    part = batch.part(slice(1, 3))
    assert part.slot.tolist() == [2, 4]
    assert part.step == 2
    np.testing.assert_array_equal(part.canvas.numpy(), rows["canvas"][1:3])


def test_an_altered_shard_is_named(drawn_people, schedule, tmp_path):
    copied = tmp_path / "copied"
    copied.mkdir()
    for path in drawn_people.place.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    shards = type(drawn_people).open(copied)
    path = copied / "train-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"train-00000\.parquet"):
        read_steps(shards, schedule, range(1), np.arange(12))
