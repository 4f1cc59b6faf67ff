"""The embedded data set: drawn people with exact joints, for runs that have no pictures at hand.

Nothing is downloaded and nothing stored: person i is a function of (seed, i, image_px) alone, so a
longer run of the generator begins with the persons of a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np

from ray_advpose.counter import Purpose, generator
from ray_advpose.data.persons import Person, Source, Split, joints_box, torso_px
from ray_advpose.data.sources.synthetic_figure import pose_figure
from ray_advpose.data.sources.synthetic_outline import (
    Silhouettes,
    hidden_by_body,
    hidden_by_objects,
    outline_figure,
)
from ray_advpose.data.sources.synthetic_picture import render
from ray_advpose.data.sources.synthetic_poses import sample_family, sample_pose
from ray_advpose.errors import UserError
from ray_advpose.pose.skeleton import LSP

_CYCLE = 20
_VAL, _TEST = {6, 13}, {3, 10, 17}
_SMALLEST_IMAGE_PX = 64

_UNLABELLED_SHARE = 0.03
_OBJECT_SHARE = 0.5
_CUT_OFF_SHARE = 0.12
_POSE_STREAM, _PICTURE_STREAM = 0, 1


def generate_synthetic(persons: int = 1600, seed: int = 0, image_px: int = 220) -> Source:
    """Return a data set of drawn people: 75 % train, 10 % validation, 15 % test.

    Joints are LSP's fourteen, person-centric, scored as LSPET is (PCK by torso). Pictures are
    painted when a person's ``image`` is called.

    Args:
        persons: How many.
        seed: Seed of the whole set, below 2^64.
        image_px: Side of the square pictures.

    Raises:
        UserError: A count, seed or size out of bounds.
    """
    if persons < 1:
        raise UserError(f"synthetic: persons = {persons} is less than 1")
    if not 0 <= seed < 2**64:
        raise UserError(f"synthetic: seed = {seed} is not between 0 and 2^64 - 1")
    if image_px < _SMALLEST_IMAGE_PX:
        raise UserError(f"synthetic: image_px = {image_px} is less than {_SMALLEST_IMAGE_PX}")
    people: Iterator[Person] = (draw_person(index, seed, image_px) for index in range(persons))
    return Source("synthetic", LSP.name, "lspet", persons, people)


def split_of(index: int) -> Split:
    """Return the split of person ``index``: interleaved, so that short sets have all three."""
    place = index % _CYCLE
    return "val" if place in _VAL else "test" if place in _TEST else "train"


def draw_person(index: int, seed: int, image_px: int) -> Person:
    """Draw person ``index``: everything but the pixels, which its ``image`` paints when called."""
    rng = generator(seed, Purpose.SYNTHETIC_PERSON, index, _POSE_STREAM)
    figure = pose_figure(sample_pose(sample_family(rng), rng), rng)
    extent = np.ptp(figure.joints[:, :2], axis=0)
    height_px = image_px * min(rng.uniform(0.5, 0.85), 0.9 / float(extent.max()))
    origin_px = _place(figure.joints[:, :2] * height_px, image_px, rng)
    seen = outline_figure(figure, height_px, origin_px)
    joints_px = figure.joints * height_px + [*origin_px, 0.0]
    objects_px = _objects_in_front(joints_px[:, :2], height_px, rng)

    inside = ((joints_px[:, :2] >= 0) & (joints_px[:, :2] < image_px)).all(axis=1)
    annotated = inside & (rng.random(len(joints_px)) >= _UNLABELLED_SHARE)
    occluded = annotated & (hidden_by_body(joints_px, seen) | hidden_by_objects(joints_px, objects_px))
    labels_px = np.where(annotated[:, None], joints_px[:, :2], 0.0)
    center_px, box_px = joints_box(labels_px, annotated)
    return Person(
        person_id=f"synthetic-{seed}-{index:06d}",
        split=split_of(index),
        image=partial(_paint, seen, objects_px, image_px, height_px, seed, index),
        joints_px=labels_px,
        annotated=annotated,
        occluded=occluded,
        center_px=center_px,
        box_px=box_px,
        normalizer_px=torso_px(labels_px, annotated),
    )


def _paint(
    seen: Silhouettes, objects_px: list[np.ndarray], image_px: int, height_px: float, seed: int, index: int
) -> np.ndarray:
    return render(
        seen, objects_px, image_px, height_px, generator(seed, Purpose.SYNTHETIC_PERSON, index, _PICTURE_STREAM)
    )


def _place(joints_px: np.ndarray, image_px: int, rng: np.random.Generator) -> np.ndarray:
    """Return where the hip centre goes: the joints inside the picture, now and then cut off."""
    low, high = joints_px.min(axis=0), joints_px.max(axis=0)
    beyond = 0.2 * (high - low) if rng.random() < _CUT_OFF_SHARE else 0.0
    first, last = -low - beyond, image_px - high + beyond
    return first + rng.random(2) * (last - first)


def _objects_in_front(joints_px: np.ndarray, height_px: float, rng: np.random.Generator) -> list[np.ndarray]:
    if rng.random() >= _OBJECT_SHARE:
        return []
    centre = joints_px[rng.integers(len(joints_px))] + rng.normal(0, 0.03 * height_px, 2)
    if rng.random() < 0.3:
        direction = np.array([rng.normal(), rng.normal()])
        direction *= 0.6 * height_px / np.linalg.norm(direction)
        across = np.array([-direction[1], direction[0]]) * rng.uniform(0.04, 0.1)
        points = centre + np.stack([direction + across, across - direction, -direction - across, direction - across])
    else:
        points = centre + rng.uniform(-1, 1, (7, 2)) * height_px * rng.uniform(0.07, 0.19)
    return [cv2.convexHull(points.astype(np.float32))[:, 0]]
