"""How much better one way of training is than another, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_RESAMPLES = 2000
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Gain:
    """A difference of two mean accuracies over joints, in percentage points.

    Attributes:
        mean: Over the seeds.
        low: Lower end of the 95 % interval.
        high: Upper end.
        by_seed: The difference of every seed.
    """

    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def paired_gain(
    relative: Sequence[np.ndarray], baseline: Sequence[np.ndarray], threshold: float, seed: int = 0
) -> Gain:
    """Compare two arms on the same persons by a paired bootstrap over persons and seeds.

    A resample draws as many persons, and as many seeds, as there are, with replacement, the same ones
    for both arms. With a single seed the interval is over persons alone and says nothing of how
    another seed would come out.

    Args:
        relative: For each seed (N, J) distance / normaliser, NaN where it does not count, as
            `ray_advpose.pose.score.Score` holds it.
        baseline: The same of the other arm, seed by seed.
        threshold: Largest distance / normaliser that is correct.
        seed: Of the resampling.

    Returns:
        ``mean_joint`` of the first arm minus that of the second.
    """
    weights, chosen = _resamples(_persons(relative), len(relative), seed)
    by_seed = _by_seed(relative, baseline, threshold, weights)
    return _gain(by_seed[0], _means(by_seed, chosen))


def gain_difference(
    first: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    second: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    threshold: float,
    seed: int = 0,
) -> Gain:
    """Compare the gains of two pairs of arms that were trained apart and scored on the same persons.

    A resample draws the same persons for both pairs, and the seeds of each by themselves.

    Args:
        first: What `paired_gain` takes of one pair, an arm and its baseline.
        second: The same of another.
        threshold: As there.
        seed: As there.

    Returns:
        The first gain minus the second; by seed where both have as many.
    """
    samples = []
    for number, (relative, baseline) in enumerate((first, second)):
        weights, _ = _resamples(_persons(relative), 1, seed)
        by_seed = _by_seed(relative, baseline, threshold, weights)
        rng = np.random.default_rng((seed, number))
        chosen = rng.integers(len(relative), size=(_RESAMPLES, len(relative)))
        samples.append((by_seed[0], _means(by_seed, chosen)))
    (ours, our_means), (theirs, their_means) = samples
    alike = ours - theirs if len(ours) == len(theirs) else np.array([ours.mean() - theirs.mean()])
    return _gain(alike, our_means - their_means)


def _persons(relative: Sequence[np.ndarray]) -> int:
    return len(relative[0])


def _by_seed(
    relative: Sequence[np.ndarray], baseline: Sequence[np.ndarray], threshold: float, weights: np.ndarray
) -> np.ndarray:
    """Return (1 + n, S) the difference of every seed, by resample of persons."""
    ours, theirs = np.stack(relative), np.stack(baseline)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    counted = ~np.isnan(theirs)
    assert np.array_equal(counted, ~np.isnan(ours)), "the arms were not scored on the same joints"
    difference = (ours <= threshold).astype(np.float64) - (theirs <= threshold)
    with np.errstate(invalid="ignore"):  # a joint of which a resample has no instance
        by_joint = np.stack([weights @ difference[k] / (weights @ counted[k]) for k in range(len(ours))], axis=1)
    by_seed: np.ndarray = 100 * np.nanmean(by_joint, axis=2)
    return by_seed


def _means(by_seed: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return (n,) the mean over the seeds that each resample has chosen."""
    means: np.ndarray = np.take_along_axis(by_seed[1:], chosen, axis=1).mean(axis=1)
    return means


def _gain(by_seed: np.ndarray, resampled: np.ndarray) -> Gain:
    low, high = np.percentile(resampled, _PERCENTILES)
    return Gain(float(by_seed.mean()), float(low), float(high), tuple(float(each) for each in by_seed))


# Drawing them takes longer than using them, and a page compares many arms on the same persons.
@lru_cache(maxsize=8)
def _resamples(persons: int, seeds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (1 + n, persons) how often each person is drawn, first each once, and (n, seeds) which seeds are."""
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(persons, np.full(persons, 1 / persons), _RESAMPLES)
    whole = np.concatenate([np.ones((1, persons), weights.dtype), weights]).astype(np.float64)
    return whole, rng.integers(seeds, size=(_RESAMPLES, seeds))
