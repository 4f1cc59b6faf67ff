"""Predicted joints as files: what a run writes, and what others publish."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from ray_advpose.data.array_files import Arrays, contents_text, persons_text, read_arrays, shape_text, text_of
from ray_advpose.errors import UserError

OWN_ARRAY = "predictions_px"
"""Name of this package's predictions; an array of this name has edges at integers, any other is 1-based."""

USUAL_ARRAYS = (OWN_ARRAY, "predictions", "preds", "pred")


@dataclass(frozen=True)
class PredictionFile:
    """Predictions read from a file.

    Attributes:
        path: The file.
        joints_px: (N, J, 2) float64 in original-image pixels; not finite where nothing was predicted.
        edges_at_integers: Whether the first pixel's centre is 0.5, as this package writes it, and
            not 1, as the data sets label it and others predict it.
        person_id: N names; None if the file has none.
        truth_px: (N, J, 2) float64, the ground truth that this package wrote beside them, edges at
            integers; None in the files of others.
        annotated: (N, J) bool, where ``truth_px`` is known; None likewise.
        decoder: How heatmaps became joints; None if the file does not say.
        flip_test: Whether heatmaps were averaged with the mirrored crop's; None likewise.
        note: Which array was taken and how it was read.
    """

    path: Path
    joints_px: np.ndarray
    edges_at_integers: bool
    person_id: tuple[str, ...] | None
    truth_px: np.ndarray | None
    annotated: np.ndarray | None
    decoder: str | None
    flip_test: bool | None
    note: str


def read_predictions(path: Path, joints: int, persons: int | None = None) -> PredictionFile:
    """Read predictions of J joints in any order of the axes, with or without a score beside x and y.

    Of several arrays that could be predictions the one with a usual name is taken. A shape that can
    be read in more than one way is read in the one that has as many persons as expected, or else
    in the one nearest to persons x joints x 2.

    Args:
        path: A ``.npz``, ``.mat`` or HDF5 file.
        joints: J, which tells the axes apart.
        persons: How many are expected; None for any number.

    Raises:
        UserError: The file cannot be read, holds no such array or several, or has another number of joints.
    """
    arrays = read_arrays(path)
    name = _chosen(arrays, joints, path)
    array = arrays[name]
    readings = list(_readings(array.shape, joints))
    if not readings:
        raise UserError(
            f"{path}: {name} is {shape_text(array)}, expected persons, {joints} joints and 2 coordinates in any order"
        )
    own = name == OWN_ARRAY
    if own:  # there is no doubt about the axes of what this package wrote
        del readings[1:]
    fitting = [order for order in readings if array.shape[order[0]] == persons]
    order = fitting[0] if len(fitting) == 1 else readings[0]
    joints_px = array.transpose(order).astype(np.float64)
    truth_px, annotated = _truth(arrays, joints_px.shape) if own else (None, None)
    note = f"predictions {path.name}: array {name}, {shape_text(array)}, read as {_form(order, array.shape)}"
    if len(readings) > 1:
        others = [_form(other, array.shape) for other in readings if other != order]
        note += f" (it could also be {' or '.join(others)})"
    if joints_px.shape[2] == 3:
        note += ", the third of the coordinates taken for a score and left out"
    note += ", edges at integers" if own else ", 1-based pixels"
    return PredictionFile(
        path=path,
        joints_px=joints_px[:, :, :2],
        edges_at_integers=own,
        person_id=_names(arrays, len(joints_px), path) if own else None,
        truth_px=truth_px,
        annotated=annotated,
        decoder=text_of(arrays["decoder"])[0] if own and _single(arrays, "decoder") else None,
        flip_test=bool(arrays["flip_test"].item()) if own and _single(arrays, "flip_test") else None,
        note=note,
    )


