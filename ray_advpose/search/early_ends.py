"""How much of stage 3 a population is likely to train, where some of its trials are stopped early."""

from __future__ import annotations

import math
from bisect import insort

import numpy as np

from ray_advpose.search.scheduling import Halving, MedianStopping, Scheduling

# Orders that trials are taken to come in: many where there are few trials.
_LEAST_RANKINGS, _TRIALS = 10, 1000


def expected_joint_share(scheduling: Scheduling, trials: int, joint_epochs: int) -> float:
    """Return the mean share of stage 3 that a trial trains, 0 to 1.

    Trials are taken to differ from each other and to keep their order, to come one after the other in
    any order, and to be judged as Tune's schedulers judge.

    Args:
        scheduling: What stops them.
        trials: How many there are.
        joint_epochs: Epochs of stage 3.
    """
    epochs = 0
    rankings = max(_LEAST_RANKINGS, _TRIALS // trials)
    for ranking in range(rankings):
        scores = np.random.default_rng(ranking).permutation(trials)
        if isinstance(scheduling, Halving):
            epochs += _halved(scheduling, scores, joint_epochs)
        elif isinstance(scheduling, MedianStopping):
            epochs += _held_to_the_median(scheduling, scores, joint_epochs)
        else:
            return 1.0
    return epochs / (rankings * trials * joint_epochs)


def _halved(scheduling: Halving, scores: np.ndarray, joint_epochs: int) -> int:
    rungs = []
    rung = min(scheduling.grace_joint_epochs, joint_epochs)
    while rung < joint_epochs:
        rungs.append((rung, list[int]()))
        rung *= scheduling.reduction_factor
    epochs = 0
    for score in scores:
        end = joint_epochs
        for at, seen in rungs:
            cutoff = _quantile(seen, 1 - 1 / scheduling.reduction_factor) if seen else -1.0
            insort(seen, int(score))
            if score < cutoff:
                end = at
                break
        epochs += end
    return epochs


def _quantile(in_order: list[int], share: float) -> float:
    """Return what `numpy.percentile` does, of numbers that are in order already."""
    place = share * (len(in_order) - 1)
    below, above = in_order[math.floor(place)], in_order[math.ceil(place)]
    return below + (place - math.floor(place)) * (above - below)


def _held_to_the_median(scheduling: MedianStopping, scores: np.ndarray, joint_epochs: int) -> int:
    ends: list[tuple[int, int]] = []
    for score in scores:
        end = joint_epochs
        for epoch in range(scheduling.grace_joint_epochs, joint_epochs):
            others = [other for other, until in ends if until >= epoch]
            if len(others) >= scheduling.least_others and score < np.median(others):
                end = epoch
                break
        ends.append((int(score), end))
    return sum(end for _, end in ends)
