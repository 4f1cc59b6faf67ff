"""A search that is interrupted: Ctrl-C once, twice, SIGTERM; on a cluster whose nodes come and go."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from command_runs import run, settings, start
from test_search_story import histories

from ray_advpose.drill.leaks import forgotten_shared_memory
from ray_advpose.drill.nodes import local_nodes

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

# Slow enough to be cut in the middle, also on a fast machine.
LONG = settings(
    net__channels=96, net__input_px=64, stages__pose_epochs=6, stages__joint_epochs=6, run__deterministic=True
)


# All are trained to their end: which of them ASHA stops depends on who comes first.
SPACE = """
from ray_advpose.search.domains import Choice
from ray_advpose.search.scheduling import RunAll
from ray_advpose.search.space import SearchSpace
SPACE = SearchSpace({"asr.scale_bins": Choice((5, 7))}, 3, RunAll())
"""


def wait_for(condition, process, timeout_s=150):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def trained(found: Path) -> list[Path]:
    """Trials that have finished an epoch."""
    return list(found.glob("trials/*/history.json"))


@pytest.fixture(scope="module")
def command(tmp_path_factory, people):
    space = tmp_path_factory.mktemp("space") / "space.py"
    space.write_text(SPACE)
    return ["tune.py", "--data", people, "--search", space, "--out", "found", *LONG]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, command):
    folder = tmp_path_factory.mktemp("whole")
    code, output = run(*command, cwd=folder)
    assert code == 0, output
    return histories(folder / "found")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_takes_checkpoints_and_nothing_is_trained_twice(tmp_path, command, undisturbed, number, code):
    before = forgotten_shared_memory()
    search = start(*command, cwd=tmp_path)
    wait_for(lambda: len(trained(tmp_path / "found")) == 2, search)
    search.send_signal(number)
    asked = time.monotonic()
    output, _ = search.communicate(timeout=120)
    assert search.returncode == code, output
    assert time.monotonic() - asked < 40
    assert f"{number.name}: every running trial takes a checkpoint" in output
    assert f"cut by {number.name}; go on with: python launch/tune.py --resume {tmp_path / 'found'}" in output
    assert (tmp_path / "found" / "ranked.md").exists()
    assert forgotten_shared_memory() <= before
    reached = {}
    for trial in (tmp_path / "found").glob("trials/*"):
        reached[trial.name] = max(int(path.name.removeprefix("step_")) for path in trial.glob("checkpoints/step_*"))

    code, output = run("tune.py", "--resume", "found", cwd=tmp_path)
    assert code == 0, output
    assert histories(tmp_path / "found") == undisturbed
    for trial, step in reached.items():
        log = (tmp_path / "found" / "trials" / trial / "log.txt").read_text()
        assert f"training starts at step {step} from" in log or step == undisturbed[trial][-1]["step"], log


def test_sigterm_while_ray_starts_says_how_to_go_on(tmp_path, command):
    search = start(*command, cwd=tmp_path)
    wait_for((tmp_path / "found" / ".lock").exists, search)
    search.send_signal(signal.SIGTERM)
    output, _ = search.communicate(timeout=60)
    assert search.returncode == 143, output
    assert f"go on with: python launch/tune.py --resume {tmp_path / 'found'}" in output
    assert "Traceback" not in output
    assert not forgotten_shared_memory()


def test_two_signals_end_a_search_at_once(tmp_path, command, undisturbed):
    search = start(*command, cwd=tmp_path)
    wait_for(lambda: trained(tmp_path / "found"), search)
    search.send_signal(signal.SIGINT)
    search.send_signal(signal.SIGINT)
    time.sleep(0.1)
    if search.poll() is None:
        search.send_signal(signal.SIGINT)
    asked = time.monotonic()
    output, _ = search.communicate(timeout=60)
    assert time.monotonic() - asked < 20
    assert search.returncode == 130, output
    assert "Traceback" not in output
    code, output = run("tune.py", "--resume", "found", cwd=tmp_path)
    assert code == 0, output
    assert histories(tmp_path / "found") == undisturbed


def test_nodes_and_the_driver_may_go_and_nothing_that_was_finished_is_run_again(tmp_path, command, undisturbed):
    with local_nodes(cpus=1) as nodes:
        first = nodes.ids[0]
        second = nodes.add()
        command = [*command, "--cluster", nodes.address]
        found = tmp_path / "found"
        search = start(*command, cwd=tmp_path)
        wait_for(lambda: len(trained(found)) == 2, search)
        nodes.remove(first)
        nodes.add()
        wait_for(lambda: (found / "endings.jsonl").exists(), search, timeout_s=240)
        finished = {json.loads(line)["trial"] for line in (found / "endings.jsonl").read_text().splitlines()}
        logs = {trial: (found / "trials" / trial / "log.txt").read_text() for trial in finished}
        search.send_signal(signal.SIGKILL)
        search.wait()
        code, output = run(*command, cwd=tmp_path, timeout_s=400)
        assert code == 0, output
        assert second in nodes.ids
    assert f"{len(finished)} of 3 trials are kept" in output
    assert histories(found) == undisturbed
    for trial, log in logs.items():
        assert (found / "trials" / trial / "log.txt").read_text() == log, "a finished trial was trained again"
    rows = (found / "ranked.md").read_text().splitlines()[2:5]
    assert all("finished" in row for row in rows)


def test_a_search_whose_machine_goes_need_not_be_waited_for(tmp_path, people, command, undisturbed):
    with local_nodes(cpus=1) as nodes:
        found, cluster = tmp_path / "found", ("--cluster", nodes.address)
        search = start(*command, *cluster, cwd=tmp_path)
        wait_for(lambda: trained(found), search)
        nodes.drain(nodes.ids[0], deadline_s=100)
        code, output = run("tune.py", "--check", "--data", people, "--out", "other", *cluster, *LONG, cwd=tmp_path)
        assert code == 0, output
        assert "it is being drained, and was not asked" in " ".join(output.replace("│", " ").split())
        nodes.remove(nodes.ids[0])
        search.send_signal(signal.SIGTERM)
        output, _ = search.communicate(timeout=100)
        assert search.returncode == 143, output
        assert f"cut by SIGTERM; go on with: python launch/tune.py --resume {found}" in output
        nodes.add()
        code, output = run("tune.py", "--resume", "found", *cluster, cwd=tmp_path, timeout_s=400)
        assert code == 0, output
    assert histories(found) == undisturbed


def test_every_node_is_asked_whether_it_is_fit(tmp_path, people):
    with local_nodes(cpus=1) as nodes:
        arguments = ["--data", people, "--out", "found", "--cluster", nodes.address, *LONG]
        code, output = run("tune.py", "--check", *arguments, cwd=tmp_path)
        assert code == 0, output
        words = output.split()
        assert words.count("data") == words.count("clock") == 2, "a row of each node"
        assert "sending" in output
        assert not list((tmp_path / "found").glob("*"))
        code, output = run(
            "tune.py", *arguments, "--set", "run.num_workers=2", "--set", "run.global_batch_size=12", cwd=tmp_path
        )
        assert code == 2
        assert "run.num_workers = 1 would fit" in output
    code, output = run("tune.py", "--cluster", "127.0.0.1:1", "--data", people, cwd=tmp_path, timeout_s=120)
    assert code == 2
    assert "127.0.0.1:1" in output
    assert "Traceback" not in output
    assert [path.name for path in tmp_path.iterdir()] == ["found"]
