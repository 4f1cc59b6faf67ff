from __future__ import annotations

import random

import pytest
from asked_schedulers import Controller, Trial
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule

from ray_advpose.search.remembered import RememberedScheduler

EPOCHS, TRIALS = 8, 9
INNER = {
    "halving": lambda: ASHAScheduler(time_attr="joint_epochs", max_t=EPOCHS, grace_period=1, reduction_factor=2),
    "median": lambda: MedianStoppingRule(
        time_attr="joint_epochs", grace_period=1, min_samples_required=2, min_time_slice=float("inf")
    ),
}


def fresh(kind, path, trials):
    scheduler = RememberedScheduler(INNER[kind](), path, "joint_epochs")
    scheduler.set_search_properties("metric", "max")
    for trial in trials:
        scheduler.on_trial_add(Controller(), trial)
    return scheduler


def reports():
    """Every trial's reports, mixed as several slots would mix them: (trial, epoch, score)."""
    draw = random.Random(4)
    left = {trial: list(range(1, EPOCHS)) for trial in range(TRIALS)}
    while left:
        trial = draw.choice(sorted(left))
        epoch = left[trial].pop(0)
        yield trial, epoch, 10 * draw.random() + epoch
        if not left[trial]:
            del left[trial]


def search(kind, path, interrupt=lambda told: False, tell_again=0):
    """Run a search; return what was decided on each report."""
    trials = [Trial(str(number)) for number in range(TRIALS)]
    scheduler = fresh(kind, path, trials)
    decided, stopped, history = {}, set(), []
    for told, (number, epoch, score) in enumerate(reports()):
        if number in stopped:
            continue
        history.append((number, epoch, score))
        if interrupt(told):
            # As a trial that goes on from its last checkpoint, some reports come a second time.
            trials = [Trial(str(number)) for number in range(TRIALS)]
            scheduler = fresh(kind, path, trials)
            repeated = history[-1 - tell_again : -1]
        else:
            repeated = []
        for again, epoch_again, score_again in [*repeated, (number, epoch, score)]:
            result = {"joint_epochs": epoch_again, "metric": score_again}
            answer = scheduler.on_trial_result(Controller(), trials[again], result)
            assert decided.setdefault((again, epoch_again), answer) == answer
            if answer == "STOP" and again not in stopped:
                stopped.add(again)
                scheduler.on_trial_complete(Controller(), trials[again], result)
    return decided


@pytest.mark.parametrize("kind", INNER)
@pytest.mark.parametrize("tell_again", [0, 1, 5])
def test_a_restored_search_decides_as_the_undisturbed_one(tmp_path, kind, tell_again):
    undisturbed = search(kind, tmp_path / "whole.jsonl")
    assert {"STOP", "CONTINUE"} == set(undisturbed.values())
    for every in (1, 3, 7):
        path = tmp_path / f"cut-{every}.jsonl"
        assert search(kind, path, lambda told, every=every: told and told % every == 0, tell_again) == undisturbed


def test_without_memory_it_would_decide_otherwise(tmp_path):
    """What the other test would see if nothing were written down."""
    undisturbed = search("halving", tmp_path / "whole.jsonl")

    class Forgetful(type(tmp_path)):
        def is_file(self):
            return False

    assert search("halving", Forgetful(tmp_path / "cut.jsonl"), lambda told: told % 3 == 0) != undisturbed


def test_a_line_cut_off_while_being_written_is_no_decision(tmp_path):
    path = tmp_path / "decisions.jsonl"
    trial = Trial("0")
    fresh("halving", path, [trial]).on_trial_result(Controller(), trial, {"joint_epochs": 1, "metric": 4.0})
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    scheduler = fresh("halving", path, [trial])
    scheduler.on_trial_result(Controller(), trial, {"joint_epochs": 2, "metric": 5.0})
    assert path.read_bytes().startswith(whole + b'{"event": "result", "trial": "0", "time": 2')
