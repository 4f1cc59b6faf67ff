from __future__ import annotations

import json
import shutil
import threading
import time

import pyarrow.fs
import pytest
from waiting import wait_for

from ray_advpose.data.object_place import file_system_at
from ray_advpose.errors import UserError
from ray_advpose.search.mirror import Mirror, mirrored
from ray_advpose.search.mirror_fetch import fetch_search, mirror_of
from ray_advpose.search.mirror_place import read_owner

EVERY_S = 0.2


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def useful(folder):
    return {name: content for name, content in contents(folder).items() if name.split("/")[0] not in ("train", "stop")}


def stored(place):
    files, root = pyarrow.fs.FileSystem.from_uri(place)
    infos = files.get_file_info(pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True))
    return {info.path.removeprefix(f"{root}/") for info in infos if info.type == pyarrow.fs.FileType.File}


def test_a_copy_gives_the_folder_back(search, place, tmp_path):
    with mirrored(search, place, pytest.fail):
        pass
    assert read_owner(*file_system_at(place))["released"]
    fetch_search(place, tmp_path / "again")
    assert contents(tmp_path / "again") == useful(search)
    assert mirror_of(tmp_path / "again") == mirror_of(search) == place


def test_what_changes_is_copied_and_what_goes_is_deleted(search, place, tmp_path):
    mirror = Mirror(search, place, pytest.fail, EVERY_S)
    wait_for(lambda: "search.json" in stored(place))
    checkpoints = search / "trials/trial_00000/checkpoints"
    shutil.copytree(checkpoints / "step_000000010", checkpoints / "step_000000020")
    (search / "lineage.jsonl").write_text("a\nb\n")
    shutil.rmtree(checkpoints / "step_000000010")
    wait_for(lambda: not any("step_000000010" in name for name in stored(place)))
    mirror.close()
    fetch_search(place, tmp_path / "again")
    assert contents(tmp_path / "again") == useful(search)


def test_what_is_as_it_was_is_not_copied_again(search, place, tmp_path):
    with mirrored(search, place, pytest.fail):
        pass
    files, root = pyarrow.fs.FileSystem.from_uri(place)
    name = "trials/trial_00000/checkpoints/step_000000010/state.pt"
    before = files.get_file_info(f"{root}/{name}").mtime_ns
    for folder in (search, tmp_path / "again"):
        if folder != search:
            fetch_search(place, folder)
        time.sleep(1.1)  # times in the store have seconds
        with mirrored(folder, place, pytest.fail):
            pass
        assert files.get_file_info(f"{root}/{name}").mtime_ns == before


def test_records_are_never_ahead_of_what_they_speak_of(search, place, tmp_path, monkeypatch):
    """While a copy is made: checkpoints by their manifests, then records, Tune's last and read first."""
    order = []
    plain = Mirror._place_for

    def noted(self, name):
        order.append(name)
        if name.endswith("state.pt"):
            # The search goes on meanwhile.
            (search / "lineage.jsonl").write_text("a\nb\nc\n")
            (search / "tune/experiment_state-1.json").write_text("state 3")
        return plain(self, name)

    monkeypatch.setattr(Mirror, "_place_for", noted)
    mirror = Mirror(search, place, pytest.fail, every_s=3600)
    mirror._update()
    mirror.leave()
    order = [name for name in order if name != "owner.json"]
    weights, manifest = (
        order.index(f"trials/trial_00000/checkpoints/step_000000010/{n}") for n in ("state.pt", "manifest.json")
    )
    tune = [place for place, name in enumerate(order) if name.startswith("tune/")]
    assert weights < manifest < order.index("lineage.jsonl") < min(tune)
    fetch_search(place, tmp_path / "again")
    # Both as they were before the weights were copied: a state of one moment.
    assert (tmp_path / "again" / "lineage.jsonl").read_text() == "a\n"
    assert (tmp_path / "again" / "tune/experiment_state-1.json").read_text() == "state 1"


def test_a_failure_is_said_once_and_made_up_for(search, place, monkeypatch):
    said: list[str] = []
    failing = threading.Event()
    failing.set()
    plain = Mirror._put

    def fails(self, name, content):
        if failing.is_set() and name != "owner.json":
            raise OSError("no route")
        plain(self, name, content)

    monkeypatch.setattr(Mirror, "_put", fails)
    mirror = Mirror(search, place, said.append, EVERY_S)
    time.sleep(5 * EVERY_S)
    failing.clear()
    mirror.close()
    assert len(said) == 2
    assert "cannot be copied" in said[0]
    assert "no route" in said[0]
    assert said[1].endswith("again")
    assert useful(search).keys() == stored(place) - {"owner.json"}


def test_two_searches_do_not_share_a_place(search, place, tmp_path):
    mirror = Mirror(search, place, pytest.fail, EVERY_S)
    said: list[str] = []
    with pytest.raises(UserError, match="is being kept there"):
        Mirror(tmp_path, place, said.append, 5 * EVERY_S)
    mirror.close()


