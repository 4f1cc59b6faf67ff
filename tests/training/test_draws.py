import numpy as np
import pytest
import torch

from ray_advpose.config import Config
from ray_advpose.training.draws import (
    adversarial_draws,
    canonical,
    random_augmentation,
    sweep_normals,
)

MANY = 6000


def two_mask_draws(config, step):
    return adversarial_draws(config, step, masks=2)


def config_with(**fields):
    return Config().replaced({"run.global_batch_size": MANY, **fields})


def columns(draws):
    return vars(draws).values()


def test_a_step_always_draws_the_same_and_another_step_differently():
    config = Config()
    for draw in (random_augmentation, two_mask_draws):
        for first, again, later in zip(*(columns(draw(config, step)) for step in (3, 3, 4)), strict=True):
            assert torch.equal(first, again)
            assert not torch.equal(first, later)


@pytest.mark.parametrize("draw", [random_augmentation, two_mask_draws])
def test_a_slot_gets_the_same_whatever_the_number_of_workers(draw):
    whole = draw(Config(), 5)
    for workers in (2, 3):
        for rank in range(workers):
            slots = torch.arange(rank, 24, workers)
            alone = draw(Config().replaced({"run.num_workers": workers}), 5).part(slots)
            for mine, all_slots in zip(columns(alone), columns(whole), strict=True):
                assert torch.equal(mine, all_slots[rank::workers])


def test_release_range():
    draw = random_augmentation(config_with(), 0)
    scale, rotation = draw.scale.log2(), draw.rotation_deg
    assert scale.abs().max().item() == pytest.approx(0.5, abs=1e-6)
    # N(0, 0.25) leaves +-0.5 for 4.6 % of the images, which are put on the limit.
    assert ((scale.abs() > 0.4999).double().mean().item()) == pytest.approx(0.0455, abs=0.01)
    assert (scale.abs() < 0.25).double().mean().item() == pytest.approx(0.683, abs=0.02)
    assert (rotation == 0).double().mean().item() == pytest.approx(0.6, abs=0.02)
    turned = rotation[rotation != 0].abs()
    assert turned.max().item() == 60
    assert (turned < 30).double().mean().item() == pytest.approx(0.683, abs=0.03)
    assert draw.flip.double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_paper_range():
    draw = random_augmentation(config_with(**{"random.random_range": "paper"}), 0)
    for values, low, high in ((draw.scale, 0.75, 1.25), (draw.rotation_deg, -30, 30)):
        width = high - low
        assert low <= values.min() < low + 0.01 * width
        assert high >= values.max() > high - 0.01 * width
        assert (values < low + width / 4).double().mean().item() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("random_range", ["release", "paper"])
def test_ranges_are_stretched_and_left_alone_by_a_factor_of_one(random_range):
    plain = random_augmentation(config_with(**{"random.random_range": random_range}), 0)
    stretched = random_augmentation(
        config_with(**{"random.random_range": random_range, "random.scale_times": 0.5, "random.rotation_times": 2.0}),
        0,
    )
    torch.testing.assert_close(stretched.scale.log2(), 0.5 * plain.scale.log2())
    torch.testing.assert_close(stretched.rotation_deg, 2 * plain.rotation_deg)
    assert torch.equal(stretched.flip, plain.flip)
    assert torch.equal(stretched.color, plain.color)


def test_the_release_can_rotate_all_images():
    rotation = random_augmentation(config_with(**{"random.rotated_share": 1.0}), 0).rotation_deg
    assert (rotation != 0).all()


def test_colour_factors_are_drawn_for_each_channel():
    color = random_augmentation(config_with(), 0).color
    assert color.shape == (MANY, 3)
    assert 0.6 <= color.min() < 0.601
    assert 1.4 >= color.max() > 1.399
    assert abs(np.corrcoef(color.T)[0, 1]) < 0.05


def test_flip_and_colour_can_be_switched_off():
    draw = random_augmentation(config_with(**{"random.flip_probability": 0, "random.color_range": 0}), 0)
    assert not draw.flip.any()
    assert (draw.color == 1).all()


def test_adversarial_draws_are_uniform_and_normal():
    draws = two_mask_draws(config_with(), 0)
    assert draws.cell_uniform.shape == (MANY, 2, 2)
    assert draws.reference_uniform.shape == (MANY, 2, 8, 2)
    assert abs(np.corrcoef(draws.cell_uniform[:, :, 0].T)[0, 1]) < 0.05
    for values in (draws.bin_uniform, draws.cell_uniform, draws.reference_uniform, draws.cell_shift + 0.5):
        assert values.min() >= 0
        assert values.max() < 1
        assert values.mean().item() == pytest.approx(0.5, abs=0.02)
    assert draws.bin_normal.std().item() == pytest.approx(1, abs=0.03)
    # One or two cells with equal chance.
    assert draws.cells.bincount(minlength=3).div(MANY).tolist() == pytest.approx([0, 0.5, 0.5], abs=0.03)


def test_uniform_draws_never_reach_one_as_float32():
    # A float64 draw of 1 - 2e-8 would be rounded to 1: about one in 34 million, met here by counting bits.
    values = two_mask_draws(config_with(), 1).reference_uniform
    assert torch.equal(values * 2**24, (values * 2**24).round())
    assert values.max() <= 1 - 2**-24


def test_canonical_changes_nothing():
    still = canonical(2, torch.device("cpu"))
    assert [column.tolist() for column in columns(still)] == [[1, 1], [0, 0], [False, False], [[1, 1, 1]] * 2]


def test_rescaling_keeps_flip_and_colour():
    draw = random_augmentation(Config(), 0)
    other = draw.rescaled(torch.full((24,), 1.5), torch.full((24,), 7.0))
    assert torch.equal(other.flip, draw.flip)
    assert torch.equal(other.color, draw.color)
    assert (other.scale == 1.5).all()
    assert (other.rotation_deg == 7).all()


def test_a_sweep_is_drawn_by_sample():
    config = Config()
    assert sweep_normals(config, 4).shape == (7, 9, 2)
    assert torch.equal(sweep_normals(config, 4), sweep_normals(config, 4))
    assert not torch.equal(sweep_normals(config, 4), sweep_normals(config, 5))
