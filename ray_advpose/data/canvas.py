"""The canvas: an upright square cut around a person, large enough for every later crop."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from ray_advpose.data.persons import Person

JPEG_QUALITY = 92
MAX_SCALE_LOG2 = 0.65
"""Bins reach +-0.6 and their bounded Gaussians 0.05 further."""
MAX_ROTATION_DEG = 65.0
"""Bins reach +-60 degrees and their bounded Gaussians 5 further."""

# Below half size bilinear sampling skips source pixels; above it, it does not.
_AREA_BELOW = 0.5


class CanvasCut(NamedTuple):
    """A person cut out.

    Attributes:
        canvas_bgr: (canvas_px, canvas_px, 3) uint8, black outside of the image.
        joints_cv: (J, 2) float64 in canvas pixels; 0 where not annotated.
        image_from_canvas: (2, 3) float64, takes canvas to original-image pixels, both with edges
            at integers.
    """

    canvas_bgr: np.ndarray
    joints_cv: np.ndarray
    image_from_canvas: np.ndarray


def canvas_side(box_px: int, max_scale_log2: float = MAX_SCALE_LOG2, max_rotation_deg: float = MAX_ROTATION_DEG) -> int:
    """Return the canvas side that no crop leaves.

    A crop is the person's box, enlarged by up to ``2 ** max_scale_log2`` and turned about the
    canvas's centre by up to ``max_rotation_deg``; a square reaches furthest at 45 degrees.

    Args:
        box_px: Side of the person's box in canvas pixels.
        max_scale_log2: Largest enlargement of the crop, as a power of two.
        max_rotation_deg: Largest rotation either way.

    Returns:
        The side in canvas pixels, rounded up to an even number.
    """
    angle = math.radians(min(max_rotation_deg, 45.0))
    reach = box_px * 2.0**max_scale_log2 * (math.cos(angle) + math.sin(angle))
    return 2 * math.ceil(reach / 2)


def cut_canvas(image_bgr: np.ndarray, person: Person, box_px: int, canvas_px: int) -> CanvasCut:
    """Cut a person out: the box's centre at the canvas's centre, the box ``box_px`` wide.

    Args:
        image_bgr: (H, W, 3) uint8, the person's image.
        person: Whose box and joints, in original-image pixels.
        box_px: Side the person's box gets, in canvas pixels.
        canvas_px: Side of the canvas.
    """
    scale = box_px / person.box_px
    shift = canvas_px / 2 - scale * person.center_px
    canvas_from_image = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    joints_cv = np.where(person.annotated[:, None], scale * person.joints_px + shift, 0.0)
    image_from_canvas = np.array([[1 / scale, 0.0, -shift[0] / scale], [0.0, 1 / scale, -shift[1] / scale]])
    canvas = _warp(image_bgr, canvas_from_image, canvas_px)
    return CanvasCut(canvas, joints_cv, image_from_canvas)


def _warp(image: np.ndarray, canvas_from_image: np.ndarray, canvas_px: int) -> np.ndarray:
    matrix = canvas_from_image.copy()
    scale = matrix[0, 0]
    if scale < _AREA_BELOW:
        height, width = image.shape[:2]
        shrunk_px = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, shrunk_px, interpolation=cv2.INTER_AREA)
        matrix[0, 0] *= width / shrunk_px[0]
        matrix[1, 1] *= height / shrunk_px[1]
    # OpenCV puts pixel centres at integers, we put edges there: half a pixel on either side.
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return np.asarray(cv2.warpAffine(image, matrix, (canvas_px, canvas_px), flags=cv2.INTER_LINEAR))


def encode_canvas(canvas_bgr: np.ndarray) -> bytes:
    """Return a BGR canvas as JPEG bytes of quality 92."""
    done, data = cv2.imencode(".jpg", canvas_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "a uint8 canvas always encodes"
    return bytes(data)


def decode_canvas(data: np.ndarray, into_rgb: np.ndarray) -> None:
    """Decode a JPEG canvas into ``into_rgb``, (H, W, 3) uint8 in RGB order.

    Args:
        data: (bytes,) uint8, the JPEG.
        into_rgb: Overwritten; its shape must be the canvas's.
    """
    canvas_bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert canvas_bgr is not None, "a shard's hash was checked, so its pictures are whole"
    assert canvas_bgr.shape == into_rgb.shape, "a shard holds canvases of one size"
    cv2.cvtColor(canvas_bgr, cv2.COLOR_BGR2RGB, dst=into_rgb)
