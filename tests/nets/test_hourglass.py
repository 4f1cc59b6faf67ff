from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from ray_advpose.nets.hourglass import StackedHourglass
from ray_advpose.presets import preset_named
from ray_advpose.sections import PoseNetConfig

TINY_DENSE = {"dense_layers": 2, "dense_growth": 4}


@pytest.fixture
def two_stacks() -> StackedHourglass:
    torch.manual_seed(0)
    return StackedHourglass(PoseNetConfig(stacks=2, channels=8, poolings=3, input_px=64), joints=5)


def random_input(net: StackedHourglass, batch: int = 2) -> Tensor:
    side = net.config.input_px
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def masks_for(net: StackedHourglass, batch: int, cell: Tensor) -> tuple[Tensor, ...]:
    return tuple(functional.interpolate(cell, size=(s, s)).expand(batch, 1, s, s) for _, s in net.bridge_shapes)


def flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def parameter_count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def parameter_owners(net: nn.Module) -> set[str]:
    return {name for name, module in net.named_modules() if list(module.parameters(recurse=False))}


@pytest.mark.parametrize("block", ["residual", "dense"])
@pytest.mark.parametrize("stacks", [1, 2, 3])
@pytest.mark.parametrize(("poolings", "input_px", "sides"), [(3, 96, (24, 12, 6, 3)), (4, 128, (32, 16, 8, 4, 2))])
def test_shapes(block: str, stacks: int, poolings: int, input_px: int, sides: tuple[int, ...]):
    config = PoseNetConfig(block=block, stacks=stacks, channels=8, poolings=poolings, input_px=input_px, **TINY_DENSE)
    net = StackedHourglass(config, joints=5)
    features = net.descend(random_input(net)).features
    assert net.bridge_shapes == tuple((8, side) for side in sides)
    assert [tuple(f.shape) for f in features] == [(2, 8, side, side) for side in sides]
    assert net(random_input(net)).shape == (2, stacks, 5, sides[0], sides[0])


@pytest.mark.parametrize("block", ["residual", "dense"])
def test_one_to_eight_stacks_each_as_large_as_the_last(block: str):
    counts = []
    for stacks in range(1, 9):
        config = PoseNetConfig(block=block, stacks=stacks, channels=8, poolings=2, input_px=32, **TINY_DENSE)
        net = StackedHourglass(config, joints=5)
        with torch.no_grad():
            assert net(random_input(net)).shape == (2, stacks, 5, 8, 8)
        assert net.bridge_shapes == ((8, 8), (8, 4), (8, 2))  # of the first stack alone
        counts.append(parameter_count(net))
    assert len({more - fewer for fewer, more in pairwise(counts)}) == 1
    assert counts[0] < counts[1]


@pytest.mark.parametrize(
    ("preset", "stacks", "counted", "published"),
    [
        ("paper-residual", 4, 36_885_440, 38e6),
        ("paper-dense", 3, 18_146_416, 18e6),
        ("paper-8stack", 8, 25_434_112, 25.6e6),  # of the public PyTorch port, whose stem is wider
    ],
)
def test_parameter_counts_of_presets_are_the_published_ones(preset: str, stacks: int, counted: int, published: float):
    config = preset_named(preset).net
    with torch.device("meta"):
        net = StackedHourglass(config, joints=16)
    assert config.stacks == len(net.ways_up) == stacks
    assert parameter_count(net) == counted
    assert abs(counted - published) < 0.03 * published


@pytest.mark.parametrize("training", [True, False])
def test_forward_is_descend_then_ascend(two_stacks: StackedHourglass, training: bool):
    two_stacks.train(training)
    x_in = random_input(two_stacks)
    assert torch.equal(two_stacks(x_in), two_stacks.ascend(two_stacks.descend(x_in)))


def test_descend_runs_the_stem_and_the_first_way_down_only(two_stacks: StackedHourglass):
    ran: set[str] = set()
    for name in parameter_owners(two_stacks):
        two_stacks.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.add(name))
    descent = two_stacks.descend(random_input(two_stacks))
    down = {name for name in parameter_owners(two_stacks) if name.startswith(("stem.", "ways_down.0."))}
    assert ran == down
    ran.clear()
    two_stacks.ascend(descent)
    assert ran == parameter_owners(two_stacks) - down


def test_masks_of_ones_change_nothing(two_stacks: StackedHourglass):
    x_in = random_input(two_stacks)
    ones = masks_for(two_stacks, 2, torch.ones(1, 1, 2, 2))
    assert torch.equal(two_stacks(x_in, ones), two_stacks(x_in))


