from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ray_advpose.evidence.comparison import (
    FEWEST_PERSONS,
    ArmRun,
    Comparison,
    Standing,
    dropped_after,
    followed_loss,
    standing,
)
from ray_advpose.evidence.findings import rate_drops
from ray_advpose.evidence.robustness import Robustness
from ray_advpose.evidence.tables import learning_table, tilt_table
from ray_advpose.pose.gain import Gain
from ray_advpose.pose.metrics import score_lspet
from ray_advpose.pose.score import Score
from ray_advpose.report.evidence_figures import gain_figure
from ray_advpose.training.history import EpochRecord, Probe

PERSONS, ROTATIONS, JOINTS = 30, 3, 14


def scored() -> Score:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 100, (PERSONS, JOINTS, 2))
    return score_lspet(truth, truth, np.ones((PERSONS, JOINTS), dtype=bool))


def epoch(stage: str, metric: float, pose_rate: float, loss: float) -> EpochRecord:
    return EpochRecord(stage, 1, 1, 1, 1.0, 0.0, metric, {"loss_random": loss}, {"pose": pose_rate})


def run_of(turned: np.ndarray | None, history: list[EpochRecord] | None = None) -> ArmRun:
    curves = {"rotation": [3.0, 1.0, 2.0]}
    return ArmRun(
        {},
        scored(),
        "",
        history or [],
        Robustness(curves, curves, curves, {} if turned is None else {"rotation": turned}),
    )


def found_at(*by_rotation: float) -> np.ndarray:
    """Return (N, R * J) distances of which this share is near, at each rotation."""
    relative = np.full((PERSONS, ROTATIONS, JOINTS), 9.0)
    for place, share in enumerate(by_rotation):
        relative[: round(share * PERSONS), place] = 0.0
    relative[:, :, 3] = np.nan
    relative[:15, :, 7] = np.nan
    return relative.reshape(PERSONS, -1)


def comparing(arms: dict[str, dict[int, ArmRun]], tilt_deg: np.ndarray | None = None) -> Comparison:
    return Comparison("test", {100: arms}, np.zeros(PERSONS) if tilt_deg is None else tilt_deg)


def test_the_gain_over_rotations_is_the_mean_of_the_gains_at_each():
    arms = {"random": {0: run_of(found_at(0.2, 0.6, 0.1))}, "asr": {0: run_of(found_at(0.4, 0.5, 0.4))}}
    gain = comparing(arms).changed_gain(100, "asr", "random", "rotation")
    assert gain is not None
    # Of joint 7 only the last half of the persons count: found in 3 of 15 by the second of random alone.
    assert gain.mean == pytest.approx(100 * (12 * (0.2 - 0.1 + 0.3) - 3 / 15) / 39)
    assert gain.low < gain.mean < gain.high


def test_a_gain_of_runs_without_single_persons_is_not_told():
    arms = {
        "random": {0: run_of(None), 1: run_of(found_at(0.2, 0.2, 0.2))},
        "asr": {0: run_of(found_at(1, 1, 1)), 1: run_of(found_at(0.3, 0.3, 0.3)), 2: run_of(found_at(1, 1, 1))},
    }
    comparison = comparing(arms)
    assert comparison.changed_gain(100, "asr", "random", "rotation") is None
    assert comparison.changed_gain(100, "asr", "uniform", "rotation") is None
    assert comparison.changed_score(100, "random", "rotation") is None
    assert comparison.changed_score(100, "asr", "rotation") is not None


def test_predictions_that_follow_the_loss_are_told_from_those_that_do_not():
    def probed(predicted: list[float]) -> list[EpochRecord]:
        probe = Probe(1, [0.0], [0.0, 1.0, 2.0], [1, 3], [1.0], [0.1, 0.3, 0.2], [1.0, 2.0, 3.0], [], predicted, [])
        return [replace(epoch("joint", 1.0, 1e-3, 0.1), probe=probe), epoch("joint", 1.0, 1e-3, 0.1)]

    assert followed_loss(probed([0.2, 0.5, 0.3])) == pytest.approx({"rotation": 1.0})
    assert followed_loss(probed([0.5, 0.2, 0.3])) == pytest.approx({"rotation": -1.0})
    assert followed_loss([epoch("joint", 1.0, 1e-3, 0.1)]) == {}


def test_a_table_says_what_makes_a_bin_likelier():
    def learned(**reward: object) -> str:
        settings = {f"reward.{name}": value for name, value in reward.items()}
        history = [epoch("pose", 1.0, 1e-3, 0.1)]
        history += [replace(history[0], stage="joint", means={"loss_random": 0.1, "rewarded_asr": 0.75})]
        result = {"config": settings, "seconds": {"pose": 1.0, "pretrain": 2.0, "joint": 3.0}}
        run = replace(run_of(None, history), result=result)
        return learning_table(comparing({"asr": {0: run}}), 100).strip().splitlines()[-1]

    assert learned(alpha=0.2, beta=0.5) == "| asr | 1/2/3 | - | 75 % / - | 71 % rewarded | - / - / - |"
    assert "| 71 % rewarded |" in learned(alpha=0.2, beta=0.5, baseline="none")
    assert "| the batch's rewarded share |" in learned(alpha=0.5, beta=0.5, baseline="batch")
    assert "| 2.50 times the batch's odds of a reward |" in learned(alpha=0.2, beta=0.5, baseline="batch")


