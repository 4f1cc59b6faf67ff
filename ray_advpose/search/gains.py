"""Which settings promise the largest gain in score: the model of PB2 (Parker-Holder et al. 2020).

A Gaussian process over (moment, score before, settings) is fitted to what each stretch of training
has gained, forgets with time, and the settings with the highest upper confidence bound are taken.
Settings already chosen at the same moment count as known to come out as predicted, so that two
copies do not try the same (Section 4.2 of the paper).

The kernels are scikit-learn's, which has no time-varying one: time enters as an input of its own,
with a length scale that is fitted like the others.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ray_advpose.search.lineage import Lineage

_CANDIDATES = 1000
_KAPPA = 1.5
_LEAST_GAINS = 4


@dataclass(frozen=True)
class Gain:
    """What a trial gained between two moments.

    Attributes:
        barrier: The later moment.
        before: Score at the earlier one, in percent.
        settings: (D,) values of the fields meanwhile.
        gain: Rise of the score, in percent.
    """

    barrier: int
    before: float
    settings: np.ndarray
    gain: float


def gains_of(lineage: Lineage, numbers: Sequence[str]) -> list[Gain]:
    """Return what every stretch between two moments has gained.

    Args:
        lineage: Standings and exploits; a copy starts from its donor's score.
        numbers: Fields.
    """
    started: dict[int, float] = {}
    gains = []
    exploits = {(exploit.barrier, exploit.trial): exploit for exploit in lineage.exploits}
    for standing in lineage.all_standings():
        if standing.trial in started:
            settings = np.array([standing.overrides[name] for name in numbers], float)
            before = started[standing.trial]
            gains.append(Gain(standing.barrier, before, settings, standing.score - before))
        exploit = exploits.get((standing.barrier, standing.trial))
        started[standing.trial] = exploit.donor_score if exploit else standing.score
    return [gain for gain in gains if np.isfinite([gain.before, gain.gain]).all()]


def promising(
    gains: Sequence[Gain],
    barrier: int,
    score: float,
    low: Sequence[float],
    high: Sequence[float],
    chosen: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray | None:
    """Return the settings that promise the largest gain from here.

    Args:
        gains: What is known.
        barrier: This moment.
        score: Of the donor.
        low: (D,) lower bounds of the settings.
        high: (D,) upper bounds.
        chosen: Settings already given to other copies at this moment.
        rng: Draws the candidates.

    Returns:
        (D,) settings within the bounds; None if too little is known.
    """
    if len(gains) < _LEAST_GAINS:
        return None
    # Only spaces that say so need it, and they are checked for it.
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    lows, span = np.asarray(low, float), np.subtract(high, low)
    spread = max(1.0, float(np.std([gain.before for gain in gains])))

    def row(moment: int, before: float, settings: np.ndarray) -> list[float]:
        return [moment / barrier, (before - score) / spread, *((settings - lows) / span)]

    inputs = np.array([row(gain.barrier, gain.before, gain.settings) for gain in gains])
    targets = np.array([gain.gain for gain in gains])
    kernel = ConstantKernel(1.0) * Matern(np.ones(inputs.shape[1]), (1e-1, 1e2), nu=2.5) + WhiteKernel(0.1)
    model = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=0, random_state=0)
    with warnings.catch_warnings():
        # A length scale at its bound says that its input does not matter, which is an answer.
        warnings.simplefilter("ignore")
        model.fit(inputs, targets)
    if chosen:
        pending = np.array([row(barrier, score, settings) for settings in chosen])
        targets = np.concatenate([targets, model.predict(pending)])
        model = GaussianProcessRegressor(model.kernel_, optimizer=None, normalize_y=True, random_state=0)
        model.fit(np.concatenate([inputs, pending]), targets)
    candidates = lows + rng.random((_CANDIDATES, len(lows))) * span
    mean, deviation = model.predict(
        np.array([row(barrier, score, settings) for settings in candidates]), return_std=True
    )
    best: np.ndarray = candidates[int(np.argmax(mean + _KAPPA * deviation))]
    return best
