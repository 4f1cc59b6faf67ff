from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from ray_advpose.nets.augmenter import AhoNet, AsrNet
from ray_advpose.nets.hourglass import StackedHourglass
from ray_advpose.nets.pose_net import make_pose_net
from ray_advpose.nets.unet import UNet, UpLevel, double_conv
from ray_advpose.sections import AhoConfig, AsrConfig, PoseNetConfig


def unet_config(**fields: object) -> PoseNetConfig:
    return PoseNetConfig(**{"architecture": "unet", "channels": 8, "poolings": 3, "input_px": 64} | fields)


@pytest.fixture
def net() -> UNet:
    torch.manual_seed(0)
    return UNet(unet_config(), joints=5)


def random_input(net: UNet, batch: int = 2) -> Tensor:
    side = net.config.input_px
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def masks_for(net: UNet, batch: int, cell: Tensor) -> tuple[Tensor, ...]:
    return tuple(functional.interpolate(cell, size=(s, s)).expand(batch, 1, s, s) for _, s in net.bridge_shapes)


def flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def parameter_owners(net: nn.Module) -> set[str]:
    return {name for name, module in net.named_modules() if list(module.parameters(recurse=False))}


@pytest.mark.parametrize(
    ("poolings", "input_px", "widths", "sides"),
    [
        (1, 32, (8, 16), (8, 4)),
        (3, 96, (8, 16, 32, 64), (24, 12, 6, 3)),
        (4, 128, (8, 16, 32, 64, 128), (32, 16, 8, 4, 2)),  # the published widening: 16 times the first
    ],
)
def test_shapes(poolings: int, input_px: int, widths: tuple[int, ...], sides: tuple[int, ...]):
    net = UNet(unet_config(poolings=poolings, input_px=input_px), joints=5)
    features = net.descend(random_input(net)).features
    assert net.bridge_shapes == tuple(zip(widths, sides, strict=True))
    assert [tuple(f.shape) for f in features] == [(2, width, side, side) for width, side in net.bridge_shapes]
    assert net(random_input(net)).shape == (2, 1, 5, sides[0], sides[0])


def test_convolutions_come_in_pairs_and_the_decoder_concatenates(net: UNet):
    widths = [width for width, _ in net.bridge_shapes]
    encoder, decoder = (
        [[(c.in_channels, c.out_channels) for c in level.modules() if isinstance(c, nn.Conv2d)] for level in half]
        for half in (net.encoder, net.decoder)
    )
    assert encoder == [[(above, here), (here, here)] for above, here in pairwise((8, *widths))]
    assert decoder == [[(below, here), (2 * here, here), (here, here)] for below, here in pairwise(reversed(widths))]
    kinds = [type(m).__name__ for m in net.encoder[1].modules() if not list(m.children())]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 2


def test_an_input_of_another_size_is_refused(net: UNet):
    with pytest.raises(AssertionError, match="input"):
        net(torch.zeros(1, 3, 96, 96))


@pytest.mark.parametrize("training", [True, False])
def test_forward_is_descend_then_ascend(net: UNet, training: bool):
    net.train(training)
    x_in = random_input(net)
    assert torch.equal(net(x_in), net.ascend(net.descend(x_in)))


def test_descend_runs_stem_and_encoder_only(net: UNet):
    ran: set[str] = set()
    for name in parameter_owners(net):
        net.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.add(name))
    descent = net.descend(random_input(net))
    down = {name for name in parameter_owners(net) if name.startswith(("stem.", "encoder."))}
    assert ran == down
    ran.clear()
    net.ascend(descent)
    assert ran == parameter_owners(net) - down


def test_masks_of_ones_change_nothing(net: UNet):
    x_in = random_input(net)
    assert torch.equal(net(x_in, masks_for(net, 2, torch.ones(1, 1, 2, 2))), net(x_in))


def test_an_occluded_cell_is_zero_in_every_bridge_feature_the_decoder_gets(net: UNet):
    handed: list[Tensor] = []
    for level in net.decoder:
        level.register_forward_pre_hook(lambda _, inputs: handed.append(inputs))
    cell = torch.ones(1, 1, 2, 2)
    cell[..., 0, 1] = 0  # the upper right quarter
    descent = net.descend(random_input(net))
    net.ascend(descent, masks_for(net, 2, cell))
    (neck, _), *_ = handed
    masked = (*(skip for _, skip in reversed(handed)), neck)
    for before, after in zip(descent.features, masked, strict=True):
        expected, half = before.detach().clone(), before.shape[-1] // 2
        assert expected[..., :half, half:].any()
        expected[..., :half, half:] = 0
        assert torch.equal(after, expected)


