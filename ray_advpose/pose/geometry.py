"""How coordinates get from the person canvas into the network input, and the picture with them.

Drawing an augmentation happens elsewhere; here a draw becomes a matrix, and a matrix is applied to
points or pixels. Pixel edges are at integers, so the first pixel's centre is 0.5 in every space.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Warping a few canvases at a time keeps their float copies in cache: half the time of all 24 at once.
_CPU_CHUNK = 4


def input_from_canvas(
    scale: Tensor, rotation_deg: Tensor, flip: Tensor, box_px: float, canvas_px: int, input_px: int
) -> Tensor:
    """Return the matrix that takes canvas coordinates to network-input coordinates.

    The canvas centre goes to the input centre. The picture is first scaled, then rotated, then
    flipped: the flip comes last so that a rotation bin means the same tilt of the person whether or
    not the result is mirrored, and so that the mirrored crop is the crop seen in a mirror.

    Args:
        scale: (B,) factors; the crop is ``box_px * scale`` canvas pixels wide, so above 1 it takes
            in more and the person becomes smaller.
        rotation_deg: (B,) degrees; positive turns the picture content counter-clockwise as seen on
            screen (y points down), as in OpenCV and torchvision.
        flip: (B,) bool, mirror left and right. Joints also need `mirror_joints`.
        box_px: Side of the person box on the canvas, in canvas pixels.
        canvas_px: Side of the square canvas.
        input_px: Side of the square network input.

    Returns:
        (B, 2, 3) float32 ``[A | t]`` with ``x_in = A x_cv + t``.
    """
    zoom = input_px / (box_px * scale.float())
    angle = torch.deg2rad(rotation_deg.float())
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    side = 1.0 - 2.0 * flip.float()
    linear = torch.stack([side * cos, side * sin, -sin, cos], dim=1).view(-1, 2, 2)
    shift = input_px / 2 - linear.sum(dim=2, keepdim=True) * (canvas_px / 2)
    return torch.cat([linear, shift], dim=2)


def invert(matrix: Tensor) -> Tensor:
    """Return the matrix that undoes ``matrix``; both are (B, 2, 3) and not singular."""
    a, b, c, d = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1]
    determinant = (a * d - b * c).view(-1, 1, 1)
    linear = torch.stack([d, -b, -c, a], dim=1).view(-1, 2, 2) / determinant
    shift = -(linear * matrix[:, None, :, 2]).sum(dim=2, keepdim=True)
    return torch.cat([linear, shift], dim=2)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the matrix that applies ``inner``, then ``outer``; all are (B, 2, 3)."""
    product = _multiply(outer[:, :, :2], inner)
    return torch.cat([product[:, :, :2], product[:, :, 2:] + outer[:, :, 2:]], dim=2)


def transform_points(matrix: Tensor, points: Tensor) -> Tensor:
    """Map points of one space into another.

    Args:
        matrix: (B, 2, 3).
        points: (B, J, 2) x and y in the matrix's source space.

    Returns:
        (B, J, 2) in its target space.
    """
    return _multiply(points, matrix[:, :, :2].transpose(1, 2)) + matrix[:, None, :, 2]


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    # Not matmul: autocast and TF32 would round coordinates to about 1 in 1000.
    return (a[:, :, :, None] * b[:, None, :, :]).sum(dim=2)


def mirror_joints(values: Tensor, flip: Tensor, mirror: Tensor) -> Tensor:
    """Swap left and right joints of the flipped items; coordinates are not touched.

    Args:
        values: (B, J, ...) anything listed by joint: points, flags, heatmaps.
        flip: (B,) bool.
        mirror: (J,) int64, `Skeleton.mirror` as a tensor on the device of ``values``.

    Returns:
        (B, J, ...) with ``values[b, mirror[j]]`` at ``[b, j]`` where ``flip[b]``.
    """
    return torch.where(flip.view(-1, *[1] * (values.dim() - 1)), values[:, mirror], values)


def inside(points_in: Tensor, input_px: int) -> Tensor:
    """Return (B, J) bool: which of the (B, J, 2) points fall on a pixel of the input; NaN does not."""
    return ((points_in >= 0) & (points_in < input_px)).all(dim=2)


def warp(canvas: Tensor, matrix: Tensor, input_px: int, color: Tensor | None = None) -> Tensor:
    """Cut network inputs out of canvases, bilinearly, black outside the canvas.

    Args:
        canvas: (B, H, W, 3) uint8 RGB.
        matrix: (B, 2, 3) from canvas to input coordinates, see `input_from_canvas`.
        input_px: Side S of the square network input.
        color: (B, 3) factors of the channels, or None to leave them.

    Returns:
        (B, 3, S, S) float32, clamped to 0..1 after the colour factors.
    """
    assert canvas.dtype == torch.uint8, canvas.dtype
    grid = _sampling_grid(invert(matrix.float()), input_px, height=canvas.shape[1], width=canvas.shape[2])
    pixels = canvas.permute(0, 3, 1, 2)
    picture = torch.empty((len(canvas), 3, input_px, input_px), device=canvas.device)
    chunk = _CPU_CHUNK if canvas.device.type == "cpu" else max(1, len(canvas))
    for start in range(0, len(canvas), chunk):
        part = slice(start, start + chunk)
        picture[part] = F.grid_sample(
            pixels[part].float(), grid[part], mode="bilinear", padding_mode="zeros", align_corners=False
        )
    picture *= 1 / 255 if color is None else (color.float() / 255)[:, :, None, None]
    return picture.clamp_(0, 1)


def _sampling_grid(canvas_from_input: Tensor, input_px: int, height: int, width: int) -> Tensor:
    """Return (B, S, S, 2): where each input pixel's centre lies on the canvas, edges at -1 and 1."""
    centre_in = torch.arange(input_px, device=canvas_from_input.device) + 0.5
    to_edges = torch.stack([canvas_from_input[:, 0] * (2 / width), canvas_from_input[:, 1] * (2 / height)], dim=1)
    along_x = to_edges[:, None, None, :, 0] * centre_in[:, None]
    along_y = to_edges[:, None, None, :, 1] * centre_in[:, None, None] + (to_edges[:, None, None, :, 2] - 1)
    return along_x + along_y
