"""What a file of predictions is worth against a file of ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ray_advpose.data.array_files import persons_text, read_arrays
from ray_advpose.data.persons import LABEL_TO_EDGE_PX
from ray_advpose.data.prediction_files import PredictionFile, read_predictions
from ray_advpose.data.truth_files import TruthFile, read_truth
from ray_advpose.errors import UserError
from ray_advpose.pose.metrics import pck, score
from ray_advpose.pose.score import Score

# LSP's second half is its test set.
_LSP_PERSONS, _LSP_FIRST_TEST = 2000, 1000
# Shards keep joints as float32 in the crop, which moves them by less than this.
_SAME_LABEL_PX = 0.01


@dataclass(frozen=True)
class FileScore:
    """A file's predictions, scored.

    Attributes:
        protocol: ``mpii``, ``lsp`` or ``lspet``.
        score: Under the protocol.
        unofficial: Figures of other definitions in circulation, in percent, by name: ``pooledJ`` over
            all J annotated joints where the protocol leaves some out, ``pooledJ_visible`` over those
            that are not occluded, where the ground truth tells.
        caption: The definition behind the score, with decoder and flip test, and with who was scored where
            that is a part of the ground truth only.
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
    found = read_predictions(predictions, len(truth.skeleton.joints), len(truth.joints_px))
    paired = _pair(found, truth)
    rows = paired.rows
    annotated, normalizer_px = truth.annotated[rows], truth.normalizer_px[rows]
    usable = np.isfinite(normalizer_px) & (normalizer_px > 0)
    if not usable.any():
        raise UserError(
            f"{truth.path}: none of {persons_text(len(rows))} has a positive finite normaliser, nothing to score"
        )
    result = score(truth.protocol, paired.predictions_px, paired.truth_px, annotated, normalizer_px)
    return FileScore(
        protocol=truth.protocol,
        score=result,
        unofficial=_unofficial(paired, truth, result),
        caption=caption_with(result, found.decoder, found.flip_test) + _subset(rows, truth),
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
    rows = _rows(found, truth, notes)
    kept = np.arange(len(rows))
    if _whole_lsp(truth) and len(rows) == _LSP_PERSONS:
        kept = kept[rows >= _LSP_FIRST_TEST]
        rows = rows[kept]
        notes.append(f"only LSP's test images are scored, persons {_LSP_FIRST_TEST + 1}..{_LSP_PERSONS}")
    predictions_px, truth_px = found.joints_px[kept], truth.joints_px[rows]
    if found.edges_at_integers and not truth.edges_at_integers:
        truth_px = truth_px + LABEL_TO_EDGE_PX
        notes.append(f"the 1-based labels were shifted by {LABEL_TO_EDGE_PX:g} px, to edges at integers")
    elif truth.edges_at_integers and not found.edges_at_integers:
        predictions_px = predictions_px + LABEL_TO_EDGE_PX
        notes.append(f"the 1-based predictions were shifted by {LABEL_TO_EDGE_PX:g} px, to edges at integers")
    return _Paired(predictions_px, truth_px, rows, tuple(notes))


def _rows(found: PredictionFile, truth: TruthFile, notes: list[str]) -> np.ndarray:
    """Return (N,) int64, where the persons of N predictions are in the ground truth; add how they were found."""
    count, persons = len(found.joints_px), len(truth.joints_px)
    in_order = np.arange(persons)
    if found.person_id is not None and truth.person_id is not None:
        _require_different(found.person_id, found.path)
        _require_different(truth.person_id, truth.path)
        if found.person_id != truth.person_id and count == persons and _same_labels(found, truth, in_order).all():
            notes.append("predictions and ground truth have the same labels under other names: matched in their order")
            return in_order
        rows = _rows_by_name(found.person_id, truth.person_id, found.path, truth.path)
        if found.path == truth.path:
            return rows
        others = count - int(_same_labels(found, truth, rows).sum())
        # A name of MPII is a number on an image, and these are not counted alike everywhere.
        if truth.protocol == "mpii" and found.truth_px is not None and others:
            raise UserError(
                f"{found.path} has other labels than {truth.path} for {others} of {persons_text(count)} of the same"
                " name, so the names are not those of the same persons"
            )
        matched = "1 prediction" if count == 1 else f"{count} predictions"
        notes.append(f"{matched} matched with {persons_text(persons)} of the ground truth by name")
        return rows
    if count == persons:
        return in_order
    if _whole_lsp(truth) and count == _LSP_PERSONS - _LSP_FIRST_TEST:
        notes.append(f"{count} predictions taken for LSP's test images, persons {_LSP_FIRST_TEST + 1}..{persons}")
        return in_order[_LSP_FIRST_TEST:]
    raise UserError(
        f"{found.path} holds predictions of {persons_text(count)}, but {truth.path} the ground truth of {persons}"
    )


def _require_different(names: tuple[str, ...], path: Path) -> None:
    different = len(set(names))
    if different < len(names):
        several = "one name" if different == 1 else f"only {different} different names"
        raise UserError(f"{path} gives {len(names)} persons {several}")


def _rows_by_name(names: tuple[str, ...], known: tuple[str, ...], path: Path, truth_path: Path) -> np.ndarray:
    rows = {name: row for row, name in enumerate(known)}
    unknown = [name for name in names if name not in rows]
    if unknown:
        raise UserError(
            f"{path} holds predictions of {persons_text(len(names))}, {len(unknown)} of whom {truth_path} does not know"
            f" among its {len(known)}, {unknown[0]!r} for one"
        )
    return np.array([rows[name] for name in names], dtype=np.int64)


def _same_labels(found: PredictionFile, truth: TruthFile, rows: np.ndarray) -> np.ndarray:
    """Return (N,) bool, whether the labels that predictions brought are those of a row, wherever both have one."""
    if found.truth_px is None or found.annotated is None:
        return np.zeros(len(rows), dtype=bool)
    labels_px = truth.joints_px[rows] + (0.0 if truth.edges_at_integers else LABEL_TO_EDGE_PX)
    both = found.annotated & truth.annotated[rows]
    near = (np.abs(found.truth_px - labels_px) <= _SAME_LABEL_PX).all(axis=2)
    same: np.ndarray = both.any(axis=1) & (near | ~both).all(axis=1)
    return same


def _whole_lsp(truth: TruthFile) -> bool:
    return truth.protocol == "lsp" and len(truth.joints_px) == _LSP_PERSONS


def _subset(rows: np.ndarray, truth: TruthFile) -> str:
    """Say for a caption who was scored, where it was not everybody whom the official figure is of; else nothing."""
    count, persons = len(rows), len(truth.joints_px)
    if not _whole_lsp(truth):
        return "" if count == persons else f"; {count} of the {persons} persons in {truth.path.name}"
    tested, all_tested = int((rows >= _LSP_FIRST_TEST).sum()), _LSP_PERSONS - _LSP_FIRST_TEST
    if tested < count:
        return f"; {persons_text(count)}, {tested or 'none'} of them of the test half"
    return "" if count == all_tested else f"; {count} of the {all_tested} test persons"


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