def test_what_is_occluded_everywhere_cannot_be_seen(net: UNet):
    # Nothing but bridge features leads to the heatmaps.
    pictures = random_input(net)
    nothing = masks_for(net.eval(), 2, torch.zeros(1, 1, 1, 1))
    assert torch.equal(net(pictures, nothing), net(pictures.flip(0), nothing))
    assert not torch.equal(net(pictures), net(pictures.flip(0)))


def test_passes_may_share_a_descent(net: UNet):
    x_in = random_input(net)
    masks = masks_for(net, 2, torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]]))
    net(x_in, masks).square().mean().backward()
    alone = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()

    descent = net.descend(x_in)
    kept = [feature.detach().clone() for feature in descent.features]
    with torch.no_grad():
        net.ascend(descent)
    loss = net.ascend(descent, masks).square().mean()
    with torch.no_grad():
        net.ascend(descent, masks_for(net, 2, torch.tensor([[[[0.0, 1.0], [1.0, 1.0]]]])))
    loss.backward()
    assert all(map(torch.equal, kept, descent.features))
    for parameter, grad in zip(net.parameters(), alone, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


@pytest.mark.parametrize("part", ["double convolution", "up level"])
def test_gradients_are_exact_and_inputs_left_alone(part: str):
    # ReLUs work in place; numerical differentiation would find one that overwrites too much.
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)

    def feature(channels: int, side: int) -> Tensor:
        return torch.randn(2, channels, side, side, dtype=torch.float64, generator=rng, requires_grad=True)

    if part == "double convolution":
        module, inputs = double_conv(2, 3), (feature(2, 3),)
    else:
        module, inputs = UpLevel(3, 2), (feature(3, 2), feature(2, 4))
    before = [x.detach().clone() for x in inputs]
    assert torch.autograd.gradcheck(module.double(), inputs)
    assert all(map(torch.equal, before, inputs))


def test_every_weight_learns(net: UNet):
    net(random_input(net)).square().mean().backward()
    still = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    still += [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and not m.weight.grad.abs().max() > 0]
    assert not still


def test_channels_last_changes_the_layout_and_not_the_result(net: UNet):
    net.eval()
    x_in = random_input(net)
    masks = masks_for(net, 2, torch.ones(1, 1, 2, 2))
    expected = net(x_in, masks)
    net.to(memory_format=torch.channels_last)
    descent = net.descend(x_in)
    assert all(f.is_contiguous(memory_format=torch.channels_last) for f in descent.features)
    torch.testing.assert_close(net.ascend(descent, masks), expected, rtol=1e-4, atol=1e-5)


def test_both_halves_cost_what_the_whole_does():
    with torch.device("meta"):
        net = UNet(unet_config(input_px=96), joints=16).eval()
        x_in = torch.empty(1, 3, 96, 96)
        descent = net.descend(x_in)
        down, up = flops(lambda: net.descend(x_in)), flops(lambda: net.ascend(descent))
        assert 0 < down < up
        assert down + up == flops(lambda: net(x_in))


def test_augmentation_nets_project_every_level_but_the_finest(net: UNet):
    features = net.descend(random_input(net)).features
    asr = AsrNet(net.bridge_shapes, net.config, AsrConfig())
    aho = AhoNet(net.bridge_shapes, net.config, AhoConfig(grid_width=2, grid_height=2))
    assert [type(projection) for projection in asr.encoder.projections] == [nn.Identity] + [nn.Conv2d] * 3
    scale, rotation = asr(features)
    assert (scale.shape, rotation.shape, aho(features).shape) == ((2, 7), (2, 9), (2, 4))


@pytest.mark.parametrize(("architecture", "kind"), [("hourglass", StackedHourglass), ("unet", UNet)])
def test_a_config_names_its_pose_net(architecture: str, kind: type):
    net = make_pose_net(unet_config(architecture=architecture), joints=5)
    assert type(net) is kind
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 5, 16, 16)


def test_eight_pictures_are_overfitted_in_sixty_steps():
    torch.manual_seed(0)
    net = UNet(unet_config(channels=16), joints=3)
    x_in, targets = torch.randn(8, 3, 64, 64), torch.zeros(8, 1, 3, 16, 16)
    for picture, joint in torch.cartesian_prod(torch.arange(8), torch.arange(3)):
        row, column = torch.randint(0, 12, (2,))
        targets[picture, 0, joint, row : row + 4, column : column + 4] = 1
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        loss = (net(x_in) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.4 * targets.var().item()  # the best that a constant prediction reaches
