"""What the runs of an experiment came to, arm beside arm, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ray_advpose.data.rescoring import score_file
from ray_advpose.data.truth_files import read_truth
from ray_advpose.evidence.arms import BASELINES, JOINT
from ray_advpose.evidence.experiment import Experiment, result_of
from ray_advpose.evidence.one_run import is_done, predictions_file, read_history
from ray_advpose.evidence.robustness import Robustness, read_robustness
from ray_advpose.pose.gain import Gain, paired_gain
from ray_advpose.pose.score import Score
from ray_advpose.pose.tilt import torso_tilt_deg
from ray_advpose.training.history import EpochRecord

TILTS_DEG = (0, 30, 120, 180)
"""Bounds of how bodies lie: upright, leaning or lying, more or less head down; each a fair share of LSPET's."""
FEWEST_PERSONS = 20
"""Of fewer a score is an anecdote, and an interval by resampling them is too narrow."""


@dataclass(frozen=True)
class ArmRun:
    """One run of an arm that has ended.

    Attributes:
        result: What its folder says of it.
        score: Of its predictions.
        caption: The definition behind the score.
        history: Its epochs, those of the stage 1 before it too.
        robustness: Measured on the same split.
    """

    result: dict[str, Any]
    score: Score
    caption: str
    history: list[EpochRecord]
    robustness: Robustness


@dataclass(frozen=True)
class Standing:
    """How near a run came to having learned all that its augmentation teaches.

    Attributes:
        after_stage_one: Validation score at the end of stage 1.
        before_drop: Before D's learning rate dropped for the last time; None if it did not in stage 3.
        at_end: After the last epoch.
        training_loss: D's loss on randomly augmented training images, mean of the last epoch.
        held_loss: D's loss on the split's own images, upright and whole.
    """

    after_stage_one: float
    before_drop: float | None
    at_end: float
    training_loss: float
    held_loss: float


