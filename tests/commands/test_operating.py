"""What an operator does with a cluster, command by command, as docs/CLUSTER.md has it; and what `--check` finds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.fs
import pytest
from command_runs import ROOT, settings
from faulty_store import faulty
from namespaces import namespaced_cluster, namespaces_missing

from ray_advpose.data.shard_place import CACHE_VARIABLE

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

_MISSING = namespaces_missing()
SPACE = """
from ray_advpose.search.domains import Uniform
from ray_advpose.search.scheduling import RunAll
from ray_advpose.search.space import SearchSpace

SPACE = SearchSpace({"reward.alpha": Uniform(0.05, 0.5)}, 2, RunAll())
"""


@pytest.mark.skipif(bool(_MISSING), reason=f"no network namespaces here: {_MISSING}")
def test_a_search_from_its_check_to_its_extension(tmp_path, people, bucket, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "space.py").write_text(SPACE)
    place = bucket.replace("s3://advpose", "s3://advpose/operating")
    files, root = pyarrow.fs.FileSystem.from_uri(place)
    files.create_dir(root)
    pyarrow.fs.copy_files(str(people), root, destination_filesystem=files)
    fields = settings(net__channels=64, net__input_px=96, stages__pose_epochs=12, stages__joint_epochs=4)
    found = tmp_path / "found"
    wanted = ["--data", people, "--search", tmp_path / "space.py", *fields, "--out", found]
    session = Path(tempfile.mkdtemp(prefix="adv"))
    try:
        # The store is on this machine's loopback, which others do not reach.
        with namespaced_cluster(session) as cluster, faulty(place, cluster.head) as (reachable, _):

            def tune(*arguments):
                done = subprocess.run(
                    [sys.executable, ROOT / "launch" / "tune.py", "--cluster", cluster.address, *map(str, arguments)],
                    env=cluster.environment,
                    capture_output=True,
                    text=True,
                    timeout=300,
                )
                return done.returncode, done.stdout + done.stderr

            def wait_for(condition, job, timeout_s=240):
                deadline = time.monotonic() + timeout_s
                while not condition():
                    assert time.monotonic() < deadline, cluster.job("logs", job)[-4000:]
                    assert " failed" not in cluster.job("status", job), cluster.job("logs", job)[-4000:]
                    time.sleep(0.5)

            # Nobody is there yet; the check says of what there is that it is good, and what is missing.
            code, output = tune(*wanted, "--check")
            assert code == 2
            assert "good" in output
            assert "--at-once N asks a cluster that grows" in output
            code, output = tune(*wanted, "--plan", "--at-once", 2)
            assert code == 0, output
            assert "2 trials" in output
            # A machine that says it has a GPU, and has none.
            liar = cluster.add(1, "--num-gpus=1")
            code, output = tune(*wanted, "--check")
            assert code == 2
            assert "announces 1 GPU(s) and" in " ".join(output.split())
            assert str(next(iter(cluster.network.split(".")))) in output
            liar.forget()
            assert not found.exists() or not list(found.glob("trials/*")), "nothing of the search has begun"

            # It asks for two trials at once of a cluster that has room for one, and gets more when that grows.
            cluster.add(1)
            command = [sys.executable, ROOT / "launch" / "tune.py", "--cluster", "--at-once", "2", *wanted]
            cluster.submit("search", command)
            wait_for(lambda: list(found.glob("trials/*/checkpoints/*")), "search")
            cluster.add(1)
            wait_for(lambda: len({path.parent.parent for path in found.glob("trials/*/checkpoints/*")}) == 2, "search")
            began = time.monotonic()
            assert "stop" in cluster.job("stop", "search")
            logs = cluster.job("logs", "search")
            print(f"stopped in {time.monotonic() - began:.1f} s: {logs[-600:]}")
            assert "--resume" in logs

            # Resumed by the command from the job's log, on the same data in a store, and with one trial more.
            resumed = [sys.executable, ROOT / "launch" / "tune.py", "--cluster", "--resume", found, "--data", reachable]
            cluster.submit("resumed", resumed)
            wait_for(lambda: " succeeded" in cluster.job("status", "resumed"), "resumed", 400)
            assert "trials are kept" in cluster.job("logs", "resumed")
            code, output = tune("--resume", found, "--extend", 1)
            assert code == 0, output
            assert len(json.loads((found / "search.json").read_text())["overrides"]) == 3
            report = [sys.executable, ROOT / "launch" / "report.py", found]
            assert subprocess.run(report, capture_output=True, timeout=120).returncode == 0
            assert (found / "report.html").is_file()
            assert list((tmp_path / "cache").iterdir()), "no machine has read from the store"
        assert not cluster.processes()
    finally:
        shutil.rmtree(session, ignore_errors=True)
