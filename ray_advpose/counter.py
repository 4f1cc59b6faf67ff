"""Counter-based randomness: a draw is a function of where it is needed, not of what ran before.

A resumed run, another number of workers or a retried task therefore repeats exactly what an
undisturbed run would have drawn, and no generator state needs saving.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream of random numbers is for; streams of different purposes never meet."""

    SAMPLE_ORDER = 1
    PRETRAIN_SUBSET = 2
    RANDOM_AUGMENTATION = 3
    ADVERSARIAL_DRAW = 4
    SWEEP = 5
    SYNTHETIC_PERSON = 6
    SEARCH_DRAW = 7
    DRILL = 8
    EXPLOIT = 9
    TRAINING_SUBSET = 10
    OCCLUDED_CELLS = 11


def generator(seed: int, purpose: Purpose, *position: int) -> np.random.Generator:
    """Return the generator of a place in the run.

    Args:
        seed: The run's seed.
        purpose: What is drawn.
        position: Up to three non-negative integers, e.g. stage, epoch and sample.

    Returns:
        A Philox generator. Up to 2**64 blocks can be drawn before the next position's numbers.
    """
    assert len(position) <= 3
    counter = [0, *position, *[0] * (3 - len(position))]
    return np.random.Generator(
        np.random.Philox(key=np.array([seed, purpose], np.uint64), counter=np.array(counter, np.uint64))
    )
