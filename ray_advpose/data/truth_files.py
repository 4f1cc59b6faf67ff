"""Ground truth to score prediction files against, in the forms it is handed around in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ray_advpose.data.array_files import Arrays, contents_text, persons_text, read_arrays, shape_text, text_of
from ray_advpose.data.persons import Protocol
from ray_advpose.errors import UserError
from ray_advpose.pose.metrics import torso_px
from ray_advpose.pose.skeleton import LSP, MPII, Skeleton

SKELETON_OF: dict[Protocol, Skeleton] = {"mpii": MPII, "lsp": LSP, "lspet": LSP}

# Kinds of NumPy types; HDF5 gives text of any length as objects.
_NUMBERS, _TEXT = "biuf", "USO"


@dataclass(frozen=True)
class TruthFile:
    """Ground truth read from a file.

    Attributes:
        path: The file.
        protocol: How it is scored.
        joints_px: (N, J, 2) float64 in original-image pixels; 0 where not annotated.
        annotated: (N, J) bool.
        normalizer_px: (N,) float64, what the protocol divides distances by, not positive or not finite
            where unknown.
        visible: (N, J) bool, annotated and not occluded; None where the file does not tell.
        person_id: N names; None where the file has none. Those of LSP and LSPET are those that `prepare`
            gives to the same persons. Those of MPII's own file count all persons of an image, where
            `prepare` counts only the persons that its annotations list.
        edges_at_integers: Whether the first pixel's centre is 0.5, as this package writes it, and
            not 1, as the data sets label it.
        note: Which form was found.
    """

    path: Path
    protocol: Protocol
    joints_px: np.ndarray
    annotated: np.ndarray
    normalizer_px: np.ndarray
    visible: np.ndarray | None
    person_id: tuple[str, ...] | None
    edges_at_integers: bool
    note: str

    @property
    def skeleton(self) -> Skeleton:
        """The order of the joints."""
        return SKELETON_OF[self.protocol]


def score_normalizer_px(
    protocol: Protocol, joints_px: np.ndarray, annotated: np.ndarray, normalizer_px: np.ndarray
) -> np.ndarray:
    """Return (N,) what a protocol divides distances by: the torso for LSP and LSPET, else ``normalizer_px``.

    Not positive or not finite where unknown. Arguments as in `TruthFile`.
    """
    return normalizer_px if protocol == "mpii" else torso_px(joints_px, annotated, SKELETON_OF[protocol])


def read_truth(path: Path, protocol: str | None = None) -> TruthFile:
    """Read ground truth; the arrays in the file tell its form.

    ``truth_px``: a predictions file of this package. ``part`` and ``normalize``: MPII's validation
    annotations as an HDF5 file, unannotated joints at (0, 0), 0.6 x the head rectangle's diagonal.
    ``joints``: LSP (3 x 14 x N, third row 1 = occluded) or LSPET (14 x 3 x N, third column 1 =
    annotated).

    Args:
        path: A ``.npz``, ``.mat`` or HDF5 file.
        protocol: What the file must be for; None takes what it is.

    Raises:
        UserError: The file cannot be read, has none of these forms, holds nobody, is for another
            protocol, has an annotated joint that is not finite, or one that is not annotated though
            the protocol is ``lsp``.
    """
    arrays = read_arrays(path)
    if "truth_px" in arrays:
        truth = _own(arrays, path)
    elif "part" in arrays and "normalize" in arrays:
        truth = _mpii(arrays, path)
    elif "joints" in arrays:
        truth = _leeds(arrays, path)
    else:
        raise UserError(
            f"{path} holds no ground truth: expected the arrays truth_px (a predictions file of this package), part and"
            f" normalize (MPII) or joints (LSP, LSPET), found {contents_text(arrays)}"
        )
    if protocol is not None and protocol != truth.protocol:
        raise UserError(f"{path} holds ground truth of protocol {truth.protocol!r}, but {protocol!r} was asked for")
    if len(truth.joints_px) == 0:
        raise UserError(f"{path} holds the ground truth of no person")
    broken = np.argwhere(truth.annotated & ~np.isfinite(truth.joints_px).all(axis=2))
    if len(broken):
        person, joint = broken[0]
        x, y = truth.joints_px[person, joint]
        raise UserError(
            f"{path}, person {person + 1}, joint {truth.skeleton.joints[joint]}: coordinates ({x}, {y}) are not finite"
        )
    missing = np.argwhere(~truth.annotated)
    if truth.protocol == "lsp" and len(missing):
        person, joint = missing[0]
        raise UserError(
            f"{path}, person {person + 1}, joint {truth.skeleton.joints[joint]} is not annotated, but protocol 'lsp'"
            " counts every joint"
        )
    return truth


def _own(arrays: Arrays, path: Path) -> TruthFile:
    written = text_of(_array(arrays, "protocol", (1,), path, _TEXT))[0]
    protocol = next((known for known in SKELETON_OF if known == written), None)
    if protocol is None:
        raise UserError(f"{path}: protocol is {written!r}, expected one of {', '.join(SKELETON_OF)}")
    persons, joints = len(arrays["truth_px"]) if arrays["truth_px"].ndim else 0, len(SKELETON_OF[protocol].joints)
    annotated = _array(arrays, "annotated", (persons, joints), path).astype(bool)
    names = _array(arrays, "person_id", (persons,), path, _TEXT)
    joints_px = _array(arrays, "truth_px", (persons, joints, 2), path)
    normalizer_px = _array(arrays, "normalizer_px", (persons,), path)
    return TruthFile(
        path=path,
        protocol=protocol,
        joints_px=joints_px,
        annotated=annotated,
        normalizer_px=score_normalizer_px(protocol, joints_px, annotated, normalizer_px),
        visible=None,
        person_id=tuple(text_of(names)),
        edges_at_integers=True,
        note=f"ground truth {path.name}: array truth_px, {persons_text(persons)}, protocol {protocol}, edges at"
        " integers",
    )


def _mpii(arrays: Arrays, path: Path) -> TruthFile:
    joints = len(MPII.joints)
    persons = len(arrays["part"]) if arrays["part"].ndim else 0
    joints_px = _array(arrays, "part", (persons, joints, 2), path)
    annotated = (joints_px != 0).any(axis=2)
    visible = _array(arrays, "visible", (persons, joints), path) == 1 if "visible" in arrays else None
    return TruthFile(
        path=path,
        protocol="mpii",
        joints_px=joints_px,
        annotated=annotated,
        normalizer_px=_array(arrays, "normalize", (persons,), path),
        visible=annotated & visible if visible is not None else None,
        person_id=_mpii_names(arrays, persons, path),
        edges_at_integers=False,
        note=f"ground truth {path.name}: MPII's part, normalize{' and visible' if visible is not None else ''},"
        f" {persons_text(persons)}, protocol mpii, 1-based pixels",
    )


def _mpii_names(arrays: Arrays, persons: int, path: Path) -> tuple[str, ...] | None:
    """Image and number of the person on it, counted from 1, where the file keeps both."""
    if "imgname" not in arrays or "person" not in arrays:
        return None
    images = text_of(_array(arrays, "imgname", (persons,), path, _TEXT))
    numbers = _array(arrays, "person", (persons,), path)
    return tuple(f"{Path(image).stem}#{number + 1:g}" for image, number in zip(images, numbers, strict=True))


def _leeds(arrays: Arrays, path: Path) -> TruthFile:
    joints, count = arrays["joints"], len(LSP.joints)
    if joints.ndim != 3 or joints.dtype.kind not in "iuf" or joints.shape[:2] not in ((3, count), (count, 3)):
        raise UserError(
            f"{path}: joints is {shape_text(joints)} of {joints.dtype}, expected numbers, 3 x {count} x N (LSP) or"
            f" {count} x 3 x N (LSPET)"
        )
    lsp = joints.shape[0] == 3
    labels = joints.transpose((2, 1, 0) if lsp else (2, 0, 1)).astype(np.float64)
    marked = labels[:, :, 2] != 0
    annotated = np.ones_like(marked) if lsp else marked
    joints_px = np.where(annotated[:, :, None], labels[:, :, :2], 0.0)
    protocol: Protocol = "lsp" if lsp else "lspet"
    digits = 4 if lsp else 5
    meaning = "3 x 14 x N (LSP, third row 1 = occluded)" if lsp else "14 x 3 x N (LSPET, third column 1 = annotated)"
    return TruthFile(
        path=path,
        protocol=protocol,
        joints_px=joints_px,
        annotated=annotated,
        normalizer_px=torso_px(joints_px, annotated, LSP),
        visible=~marked if lsp else None,
        person_id=tuple(f"im{number:0{digits}d}" for number in range(1, len(labels) + 1)),
        edges_at_integers=False,
        note=f"ground truth {path.name}: array joints, {meaning}, {persons_text(len(labels))}, protocol {protocol},"
        " 1-based pixels",
    )


def _array(arrays: Arrays, name: str, wanted: tuple[int, ...], path: Path, kinds: str = _NUMBERS) -> np.ndarray:
    """Return an array of a shape, numbers as float64; MATLAB gives a list as one row or one column."""
    if name not in arrays:
        raise UserError(f"{path} holds no array {name}, found {contents_text(arrays)}")
    array = arrays[name]
    if len(wanted) == 1 and array.size == max(array.shape, default=1):
        array = array.ravel()
    if array.shape != wanted or array.dtype.kind not in kinds:
        expected = f"{' x '.join(map(str, wanted))} of {'text' if kinds == _TEXT else 'numbers'}"
        raise UserError(f"{path}: {name} is {shape_text(arrays[name])} of {array.dtype}, expected {expected}")
    return array.astype(np.float64) if kinds == _NUMBERS else array
