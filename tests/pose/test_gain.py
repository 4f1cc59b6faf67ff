"""Gains against hand-counted differences, and intervals that behave as intervals must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_advpose.pose.gain import gain_difference, paired_gain

NAN = np.nan


def arm(accuracy, seeds=3, persons=200, joints=4, seed=0):
    """Relative distances of which a share is correct at a threshold of 0.5, on joints that mostly count."""
    rng = np.random.default_rng(seed)
    counted = np.random.default_rng(99).random((persons, joints)) < 0.9
    return [np.where(counted, np.where(rng.random((persons, joints)) < accuracy, 0.1, 0.9), NAN) for _ in range(seeds)]


def test_the_difference_is_of_means_over_joints():
    # Joint 0: 2 of 2 against 1 of 2 correct. Joint 1 counts for one person: wrong against correct.
    ours = np.array([[0.5, NAN], [0.1, 0.6]])
    theirs = np.array([[0.51, NAN], [0.1, 0.4]])
    gain = paired_gain([ours], [theirs], threshold=0.5)
    assert gain.mean == pytest.approx((50 - 100) / 2)
    assert gain.by_seed == (gain.mean,)
    again = paired_gain([ours, theirs], [theirs, theirs], threshold=0.5)
    assert again.by_seed == (pytest.approx(-25), 0)
    assert again.mean == pytest.approx(-12.5)


def test_a_prediction_that_is_not_finite_is_wrong():
    gain = paired_gain([np.array([[0.1]])], [np.array([[np.inf]])], threshold=0.5)
    assert (gain.mean, gain.low, gain.high) == (100, 100, 100)


def test_nothing_is_gained_over_oneself():
    same = arm(0.6)
    gain = paired_gain(same, same, 0.5)
    assert (gain.mean, gain.low, gain.high) == (0, 0, 0)
    assert str(gain) == "+0.00 [+0.00, +0.00]"


def test_a_clear_gain_excludes_zero_and_noise_does_not():
    clear = paired_gain(arm(0.7, seed=1), arm(0.5, seed=2), 0.5)
    assert 0 < clear.low < clear.mean < clear.high
    noise = paired_gain(arm(0.6, seed=1), arm(0.6, seed=2), 0.5)
    assert noise.low < 0 < noise.high


def test_the_interval_is_as_wide_as_theory_says():
    # One joint, independent arms of 50 %: the standard error of the difference over 400 persons is 3.54 points.
    ours, theirs = arm(0.5, 1, 400, 1, seed=1), arm(0.5, 1, 400, 1, seed=2)
    counted = int((~np.isnan(ours[0])).sum())
    gain = paired_gain(ours, theirs, 0.5)
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * 100 * np.sqrt(2 * 0.25 / counted), rel=0.1)


def test_seeds_that_disagree_widen_the_interval():
    theirs = arm(0.5, seeds=3, seed=5)
    alike = paired_gain([theirs[0], *arm(0.6, 2, seed=6)], [theirs[0]] * 3, 0.5)
    apart = paired_gain([arm(0.2, 1, seed=7)[0], arm(0.9, 1, seed=8)[0], theirs[0]], [theirs[0]] * 3, 0.5)
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


@pytest.mark.parametrize("seeds", [2, 3])
def test_intervals_of_few_seeds_cover_what_is_true(seeds):
    """Persons, joints and seeds all vary, the seeds of an arm by a point: 95 of 100 intervals have to hold zero."""
    rng = np.random.default_rng(0)
    persons, joints, repeats, held = 120, 14, 200, 0
    for _ in range(repeats):
        difficulty = rng.normal(-0.4, 1.2, (persons, 1)) + rng.normal(0, 1, (persons, joints))
        suits = rng.normal(0, 0.35, (persons, joints))
        arms = []
        for sign in (1, -1):
            of_seed = rng.normal(0, 0.05 / np.sqrt(2), (seeds, 1, 1))
            found = rng.random((seeds, persons, joints)) < 1 / (1 + np.exp(-difficulty - sign * suits / 2 - of_seed))
            arms.append(list(np.where(found, 0.1, 0.9)))
        gain = paired_gain(*arms, 0.5)
        held += gain.low <= 0 <= gain.high
    assert held >= 0.95 * repeats


@settings(max_examples=20)
@given(st.integers(0, 2**16), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_exchanging_the_arms_mirrors_the_gain(seed, first, second):
    ours, theirs = arm(first, persons=40, seed=seed), arm(second, persons=40, seed=seed + 1)
    there, back = paired_gain(ours, theirs, 0.5), paired_gain(theirs, ours, 0.5)
    assert there.mean == pytest.approx(-back.mean)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.low <= there.mean <= there.high


def test_a_difference_of_gains_is_that_and_as_sure_as_both():
    ours, theirs, third = arm(0.7, seed=1), arm(0.5, seed=2), arm(0.55, 2, seed=3)
    alone = paired_gain(ours, theirs, 0.5)
    over_nothing = gain_difference((ours, theirs), (third, third), 0.5)
    assert over_nothing.mean == pytest.approx(alone.mean)
    assert (over_nothing.low, over_nothing.high) == pytest.approx((alone.low, alone.high), abs=0.3)
    both = gain_difference((ours, theirs), (third, arm(0.5, 2, seed=4)), 0.5)
    assert both.mean == pytest.approx(alone.mean - paired_gain(third, arm(0.5, 2, seed=4), 0.5).mean)
    assert both.low < both.mean < both.high
    assert both.high - both.low > alone.high - alone.low
    same = gain_difference((ours, theirs), (ours, theirs), 0.5)
    assert same.by_seed == (0, 0, 0)
    assert same.low < 0 < same.high, "seeds of one pair are not those of the other"


def test_arms_must_be_scored_on_the_same_joints():
    with pytest.raises(AssertionError, match="same joints"):
        paired_gain([np.array([[0.1, NAN]])], [np.array([[0.1, 0.2]])], 0.5)
