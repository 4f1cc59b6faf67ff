"""A search on a cluster whose machines come and go, by the command and the agent that its operator uses.

Four trials that copy each other on two spot machines. One is given notice and goes at its deadline; another
joins. The other goes without notice; later one more joins. Then the command itself is killed on the head, and
given again. What comes out is what comes out where nothing happens.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_runs import ROOT, run, settings
from exploiting_search import SPACE, Found
from namespaces import namespaced_cluster, namespaces_missing

from ray_advpose.cluster.storage import last_whole, step_at, store_at
from ray_advpose.cluster.stretches import read_stretches

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

_NOTICE_S = 20
_MISSING = namespaces_missing()


def wait_for(condition, timeout_s, otherwise):
    """Wait until something is there, and return it."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)
    return found


@dataclass
class Search:
    """The search's folder while it runs."""

    folder: Path

    def trials(self):
        return sorted(path for path in self.folder.glob("trials/*") if (path / "log.txt").is_file())

    def stretches(self):
        return [(trial.name, each) for trial in self.trials() for each in read_stretches(trial)]

    def saved(self):
        """Steps of the last whole checkpoint of each trial, of its newest generation."""
        steps = {}
        for trial in self.trials():
            folders = sorted(trial.glob("checkpoints*"), key=lambda path: int(path.name.partition("_g")[2] or 0))
            place = last_whole(store_at(str(folders[-1])), skipped=print) if folders else None
            steps[trial.name] = step_at(place) if place else 0
        return steps

    def said(self):
        return "\n".join(f"--- {trial.name}\n{(trial / 'log.txt').read_text()[-2500:]}" for trial in self.trials())


@pytest.mark.skipif(bool(_MISSING), reason=f"no network namespaces here: {_MISSING}")
def test_machines_come_and_go_and_the_command_is_killed(tmp_path, people, capsys):
    (tmp_path / "space.py").write_text(SPACE.replace("TRIALS", "4"))
    fields = settings(
        # Minutes of training, as machines take theirs to join.
        net__channels=64,
        net__input_px=96,
        stages__pose_epochs=6,
        stages__joint_epochs=12,
        run__checkpoint_every_s=5.0,
    )
    arguments = ["--data", str(people), "--search", str(tmp_path / "space.py"), *fields]
    found = Search(tmp_path / "found")
    entrypoint = [sys.executable, ROOT / "launch" / "tune.py", "--cluster", *arguments, "--out", found.folder]
    measured = {}
    session = Path(tempfile.mkdtemp(prefix="adv"))
    try:
        with namespaced_cluster(session) as cluster:

            def otherwise():
                return f"{cluster.job('logs', 'second' if resubmitted else 'first')[-6000:]}\n{found.said()}"

            def again(lost_at, names):
                """Stretches of these trials that have come to a step since something was lost."""
                since = [(name, each) for name, each in found.stretches() if each.trained_at > lost_at]
                return since if names <= {name for name, _ in since} else []

            def pull_the_plug(machine):
                """When, which trials it trained, and what they had saved."""
                names = wait_for(lambda: trained_on(machine), 120, otherwise)
                saved, lost_at = found.saved(), time.time()
                machine.pull_the_plug()
                return lost_at, names, saved

            def check_little_is_lost(began, names, saved):
                firsts = dict(reversed(began))
                for name in names:
                    assert firsts[name].step >= saved[name], f"{name} lost more than since its last checkpoint"

            resubmitted = False
            first, second = cluster.add(1), cluster.add(1)
            cluster.submit("first", entrypoint)
            wait_for(lambda: len(found.stretches()) >= 2, 240, otherwise)
            wait_for(lambda: sum(step > 10 for step in found.saved().values()) >= 2, 240, otherwise)

            # Notice, by the agent; the machine that is to take its place joins meanwhile.
            notice = tmp_path / "notice"
            log = tmp_path / "agent.txt"
            agent = first.run(
                *(sys.executable, ROOT / "launch" / "drain_agent.py", "--file", notice, "--address", cluster.address),
                log=log,
            )
            wait_for(lambda: "waiting for a notice" in log.read_text(), 60, log.read_text)
            noticed_at = time.time()
            notice.write_text(str(_NOTICE_S))
            wait_for(lambda: "Ray drains node" in log.read_text(), 30, log.read_text)
            measured["notice to drain"] = time.time() - noticed_at
            assert agent.wait(timeout=10) == 0
            wait_for(lambda: "is being drained" in found.said(), 30, otherwise)
            measured["notice to a checkpoint's being taken"] = time.time() - noticed_at
            third, join = cluster.add_later(1)
            time.sleep(max(0.0, noticed_at + _NOTICE_S - time.time()))
            lost_at, names, saved = pull_the_plug(first)
            join()
            began = wait_for(lambda: again(lost_at, names), 240, otherwise)
            measured["drained machine's end to a step of its trial elsewhere"] = began[0][1].trained_at - lost_at
            check_little_is_lost(began, names, saved)

            # Without notice; a machine joins after longer than Ray Train waits for one.
            wait_for(lambda: trained_on(third), 120, otherwise)
            lost_at, names, saved = pull_the_plug(second)
            time.sleep(75)
            fourth = cluster.add(1)
            joined_at = time.time()
            began = wait_for(lambda: again(lost_at, names), 300, otherwise)
            measured["machine gone without notice to a step of its trial elsewhere"] = began[-1][1].trained_at - lost_at
            measured["of it, after another machine had joined"] = began[-1][1].trained_at - joined_at
            check_little_is_lost(began, names, saved)

            # The head's command.
            time.sleep(5)
            names = wait_for(lambda: trained_on(third) | trained_on(fourth), 120, otherwise)
            saved, lost_at = found.saved(), time.time()
            for pid in drivers(cluster):
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: " failed" in cluster.job("status", "first"), 60, otherwise)
            resubmitted = True
            cluster.submit("second", entrypoint)
            given_at = time.time()
            began = wait_for(lambda: again(given_at, names), 300, otherwise)
            measured["command killed to the first step after it is given again"] = began[0][1].trained_at - lost_at
            check_little_is_lost(began, names, saved)
            wait_for(lambda: " succeeded" in cluster.job("status", "second"), 900, otherwise)
            assert not [each for each in (third, fourth) if not each.processes()], "a machine was lost by itself"
            for machine in cluster.machines:
                machine.forget()
                assert not machine.processes()
        assert not cluster.processes()
    finally:
        shutil.rmtree(session, ignore_errors=True)
    (tmp_path / "measured.json").write_text(json.dumps(measured))
    with capsys.disabled():
        print()
        for what, seconds in measured.items():
            print(f"    {what}: {seconds:.1f} s")

    code, output = run("tune.py", *arguments, "--out", "whole", cwd=tmp_path, timeout_s=900)
    assert code == 0, output
    whole = Found(tmp_path / "whole")
    disturbed = Found(found.folder)
    assert disturbed.decisions() == whole.decisions()
    assert len(whole.decisions()) > 0
    assert disturbed.results() == whole.results()
    assert (found.folder / "ranked.md").is_file()


def trained_on(machine):
    """Names of the trials whose files a machine's processes have open."""
    names = set()
    for pid in machine.processes():
        try:
            opened = [path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        names.update(part for path in opened for part in path.parts if part.startswith("trial_"))
    return names


def drivers(cluster):
    """The processes of ``tune.py`` on the head."""
    found = []
    for pid in cluster.processes():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(part.endswith(b"launch/tune.py") for part in line) and line[0].endswith(b"python"):
            found.append(pid)
    return found