def dead(search, place):
    """A search that was copied once and then killed."""
    mirror = Mirror(search, place, lambda line: None, EVERY_S)
    wait_for(lambda: "search.json" in stored(place) and "owner.json" in stored(place))
    mirror.leave()
    time.sleep(2 * EVERY_S)
    return mirror


def test_a_place_whose_search_died_is_taken_over(search, place, tmp_path):
    first = dead(search, place)
    said: list[str] = []
    another = tmp_path / "again"
    fetch_search(place, another)
    mirror = Mirror(another, place, said.append, EVERY_S)
    assert "was in use by" in said[0]
    # Should the first come back to life, it leaves the place alone, also once that is free.
    (search / "lineage.jsonl").write_text("of the first")
    assert not first._try_update()
    mirror.close()
    assert not first._try_update()
    fetch_search(place, tmp_path / "third")
    assert (tmp_path / "third" / "lineage.jsonl").read_text() == "a\n"


def test_a_folder_that_was_overtaken_replaces_nothing(search, place, tmp_path):
    dead(search, place)
    fetch_search(place, tmp_path / "again")
    with mirrored(tmp_path / "again", place, lambda line: None):
        (tmp_path / "again" / "lineage.jsonl").write_text("a\nb\n")
    before = stored(place)
    with pytest.raises(UserError, match="was gone on with on"):
        Mirror(search, place, pytest.fail, EVERY_S)
    with pytest.raises(UserError, match="was gone on with on"):
        fetch_search(place, search)
    # A folder fetched from an older state likewise.
    fetch_search(place, tmp_path / "early")
    with mirrored(tmp_path / "again", place, pytest.fail):
        pass
    with pytest.raises(UserError, match="was gone on with on"):
        fetch_search(place, tmp_path / "early")
    assert stored(place) == before


def test_another_search_is_not_mixed_in(search, place, tmp_path):
    with mirrored(search, place, pytest.fail):
        pass
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="holds another search"):
        Mirror(tmp_path / "other", place, pytest.fail, EVERY_S)
    files, root = file_system_at(place.replace(root_name(place), root_name(place) + "-else"))
    files.create_dir(root)
    with files.open_output_stream(f"{root}/notes.txt") as stream:
        stream.write(b"mine")
    with pytest.raises(UserError, match="holds other files"):
        Mirror(tmp_path / "other", place.replace(root_name(place), root_name(place) + "-else"), pytest.fail, EVERY_S)


def root_name(place):
    return place.partition("?")[0].rpartition("/")[2]


def test_a_beat_goes_on_during_a_long_update(search, place, monkeypatch):
    slow = threading.Event()
    plain = Mirror._copy

    def copy(self, name):
        slow.wait(8 * EVERY_S)
        plain(self, name)

    monkeypatch.setattr(Mirror, "_copy", copy)
    mirror = Mirror(search, place, pytest.fail, EVERY_S)
    time.sleep(3 * EVERY_S)
    assert "search.json" not in stored(place)
    first = read_owner(*file_system_at(place))["beat"]
    wait_for(lambda: read_owner(*file_system_at(place))["beat"] > first)
    assert "search.json" not in stored(place)
    slow.set()
    mirror.close()


def test_nothing_is_put_that_speaks_of_a_checkpoint_that_went_meanwhile(search, place, monkeypatch):
    checkpoints = search / "trials/trial_00000/checkpoints"
    for step in (20, 30):
        shutil.copytree(checkpoints / "step_000000010", checkpoints / f"step_{step:09d}")
    plain = Mirror._copy
    doomed = [checkpoints / "step_000000030"]

    def copy(self, name):
        while doomed:
            shutil.rmtree(doomed.pop())
        plain(self, name)

    monkeypatch.setattr(Mirror, "_copy", copy)
    mirror = Mirror(search, place, pytest.fail, every_s=3600)
    mirror._update()
    # The newest of its generation went before it was copied: going on would find nothing from there on.
    assert "search.json" not in stored(place)
    doomed.append(checkpoints / "step_000000010")
    mirror._update()
    assert "search.json" in stored(place)
    mirror.leave()


def test_a_copy_that_is_not_complete_in_the_end_says_so(search, place, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(Mirror, "_read", lambda self, names: (_ for _ in ()).throw(OSError("no route")))
    mirror = Mirror(search, place, said.append, EVERY_S)
    mirror.close()
    assert "no route" in said[0]
    assert "is NOT complete" in said[-1]
    assert not read_owner(*file_system_at(place))["released"]


def test_what_cannot_be_fetched_is_one_sentence(search, place, tmp_path):
    with pytest.raises(UserError, match="holds no search"):
        fetch_search(place, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="names no storage"):
        fetch_search("s3x://nowhere", tmp_path / "new")
    with mirrored(search, place, pytest.fail):
        pass
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="name another --out"):
        fetch_search(place, tmp_path / "other")
    # The folder it is the copy of has all that is in it.
    (search / "lineage.jsonl").write_text("newer")
    fetch_search(place, search)
    assert (search / "lineage.jsonl").read_text() == "newer"
    assert json.loads((search / "search.json").read_text()) == {}
