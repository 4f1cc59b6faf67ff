"""What a run's epochs came to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch came to; a run's records are its history.

    Attributes:
        stage: Name of the stage.
        epoch: Epoch within the stage, from 1.
        step: Global steps done at its end.
        images: Images seen in the epoch.
        seconds: Wall time of the epoch's training steps.
        waiting_share: Share of that time spent waiting for data.
        metric: Validation score in percent (PCK or PCKh, by the data's protocol).
        means: Mean statistics of the epoch's steps (losses, rewarded shares, entropies).
        learning_rates: By network.
    """

    stage: str
    epoch: int
    step: int
    images: int
    seconds: float
    waiting_share: float
    metric: float
    means: dict[str, float]
    learning_rates: dict[str, float]
