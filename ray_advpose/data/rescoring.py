"""What a file of predictions is worth against a file of ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ray_advpose.data.array_files import read_arrays
from ray_advpose.data.persons import LABEL_TO_EDGE_PX
from ray_advpose.data.prediction_files import PredictionFile, read_predictions
from ray_advpose.data.truth_files import TruthFile, read_truth
from ray_advpose.errors import UserError
from ray_advpose.pose.metrics import pck, score
from ray_advpose.pose.score import Score

_LSP_PERSONS = 2000


@dataclass(frozen=True)
class FileScore:
    """A file's predictions, scored.

    Attributes:
        protocol: ``mpii``, ``lsp`` or ``lspet``.
        score: Under the protocol.
        unofficial: Figures of other definitions in circulation, in percent, by name: ``pooledJ`` over
            all J annotated joints where the protocol leaves some out, ``pooledJ_visible`` over those
            that are not occluded, where the ground truth tells.
        caption: The definition behind the score, with decoder and flip test.
        decoder: How heatmaps became joints; None if the file does not say.
        flip_test: Whether heatmaps were averaged with the mirrored crop's; None likewise.
        left_out: Names of the persons without a usable normaliser.
        notes: Sentences on what was read and how predictions and ground truth were put together.
    """

    protocol: str
    score: Score
    unofficial: Mapping[str, float]
    caption: str
    decoder: str | None
    flip_test: bool | None
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Paired:
    """Predictions and ground truth of the same persons, in one convention of coordinates.

    Attributes:
        predictions_px: (n, J, 2) float64 in original-image pixels.
        truth_px: (n, J, 2) likewise.
        rows: (n,) int64, where these persons are in the ground-truth file.
        notes: Sentences on how they were put together.
    """

    predictions_px: np.ndarray
    truth_px: np.ndarray
    rows: np.ndarray
    notes: tuple[str, ...]


def score_file(predictions: Path, ground_truth: Path | None = None, protocol: str | None = None) -> FileScore:
    """Score a file of predictions.

    Args:
        predictions: A ``.npz``, ``.mat`` or HDF5 file (`read_predictions`).
        ground_truth: A file of a form that `read_truth` knows; None reads it from ``predictions``.
        protocol: What the ground truth must be for; None takes what it is.

    Raises:
        UserError: A file cannot be read, has no ground truth, or the two do not belong together.
    """
    if ground_truth is None and "truth_px" not in read_arrays(predictions):
        raise UserError(f"{predictions} holds no ground truth (truth_px), so name a file of it with --ground-truth")
    truth = read_truth(ground_truth or predictions, protocol)
    found = read_predictions(predictions, len(truth.skeleton.joints))
    paired = _pair(found, truth)
    rows = paired.rows
    annotated, normalizer_px = truth.annotated[rows], truth.normalizer_px[rows]
    usable = np.isfinite(normalizer_px) & (normalizer_px > 0)
    if not usable.any():
        raise UserError(f"{truth.path}: none of {len(rows)} persons has a positive finite normaliser, nothing to score")
    result = score(truth.protocol, paired.predictions_px, paired.truth_px, annotated, normalizer_px)
    return FileScore(
        protocol=truth.protocol,
        score=result,
        unofficial=_unofficial(paired, truth, result),
        caption=caption_with(result, found.decoder, found.flip_test),
        decoder=found.decoder,
        flip_test=found.flip_test,
        left_out=tuple(_person_name(truth, int(rows[place])) for place in result.left_out),
        notes=(found.note, truth.note, *paired.notes),
    )


def caption_with(score: Score, decoder: str | None, flip_test: bool | None) -> str:
    """Return the definition behind a score, with decoder and flip test, None where not known."""
    flip = "not known" if flip_test is None else "on" if flip_test else "off"
    return f"{score.caption}; decoder {decoder or 'not known'}, flip test {flip}"


def _pair(found: PredictionFile, truth: TruthFile) -> _Paired:
    """Put every prediction beside the ground truth of its person."""
    notes: list[str] = []
    count, persons = len(found.joints_px), len(truth.joints_px)
    whole_lsp = truth.protocol == "lsp" and persons == _LSP_PERSONS
    kept = np.arange(count)
    if found.person_id is not None and truth.person_id is not None:
        rows = _rows_by_name(found.person_id, truth.person_id, found.path, truth.path)
        if found.path != truth.path:
            notes.append(f"{count} predictions matched with {persons} persons of the ground truth by name")
    elif count == persons:
        rows = np.arange(persons)
    elif whole_lsp and count == _LSP_PERSONS // 2:
        rows = np.arange(_LSP_PERSONS // 2, _LSP_PERSONS)
        notes.append(f"{count} predictions taken for LSP's test images, persons {count + 1}..{persons}")
    else:
        raise UserError(
            f"{found.path} holds predictions of {count} persons, but {truth.path} the ground truth of {persons}"
        )
    if whole_lsp and count == persons:
        kept = kept[rows >= _LSP_PERSONS // 2]
        rows = rows[kept]
        notes.append(f"only LSP's test images are scored, persons {_LSP_PERSONS // 2 + 1}..{persons}")
    predictions_px, truth_px = found.joints_px[kept], truth.joints_px[rows]
    if found.edges_at_integers and not truth.edges_at_integers:
        truth_px = truth_px + LABEL_TO_EDGE_PX
        notes.append(f"the 1-based labels were shifted by {LABEL_TO_EDGE_PX:g} px, to edges at integers")
    elif truth.edges_at_integers and not found.edges_at_integers:
        predictions_px = predictions_px + LABEL_TO_EDGE_PX
        notes.append(f"the 1-based predictions were shifted by {LABEL_TO_EDGE_PX:g} px, to edges at integers")
    return _Paired(predictions_px, truth_px, rows, tuple(notes))


def _rows_by_name(names: tuple[str, ...], known: tuple[str, ...], path: Path, truth_path: Path) -> np.ndarray:
    rows = {name: row for row, name in enumerate(known)}
    if len(rows) < len(known):
        raise UserError(f"{truth_path} gives {len(known)} persons only {len(rows)} different names")
    unknown = [name for name in names if name not in rows]
    if unknown:
        raise UserError(
            f"{path} holds predictions of {len(names)} persons, {len(unknown)} of whom {truth_path} does not know among"
            f" its {len(known)}, {unknown[0]!r} for one"
        )
    return np.array([rows[name] for name in names], dtype=np.int64)


def _unofficial(paired: _Paired, truth: TruthFile, official: Score) -> dict[str, float]:
    annotated, normalizer_px = truth.annotated[paired.rows], truth.normalizer_px[paired.rows]

    def pooled(counted: np.ndarray) -> tuple[int, float]:
        arrays = paired.predictions_px, paired.truth_px, counted, normalizer_px
        other = pck(*arrays, truth.skeleton, official.threshold, metric=official.metric)
        return other.joints_counted, other.pooled

    found = {}
    joints, accuracy = pooled(annotated)
    if joints > official.joints_counted:
        found[f"pooled{joints}"] = accuracy
    if truth.visible is not None:
        joints, accuracy = pooled(truth.visible[paired.rows] & (official.joint_counts > 0))
        found[f"pooled{joints}_visible"] = accuracy
    return found


def _person_name(truth: TruthFile, row: int) -> str:
    return truth.person_id[row] if truth.person_id is not None else f"person {row + 1}"
