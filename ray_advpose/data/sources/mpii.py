"""MPII Human Pose, from the official MATLAB file or from JSON files of HRNet and mmpose.

Both forms keep MPII's 1-based coordinates, its ``objpos`` and its ``scale`` (person height / 200).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import scipy.io
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ray_advpose.data.images import image_size_px
from ray_advpose.data.persons import BOX_MARGIN, LABEL_TO_EDGE_PX, Person, Source, Split
from ray_advpose.data.sources.labels import check_joints, require_directory, require_fraction
from ray_advpose.errors import UserError, first_problem
from ray_advpose.pose.skeleton import MPII

_JOINTS = len(MPII.joints)
_BOX_PX_PER_SCALE = 200.0
_CENTER_SHIFT_PX_PER_SCALE = 15.0
_HEAD_FACTOR = 0.6


@dataclass(frozen=True)
class _Label:
    """One person as either form labels it; coordinates 1-based."""

    image: str
    split: Split
    center: tuple[float, float]
    scale: float
    joints: np.ndarray
    annotated: np.ndarray
    occluded: np.ndarray
    head_diagonal_px: float


class _JsonPerson(BaseModel):
    image: str
    center: tuple[float, float]
    scale: float
    joints: Annotated[list[tuple[float, float]], Field(min_length=_JOINTS, max_length=_JOINTS)] | None = None
    joints_vis: Annotated[list[float], Field(min_length=_JOINTS, max_length=_JOINTS)] | None = None


def read_mpii(directory: Path, val_fraction: float = 0.12, seed: int = 0) -> Source:
    """Read MPII Human Pose; the JSON form is taken where the directory holds any ``.json``.

    JSON: a file with ``train`` in its name is the training split, one with ``val`` the
    validation split, any other the test split; one with both would repeat persons and is left
    out. It has no head rectangle, so PCKh has no normaliser there, and no occlusion flags.
    MATLAB: the official test images carry no joints and are left out; of the training images a
    seeded random ``val_fraction`` (about 3,000 persons) becomes validation, whole images at a time.

    Persons without position or scale, or with fewer than two joints, are left out; the source's
    notes give their number. Joints just outside of the image stay, for scoring counts them.

    Args:
        directory: Holds the annotation files, and the images in ``images/`` or beside them.
        val_fraction: Share of the training images held out; MATLAB form only.
        seed: Of the choice of those images.

    Raises:
        UserError: The directory, a file's structure or a coordinate is wrong.
    """
    require_fraction("val_fraction", val_fraction)
    require_directory(directory)
    json_paths = sorted(directory.glob("*.json"))
    mat_paths = sorted(directory.glob("*.mat"))
    notes: list[str] = []
    if json_paths:
        labels = list(_json_labels(json_paths, notes))
        origin = ", ".join(path.name for path in json_paths)
    elif len(mat_paths) == 1:
        labels = _with_validation(list(_mat_labels(mat_paths[0])), val_fraction, seed)
        origin = mat_paths[0].name
    else:
        raise UserError(f"{directory} holds {len(mat_paths)} .mat and no .json files, expected one .mat or some .json")
    images = directory / "images" if (directory / "images").is_dir() else directory
    persons = []
    sizes: dict[Path, tuple[int, int] | None] = {}
    on_image: Counter[str] = Counter()
    for label in labels:
        on_image[label.image] += 1
        if label.annotated.sum() < 2 or not label.scale > 0:
            continue
        path = images / label.image
        if path not in sizes:
            sizes[path] = image_size_px(path)
        persons.append(_person(label, path, on_image[label.image], sizes[path], f"{directory / origin}"))
    notes.append(
        f"{len(labels) - len(persons)} of {len(labels)} persons left out for want of a position, a scale or two joints"
    )
    return Source("mpii", MPII.name, "mpii", len(persons), persons, tuple(notes))


def _person(label: _Label, image: Path, number: int, size_px: tuple[int, int] | None, origin: str) -> Person:
    person_id = f"{image.stem}#{number}"
    joints_px = label.joints + LABEL_TO_EDGE_PX
    check_joints(joints_px, label.annotated, size_px, MPII, f"{origin}, person {person_id}")
    x, y = label.center
    center_px = np.array([x, y + _CENTER_SHIFT_PX_PER_SCALE * label.scale]) + LABEL_TO_EDGE_PX
    if not np.isfinite(center_px).all():
        raise UserError(f"{origin}, person {person_id}: position {label.center} is not finite")
    return Person(
        person_id=person_id,
        split=label.split,
        image=image,
        joints_px=np.where(label.annotated[:, None], joints_px, 0.0),
        annotated=label.annotated,
        occluded=label.occluded & label.annotated,
        center_px=center_px,
        box_px=_BOX_PX_PER_SCALE * label.scale * BOX_MARGIN,
        normalizer_px=_HEAD_FACTOR * label.head_diagonal_px,
    )


def _json_labels(paths: list[Path], notes: list[str]) -> Iterator[_Label]:
    adapter = TypeAdapter(list[_JsonPerson])
    for path in paths:
        train, val = "train" in path.stem, "val" in path.stem
        if train and val:
            notes.append(f"{path.name} left out: its name says both train and val")
            continue
        split: Split = "train" if train else "val" if val else "test"
        try:
            people = adapter.validate_json(path.read_bytes())
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        except ValidationError as error:
            raise UserError(f"{path}: {first_problem(error)}") from None
        for person in people:
            joints = np.array(person.joints if person.joints is not None else np.zeros((_JOINTS, 2)))
            visible = np.array(person.joints_vis if person.joints_vis is not None else np.zeros(_JOINTS))
            annotated = (visible > 0) & (joints != 0).any(axis=1)
            occluded = np.zeros(_JOINTS, dtype=bool)
            yield _Label(person.image, split, person.center, person.scale, joints, annotated, occluded, math.nan)


def _mat_labels(path: Path) -> Iterator[_Label]:
    try:
        release = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True).get("RELEASE")
    except Exception as error:  # scipy raises whatever its parser stumbles over
        raise UserError(f"cannot read {path} as a MATLAB file: {error}") from None
    annotations = _items(release, "annolist")
    for_training = np.atleast_1d(getattr(release, "img_train", []))
    if not annotations or len(annotations) != len(for_training):
        raise UserError(
            f"{path}: found {len(annotations)} RELEASE.annolist and {len(for_training)} RELEASE.img_train entries,"
            " expected as many of both"
        )
    for k, annotation in enumerate(annotations):
        if not for_training[k]:
            continue
        image = getattr(getattr(annotation, "image", None), "name", None)
        if not isinstance(image, str):
            raise UserError(f"{path}: RELEASE.annolist({k + 1}) has no image name")
        for rectangle in _items(annotation, "annorect"):
            yield _mat_label(image, rectangle, path)


def _mat_label(image: str, rectangle: Any, path: Path) -> _Label:
    joints = np.zeros((_JOINTS, 2))
    annotated = np.zeros(_JOINTS, dtype=bool)
    occluded = np.zeros(_JOINTS, dtype=bool)
    for points in _items(rectangle, "annopoints"):
        for point in _items(points, "point"):
            identity = _number(point, "id")
            if identity not in range(_JOINTS):
                raise UserError(f"{path}: a joint of {image} has id {identity:g}, expected 0..{_JOINTS - 1}")
            joint = int(identity)
            joints[joint] = _number(point, "x"), _number(point, "y")
            annotated[joint] = bool((joints[joint] != 0).any())
            # Stored as a number, as text, or empty where it was not judged.
            occluded[joint] = str(getattr(point, "is_visible", "")) == "0"
    x1, y1, x2, y2 = (_number(rectangle, name) for name in ("x1", "y1", "x2", "y2"))
    positions = _items(rectangle, "objpos")
    center = (_number(positions[0], "x"), _number(positions[0], "y")) if positions else (math.nan, math.nan)
    scale = _number(rectangle, "scale") if positions else math.nan
    return _Label(image, "train", center, scale, joints, annotated, occluded, math.hypot(x2 - x1, y2 - y1))


def _items(struct: Any, name: str) -> list[Any]:
    """The structs under a field: none, one or many, which MATLAB files tell apart by shape only."""
    found = np.atleast_1d(np.asarray(getattr(struct, name, []), dtype=object)).ravel()
    return [item for item in found if hasattr(item, "_fieldnames")]


def _number(struct: Any, name: str) -> float:
    """A field as a float; NaN where it is absent or empty."""
    value = np.asarray(getattr(struct, name, []))
    return float(value) if value.size == 1 else math.nan


def _with_validation(labels: list[_Label], val_fraction: float, seed: int) -> list[_Label]:
    images = sorted({label.image for label in labels})
    chosen = np.random.default_rng(seed).permutation(len(images))[: round(val_fraction * len(images))]
    held_out = {images[k] for k in chosen}
    return [replace(label, split="val") if label.image in held_out else label for label in labels]