def write_predictions(
    path: Path,
    predictions_px: np.ndarray,
    person_id: list[str],
    truth_px: np.ndarray,
    annotated: np.ndarray,
    normalizer_px: np.ndarray,
    *,
    protocol: str,
    decoder: str,
    flip_test: bool,
) -> None:
    """Write predictions with the ground truth that scores them; the file appears whole or not at all.

    Args:
        path: A ``.npz`` file.
        predictions_px: (N, J, 2) in original-image pixels, edges at integers.
        person_id: N names.
        truth_px: (N, J, 2) likewise.
        annotated: (N, J) bool.
        normalizer_px: (N,), NaN where unknown.
        protocol: How they are scored: ``lsp``, ``lspet`` or ``mpii``.
        decoder: How heatmaps became joints.
        flip_test: Whether heatmaps were averaged with the mirrored crop's.
    """
    # Trials that share a stage 1 may write the same file at the same moment.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(
                file,
                predictions_px=predictions_px,
                person_id=np.array(person_id),
                truth_px=truth_px,
                annotated=annotated,
                normalizer_px=normalizer_px,
                protocol=np.array(protocol),
                decoder=np.array(decoder),
                flip_test=np.array(flip_test),
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _chosen(arrays: Arrays, joints: int, path: Path) -> str:
    """Return the name of the array that holds the predictions."""
    possible = {
        name: array
        for name, array in arrays.items()
        if array.ndim == 3 and array.dtype.kind in "iuf" and {2, 3} & set(array.shape)
    }
    # Where none has the right number of joints, the message that says so needs an array to speak of.
    possible = {name: array for name, array in possible.items() if any(_readings(array.shape, joints))} or possible
    usual = [name for name in possible if name.rpartition("/")[2] in USUAL_ARRAYS]
    # The package's own files hold the ground truth beside the predictions, under a name of its own.
    names = [OWN_ARRAY] if OWN_ARRAY in usual else usual or list(possible)
    if len(names) == 1:
        return names[0]
    if names:
        several = ", ".join(f"{name} ({shape_text(possible[name])})" for name in names)
        raise UserError(f"{path}: any of {several} could be the predictions; leave one, or name it {USUAL_ARRAYS[1]}")
    raise UserError(
        f"{path} holds no array of numbers with three axes, one of them of length 2; found {contents_text(arrays)}"
    )


def _readings(shape: tuple[int, ...], joints: int) -> Iterator[tuple[int, int, int]]:
    """The axes of persons, joints and coordinates in every way the shape allows, the likeliest first."""
    for coordinates in (2, 3):
        for persons_axis, joints_axis, coordinates_axis in permutations(range(3)):
            if shape[joints_axis] == joints and shape[coordinates_axis] == coordinates:
                yield persons_axis, joints_axis, coordinates_axis


def _form(order: tuple[int, int, int], shape: tuple[int, ...]) -> str:
    """Write a reading in the order of the array's axes, e.g. ``2 x J x n``."""
    letters = {order[0]: "n", order[1]: "J", order[2]: str(shape[order[2]])}
    return " x ".join(letters[axis] for axis in range(3))


def _names(arrays: Arrays, persons: int, path: Path) -> tuple[str, ...] | None:
    if "person_id" not in arrays:
        return None
    if arrays["person_id"].shape != (persons,):
        raise UserError(
            f"{path}: person_id is {shape_text(arrays['person_id'])}, expected one for each of {persons_text(persons)}"
        )
    return tuple(text_of(arrays["person_id"]))


def _truth(arrays: Arrays, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """The ground truth of predictions of a shape, and where it is annotated."""
    truth_px, annotated = arrays.get("truth_px"), arrays.get("annotated")
    if truth_px is None or annotated is None or truth_px.shape != (*shape[:2], 2) or annotated.shape != shape[:2]:
        return None, None
    if truth_px.dtype.kind not in "iuf" or annotated.dtype.kind not in "biuf":
        return None, None
    return truth_px.astype(np.float64), annotated.astype(bool)


def _single(arrays: Arrays, name: str) -> bool:
    return name in arrays and arrays[name].size == 1