def test_an_occluded_cell_is_zero_in_every_bridge_feature_of_every_stack(two_stacks: StackedHourglass):
    handed: list[tuple[Tensor, ...]] = []
    for way_up in two_stacks.ways_up:
        way_up.register_forward_pre_hook(lambda _, inputs: handed.append(inputs[0]))
    cell = torch.ones(1, 1, 2, 2)
    cell[..., 0, 1] = 0  # the upper right quarter
    descent = two_stacks.descend(random_input(two_stacks))
    two_stacks.ascend(descent, masks_for(two_stacks, 2, cell))
    assert len(handed) == 2
    for features in handed:
        for feature, (_, side) in zip(features, two_stacks.bridge_shapes, strict=True):
            occluded = (feature == 0).all(1)
            expected = torch.zeros(2, side, side, dtype=torch.bool)
            expected[:, : side // 2, side // 2 :] = True
            assert torch.equal(occluded, expected)


def test_passes_may_share_a_descent(two_stacks: StackedHourglass):
    x_in = random_input(two_stacks)
    masks = masks_for(two_stacks, 2, torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]]))
    two_stacks(x_in, masks).square().mean().backward()
    alone = [parameter.grad.clone() for parameter in two_stacks.parameters()]
    two_stacks.zero_grad()

    descent = two_stacks.descend(x_in)
    kept = [feature.detach().clone() for feature in (*descent.features, *descent.carried)]
    with torch.no_grad():
        two_stacks.ascend(descent)
    two_stacks.ascend(descent, masks).square().mean().backward()
    assert all(map(torch.equal, kept, (*descent.features, *descent.carried)))
    for parameter, grad in zip(two_stacks.parameters(), alone, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


@pytest.mark.parametrize("block", ["residual", "dense"])
def test_every_weight_learns(block: str):
    torch.manual_seed(0)
    net = StackedHourglass(PoseNetConfig(block=block, stacks=2, channels=8, input_px=64, **TINY_DENSE), joints=5)
    net(random_input(net)).square().mean().backward()
    still = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and not m.weight.grad.abs().max() > 0]
    assert not still


def test_every_stack_is_supervised_by_itself(two_stacks: StackedHourglass):
    two_stacks(random_input(two_stacks))[:, 0].sum().backward()
    assert two_stacks.readouts[0].heatmaps.weight.grad is not None
    assert two_stacks.readouts[1].heatmaps.weight.grad is not None
    assert two_stacks.readouts[1].heatmaps.weight.grad.abs().max() == 0


def test_channels_last_changes_the_layout_and_not_the_result(two_stacks: StackedHourglass):
    two_stacks.eval()
    x_in = random_input(two_stacks)
    masks = masks_for(two_stacks, 2, torch.ones(1, 1, 2, 2))
    expected = two_stacks(x_in, masks)
    two_stacks.to(memory_format=torch.channels_last)
    descent = two_stacks.descend(x_in)
    assert all(f.is_contiguous(memory_format=torch.channels_last) for f in descent.features)
    torch.testing.assert_close(two_stacks.ascend(descent, masks), expected, rtol=1e-4, atol=1e-5)


def test_eight_pictures_are_overfitted_in_thirty_steps():
    torch.manual_seed(0)
    net = StackedHourglass(PoseNetConfig(channels=16, input_px=64), joints=3)
    x_in, targets = torch.randn(8, 3, 64, 64), torch.zeros(8, 1, 3, 16, 16)
    for picture, joint in torch.cartesian_prod(torch.arange(8), torch.arange(3)):
        row, column = torch.randint(0, 12, (2,))
        targets[picture, 0, joint, row : row + 4, column : column + 4] = 1
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(30):
        loss = (net(x_in) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7 * targets.var().item()  # the best that a constant prediction reaches


@pytest.mark.parametrize("config", [PoseNetConfig(), PoseNetConfig(stacks=2)])
def test_both_halves_cost_what_the_whole_does(config: PoseNetConfig):
    with torch.device("meta"):
        net = StackedHourglass(config, joints=16).eval()
        x_in = torch.empty(1, 3, config.input_px, config.input_px)
        descent = net.descend(x_in)
        down, up = flops(lambda: net.descend(x_in)), flops(lambda: net.ascend(descent))
        assert down + up == flops(lambda: net(x_in))
