"""What a synthetic person looks like: skin, hair, clothes, and light on round limbs.

Left and right can be told apart as on people: by face or back of the head, by the shirt's opening,
and for some by a band or a sash, always on the left or from the left shoulder.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ray_advpose.data.sources.synthetic_brush import (
    FULL_SHADE,
    LAST_MIX,
    area_of,
    clamp,
    palette,
    random_colors,
    stain,
)
from ray_advpose.data.sources.synthetic_figure import PARTS
from ray_advpose.data.sources.synthetic_outline import Silhouettes

_BELOW, _MARK = LAST_MIX + 1, LAST_MIX + 2
_PATTERNS = ("plain", "hoops", "stripes", "checks", "mottled", "gradient")
_NEVER = 9.0
_STRIPES_ROUND = 15.0
_DARK_SKIN, _LIGHT_SKIN = np.array([38.0, 58, 92]), np.array([165.0, 190, 232])
_HAIR = np.array([[18.0, 16, 18], [28, 42, 70], [70, 140, 185], [30, 60, 150], [150, 150, 155], [90, 30, 30]])
_HAIR_MIX, _SKIN_MIX = 0, LAST_MIX


class Cloth(NamedTuple):
    """How one part is coloured; positions along it run from 0 to 1.

    Attributes:
        table: (256, 1, 3) uint8 palette: the pattern's two colours, the skin, the mark.
        pattern: One of `_PATTERNS`.
        period_px: The pattern's period.
        cuff: Where the cloth ends and skin begins.
        band: Start and end of a marked band around the part.
        sash: Whether a mark runs from the left shoulder to the right hip.
        opening: Whether the front shows an opening and a neckline.
    """

    table: np.ndarray
    pattern: str
    period_px: float
    cuff: float = _NEVER
    band: tuple[float, float] = (_NEVER, _NEVER)
    sash: bool = False
    opening: bool = False


class Light(NamedTuple):
    """A distant lamp: the unit vector ``towards`` it, and the share of light from everywhere."""

    # Plain floats: a numpy float64 would turn every float32 area it meets into float64.
    towards: tuple[float, float, float]
    ambient: float


class Outfit(NamedTuple):
    """One `Cloth` for each of `PARTS`, and the head's hair-to-skin palette."""

    cloths: list[Cloth]
    head_table: np.ndarray


def random_light(rng: np.random.Generator) -> Light:
    """Draw a lamp in front of the scene, mostly from above."""
    x, y, z = rng.uniform((-0.9, -1.0, -1.0), (0.9, 0.2, -0.4)).tolist()
    length = math.hypot(x, y, z)
    return Light((x / length, y / length, z / length), rng.uniform(0.35, 0.75))


def random_skin(rng: np.random.Generator) -> np.ndarray:
    """Draw a skin colour (3,)."""
    share = rng.random()
    return (_DARK_SKIN * (1 - share) + _LIGHT_SKIN * share) * rng.uniform(0.92, 1.08, 3)


def bare(skin: np.ndarray, mark: np.ndarray) -> Cloth:
    """Return the colouring of a part without clothes."""
    return Cloth(palette(skin, 0.85 * skin, (skin, mark)), "mottled", 1.0)


def random_cloth(height_px: float, skin: np.ndarray, mark: np.ndarray, rng: np.random.Generator) -> Cloth:
    """Draw colours and a pattern for a person of ``height_px`` standing height."""
    base, other = random_colors(2, rng)
    second = clamp(base + rng.uniform(-90, 90, 3), 8, 247) if rng.random() < 0.6 else other
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))]
    return Cloth(palette(base, second, (skin, mark)), pattern, height_px * rng.uniform(0.03, 0.09))


def dress(height_px: float, rng: np.random.Generator) -> Outfit:
    """Draw a whole outfit."""
    skin, mark = random_skin(rng), random_colors(1, rng)[0]
    naked = bare(skin, mark)
    shirt, trousers, shoes = (random_cloth(height_px, skin, mark, rng) for _ in range(3))
    sleeve, leg = rng.random(), rng.random()
    upper_arm = naked if sleeve < 0.15 else shirt._replace(cuff=rng.uniform(0.4, 0.9) if sleeve < 0.55 else _NEVER)
    forearm = shirt if sleeve > 0.55 else naked
    thigh = trousers._replace(cuff=rng.uniform(0.5, 0.95) if leg < 0.35 else _NEVER)
    shin = naked if leg < 0.35 else trousers
    torso = shirt._replace(sash=bool(rng.random() < 0.4), opening=bool(rng.random() < 0.6))
    cloths = {"pelvis": trousers, "torso": torso, "neck": naked, "head": naked}
    for side in ("right", "left"):
        cloths |= {f"{side}_upper_arm": upper_arm, f"{side}_forearm": forearm, f"{side}_hand": naked}
        cloths |= {f"{side}_thigh": thigh, f"{side}_shin": shin, f"{side}_foot": shoes}
    bands = (("left_forearm", 0.6, 0.95, 0.5), ("left_upper_arm", 0.2, 0.6, 0.25), ("left_shin", 0.05, 0.4, 0.3))
    for part, start, end, share in bands:
        if rng.random() < share:
            cloths[part] = cloths[part]._replace(band=(start, end))
    hair = _HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.7, 1.3)
    head_table = palette(hair, skin, (np.full(3, 25.0), skin * [0.45, 0.4, 0.75]))
    return Outfit([cloths[name] for name in PARTS], head_table)


