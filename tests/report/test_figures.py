from __future__ import annotations

import cv2
import numpy as np
import pytest

from ray_advpose.pose.metrics import score
from ray_advpose.pose.skeleton import LSP
from ray_advpose.report.changes import largest_changes
from ray_advpose.report.chart_style import LINES, chart, name_lines
from ray_advpose.report.curves import score_figure, threshold_figure
from ray_advpose.report.distribution_figure import (
    CELLS,
    ROTATION,
    SCALE,
    distribution_figure,
    flatness_figure,
    spread_percent,
)
from ray_advpose.report.population_figure import Part, lineage_figure, settings_figure
from ray_advpose.report.probe_chart import shares
from ray_advpose.report.ranking import TrialOutcome
from ray_advpose.training.history import EpochRecord, Probe

WIDTH_PX = 840


def probe(rotations: int = 9, predicted: bool = True, seed: int = 0) -> Probe:
    rng = np.random.default_rng(seed)

    def some(count: int) -> list[float]:
        return rng.uniform(0.1, 1, count).tolist()

    def shares_of(count: int) -> list[float]:
        return shares(some(count)).tolist() if predicted else []

    return Probe(
        8,
        np.linspace(-0.6, 0.6, 7).tolist(),
        np.linspace(-60, 60, rotations).tolist(),
        [4, 4],
        some(7),
        some(rotations),
        some(16),
        shares_of(7),
        shares_of(rotations),
        shares_of(16),
    )


def history(joint_epochs: int = 5, predicted: bool = True) -> list[EpochRecord]:
    stages = ["pose"] * 2 + ["pretrain"] * 2 + ["joint"] * joint_epochs
    return [
        EpochRecord(
            stage,
            place,
            10 * place + 10,
            100,
            2.0,
            0.1,
            20.0 + place,
            {},
            {},
            probe=None if stage == "pose" else probe(predicted=predicted, seed=place),
        )
        for place, stage in enumerate(stages)
    ]


def drawn(content: bytes) -> np.ndarray:
    """A chart as a picture; it is as wide as a phone, and not empty."""
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] == WIDTH_PX
    assert (picture < 128).mean() > 0.005
    return picture


@pytest.mark.parametrize("over", [SCALE, ROTATION, CELLS])
@pytest.mark.parametrize("joint_epochs", [0, 1, 12])
def test_distributions_are_drawn_for_any_number_of_epochs(over, joint_epochs):
    two_rows = drawn(distribution_figure(over, history(joint_epochs)))
    three_rows = drawn(distribution_figure(over, history(joint_epochs), history(3, predicted=False)))
    one_row = drawn(distribution_figure(over, history(joint_epochs, predicted=False)))
    assert one_row.shape[0] < two_rows.shape[0] < three_rows.shape[0]
    drawn(flatness_figure(over, {"joint": history(joint_epochs), "random": history(2)}))


def test_how_flat_a_distribution_is():
    assert spread_percent(np.array([0.25, 0.25, 0.25, 0.25])) == 0
    assert spread_percent(np.array([0.5, 0.25, 0.25])) == pytest.approx(75)


def test_shares_sum_to_one():
    assert shares([1.0, 3.0]).tolist() == [0.25, 0.75]
    assert shares([0.0, 0.0]).tolist() == [0.5, 0.5]
    assert shares([]).tolist() == []


@pytest.mark.parametrize("trials", [1, 4, 90])
def test_scores_are_drawn_for_any_number_of_trials(trials):
    outcomes = [TrialOutcome(f"trial_{n:05d}", "finished", {}, history(n % 4)) for n in range(trials)]
    drawn(score_figure([*outcomes, TrialOutcome("trial_empty", "failed", {}, [])], "PCK@0.2"))


@pytest.fixture
def scored():
    """Ten persons, all joints off by so many pixels; the normaliser is 100 px."""
    truth_px = np.zeros((10, 14, 2))
    truth_px[:, LSP.index("left_shoulder")] = [60, 80]  # the right hip is at 0

    def make(off_px):
        predictions = truth_px + np.array([1, 0]) * np.asarray(off_px, dtype=float)[:, None, None]
        return score("lspet", predictions, truth_px, np.ones((10, 14), bool))

    return make


def test_thresholds_are_drawn_up_to_the_tables_one(scored):
    drawn(threshold_figure({"random": [scored([5] * 10), scored([15] * 10)], "asr+aho": [scored([3] * 10)]}))


def test_the_persons_with_the_largest_changes_come_first(scored):
    before = scored([5, 5, 30, 30, 90, 5, 19, 40, 5, 5])
    after = scored([5, 50, 5, 10, 5, 30, 21, 60, 5, 4])
    better, worse = largest_changes(before, after, count=3)
    # All fourteen joints or none; equal gains by how much nearer they came.
    assert [change.person for change in better] == [4, 2, 3]
    assert [change.person for change in worse] == [1, 5, 6]
    assert str(better[0]) == "0 to 14 of 14"
    assert largest_changes(before, before, 3) == ([], [])


def part(trial, first, last, alpha, donor=None, best=False):
    return Part(trial, first, last, {"reward.alpha": alpha, "asr.rotation_bins": 9}, donor, best)


def test_a_population_is_drawn_whatever_its_size():
    few = [part(0, 0, 30, 0.1), part(1, 0, 10, 0.2), part(1, 10, 30, 0.12, donor=0), part(0, 0, 10, 0.1, best=True)]
    small = drawn(lineage_figure(few))
    many = [part(trial, 0, 20, 0.001 * (trial + 1)) for trial in range(300)]
    large = drawn(lineage_figure([*many, part(299, 20, 30, 5.0, donor=250)]))
    assert large.shape[0] < 15 * small.shape[0]
    one = drawn(settings_figure(few, ["reward.alpha"]))
    two = drawn(settings_figure(few, ["reward.alpha", "asr.rotation_bins"]))
    assert two.shape[0] > one.shape[0]


def test_lanes_are_for_those_that_copied(monkeypatch):
    from ray_advpose.report import population_figure

    many = [part(trial, 0, 20, 0.1) for trial in range(100)]
    lanes = population_figure._lanes([*many, part(99, 20, 30, 0.2, donor=77)])
    assert len(lanes) == 40
    assert {77, 99} <= lanes.keys()


@pytest.mark.parametrize("inside", [None, "best"])
@pytest.mark.parametrize(
    "names",
    [
        ("random", "tuned random", "uniform", "asr", "aho", "asr+aho"),
        ("random", "aho", "aho:aho.max_cells=1"),
        ("random", "tuned random", "uniform", "asr+aho", "asr+aho:reward.alpha=0.3"),
        ("asr+aho", "asr+aho:reward.reward_by=pckh:aho.max_cells=1:optim.joint_lr=0.001"),
    ],
)
def test_names_of_lines_have_room(names, inside):
    with chart(height_in=2.9) as figure:
        axes = figure.subplots()
        for name, style in zip(names, LINES, strict=False):
            axes.plot([0, 1], [0, 1], label=name, **style)
        name_lines(figure, axes, inside)
        figure.draw_without_rendering()
        (legend,) = figure.legends or [axes.get_legend()]
        box = legend.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
        assert 0 <= box.y0 < box.y1 <= figure.bbox.height
        assert axes.get_window_extent().height > 1.7 * figure.dpi


def test_no_two_lines_look_alike():
    for keys in (("marker",), ("color", "linestyle")):
        assert len({tuple(line[key] for key in keys) for line in LINES}) == len(LINES)
