from __future__ import annotations

from ray_advpose.report.ranking import TrialOutcome, markdown_table, ranked, ranking_rows
from ray_advpose.training.history import EpochRecord
from ray_advpose.training.schedule import Stage


def epoch(stage: Stage, step: int, metric: float, images: int = 100, **means: float) -> EpochRecord:
    return EpochRecord(stage.label, 1, step, images, 1.0, 0.0, metric, means, {})


FINISHED = TrialOutcome(
    "a",
    "finished",
    {"reward.alpha": 0.25, "asr.scale_bins": 7},
    [
        epoch(Stage.POSE, 10, 5.0),
        epoch(Stage.POSE, 20, 12.0),
        epoch(Stage.PRETRAIN, 24, 12.0),
        epoch(Stage.JOINT, 34, 15.0, images=100, rewarded_asr=0.4),
        epoch(Stage.JOINT, 44, 14.0, images=300, rewarded_asr=0.8),
    ],
)
STOPPED = TrialOutcome("b", "stopped early", {"reward.alpha": 0.5}, [epoch(Stage.POSE, 10, 20.0)])
FAILED = TrialOutcome("c", "failed", {}, [])


def test_steps_of_each_stage():
    assert [FINISHED.steps_of(stage) for stage in Stage] == [20, 4, 20]


def test_scores_around_stage_3():
    assert (FINISHED.before_joint, FINISHED.after_joint) == (12.0, 14.0)
    assert (STOPPED.before_joint, STOPPED.after_joint) == (None, None)


def test_rewarded_share_is_weighted_by_images():
    assert FINISHED.rewarded("asr") == (0.4 * 100 + 0.8 * 300) / 400
    assert FINISHED.rewarded("aho") is None


def test_ranked_by_best_score_with_failures_last():
    assert [outcome.trial_id for outcome in ranked([FAILED, FINISHED, STOPPED])] == ["b", "a", "c"]


def test_table_says_what_each_trial_came_to():
    header, rows = ranking_rows([FINISHED, FAILED], "PCK@0.2")
    first = dict(zip(header, rows[0], strict=True))
    assert first["best PCK@0.2"] == "15.00"
    assert first["steps in stages 1/2/3"] == "20/4/20"
    assert first["rewarded ASR"] == "70.0 %"
    assert first["settings"] == "alpha=0.25 scale_bins=7"
    assert rows[1][2] == "-"
    lines = markdown_table(header, rows).splitlines()
    assert len(lines) == 4
    assert all(line.count("|") == len(header) + 1 for line in lines)
