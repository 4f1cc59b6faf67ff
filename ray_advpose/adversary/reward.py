"""Reward and penalty (Section 4.3): the online ground truth of the augmentation networks."""

from __future__ import annotations

import torch
from torch import Tensor

from ray_advpose.sections import RewardConfig


def verdicts(adversarial: Tensor, reference: Tensor) -> Tensor:
    """Compare how hard an image was under the adversarial and under the reference augmentation.

    Args:
        adversarial: (B,) difficulty, higher is harder; NaN where it cannot be told.
        reference: (B,) likewise.

    Returns:
        (B,) int64: 1, reward, where the adversarial one was strictly harder; -1, penalty, where it was
        not, a tie included; 0, neither, where there is nothing to compare.
    """
    compared = ~(adversarial.isnan() | reference.isnan())
    return torch.where(adversarial > reference, 1, -1) * compared


def rates(verdict: Tensor, config: RewardConfig, rewarded_share: Tensor | None = None) -> Tensor:
    """Return by which part of itself the probability of what was drawn changes.

    By the paper that is alpha where rewarded and -beta where penalised. An entry of probability p, rewarded in a
    share s of its draws, is moved by its own draws in proportion to p^2 m, m = (alpha + beta) s - beta: up only if
    s is above beta / (alpha + beta). Where all entries are below, the distribution settles near p ~ |m|^(-1/2),
    harder entries first but nearly flat; where all are above, the entry with the largest p^2 m takes all, which
    is the one drawn most unless another is much harder. Only shares on both sides of it are told apart well.

    With ``baseline: batch`` the rates are alpha (1 - r) and -beta r, r being the share of the batch's draws that
    was rewarded. For alpha = beta an entry's own draws then raise it if s is above r, however hard all are; nothing
    holds the hardest one back, so that a cap is needed. alpha > beta feeds whatever is drawn, alpha < beta flattens.
    A draw counts in r itself, which makes all changes smaller by (n - 1) / n for n draws.

    Args:
        verdict: (B,) of `verdicts`.
        config: alpha, beta, and what to weigh them by.
        rewarded_share: 0-dim r, of the global batch's draws that could be compared; for a baseline alone.
    """
    rate = torch.where(verdict > 0, config.alpha, -config.beta)
    if config.baseline == "none":
        return rate
    assert rewarded_share is not None, "a baseline was asked for"
    return rate * torch.where(verdict > 0, 1 - rewarded_share, rewarded_share)


def reward_targets(
    probability: Tensor,
    drawn: Tensor,
    verdict: Tensor,
    config: RewardConfig,
    rewarded_share: Tensor | None = None,
) -> Tensor:
    """Move probability to the drawn entries (Eq. 5) or away from them (Eq. 6).

    Each of the c drawn entries changes by its rate (`rates`) times its own probability, and
    each of the other k - c takes the negative of their sum over k - c. For c = 1 this is the
    paper's formula. An entry that would fall below 0 is clamped there and the target renormalised,
    which the paper leaves open.

    Args:
        probability: (B, k) predicted distribution; no gradient flows through it.
        drawn: (B, k) bool, the sampled bin or cells; at least one and fewer than k a row.
        verdict: (B,) 1 for reward, -1 for penalty, 0 to leave the prediction as it is.
        config: alpha, beta and the optional cap on a single probability.
        rewarded_share: See `rates`.

    Returns:
        (B, k) targets that sum to 1, detached.
    """
    with torch.no_grad():
        rate = rates(verdict, config, rewarded_share).to(probability.dtype)[:, None]
        change = torch.where(drawn, rate * probability, 0.0)
        others = (~drawn).sum(dim=1, keepdim=True)
        share = -change.sum(dim=1, keepdim=True) / others
        target = torch.where(drawn, probability + change, probability + share)
        target = target.clamp_min(0)
        target = target / target.sum(dim=1, keepdim=True)
        if config.probability_cap is not None:
            target = _capped(target, config.probability_cap / probability.shape[1])
        return torch.where((verdict == 0)[:, None], probability, target)


def _capped(target: Tensor, cap: float) -> Tensor:
    """Hand what exceeds the cap to the other entries, in proportion to the room they have left."""
    excess = (target - cap).clamp_min(0).sum(dim=1, keepdim=True)
    room = (cap - target).clamp_min(0)
    return target.clamp_max(cap) + excess * room / room.sum(dim=1, keepdim=True)


def kl_divergence(target: Tensor, log_prediction: Tensor) -> Tensor:
    """KL(target || prediction), the loss of Eq. 3 and Eq. 4, of each row.

    Args:
        target: (B, k) distribution, 0 log 0 counting as 0.
        log_prediction: (B, k) predicted log-probabilities.

    Returns:
        (B,) divergences.
    """
    return (torch.xlogy(target, target) - target * log_prediction).sum(dim=1)
