from __future__ import annotations

import pytest
import torch
from torch import nn

from ray_advpose.nets.blocks import DenseBlock, Residual, make_block, make_unit
from ray_advpose.sections import PoseNetConfig


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def kinds(module: nn.Module) -> list[str]:
    return [type(leaf).__name__ for leaf in module.modules() if not list(leaf.children())]


def test_residual_is_three_preactivated_convolutions_that_halve_and_double():
    block = Residual(256, 256)
    assert kinds(block.branch) == ["BatchNorm2d", "ReLU", "Conv2d"] * 3
    convs = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convs] == [
        (256, 128, 1),
        (128, 128, 3),
        (128, 256, 1),
    ]
    assert count(block) == 214_528  # 212,992 weights, 512 biases, 1,024 of BatchNorm


def test_dense_layers_grow_by_32_and_return_to_their_width():
    block = DenseBlock(128, layers=6, growth=32)
    convs = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    pairs = [((128 + 32 * i, 128, 1), (128, 32, 3)) for i in range(6)]
    expected = [conv for pair in pairs for conv in pair] + [(320, 128, 1)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convs] == expected


def test_residual_adds_its_input_and_projects_it_only_where_widths_differ():
    x = torch.randn(2, 8, 5, 5)
    same, wider = Residual(8, 8), Residual(8, 12)
    for block in (same, wider):
        nn.init.zeros_(block.branch[2][2].weight)
        nn.init.zeros_(block.branch[2][2].bias)
    torch.testing.assert_close(same(x), x)
    torch.testing.assert_close(wider(x), wider.skip(x))


@pytest.mark.parametrize("kind", ["residual", "dense"])
def test_block_leaves_its_input_alone_and_gradients_are_exact(kind: str):
    # The sums and ReLUs work in place; numerical differentiation would find one that overwrites too much.
    block = make_block(PoseNetConfig(block=kind, dense_layers=2, dense_growth=2), 4).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    before = x.detach().clone()
    assert torch.autograd.gradcheck(block, (x,))
    assert torch.equal(x, before)


@pytest.mark.parametrize("kind", ["residual", "dense"])
def test_unit_holds_as_many_blocks_as_configured(kind: str):
    config = PoseNetConfig(block=kind, blocks_per_unit=3, channels=8)
    unit = make_unit(config)
    assert len(unit) == 3
    assert count(unit) == 3 * count(make_block(config, 8))
    assert unit(torch.zeros(1, 8, 4, 4)).shape == (1, 8, 4, 4)
