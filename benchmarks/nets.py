"""Print parameters and forward cost of every preset's networks, as a Markdown table.

Usage: ``python benchmarks/nets.py``. Costs are per image and counted, not timed: 2 FLOPs for each
multiply-add of a convolution or linear layer. They are counted on shapes alone, so the paper's nets
cost no more to list than the small ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ray_advpose.config import Config
from ray_advpose.nets.augmenter import AhoNet, AsrNet
from ray_advpose.nets.pose_net import make_pose_net
from ray_advpose.presets import PRESETS

MPII_JOINTS = 16


@dataclass(frozen=True)
class NetCosts:
    """Parameters and forward FLOPs per image of a config's pose net and augmentation nets.

    Attributes:
        parameters: Of D, G_ASR and G_AHO.
        forward: F of D, then G of G_ASR and G_AHO.
        descend: Forward FLOPs of D's way down alone.
        head_side: Side of the map that G_AHO's grid is read from.
    """

    parameters: tuple[int, int, int]
    forward: tuple[int, int, int]
    descend: int
    head_side: int

    @property
    def g_over_f(self) -> float:
        """Mean of the two augmentation nets' cost, over D's."""
        return (self.forward[1] + self.forward[2]) / 2 / self.forward[0]

    @property
    def joint_bound(self) -> float:
        """What a joint step costs at the least, in plain steps.

        A plain step costs 3 F an image. ASR's third adds descend + F and AHO's third F - descend, so
        2 F on a third of the images; and one augmentation net learns, for 3 G, on each of those two thirds.
        """
        return 1 + 2 / 9 + 2 / 3 * self.g_over_f


def count_costs(config: Config, joints: int) -> NetCosts:
    """Count what one image costs in every net of ``config``."""
    with torch.device("meta"), torch.no_grad():
        pose_net = make_pose_net(config.net, joints).eval()
        asr_net = AsrNet(pose_net.bridge_shapes, config.net, config.asr).eval()
        aho_net = AhoNet(pose_net.bridge_shapes, config.net, config.aho).eval()
        x_in = torch.empty(1, 3, config.net.input_px, config.net.input_px)
        features = pose_net.descend(x_in).features
        return NetCosts(
            parameters=(_parameters(pose_net), _parameters(asr_net), _parameters(aho_net)),
            forward=(_flops(pose_net, x_in), _flops(asr_net, features), _flops(aho_net, features)),
            descend=_flops(pose_net.descend, x_in),
            head_side=aho_net.head_side,
        )


def _parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def _flops(run: Callable[..., object], argument: object) -> int:
    with FlopCounterMode(display=False) as counter:
        run(argument)
    return counter.get_total_flops()


def main() -> None:
    """Print one row per preset."""
    print(
        "| preset | D, M params | G_ASR, M | G_AHO, M | D (F), GFLOPs | descend | G_ASR | G_AHO | descend / F | G / F"
        " | joint step, plain steps | AHO grid from |"
    )
    print("|---|" + "---:|" * 11)
    for name, config in PRESETS.items():
        costs = count_costs(config, MPII_JOINTS)
        megas = " | ".join(f"{count / 1e6:.3g}" for count in costs.parameters)
        d, asr, aho = (f"{flops / 1e9:.3g}" for flops in costs.forward)
        side = costs.head_side
        print(
            f"| {name} | {megas} | {d} | {costs.descend / 1e9:.3g} | {asr} | {aho}"
            f" | {costs.descend / costs.forward[0]:.1%} | {costs.g_over_f:.1%}"
            f" | {costs.joint_bound:.3f} | {side} x {side} |"
        )


if __name__ == "__main__":
    main()
