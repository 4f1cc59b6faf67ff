"""Leeds Sports Pose and its extended training set, in their original files.

Both are a directory with ``joints.mat`` and ``images/``; the two ``joints`` arrays differ in
layout and in what their third entry means.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io

from ray_advpose.data.images import image_size_px
from ray_advpose.data.persons import LABEL_TO_EDGE_PX, Person, Source, Split, image_box, joints_box, torso_px
from ray_advpose.data.sources.labels import check_joints, inside_image, require_directory, require_fraction
from ray_advpose.errors import UserError
from ray_advpose.pose.skeleton import LSP

_JOINTS = len(LSP.joints)


def read_lsp(directory: Path, val_fraction: float = 0.1) -> Source:
    """Read Leeds Sports Pose.

    The first half of the images is for training (1..1000 of the official 2000), the second the
    test set; the last ``val_fraction`` of the training half (901..1000) becomes validation. The
    box of a test person is its whole image, so no joint is read for it; of the others it is the
    box around the joints. Joints just outside the image stay, for the official score counts all.

    Args:
        directory: Holds ``joints.mat`` (3 x 14 x N; third row 1 = occluded) and
            ``images/im0001.jpg`` onwards.
        val_fraction: Share of the training half that is held out.

    Raises:
        UserError: The directory, the array's shape, a coordinate or a fraction is wrong.
    """
    require_fraction("val_fraction", val_fraction)
    joints, images, path = _open(directory, (3, _JOINTS), "3 x 14 x N")
    labels = joints.transpose(2, 1, 0)
    n = len(labels)
    train_end, test_start = n // 2 - round(val_fraction * (n // 2)), n // 2
    persons = []
    for k in range(n):
        image = images / f"im{k + 1:04d}.jpg"
        joints_px = labels[k, :, :2] + LABEL_TO_EDGE_PX
        annotated = np.ones(_JOINTS, dtype=bool)
        size_px = image_size_px(image)
        check_joints(joints_px, annotated, size_px, LSP, f"{path}, person {k + 1}")
        if len(np.unique(joints_px, axis=0)) < 2:
            raise UserError(f"{path}, person {k + 1}: all joints lie on one point")
        split = _split(k, train_end, test_start)
        # Without a size the image is broken: cutting its canvas fails before the box is used.
        box = image_box(*(size_px or (1, 1))) if split == "test" else joints_box(joints_px, annotated)
        persons.append(_person(image, split, joints_px, annotated, labels[k, :, 2] != 0, box))
    return Source("lsp", LSP.name, "lsp", len(persons), persons)


def read_lspet(directory: Path, val_fraction: float = 0.1, test_fraction: float = 0.15) -> Source:
    """Read Leeds Sports Pose Extended, split by position into train, val and test.

    Joints whose label lies outside of the image count as not annotated, and persons left with
    fewer than two distinct joints are left out; the source's notes give both numbers.

    Args:
        directory: Holds ``joints.mat`` (14 x 3 x N; third column 1 = annotated) and
            ``images/im00001.jpg`` onwards.
        val_fraction: Share of the images, rounded, before the test part.
        test_fraction: Share of the images, rounded, at the end.

    Raises:
        UserError: The directory, the array's shape, a coordinate or a fraction is wrong.
    """
    require_fraction("val_fraction + test_fraction", val_fraction + test_fraction)
    joints, images, path = _open(directory, (_JOINTS, 3), "14 x 3 x N")
    labels = joints.transpose(2, 0, 1)
    n = len(labels)
    test_start = n - round(test_fraction * n)
    train_end = test_start - round(val_fraction * n)
    persons = []
    outside = 0
    for k in range(n):
        image = images / f"im{k + 1:05d}.jpg"
        joints_px = labels[k, :, :2] + LABEL_TO_EDGE_PX
        annotated = labels[k, :, 2] != 0
        size_px = image_size_px(image)
        check_joints(joints_px, annotated, size_px, LSP, f"{path}, person {k + 1}")
        if size_px is not None:
            inside = inside_image(joints_px, size_px)
            outside += int((annotated & ~inside).sum())
            annotated &= inside
        if len(np.unique(joints_px[annotated], axis=0)) < 2:
            continue
        box = joints_box(joints_px, annotated)
        occluded = np.zeros(_JOINTS, dtype=bool)
        persons.append(_person(image, _split(k, train_end, test_start), joints_px, annotated, occluded, box))
    notes = (
        f"{outside} joints labelled outside of their image count as not annotated",
        f"{n - len(persons)} of {n} persons left out for fewer than two distinct annotated joints",
    )
    return Source("lspet", LSP.name, "lspet", len(persons), persons, notes)


def _open(directory: Path, head: tuple[int, int], expected: str) -> tuple[np.ndarray, Path, Path]:
    require_directory(directory)
    path, images = directory / "joints.mat", directory / "images"
    if not path.is_file():
        raise UserError(f"{directory} holds no joints.mat")
    if not images.is_dir():
        raise UserError(f"{directory} holds no images directory")
    try:
        content = scipy.io.loadmat(path)
    except Exception as error:  # scipy raises whatever its parser stumbles over
        raise UserError(f"cannot read {path} as a MATLAB file: {error}") from None
    if "joints" not in content:
        raise UserError(f"{path} holds no array called joints")
    joints = np.asarray(content["joints"])
    if joints.ndim != 3 or joints.shape[:2] != head or joints.shape[2] == 0:
        found = " x ".join(map(str, joints.shape))
        raise UserError(f"{path}: joints has shape {found}, expected {expected}")
    if joints.dtype.kind not in "iuf":
        raise UserError(f"{path}: joints has type {joints.dtype}, expected numbers")
    return joints.astype(np.float64), images, path


def _split(k: int, train_end: int, test_start: int) -> Split:
    if k < train_end:
        return "train"
    return "val" if k < test_start else "test"


def _person(
    image: Path,
    split: Split,
    joints_px: np.ndarray,
    annotated: np.ndarray,
    occluded: np.ndarray,
    box: tuple[np.ndarray, float],
) -> Person:
    return Person(
        person_id=image.stem,
        split=split,
        image=image,
        joints_px=np.where(annotated[:, None], joints_px, 0.0),
        annotated=annotated,
        occluded=occluded,
        center_px=box[0],
        box_px=box[1],
        normalizer_px=torso_px(joints_px, annotated),
    )
