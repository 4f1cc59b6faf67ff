from __future__ import annotations

import re
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ray_advpose.cluster.records import progress_line
from ray_advpose.report.live_view import Lines, Redrawn, TrialRow, frame, last_progress, view_for
from ray_advpose.training.loop import Progress


def row(name, best="", runs=False, **fields):
    defaults = {"state": "joint 1", "step": "300/824", "images_per_s": "71", "score": best, "copied": 0}
    return TrialRow(name=name, best=best, runs=runs, **{**defaults, **fields})


def drawn(rows, height=40, summary="0:12 since the start"):
    """What a terminal of some height shows, line by line."""
    console = Console(file=StringIO(), width=120, height=height)
    console.print(frame(rows, "PCK@0.2", summary, height))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def names(lines):
    return [line.split()[0] for line in lines if line.strip().startswith("t_")]


def test_who_runs_comes_first_then_the_best():
    rows = [
        row("t_0", "9.5"),
        row("t_1"),
        row("t_2", "31.0"),
        row("t_3", "0.0"),
        row("t_4", "10.0", runs=True),
        row("t_5", runs=True),
        row("t_6", "100.0"),
    ]
    assert names(drawn(rows)) == ["t_4", "t_5", "t_6", "t_2", "t_0", "t_3", "t_1"]


def test_a_row_shows_all_there_is_of_a_trial():
    rows = [row("t_0", "31.5", state="stopped early", step="424/824", images_per_s="63", score="30.1", copied=3)]
    lines = drawn(rows, summary="0:12 since the start | 1/2 trials ended")
    assert [line.split() for line in lines if "trial " in line] == [
        ["trial", "state", "step", "images/s", "PCK@0.2", "best", "copies"]
    ]
    assert lines[-1] == "0:12 since the start | 1/2 trials ended"
    cells = next(re.split(r"\s{2,}", line.strip()) for line in lines if "t_0" in line)
    assert cells == ["t_0", "stopped early", "424/824", "63", "30.1", "31.5", "3"]


def test_who_has_copied_nobody_shows_no_number_of_copies():
    (line,) = [line for line in drawn([row("t_0", "31.5", step="1/8")]) if "t_0" in line]
    assert line.split()[-1] == "31.5"


@given(trials=st.integers(0, 40), height=st.integers(9, 60))
def test_a_frame_has_room_on_its_terminal_and_counts_what_it_leaves_out(trials, height):
    rows = [row(f"t_{number}", f"{number}.0", runs=number % 3 == 0) for number in range(trials)]
    lines = drawn(rows, height)
    assert len(lines) <= height
    shown = names(lines)
    assert shown == names(drawn(rows, height=100))[: len(shown)]
    hidden = trials - len(shown)
    assert lines[-1] == "0:12 since the start" + (f" | {hidden} more trials" if hidden else "")


def test_a_terminal_that_is_full_shows_as_many_as_it_has_room_for():
    rows = [row(f"t_{number}", f"{number}.0") for number in range(20)]
    assert names(drawn(rows, height=12)) == ["t_19", "t_18", "t_17", "t_16"]
    assert drawn(rows, height=12)[-1].endswith("| 16 more trials")
    assert names(drawn(rows, height=3)) == ["t_19"]


PROGRESS = Progress("joint", 2, 5, 1200, 2836, 12 * 1636, 71.4, {"loss_random": 0.5, "kl_asr": 0.1})


def test_the_last_progress_is_that_of_the_last_line_that_tells_one(tmp_path):
    log = tmp_path / "log.txt"
    earlier = Progress("pose", 1, 4, 50, 2836, 12 * 2786, 9.0, {})
    lines = [progress_line(earlier), progress_line(PROGRESS), "node abc | step aside | nothing", "joint epoch 2 done"]
    log.write_text("".join(f"12:00:00 {line}\n" for line in lines))
    assert last_progress(log) == ("1200/2836", "71")


def test_only_the_end_of_a_long_log_is_read(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text(f"12:00:00 {progress_line(PROGRESS)}\n" + 5000 * "x" + "\n")
    assert last_progress(log) is None
    with log.open("ab") as file:
        # Cut in the middle of a letter, and still being written.
        file.write(b"\xc3" * 4000 + f"\n12:00:00 {progress_line(PROGRESS)}\n12:00:05 joint 2/5 | ste".encode())
    assert last_progress(log) == ("1200/2836", "71")


def test_a_log_that_is_not_there_or_tells_nothing_has_no_progress(tmp_path):
    assert last_progress(tmp_path / "log.txt") is None
    (tmp_path / "log.txt").touch()
    assert last_progress(tmp_path / "log.txt") is None
    assert last_progress(tmp_path) is None


def test_lines_tell_every_event_and_no_table(capsys):
    view = Lines()
    view.say("t_0 finished")
    view.say("t_0 joint epoch 1", lasting=False)
    view.show([row("t_0", "31.0", runs=True)], "PCK@0.2", "0:12 since the start")
    view.close()
    assert capsys.readouterr().out == "t_0 finished\nt_0 joint epoch 1\n"


@pytest.fixture
def terminal():
    return Console(force_terminal=True, file=StringIO(), width=120, height=30)


def shown_on(terminal):
    """What was written to a terminal, without what moves its cursor or colours it."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.file.getvalue())


def test_a_redrawn_table_prints_lasting_events_only(terminal):
    view = Redrawn(terminal)
    view.show([row("t_0", "31.0", runs=True)], "PCK@0.2", "0:12 since the start")
    view.say("[0:13] t_0 [bold] finished | 1/6 trials ended")
    view.say("[0:14] t_1 joint epoch 1", lasting=False)
    view.close()
    text = shown_on(terminal)
    assert "[0:13] t_0 [bold] finished | 1/6 trials ended\n" in text.replace("\r", "")
    assert "t_1" not in text
    assert "0:12 since the start" in text


def test_a_table_shows_how_trials_stand_at_each_call(terminal):
    view = Redrawn(terminal)
    view.show([row("t_0", "31.0", runs=True)], "PCK@0.2", "0:12 since the start")
    assert "32.5" not in shown_on(terminal)
    view.show([row("t_0", "32.5", runs=True)], "PCK@0.2", "0:13 since the start")
    assert "32.5" in shown_on(terminal)
    view.close()


def test_a_terminal_is_left_as_it_was(terminal):
    view = Redrawn(terminal)
    view.show([row("t_0")], "PCK@0.2", "0:12 since the start")
    view.close()
    written = terminal.file.getvalue()
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert written.count(hidden) == 1
    assert written.rindex(shown) > written.rindex(hidden)


def test_only_a_terminal_is_redrawn(terminal):
    view = view_for(terminal)
    view.close()
    assert isinstance(view, Redrawn)
    assert isinstance(view_for(Console(file=StringIO())), Lines)
