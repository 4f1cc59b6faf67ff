"""Checkpoints and shards in a store that fails: nothing half-written is taken for whole, and nothing waits forever."""

from __future__ import annotations

import time
from itertools import count

import pyarrow.fs
import pytest
from any_data import DATA
from faulty_store import CUT, ERROR, RESET, SLOW, Bursts, faulty

from ray_advpose.cluster.storage import fetched, last_whole, store_at
from ray_advpose.data.shard_place import CACHE_VARIABLE
from ray_advpose.data.shards import ShardSet, read_persons
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import read_manifest

_numbers = count()


@pytest.fixture
def troubled(bucket):
    """URI of a place of its own behind a proxy, and the proxy."""
    with faulty(bucket.replace("s3://advpose", f"s3://advpose/faulty-{next(_numbers)}")) as (place, proxy):
        yield place, proxy


def first(times, kind, method, ending=""):
    """Trouble for the first so many requests of a method."""
    left = [times]

    def trouble(asked, path):
        if asked == method and path.partition("?")[0].endswith(ending) and left[0]:
            left[0] -= 1
            return kind
        return None

    return trouble


@pytest.mark.parametrize("kind", [ERROR, RESET, SLOW])
@pytest.mark.parametrize("ending", ["state.pt", "manifest.json"])
def test_a_short_trouble_is_gone_through(troubled, snapshot, kind, ending):
    place, proxy = troubled
    store = store_at(place)
    proxy.trouble = first(2, kind, "PUT", ending)
    store.commit(snapshot(12), DATA)
    assert proxy.met[kind] == (1 if kind == SLOW else 2)
    assert last_whole(store, skipped=pytest.fail) == store.place_of(12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ERROR, RESET])
@pytest.mark.parametrize("ending", ["state.pt", "manifest.json"])
def test_a_store_that_stays_in_trouble_fails_in_time_and_shows_nothing_half(troubled, snapshot, kind, ending):
    place, proxy = troubled
    store = store_at(place)
    store.commit(snapshot(12), DATA)
    proxy.trouble = lambda method, path: kind if method == "PUT" and ending in path else None
    began = time.monotonic()
    with pytest.raises(OSError, match=r"."):
        store.commit(snapshot(24), DATA)
    assert time.monotonic() - began < 120
    proxy.trouble = lambda method, path: None
    assert store.steps() == [12]
    assert last_whole(store, skipped=pytest.fail) == store.place_of(12)
    store.sweep()
    files, root = pyarrow.fs.FileSystem.from_uri(place)
    left = files.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
    assert not [info.path for info in left if info.type == pyarrow.fs.FileType.File and "000024" in info.path]
    store.commit(snapshot(24), DATA)
    assert last_whole(store, skipped=pytest.fail) == store.place_of(24)


def test_an_answer_that_is_cut_off_is_asked_for_again(troubled, snapshot):
    place, proxy = troubled
    store = store_at(place)
    proxy.trouble = first(2, CUT, "GET")
    store.probe()
    assert proxy.met[CUT] == 2
    store.commit(snapshot(12), DATA)
    proxy.trouble = first(2, CUT, "GET", "state.pt")
    assert last_whole(store, skipped=pytest.fail) == store.place_of(12)
    assert proxy.met[CUT] == 4


@pytest.mark.slow
def test_many_checkpoints_under_random_trouble(troubled, snapshot):
    place, proxy = troubled
    store = store_at(place)
    proxy.trouble = Bursts(0.2, seed=1)
    written = []
    for step in range(10, 110, 10):
        try:
            store.commit(snapshot(step), DATA)
            written.append(step)
        except OSError:
            continue
    assert sum(proxy.met.values()) > 10
    proxy.trouble = lambda method, path: None
    assert set(written) <= set(store.steps())
    for step in store.steps():
        with fetched(store.place_of(step)) as folder:
            assert read_manifest(folder)["step"] == step, "taken for whole"


@pytest.fixture
def shards(troubled, drawn_people, tmp_path, monkeypatch):
    place, proxy = troubled
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    files, root = pyarrow.fs.FileSystem.from_uri(place)
    files.create_dir(root)
    pyarrow.fs.copy_files(str(drawn_people.place), root, destination_filesystem=files)
    return place, proxy, tmp_path / "cache"


@pytest.mark.parametrize("kind", [ERROR, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (RESET, CUT, SLOW))])
def test_shards_come_through_trouble_that_ends(shards, kind, drawn_people):
    place, proxy, cache = shards
    began = time.monotonic()
    # More than pyarrow's client tries by itself, so that one of ours fails.
    proxy.trouble = lambda method, path: kind if time.monotonic() - began < 6 else None
    there = read_persons(ShardSet.open(place), "train", [0, 1])
    assert proxy.met[kind] > 0
    assert (there.canvas == read_persons(drawn_people, "train", [0, 1]).canvas).all()
    assert not list(cache.glob(".*")), "parts are left"


@pytest.mark.slow
def test_shards_of_a_store_that_is_gone_are_one_sentence(shards, monkeypatch):
    place, proxy, cache = shards
    opened = ShardSet.open(place)
    monkeypatch.setattr("ray_advpose.data.shard_place._WAITS_TO_FETCH_S", (0.1,))
    proxy.trouble = lambda method, path: ERROR
    with pytest.raises(UserError, match=r"cannot read shard train-00000\.parquet in s3://") as caught:
        read_persons(opened, "train", [0])
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []
