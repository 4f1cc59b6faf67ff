import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_advpose.adversary.reward import kl_divergence, rates, reward_targets, verdicts
from ray_advpose.sections import RewardConfig

PAPER = RewardConfig(alpha=0.2, beta=0.5)


def target_of(probability, drawn, harder, config=PAPER):
    rows = reward_targets(
        torch.tensor([probability], dtype=torch.float64),
        torch.tensor([drawn], dtype=torch.bool),
        torch.tensor([1 if harder else -1]),
        config,
    )
    return rows[0].tolist()


def test_reward_is_equation_5():
    # 0.5 x 1.2 for the drawn bin; 0.5 x 0.2 / 2 off each of the other two.
    assert target_of([0.5, 0.3, 0.2], [1, 0, 0], True) == pytest.approx([0.6, 0.25, 0.15])


def test_penalty_is_equation_6():
    # 0.5 x 0.5 for the drawn bin; 0.5 x 0.5 / 2 onto each of the other two.
    assert target_of([0.5, 0.3, 0.2], [1, 0, 0], False) == pytest.approx([0.25, 0.425, 0.325])


def test_two_drawn_cells_each_move_by_their_own_probability():
    # 0.4 and 0.1 gain 0.08 and 0.02; the other two lose 0.05 each.
    assert target_of([0.4, 0.3, 0.2, 0.1], [1, 0, 0, 1], True) == pytest.approx([0.48, 0.25, 0.15, 0.12])
    # They lose 0.2 and 0.05; the other two gain 0.125 each.
    assert target_of([0.4, 0.3, 0.2, 0.1], [1, 0, 0, 1], False) == pytest.approx([0.2, 0.425, 0.325, 0.05])


def test_rates_of_one_double_a_bin_or_empty_it():
    whole = RewardConfig(alpha=1.0, beta=1.0)
    # 0.4 + 0.4 for the drawn bin; 0.4 / 2 off each of the other two.
    assert target_of([0.4, 0.3, 0.3], [1, 0, 0], True, whole) == pytest.approx([0.8, 0.1, 0.1])
    assert target_of([0.4, 0.3, 0.3], [1, 0, 0], False, whole) == pytest.approx([0, 0.5, 0.5])


def test_strictly_harder_is_rewarded_and_a_tie_is_penalised():
    adversarial = torch.tensor([0.3, 0.2, 0.1, math.nan, 0.3, math.nan])
    reference = torch.tensor([0.2, 0.2, 0.2, 0.1, math.nan, math.nan])
    assert verdicts(adversarial, reference).tolist() == [1, -1, -1, 0, 0, 0]


@pytest.mark.parametrize("cap", [None, 1.2])
def test_without_a_comparison_the_prediction_is_its_own_target(cap):
    probability = torch.tensor([[0.5, 0.3, 0.2]])
    drawn = torch.tensor([[True, False, False]])
    target = reward_targets(probability, drawn, torch.tensor([0]), RewardConfig(probability_cap=cap))
    assert torch.equal(target, probability)


def test_rows_are_rewarded_on_their_own():
    probability = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    drawn = torch.tensor([[True, False, False], [False, False, True]])
    target = reward_targets(probability, drawn, torch.tensor([1, -1]), PAPER)
    torch.testing.assert_close(target, torch.tensor([[0.6, 0.25, 0.15], [0.55, 0.35, 0.1]]))


def test_what_would_fall_below_zero_is_clamped_and_the_rest_renormalised():
    greedy = RewardConfig(alpha=1.0, beta=1.0)
    # 1.2, 0.35 - 0.3, 0.05 - 0.3: the last is clamped, and 1.2 + 0.05 = 1.25 becomes 1.
    assert target_of([0.6, 0.35, 0.05], [1, 0, 0], True, greedy) == pytest.approx([0.96, 0.04, 0])
    assert target_of([0.6, 0.35, 0.05], [1, 0, 0], False, greedy) == pytest.approx([0, 0.65, 0.35])


def test_the_cap_hands_its_excess_to_the_others_by_their_room():
    capped = RewardConfig(alpha=1.0, probability_cap=1.5)
    # Cap 1.5 / 3 = 0.5. Uncapped: 0.8, 0.15, 0.05. Room 0.35 and 0.45 shares the 0.3 above the cap.
    expected = [0.5, 0.15 + 0.3 * 0.35 / 0.8, 0.05 + 0.3 * 0.45 / 0.8]
    assert target_of([0.4, 0.35, 0.25], [1, 0, 0], True, capped) == pytest.approx(expected)


