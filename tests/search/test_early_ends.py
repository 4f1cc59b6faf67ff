from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from asked_schedulers import Controller, Trial
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule

from ray_advpose.search.early_ends import _halved, _held_to_the_median, expected_joint_share
from ray_advpose.search.scheduling import Exploiting, Halving, MedianStopping, RunAll

STOPPING = st.one_of(
    st.builds(Halving, st.integers(1, 9), st.integers(2, 5)),
    st.builds(MedianStopping, st.integers(1, 9), st.integers(1, 5)),
)


def tunes_own(scheduling, joint_epochs):
    """The scheduler that a search with so many epochs of stage 3 has, see `make_scheduler`."""
    grace = min(scheduling.grace_joint_epochs, joint_epochs)
    if isinstance(scheduling, Halving):
        return ASHAScheduler(
            time_attr="joint_epochs",
            max_t=joint_epochs,
            grace_period=grace,
            reduction_factor=scheduling.reduction_factor,
        )
    return MedianStoppingRule(
        time_attr="joint_epochs",
        grace_period=scheduling.grace_joint_epochs,
        min_samples_required=scheduling.least_others,
        min_time_slice=float("inf"),
    )


def epochs_by_tune(scheduling, scores, joint_epochs):
    """Epochs of stage 3 trained in all, when trials come one after the other and keep their scores."""
    scheduler = tunes_own(scheduling, joint_epochs)
    scheduler.set_search_properties("metric", "max")
    epochs = 0
    for number, score in enumerate(scores):
        trial = Trial(str(number))
        scheduler.on_trial_add(Controller(), trial)
        for epoch in range(1, joint_epochs + 1):
            epochs += 1
            result = {"joint_epochs": epoch, "metric": float(score)}
            if epoch == joint_epochs or scheduler.on_trial_result(Controller(), trial, result) == "STOP":
                scheduler.on_trial_complete(Controller(), trial, result)
                break
    return epochs


def test_who_is_never_stopped_trains_all_of_stage_3():
    assert expected_joint_share(RunAll(), 20, 8) == 1
    assert expected_joint_share(Exploiting(("reward.alpha",)), 20, 8) == 1


@pytest.mark.parametrize("scheduling", [Halving(), Halving(1, 4), MedianStopping()])
def test_a_trial_alone_is_never_stopped(scheduling):
    assert expected_joint_share(scheduling, 1, 8) == 1


@pytest.mark.parametrize("scheduling", [Halving(2), Halving(3, 3), MedianStopping(2, 1)])
def test_nobody_is_stopped_after_the_last_epoch(scheduling):
    assert expected_joint_share(scheduling, 12, 2) == 1


def test_the_more_trials_the_less_of_each():
    shares = [expected_joint_share(Halving(1, 2), trials, 8) for trials in (1, 2, 4, 8, 16, 32)]
    assert shares == sorted(set(shares), reverse=True)
    shares = [expected_joint_share(MedianStopping(1, 3), trials, 8) for trials in (3, 4, 8, 16, 32)]
    assert shares == sorted(set(shares), reverse=True)


def test_the_larger_the_reduction_the_less_of_each():
    shares = [expected_joint_share(Halving(1, factor), 16, 8) for factor in (2, 3, 4)]
    assert shares == sorted(set(shares), reverse=True)


def test_the_longer_the_grace_the_more_of_each():
    for kind in (Halving, MedianStopping):
        shares = [expected_joint_share(kind(grace), 16, 8) for grace in (1, 2, 4, 8)]
        assert shares == sorted(set(shares))


@given(scheduling=STOPPING, trials=st.integers(1, 12), joint_epochs=st.integers(1, 12))
def test_a_share_lies_between_the_grace_and_the_whole(scheduling, trials, joint_epochs):
    share = expected_joint_share(scheduling, trials, joint_epochs)
    assert min(scheduling.grace_joint_epochs, joint_epochs) / joint_epochs <= share <= 1
    assert share == expected_joint_share(scheduling, trials, joint_epochs)


def test_two_trials_by_hand():
    # The second to come goes on or stops after its first of 4 epochs, one as likely as the other.
    assert expected_joint_share(Halving(1, 2), 2, 4) == pytest.approx((8 + 5) / 2 / 8, abs=0.03)


def test_one_order_of_scores_by_hand():
    # Rungs after 1, 2 and 4 epochs. 3 is below the median of 5 and 7; 6 is above that of 5, 7 and 3 and equals that
    # of 5 and 7, who alone have come to the other rungs.
    assert _halved(Halving(1, 2), np.array([5, 7, 3, 6]), 8) == 8 + 8 + 1 + 8
    # Only 1 finds three others there, and is below their median.
    assert _held_to_the_median(MedianStopping(2, 3), np.array([5, 7, 3, 1]), 8) == 8 + 8 + 8 + 2


@given(data=st.data(), trials=st.integers(1, 12), joint_epochs=st.integers(1, 12))
def test_halving_is_what_tunes_own_scheduler_does(data, trials, joint_epochs):
    scores = np.array(data.draw(st.permutations(range(trials))))
    scheduling = Halving(data.draw(st.integers(1, 4)), data.draw(st.integers(2, 4)))
    assert _halved(scheduling, scores, joint_epochs) == epochs_by_tune(scheduling, scores, joint_epochs)


@given(data=st.data(), trials=st.integers(1, 12), joint_epochs=st.integers(1, 12))
def test_median_stopping_is_what_tunes_own_scheduler_does(data, trials, joint_epochs):
    scores = np.array(data.draw(st.permutations(range(trials))))
    scheduling = MedianStopping(data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
    assert _held_to_the_median(scheduling, scores, joint_epochs) == epochs_by_tune(scheduling, scores, joint_epochs)


def test_the_mean_is_over_all_orders():
    orders = list(permutations(range(5)))
    mean = sum(epochs_by_tune(Halving(1, 2), order, 4) for order in orders) / (len(orders) * 5 * 4)
    assert expected_joint_share(Halving(1, 2), 5, 4) == pytest.approx(mean, abs=0.03)
