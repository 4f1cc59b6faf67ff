"""Prepared data in an object store is the same data; what was read once is kept on this machine."""

from __future__ import annotations

import os
import re
from itertools import count

import numpy as np
import pyarrow.fs
import pytest

from ray_advpose.data.checks import check_data
from ray_advpose.data.object_place import check_public, file_system_at
from ray_advpose.data.shard_place import CACHE_VARIABLE, cache_folder, shard_place
from ray_advpose.data.shards import ShardSet, read_persons
from ray_advpose.data.task import occlusion_target, task_for
from ray_advpose.errors import UserError

_numbers = count()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def stored(drawn_people, bucket):
    """The drawn people in the bucket: URI, file system and path."""
    place = bucket.replace("s3://advpose", "s3://advpose/shards/drawn")
    files, root = pyarrow.fs.FileSystem.from_uri(place)
    files.create_dir(root)
    pyarrow.fs.copy_files(str(drawn_people.place), root, destination_filesystem=files)
    return place, files, root


def afresh(stored):
    """The data set opened as by another process, which has none of its shards in memory."""
    return ShardSet(f"{stored[0]}&region=place-{next(_numbers)}", ShardSet.open(stored[0]).manifest)


def content_of(files, path):
    with files.open_input_stream(path) as stream:
        return stream.read()


def put(files, path, content):
    with files.open_output_stream(path) as stream:
        stream.write(content)


def test_the_same_persons_come_from_a_store_as_from_a_folder(stored, drawn_people, tiny_config, cache):
    shards = check_data(tiny_config, stored[0])
    assert shards.fingerprint == drawn_people.fingerprint
    there, here = (read_persons(each, "train", [3, 0, 44]) for each in (shards, drawn_people))
    for name, values in vars(here).items():
        assert np.array_equal(values, vars(there)[name], equal_nan=name == "normalizer_px")
    # Reads columns of all persons.
    task = task_for(tiny_config, drawn_people)
    assert occlusion_target(shards, task).equal(occlusion_target(drawn_people, task))


def test_a_shard_is_fetched_once_and_only_when_it_is_needed(stored, cache, drawn_people):
    shards = afresh(stored)
    assert not cache.exists(), "a manifest is enough to open"
    read_persons(shards, "val", [0])
    first = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert [path.stem for path in first] == [
        shard.sha256 for shard in drawn_people.manifest.shards if shard.split == "val"
    ]
    read_persons(afresh(stored), "val", [0])
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == first


def test_what_a_killed_process_has_left_of_a_shard_is_swept_up(stored, cache, drawn_people):
    (shard,) = [each for each in drawn_people.manifest.shards if each.split == "val"]
    cache.mkdir()
    left, going_on = (cache / f".{shard.sha256}.parquet.{name}" for name in ("left", "going-on"))
    for path in (left, going_on):
        path.write_bytes(b"part")
    os.utime(left, (0, 0))
    read_persons(afresh(stored), "val", [0])
    assert sorted(path.name for path in cache.iterdir()) == [going_on.name, f"{shard.sha256}.parquet"]


def test_what_is_altered_in_a_store_is_found(stored, cache):
    place, files, root = stored
    shards = afresh(stored)
    path = f"{root}/{shards.manifest.shards[0].file}"
    whole = content_of(files, path)
    try:
        put(files, path, whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(UserError, match=r"train-00000.parquet in s3://.* was altered"):
            read_persons(shards, "train", [0])
        assert not list(cache.iterdir()), "nothing of it is kept"
        put(files, path, whole[:-1])
        with pytest.raises(UserError, match=f"cut off or altered: {len(whole) - 1} bytes found, {len(whole)} expected"):
            ShardSet.open(place)
        files.delete_file(path)
        with pytest.raises(UserError, match=r"train-00000\.parquet in s3://.* is missing"):
            ShardSet.open(place)
    finally:
        put(files, path, whole)


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: content[:-1] + b"?"])
def test_a_kept_shard_that_was_damaged_is_fetched_again(stored, cache, damage):
    read_persons(afresh(stored), "test", [0])
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    read_persons(afresh(stored), "test", [0])
    assert kept.read_bytes() == whole


def test_a_store_that_cannot_be_reached_at_first_is_asked_again(stored, cache, monkeypatch):
    """Also where a bucket's region is asked for, which is when its URI is taken apart."""
    from_uri, calls = pyarrow.fs.FileSystem.from_uri, []

    def unreachable_at_first(place):
        calls.append(place)
        if len(calls) in (1, 3):
            raise OSError("AWS Error NETWORK_CONNECTION during HeadBucket operation")
        return from_uri(place)

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("ray_advpose.data.object_place.pyarrow.fs.FileSystem", Stub(unreachable_at_first))
    assert ShardSet.open(stored[0]).count("train") == 45
    assert len(calls) == 4


def test_a_store_that_lets_nobody_in_is_not_asked_again(stored, cache, monkeypatch):
    def denied(place):
        raise OSError("AWS Error ACCESS_DENIED during HeadObject operation")

    monkeypatch.setattr("ray_advpose.data.object_place.pyarrow.fs.FileSystem", Stub(denied))
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waited"))
    with pytest.raises(UserError, match="ACCESS_DENIED"):
        ShardSet.open(stored[0])


class Stub:
    """Stands for pyarrow's class, whose own functions cannot be replaced."""

    def __init__(self, from_uri):
        self.from_uri = from_uri


def test_a_cache_that_cannot_be_written_is_said(stored, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, "/proc/nowhere")
    with pytest.raises(UserError, match=rf"cannot keep shards in /proc/nowhere: .*{CACHE_VARIABLE}"):
        read_persons(afresh(stored), "val", [0])


def test_places_that_are_none_are_refused(bucket):
    with pytest.raises(UserError, match="is not a prepared data set"):
        ShardSet.open(bucket.replace("s3://advpose", "s3://advpose/nothing"))
    with pytest.raises(UserError, match="s3x://nowhere names no storage"):
        ShardSet.open("s3x://nowhere")


@pytest.mark.parametrize(
    "place", ["s3://key:secret@bucket/shards", "s3://key:se/cr+et=@bucket", "abfs://:secret@box/x"]
)
def test_places_with_a_secret_are_refused_and_not_repeated(place):
    for use in (ShardSet.open, file_system_at, check_public):
        with pytest.raises(UserError, match="credentials come from the environment") as caught:
            use(place)
        assert re.match(r"\w+://\*\*\*@b", str(caught.value))


@pytest.mark.parametrize(
    "place", [None, "data/a:b@c", "s3://bucket/a@b", "hdfs://host:9000/me@home", "abfs://box@name.net/x"]
)
def test_places_without_a_secret_are_let_through(place):
    check_public(place)


def test_spellings_of_a_place_are_one():
    assert shard_place("s3://bucket/shards/?region=x") == shard_place("s3://bucket/shards?region=x")
    assert shard_place("data/x") == shard_place(os.path.abspath("data/x"))  # noqa: PTH100


def test_the_cache_has_a_place_in_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ray_advpose" / "shards"
