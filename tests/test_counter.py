import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ray_advpose.counter import Purpose, generator


def start(seed, purpose, *position):
    return generator(seed, purpose, *position).random(8).tolist()


def test_a_place_always_draws_the_same():
    assert start(7, Purpose.SWEEP, 3, 1) == start(7, Purpose.SWEEP, 3, 1)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**40), st.integers(0, 100))
def test_purposes_never_meet(seed, step, epoch):
    drawn = [tuple(start(seed, purpose, step, epoch)) for purpose in Purpose]
    assert len(set(drawn)) == len(Purpose)


def test_seeds_and_positions_differ():
    places = [(seed, *position) for seed in (0, 1) for position in itertools.product(range(3), repeat=3)]
    drawn = {tuple(start(seed, Purpose.SAMPLE_ORDER, *position)) for seed, *position in places}
    assert len(drawn) == len(places)


def test_a_long_draw_does_not_run_into_the_next_place():
    long = generator(0, Purpose.SWEEP, 5).random(100_000)
    assert not np.isin(generator(0, Purpose.SWEEP, 6).random(8), long).any()