@st.composite
def predictions(draw):
    k = draw(st.integers(2, 9))
    weights = draw(st.lists(st.floats(0.001, 1), min_size=k, max_size=k))
    places = draw(st.sets(st.integers(0, k - 1), min_size=1, max_size=k - 1))
    total = sum(weights)
    return [weight / total for weight in weights], [place in places for place in range(k)]


@settings(max_examples=100)
@given(predictions(), st.booleans(), st.floats(0.01, 1), st.floats(0.01, 1), st.one_of(st.none(), st.floats(1.001, 9)))
def test_targets_are_distributions_that_move_the_right_way(prediction, harder, alpha, beta, cap):
    probability, drawn = prediction
    config = RewardConfig(alpha=alpha, beta=beta, probability_cap=cap)
    target = target_of(probability, drawn, harder, config)
    assert sum(target) == pytest.approx(1)
    assert min(target) >= 0
    if cap is not None:
        assert max(target) <= cap / len(target) + 1e-9
        return
    before = sum(p for p, is_drawn in zip(probability, drawn, strict=True) if is_drawn)
    after = sum(p for p, is_drawn in zip(target, drawn, strict=True) if is_drawn)
    assert after > before if harder else after < before


def test_a_baseline_weighs_rewards_by_the_penalised_share_and_penalties_by_the_rewarded():
    config = RewardConfig(alpha=0.2, beta=0.5, baseline="batch")
    found = rates(torch.tensor([1, 1, 1, -1]), config, torch.tensor(0.75))
    assert found.tolist() == pytest.approx([0.05, 0.05, 0.05, -0.375])
    # All alike: nothing says which of them was harder than the others.
    assert rates(torch.tensor([1, 1]), config, torch.tensor(1.0)).tolist() == [0, 0]
    assert rates(torch.tensor([-1, -1]), config, torch.tensor(0.0)).tolist() == [0, 0]


def learned_of_six(level: float, config: RewardConfig) -> torch.Tensor:
    """What is learned of six cells, one of them drawn most at first, and another rewarded more often."""
    rewarded = torch.full((6,), level)
    rewarded[4] += 0.15
    generator = torch.Generator().manual_seed(0)
    probability = torch.tensor([0.3, 0.14, 0.14, 0.14, 0.14, 0.14])
    for _ in range(1500):
        index = torch.multinomial(probability, 8, replacement=True, generator=generator)
        verdict = torch.where(torch.rand(8, generator=generator) < rewarded[index], 1, -1)
        drawn = torch.nn.functional.one_hot(index, 6).bool()
        share = (verdict > 0).float().mean()
        target = reward_targets(probability.expand(8, 6), drawn, verdict, config, share).mean(dim=0)
        probability = probability + 0.05 * (target - probability)
    return probability


@pytest.mark.parametrize("level", [0.2, 0.5, 0.8])
def test_a_baseline_finds_the_harder_cell_however_hard_all_are(level: float):
    found = learned_of_six(level, RewardConfig(alpha=0.5, beta=0.5, baseline="batch"))
    assert found.argmax() == 4
    assert found[4] > 0.25


def test_without_one_all_below_the_break_even_stay_flat_and_all_above_it_feed_the_first():
    assert learned_of_six(0.2, PAPER).max() < 0.22
    assert learned_of_six(0.8, PAPER).argmax() == 0


def test_a_baseline_does_not_help_where_alpha_exceeds_beta():
    assert learned_of_six(0.5, RewardConfig(alpha=0.5, beta=0.2, baseline="batch")).argmax() == 0


def test_targets_are_constants():
    logits = torch.zeros(1, 3, requires_grad=True)
    target = reward_targets(logits.softmax(1), torch.tensor([[True, False, False]]), torch.tensor([1]), PAPER)
    assert not target.requires_grad


def test_divergence_by_hand():
    target = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    prediction = torch.tensor([[0.25, 0.75], [0.25, 0.75]])
    expected = [0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75), math.log(1 / 0.25)]
    assert kl_divergence(target, prediction.log()).tolist() == pytest.approx(expected)


def test_divergence_pulls_the_prediction_onto_the_target():
    target = torch.tensor([[0.6, 0.25, 0.15]])
    logits = torch.zeros(1, 3, requires_grad=True)
    kl_divergence(target, logits.log_softmax(1)).sum().backward()
    # The gradient of KL on softmax logits is prediction - target.
    torch.testing.assert_close(logits.grad, 1 / 3 - target)
    assert kl_divergence(target, target.log()).item() == pytest.approx(0, abs=1e-7)
