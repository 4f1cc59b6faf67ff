"""Which pose net a config asks for. A new one needs a case here and a name in `PoseNetConfig.architecture`."""

from __future__ import annotations

from ray_advpose.nets.bridge import BridgedPoseNet
from ray_advpose.nets.hourglass import StackedHourglass
from ray_advpose.nets.unet import UNet
from ray_advpose.sections import PoseNetConfig


def make_pose_net(config: PoseNetConfig, joints: int) -> BridgedPoseNet:
    """Build D with heatmaps of ``joints`` joints, its weights drawn from torch's global generator."""
    match config.architecture:
        case "hourglass":
            return StackedHourglass(config, joints)
        case "unet":
            return UNet(config, joints)
