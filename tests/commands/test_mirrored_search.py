"""A search whose machine is lost with its disk goes on from its copy in an object store, on the real path."""

from __future__ import annotations

import json
import shutil
import signal
import time

import pyarrow.fs
import pytest
from command_runs import run, settings, start

from ray_advpose.search.mirror_place import read_owner

SPACE = """
from ray_advpose.search.domains import Uniform
from ray_advpose.search.scheduling import RunAll
from ray_advpose.search.space import SearchSpace

SPACE = SearchSpace({"reward.alpha": Uniform(0.05, 0.5)}, 2, RunAll())
"""


def histories(folder):
    """All epochs of all trials, but for times."""
    return {
        path.parent.name: [
            {name: value for name, value in record.items() if name not in ("seconds", "waiting_share")}
            for record in json.loads(path.read_text())
        ]
        for path in folder.glob("trials/*/history.json")
    }


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_goes_on_from_its_copy_as_if_nothing_had_happened(tmp_path, people, bucket):
    place = bucket.replace("s3://advpose", "s3://advpose/searches/found")
    files, root = pyarrow.fs.FileSystem.from_uri(place)

    def in_store(ending):
        infos = files.get_file_info(pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True))
        return [info.path for info in infos if info.path.endswith(ending)]

    (tmp_path / "space.py").write_text(SPACE)
    # Long enough for two looks at the folder.
    fields = settings(net__channels=48, net__input_px=64, stages__pose_epochs=8, stages__joint_epochs=8)
    arguments = ("--data", people, "--search", "space.py", *fields)
    search = start("tune.py", *arguments, "--out", "found", "--storage", place, cwd=tmp_path)
    deadline = time.monotonic() + 240
    while not (in_store("manifest.json") and in_store("pointer.json")):
        assert search.poll() is None, search.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.5)
    search.send_signal(signal.SIGKILL)
    search.wait()
    time.sleep(5)
    shutil.rmtree(tmp_path / "found")

    code, output = run("tune.py", "--resume", place, "--out", "again", cwd=tmp_path, timeout_s=300)
    assert code == 0, output
    assert "was in use by" in output
    starts = [
        line
        for log in (tmp_path / "again").glob("trials/*/log.txt")
        for line in log.read_text().splitlines()
        if "training starts at step" in line
    ]
    assert any("from fresh weights" not in line for line in starts), "nothing was kept"
    assert read_owner(files, root)["released"]
    assert in_store("ranked.md")

    code, output = run("tune.py", *arguments, "--out", "whole", cwd=tmp_path, timeout_s=300)
    assert code == 0, output
    assert histories(tmp_path / "again") == histories(tmp_path / "whole")


def test_places_that_are_none_are_refused(refused, tmp_path, people):
    fields = settings()
    sentence = refused("tune.py", "--data", people, "--out", "found", "--storage", "s3x://nowhere", *fields)
    assert "s3x://nowhere names no storage" in sentence
    assert "--out" not in sentence
    assert "names no storage" in refused("tune.py", "--resume", "s3x://nowhere")
    assert "--trials cannot change it" in refused("tune.py", "--resume", "s3x://nowhere", "--trials", 3)