def standing(run: ArmRun) -> Standing:
    """Return where a run of random augmentation stands."""
    pose = [record for record in run.history if record.stage == "pose"]
    joint = [record for record in run.history if record.stage == "joint"]
    last = run.history[-1]
    before = [record for record in joint if record.learning_rates["pose"] > last.learning_rates["pose"]]
    return Standing(
        after_stage_one=pose[-1].metric,
        before_drop=before[-1].metric if before else None,
        at_end=last.metric,
        training_loss=last.means["loss_random"],
        held_loss=run.robustness.loss["rotation"][len(run.robustness.loss["rotation"]) // 2],
    )


def dropped_after(run: ArmRun) -> int | None:
    """Return how many epochs of stage 3 D had its first learning rate; None if it had it to the end."""
    rates = [record.learning_rates["pose"] for record in run.history if record.stage == "joint"]
    kept = sum(rate == rates[0] for rate in rates)
    return None if kept == len(rates) else kept


@dataclass(frozen=True)
class Comparison:
    """All arms that have ended.

    Attributes:
        split: Which one is scored.
        arms: By number of training images and arm, a run for each seed.
        tilt_deg: (N,) how the split's persons lie in their pictures (`torso_tilt_deg`).
    """

    split: str
    arms: dict[int, dict[str, dict[int, ArmRun]]]
    tilt_deg: np.ndarray
    _gains: dict[tuple[int, str, str, str], Gain | None] = field(default_factory=dict, init=False, repr=False)

    def gain(self, images: int, arm: str, baseline: str, tilts: str | None = None) -> Gain | None:
        """Return an arm's gain over another, on the seeds both were trained with; None without one.

        Args:
            images: Training images.
            arm: Which arm.
            baseline: Over which.
            tilts: On whom, a group of `by_tilt`; None for all.
        """

        def relative(run: ArmRun) -> np.ndarray:
            return run.score.relative if tilts is None else run.score.relative[self.by_tilt(images)[tilts]]

        return self._resampled(images, arm, baseline, tilts or "", relative)

    def score_among(self, images: int, arm: str, tilts: str) -> float:
        """Return an arm's mean_joint on a group of `by_tilt`, the mean over its seeds."""
        runs, persons = list(self.arms[images][arm].values()), self.by_tilt(images)[tilts]
        return _mean_joint([run.score.relative[persons] for run in runs], runs[0].score.threshold)

    def scored(self, images: int) -> np.ndarray:
        """Return (N,) bool, who is scored at all: persons with a usable normaliser and a joint that counts."""
        some = next(iter(next(iter(self.arms[images].values())).values())).score
        scored: np.ndarray = ~np.isnan(some.relative).all(axis=1)
        return scored

    def by_tilt(self, images: int) -> dict[str, np.ndarray]:
        """Return (N,) bool by range of `TILTS_DEG`: who is scored and lies so, where these are enough to tell of."""
        told = self.scored(images) & ~np.isnan(self.tilt_deg)
        number = np.digitize(self.tilt_deg, TILTS_DEG[1:-1])
        groups = {f"{low} to {high}": told & (number == k) for k, (low, high) in enumerate(pairwise(TILTS_DEG))}
        return {tilts: persons for tilts, persons in groups.items() if persons.sum() >= FEWEST_PERSONS}

    def changed_gain(self, images: int, arm: str, baseline: str, change: str) -> Gain | None:
        """Return the same of pictures changed in one way, the mean over all that `Robustness` is measured at.

        Args:
            images: Training images.
            arm: Which arm.
            baseline: Over which.
            change: ``rotation``, ``scale`` or ``occlusion``; None is returned if a run was not measured so.
        """
        if any(change not in run.robustness.relative for pair in self._pairs(images, arm, baseline) for run in pair):
            return None
        return self._resampled(images, arm, baseline, change, lambda run: run.robustness.relative[change])

    def changed_score(self, images: int, arm: str, change: str) -> float | None:
        """Return an arm's mean_joint over pictures changed so; None if a run of it was not measured so."""
        runs = list(self.arms[images][arm].values())
        if any(change not in run.robustness.relative for run in runs):
            return None
        return _mean_joint([run.robustness.relative[change] for run in runs], runs[0].score.threshold)

    def curve(self, images: int, arm: str, change: str) -> dict[float, float]:
        """Return an arm's accuracy by how much pictures were changed, joints pooled, the mean over its seeds."""
        runs = [run.robustness for run in self.arms[images][arm].values()]
        means = np.mean([run.accuracy[change] for run in runs], axis=0)
        return dict(zip(runs[0].values[change], means.tolist(), strict=True))

    def _resampled(
        self, images: int, arm: str, baseline: str, what: str, relative: Callable[[ArmRun], Any]
    ) -> Gain | None:
        """Return the gain in distances that `what` names; resampled once, as tables, figures and numbers tell it."""
        key = (images, arm, baseline, what)
        if key not in self._gains:
            pairs = self._pairs(images, arm, baseline)
            self._gains[key] = (
                paired_gain(
                    [relative(ours) for ours, _ in pairs],
                    [relative(theirs) for _, theirs in pairs],
                    pairs[0][0].score.threshold,
                )
                if pairs
                else None
            )
        return self._gains[key]

    def _pairs(self, images: int, arm: str, baseline: str) -> list[tuple[ArmRun, ArmRun]]:
        ours, theirs = self.arms[images].get(arm, {}), self.arms[images].get(baseline, {})
        return [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]

    def hardest_baseline(self, images: int) -> str | None:
        """Return the baseline that scores highest on the seeds it shares with ``asr+aho``: the hardest to beat."""
        ours = self.arms[images].get(JOINT, {})
        means = {
            arm: np.mean([self.arms[images][arm][seed].score.mean_joint for seed in common])
            for arm in BASELINES
            if (common := [seed for seed in self.arms[images].get(arm, {}) if seed in ours])
        }
        return max(means, key=lambda arm: means[arm]) if means else None

    def flatness(self, images: int, arm: str) -> tuple[float, float]:
        """Return how steep loss and accuracy are over rotation: what 60 degrees cost (see `steepness`)."""
        runs = list(self.arms[images][arm].values())
        return (
            float(np.mean([steepness(run.robustness.loss["rotation"]) for run in runs])),
            float(np.mean([steepness(run.robustness.accuracy["rotation"]) for run in runs])),
        )


def _mean_joint(relative: Sequence[np.ndarray], threshold: float) -> float:
    with np.errstate(invalid="ignore"):  # a joint that never counts
        by_column = [100 * (each <= threshold).sum(axis=0) / (~np.isnan(each)).sum(axis=0) for each in relative]
    return float(np.nanmean(by_column))


def steepness(over_rotation: Sequence[float]) -> float:
    """Return by how many percent the two outermost values, on average, exceed the middle one."""
    middle = over_rotation[len(over_rotation) // 2]
    if middle == 0:
        return float("nan")
    return 100 * ((over_rotation[0] + over_rotation[-1]) / 2 / middle - 1)


def followed_loss(history: Sequence[EpochRecord]) -> dict[str, float]:
    """Return how far predictions followed what they should learn, at the last epoch that was probed.

    Returns:
        For ``scale``, ``rotation`` and ``cells`` the rank correlation (Spearman's, ties by their order) of the
        predicted probabilities with D's loss, -1..1; without those that no network predicted.
    """
    probes = [record.probe for record in history if record.probe is not None]
    found = {}
    for name in ("scale", "rotation", "cells") if probes else ():
        loss, predicted = (np.asarray(getattr(probes[-1], f"{kind}_{name}")) for kind in ("loss", "predicted"))
        if predicted.size:
            ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (loss, predicted)]
            found[name] = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return found


def compare(experiment: Experiment, folder: Path) -> Comparison:
    """Score the predictions of all arms that have ended: of the test part if there is one.

    Args:
        experiment: What was compared.
        folder: Of its runs.
    """
    done = [run for run in experiment.runs(folder) if run.kind == "arm" and is_done(folder, run.name)]
    split = "test" if done and predictions_file(folder, done[0].name, "test").exists() else "val"
    arms: dict[int, dict[str, dict[int, ArmRun]]] = {size: {} for size in experiment.sizes}
    for run in done:
        scored = score_file(predictions_file(folder, run.name, split))
        arms[run.images].setdefault(run.arm, {})[run.config.run.seed] = ArmRun(
            result_of(folder, run.name),
            scored.score,
            scored.caption,
            read_history(folder, run.name),
            read_robustness(folder / run.name),
        )
    in_order = {
        size: {arm: by_arm[arm] for arm in experiment.arms if arm in by_arm} for size, by_arm in arms.items() if by_arm
    }
    truth = read_truth(predictions_file(folder, done[0].name, split)) if done else None
    tilt = np.empty(0) if truth is None else torso_tilt_deg(truth.joints_px, truth.annotated, truth.skeleton)
    return Comparison(split, in_order, tilt)


def headline(comparison: Comparison, images: int) -> str | None:
    """Say in one sentence whether both networks beat the best of random and the controls; None if not known."""
    baseline = comparison.hardest_baseline(images)
    if baseline is None or JOINT not in comparison.arms[images]:
        return None
    gain = comparison.gain(images, JOINT, baseline)
    if gain is None:
        return None
    there = [arm for arm in BASELINES if arm in comparison.arms[images]]
    best = f", the best of {', '.join(there)}" if len(there) > 1 else ""
    verdict = "better" if gain.low > 0 else "worse" if gain.high < 0 else "not to be told apart"
    return (
        f"{images:,} training images: {JOINT} against {baseline!r}{best}: {gain} points of mean_joint,"
        f" {verdict}{' for this seed alone' if len(gain.by_seed) == 1 else ''};"
        f" by seed {' '.join(f'{each:+.2f}' for each in gain.by_seed)}."
    )
