"""What surrounds a synthetic person: clutter, limbs that are nobody's, and a camera with flaws."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ray_advpose.data.sources.synthetic_body import (
    Light,
    bare,
    dress,
    paint_part,
    paint_person,
    random_cloth,
    random_light,
    random_skin,
)
from ray_advpose.data.sources.synthetic_brush import LAST_MIX, area_of, clamp, fill, palette, random_colors, stain
from ray_advpose.data.sources.synthetic_outline import Silhouettes, project


def render(
    seen: Silhouettes, objects_px: Sequence[np.ndarray], image_px: int, height_px: float, rng: np.random.Generator
) -> np.ndarray:
    """Paint one picture.

    Args:
        seen: The person's parts.
        objects_px: Convex polygons (K, 2) in front of the person.
        image_px: Side of the square picture.
        height_px: The person's standing height, which sets the scale of patterns.
        rng: Source of every colour, texture and flaw.

    Returns:
        (image_px, image_px, 3) uint8, BGR.
    """
    noise = _smooth_noise(image_px, rng)
    picture = _background(noise, rng)
    light = random_light(rng)
    _paint_distractors(picture, noise, light, height_px, rng)
    paint_person(picture, seen, dress(height_px, rng), light, noise)
    for polygon, colors in zip(objects_px, random_colors(2 * len(objects_px), rng).reshape(-1, 2, 3), strict=True):
        _paint_object(picture, polygon, colors, noise, rng)
    return _photograph(picture, rng)


def _bytes(count: int, rng: np.random.Generator) -> np.ndarray:
    # Whole words: numpy's own byte-wise draws take several times as long.
    words = rng.integers(0, 2**64 - 1, -(-count // 8), dtype=np.uint64, endpoint=True)
    return words.astype("<u8").view(np.uint8)[:count]


def _smooth_noise(image_px: int, rng: np.random.Generator) -> np.ndarray:
    cells = image_px // 3
    return cv2.resize(_bytes(cells * cells, rng).reshape(cells, cells), (image_px, image_px))


def _background(noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return clutter of the size of the (H, W) uint8 ``noise``, which grains it."""
    image_px, cells = len(noise), int(rng.integers(2, 9))
    coarse = random_colors(1, rng) + rng.uniform(-1, 1, (cells, cells, 1)) * rng.uniform(5, 90)
    coarse = coarse + rng.uniform(-1, 1, (cells, cells, 3)) * rng.uniform(0, 35)
    smooth = cv2.resize(clamp(coarse, 0, 255).astype(np.uint8), (image_px, image_px), interpolation=cv2.INTER_CUBIC)
    grain = rng.uniform(0, 0.3)
    picture = cv2.addWeighted(smooth, 1.0, cv2.cvtColor(noise, cv2.COLOR_GRAY2BGR), grain, -128 * grain)

    count = int(rng.integers(4, 16))
    centres = rng.uniform(0, image_px, (count, 1, 2))
    sizes = image_px * rng.uniform(0.04, 0.3, (count, 1, 1))
    corners = (centres + sizes * rng.uniform(-1, 1, (count, 6, 2))).astype(np.float32)
    textured = rng.random(count) < 0.3
    colors = random_colors(2 * count, rng).reshape(count, 2, 3)
    for points, has_texture, pair in zip(corners, textured, colors, strict=True):
        polygon = cv2.convexHull(points)[:, 0]
        if has_texture:
            _paint_object(picture, polygon, pair, noise, rng)
        else:
            fill(picture, polygon, pair[0].tolist())

    count = int(rng.integers(2, 10))
    ends = rng.integers(0, image_px, (count, 2, 2)).tolist()
    widths = rng.integers(1, 7, count).tolist()
    for (start, end), width, color in zip(ends, widths, random_colors(count, rng).tolist(), strict=True):
        cv2.line(picture, start, end, color, width, cv2.LINE_AA)
    return picture


def _paint_object(
    picture: np.ndarray, polygon_px: np.ndarray, colors: np.ndarray, noise: np.ndarray, rng: np.random.Generator
) -> None:
    area = area_of(polygon_px, picture.shape)
    if area is None:
        return
    rows, columns, opacity = area
    index = np.minimum(noise[rows, columns], LAST_MIX)
    if rng.random() < 0.5:
        wave_x, wave_y = rng.uniform(-0.5, 0.5, 2).tolist()
        x = np.arange(opacity.shape[1], dtype=np.float32) * wave_x
        y = np.arange(opacity.shape[0], dtype=np.float32)[:, None] * wave_y
        index = ((x + y) % 2 < 1).astype(np.uint8) * LAST_MIX
    stain(picture[rows, columns], opacity, index, palette(colors[0], colors[1]))


def _paint_distractors(
    picture: np.ndarray, noise: np.ndarray, light: Light, height_px: float, rng: np.random.Generator
) -> None:
    """Paint bent limbs that belong to nobody, of the person's own size and kinds of colour."""
    count = int(rng.integers(1, 4))
    joints_px = np.zeros((count, 3, 3))
    joints_px[:, 0, :2] = rng.uniform(0, len(picture), (count, 2))
    joints_px[:, 1:, :2] = rng.normal(0, 0.14 * height_px, (count, 2, 2))
    joints_px = joints_px.cumsum(axis=1)
    radii_px = height_px * rng.uniform(0.02, 0.05, (count, 1)) * [1.0, 0.85, 0.7]
    limbs = project(
        joints_px[:, [[0, 1], [1, 2]]].reshape(-1, 2, 3),
        np.broadcast_to(np.eye(3), (2 * count, 3, 3)),
        np.repeat(radii_px[:, [[0, 1], [1, 2]]].reshape(-1, 2, 1), 3, axis=2),
    )
    for limb in range(count):
        skin = random_skin(rng)
        cloth = bare(skin, skin) if rng.random() < 0.5 else random_cloth(height_px, skin, skin, rng)
        for part in (2 * limb, 2 * limb + 1):
            paint_part(picture, limbs, part, cloth, light, noise)


def _photograph(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the picture as a cheap camera stores it: blur, lighting, noise and JPEG blocks."""
    side = len(picture)
    if rng.random() < 0.5:
        small = int(side * rng.uniform(0.5, 0.95))
        picture = cv2.resize(cv2.resize(picture, (small, small)), (side, side))
    gains = rng.uniform(0.7, 1.3, (2, 2, 1)) * rng.normal(1, 0.06, 3) * rng.uniform(0.65, 1.2)
    falloff = cv2.resize(clamp(128 * gains, 0, 255).astype(np.uint8), (side, side))
    lit = cv2.multiply(picture, falloff, scale=1 / 128)
    grain = cv2.cvtColor(_bytes(side * side, rng).reshape(side, side), cv2.COLOR_GRAY2BGR)
    strength = rng.uniform(0.01, 0.12)
    exposed = cv2.addWeighted(lit, 1.0, grain, strength, rng.uniform(-15, 25) - 128 * strength)
    if rng.random() < 0.5:
        return exposed
    _, encoded = cv2.imencode(".jpg", exposed, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 80))])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None, "a JPEG just encoded could not be decoded"
    return decoded