def paint_person(picture: np.ndarray, seen: Silhouettes, outfit: Outfit, light: Light, noise: np.ndarray) -> None:
    """Paint the parts of a person in place, farthest first; ``noise`` (H, W) uint8 mottles cloth."""
    for part in seen.order:
        if PARTS[part] == "head":
            _paint_head(picture, seen, part, outfit.head_table, light)
        else:
            paint_part(picture, seen, part, outfit.cloths[part], light, noise)


def paint_part(
    picture: np.ndarray, seen: Silhouettes, part: int, cloth: Cloth, light: Light, noise: np.ndarray
) -> None:
    """Paint one tapered round part in place."""
    area = area_of(seen.outlines_px[part], picture.shape)
    if area is None:
        return
    rows, columns, opacity = area
    start_x, start_y = seen.start_px[part].tolist()
    axis_x, axis_y = seen.axis[part].tolist()
    x = np.arange(columns.start, columns.stop, dtype=np.float32) + (0.5 - start_x)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + (0.5 - start_y)
    length_px = float(seen.length_px[part])
    share = x * (axis_x / length_px) + y * (axis_y / length_px)
    width_a, width_b = seen.half_width_px[part].tolist()
    across = (y * axis_x - x * axis_y) / (clamp(share, 0, 1) * (width_b - width_a) + width_a)
    across = clamp(across, -1, 1)
    near = np.sqrt(1 - across * across)
    surface = _Surface(share, across, near, length_px, seen.left[part].tolist(), seen.front[part].tolist())
    index = _pattern(cloth, surface, noise[rows, columns])
    _add_marks(index, cloth, surface)
    light_x, light_y, light_z = light.towards
    facing = across * (light_y * axis_x - light_x * axis_y) - near * light_z
    stain(picture[rows, columns], opacity, index, cloth.table, _shade(facing, light))


def _shade(facing: np.ndarray, light: Light) -> np.ndarray:
    """Return (h, w) uint8 brightness from the (h, w) cosines between surface and lamp."""
    return (np.maximum(facing, 0) * (147 * (1 - light.ambient)) + FULL_SHADE * light.ambient).astype(np.uint8)


class _Surface(NamedTuple):
    """Where each pixel (h, w) of a part lies: along it, across it, and how far round to the camera."""

    share: np.ndarray
    across: np.ndarray
    near: np.ndarray
    length_px: float
    left_seen: list[float]
    front_seen: list[float]

    def own_left(self) -> np.ndarray:
        return self.across * self.left_seen[0] + self.near * self.left_seen[1]

    def own_front(self) -> np.ndarray:
        return self.across * self.front_seen[0] + self.near * self.front_seen[1]


def _pattern(cloth: Cloth, surface: _Surface, noise: np.ndarray) -> np.ndarray:
    if cloth.pattern == "mottled":
        return np.minimum(noise, LAST_MIX)
    if cloth.pattern == "gradient":
        return (clamp(surface.share, 0, 1) * LAST_MIX).astype(np.uint8)
    second = np.zeros(surface.share.shape, dtype=bool)
    if cloth.pattern in ("hoops", "checks"):
        second ^= np.sin(surface.share * (2 * math.pi * surface.length_px / cloth.period_px)) > 0
    if cloth.pattern in ("stripes", "checks"):
        second ^= np.sin(surface.own_left() * _STRIPES_ROUND) > 0
    return second.view(np.uint8) * np.uint8(LAST_MIX)


def _add_marks(index: np.ndarray, cloth: Cloth, surface: _Surface) -> None:
    share = surface.share
    if cloth.opening:
        width = np.maximum(0.4 - 1.3 * share, 0.06)
        index[(surface.own_front() > 0) & (np.abs(surface.own_left()) < width)] = _BELOW
    if cloth.sash:
        index[np.abs(surface.own_left() + (1.7 * share - 0.85)) < 0.22] = _MARK
    if cloth.cuff < _NEVER:
        index[share > cloth.cuff] = _BELOW
    if cloth.band[0] < _NEVER:
        index[(share > cloth.band[0]) & (share < cloth.band[1])] = _MARK


def _paint_head(picture: np.ndarray, seen: Silhouettes, part: int, table: np.ndarray, light: Light) -> None:
    outline_px = seen.outlines_px[part]
    area = area_of(outline_px, picture.shape)
    if area is None:
        return
    rows, columns, opacity = area
    low, high = outline_px.min(axis=0), outline_px.max(axis=0)
    middle, radius = ((low + high) / 2).tolist(), ((high - low) / 2).tolist()
    x = (np.arange(columns.start, columns.stop, dtype=np.float32) + (0.5 - middle[0])) / radius[0]
    y = ((np.arange(rows.start, rows.stop, dtype=np.float32) + (0.5 - middle[1])) / radius[1])[:, None]
    z = -np.sqrt(np.maximum(1 - x * x - y * y, 0))
    (left_x, down_x, back_x), (left_y, down_y, back_y), (left_z, down_z, back_z) = seen.frames[part].tolist()
    left, down = x * left_x + y * left_y + z * left_z, x * down_x + y * down_y + z * down_z
    front = -(x * back_x + y * back_y + z * back_z)
    index = np.where((front > 0.15) & (down > -0.35), np.uint8(_SKIN_MIX), np.uint8(_HAIR_MIX))
    index[(front > 0) & (np.abs(np.abs(left) - 0.38) < 0.16) & (np.abs(down + 0.08) < 0.13)] = LAST_MIX + 1
    index[(front > 0) & (np.abs(left) < 0.3) & (np.abs(down - 0.55) < 0.1)] = LAST_MIX + 2
    light_x, light_y, light_z = light.towards
    stain(picture[rows, columns], opacity, index, table, _shade(x * light_x + y * light_y + z * light_z, light))