def test_where_random_augmentation_stands():
    history = [epoch("pose", 20.0, 1e-3, 0.3)]
    dropped = [epoch("joint", 22.0, 1e-3, 0.2), epoch("joint", 23.0, 1e-3, 0.2), epoch("joint", 27.0, 2e-4, 0.1)]
    assert standing(run_of(None, history + dropped)) == Standing(20.0, 23.0, 27.0, 0.1, 1.0)
    assert standing(run_of(None, history + dropped[:2])).before_drop is None


def test_when_the_rate_dropped():
    kept, low = epoch("joint", 1.0, 1e-3, 0.1), epoch("joint", 1.0, 2e-4, 0.1)
    assert dropped_after(run_of(None, [epoch("pose", 1.0, 9.0, 0.1), kept, kept, low, low, low])) == 2
    assert dropped_after(run_of(None, [kept, kept])) is None


def test_a_page_says_in_which_runs_the_rate_dropped_at_another_epoch():
    kept, low = epoch("joint", 1.0, 1e-3, 0.1), epoch("joint", 1.0, 2e-4, 0.1)
    usual, early = run_of(None, [kept, kept, low]), run_of(None, [kept, low, low])
    alike = comparing({"random": {0: usual, 1: usual}, "asr": {0: usual}})
    assert rate_drops(alike) == "D's learning rate dropped after epoch 2 of stage 3."
    apart = comparing({"random": {0: usual, 1: usual}, "asr": {0: usual, 1: early}})
    assert rate_drops(apart).endswith("epoch 2 of stage 3, but for asr on 100 images, seed 1: 1.")
    never = comparing({"random": {0: run_of(None, [kept, kept])}})
    assert rate_drops(never) == "D's learning rate did not drop in stage 3."


def test_accuracy_at_every_value_is_the_mean_over_seeds():
    runs = {seed: run_of(None) for seed in (0, 1)}
    runs[1] = replace(runs[1], robustness=replace(runs[1].robustness, accuracy={"rotation": [5.0, 1.0, 4.0]}))
    assert comparing({"random": runs}).curve(100, "random", "rotation") == {3.0: 4.0, 1.0: 1.0, 2.0: 3.0}


def test_the_score_over_rotations_goes_with_its_gain():
    arms = {"random": {0: run_of(found_at(0.2, 0.6, 0.1))}, "asr": {0: run_of(found_at(0.4, 0.5, 0.4))}}
    comparison = comparing(arms)
    ours, theirs = (comparison.changed_score(100, arm, "rotation") for arm in ("asr", "random"))
    gain = comparison.changed_gain(100, "asr", "random", "rotation")
    assert ours is not None
    assert theirs is not None
    assert gain is not None
    assert ours - theirs == pytest.approx(gain.mean)


def found_by(*near: int, persons: int = 100) -> ArmRun:
    run = run_of(None)
    relative = np.full((persons, JOINTS), 9.0)
    relative[list(near)] = 0.0
    relative[-1] = np.nan
    return replace(run, score=replace(run.score, relative=relative))


def test_gains_by_how_people_lie_are_of_those_people_alone():
    tilt = np.full(100, 180.0)
    tilt[:40], tilt[40:64], tilt[64] = 0.0, 30.0, np.nan
    near = {"random": range(20), "asr": [*range(12), *range(80, 100)]}
    comparison = comparing({arm: {0: found_by(*persons)} for arm, persons in near.items()}, tilt)
    groups = comparison.by_tilt(100)
    # 180 degrees is in the last one, the person who is not scored is not.
    assert {tilts: int(persons.sum()) for tilts, persons in groups.items()} == {
        "0 to 30": 40,
        "30 to 120": 24,
        "120 to 180": 34,
    }
    scores = {tilts: comparison.score_among(100, "asr", tilts) for tilts in groups}
    assert scores == pytest.approx({"0 to 30": 30.0, "30 to 120": 0.0, "120 to 180": 100 * 19 / 34})
    gains = {tilts: comparison.gain(100, "asr", "random", tilts) for tilts in groups}
    assert {tilts: gain and gain.mean for tilts, gain in gains.items()} == pytest.approx(
        {"0 to 30": -20.0, "30 to 120": 0.0, "120 to 180": 100 * 19 / 34}
    )
    table = tilt_table(comparison, 100)
    assert "98 of 99 scored persons" in table
    assert len([line for line in table.splitlines() if line.startswith("| 120 to 180 | 34 |")]) == 2


def test_of_few_people_that_lie_so_nothing_is_told():
    tilt = np.full(100, np.nan)
    tilt[: FEWEST_PERSONS - 1] = 0.0
    comparison = comparing({"random": {0: found_by()}}, tilt)
    assert comparison.by_tilt(100) == {}
    assert tilt_table(comparison, 100) == ""


def test_a_mean_outside_of_its_interval_can_be_drawn():
    # As resampling may give it where a joint is annotated of one person alone.
    odd = Gain(71.4, 50.0, 69.2, (71.4,))
    picture = gain_figure(["0 to 30", "30 to 120"], {"random": [], "asr": [odd, odd], "aho": []}, "degrees")
    assert picture.startswith(b"\x89PNG")
