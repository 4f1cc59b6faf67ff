"""From a source's persons to a shard directory that appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import ray_advpose
from ray_advpose.data.canvas import MAX_ROTATION_DEG, MAX_SCALE_LOG2, canvas_side, cut_canvas, encode_canvas
from ray_advpose.data.images import BrokenImageError, read_bgr
from ray_advpose.data.manifest import MANIFEST, BrokenImage, CanvasGeometry, Manifest, ShardInfo, fingerprint_of
from ray_advpose.data.persons import SPLITS, Person, Source, Split
from ray_advpose.data.shards import shard_schema
from ray_advpose.errors import UserError
from ray_advpose.pose.skeleton import skeleton_named

SHARD_ROWS = 1000
SHARD_BYTES = 64 << 20

Row = dict[str, Any]


@dataclass(frozen=True)
class WriteReport:
    """What was written: the manifest and the bytes of all shards."""

    manifest: Manifest
    bytes: int


def write_shards(
    source: Source,
    out: Path,
    box_px: int,
    skip_broken: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> WriteReport:
    """Cut every person out and write the canvases as Parquet shards with a manifest.

    The shards are written into a hidden directory beside ``out`` that takes its place at the
    end; whatever fails or interrupts before leaves ``out`` as it was.

    Args:
        source: The persons; iterated once.
        out: Directory to create, or a prepared data set to replace.
        box_px: Side of a person's box in canvas pixels.
        skip_broken: Leave out and list persons whose image cannot be decoded.
        workers: Threads that decode and cut; None for one per core.
        progress: Called with the persons done and the total.

    Raises:
        UserError: A broken image (unless skipped), nothing to write, or ``out`` cannot be
            written or holds something that is not a prepared data set.
    """
    if box_px < 1:
        raise UserError(f"box_px = {box_px}: expected at least 1")
    out = out.absolute()
    _refuse_foreign(out)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        manifest = _write_into(partial, source, box_px, skip_broken, workers or os.cpu_count() or 1, progress)
        (partial / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        _swap_in(partial, out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return WriteReport(manifest, sum(shard.bytes for shard in manifest.shards))


def _refuse_foreign(out: Path) -> None:
    try:
        if out.exists() and not out.is_dir():
            raise UserError(f"output {out} is a file, expected a directory")
        if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
            raise UserError(f"output {out} holds files but no {MANIFEST}, so it is not a data set to replace")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from None


def _swap_in(partial: Path, out: Path) -> None:
    # Two renames: no portable call exchanges two directories. The old one is put back if the
    # second fails.
    old = out.with_name(f".{out.name}.old-{os.getpid()}")
    replaces = out.exists()
    if replaces:
        out.rename(old)
    try:
        partial.rename(out)
    except BaseException:
        if replaces:
            old.rename(out)
        raise
    if replaces:
        shutil.rmtree(old)


def _write_into(
    directory: Path, source: Source, box_px: int, skip_broken: bool, workers: int, progress: Callable[[int, int], None]
) -> Manifest:
    canvas_px = canvas_side(box_px)
    schema = shard_schema(len(skeleton_named(source.skeleton).joints))
    writers = {split: _SplitWriter(directory, split, schema) for split in SPLITS}
    broken: list[BrokenImage] = []
    for done, (person, outcome) in enumerate(_cut_all(source, box_px, canvas_px, workers), start=1):
        if isinstance(outcome, BrokenImageError):
            if not skip_broken:
                raise UserError(
                    f"broken image {person.image} of person {person.person_id}: {outcome}"
                    " (--skip-broken leaves such persons out)"
                )
            broken.append(BrokenImage(person_id=person.person_id, image=str(person.image), reason=str(outcome)))
        else:
            writers[person.split].add(outcome)
        progress(done, source.count)
    shards = tuple(shard for split in SPLITS for shard in writers[split].close())
    if not shards:
        raise UserError(f"source {source.name} has no person to write")
    return Manifest(
        source=source.name,
        protocol=source.protocol,
        skeleton=source.skeleton,
        canvas=CanvasGeometry(
            canvas_px=canvas_px, box_px=box_px, max_scale_log2=MAX_SCALE_LOG2, max_rotation_deg=MAX_ROTATION_DEG
        ),
        counts={split: writers[split].count for split in SPLITS},
        shards=shards,
        fingerprint=fingerprint_of(shards),
        package_version=ray_advpose.__version__,
        broken=tuple(broken),
        notes=source.notes,
    )


def _cut_all(
    source: Source, box_px: int, canvas_px: int, workers: int
) -> Iterator[tuple[Person, Row | BrokenImageError]]:
    """Yield persons with their rows in the source's order, a bounded number of them in flight."""
    pending: deque[tuple[Person, Future[Row]]] = deque()

    def finished() -> tuple[Person, Row | BrokenImageError]:
        person, future = pending.popleft()
        try:
            return person, future.result()
        except BrokenImageError as error:
            return person, error

    with _one_opencv_thread(), ThreadPoolExecutor(workers) as pool:
        try:
            for person in source.persons:
                pending.append((person, pool.submit(_row, person, box_px, canvas_px)))
                if len(pending) > 4 * workers:
                    yield finished()
            while pending:
                yield finished()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    # OpenCV's own threads would compete with the pool's.
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _row(person: Person, box_px: int, canvas_px: int) -> Row:
    match person.image:
        case Path() as path:
            image_bgr = read_bgr(path)
        case np.ndarray() as image_bgr:
            pass
        case paint:
            image_bgr = paint()
    cut = cut_canvas(image_bgr, person, box_px, canvas_px)
    return {
        "person_id": person.person_id,
        "image": encode_canvas(cut.canvas_bgr),
        "joints_cv": cut.joints_cv.astype(np.float32).ravel(),
        "annotated": person.annotated,
        "occluded": person.occluded,
        "center_px": person.center_px,
        "box_px": person.box_px,
        "normalizer_px": person.normalizer_px,
        "image_from_canvas": cut.image_from_canvas.ravel(),
    }


@dataclass
class _SplitWriter:
    """Collects rows of one split and writes a shard whenever it is full."""

    directory: Path
    split: Split
    schema: pa.Schema
    count: int = 0
    rows: list[Row] = field(default_factory=list)
    row_bytes: int = 0
    shards: list[ShardInfo] = field(default_factory=list)

    def add(self, row: Row) -> None:
        if len(self.rows) == SHARD_ROWS or (self.rows and self.row_bytes + len(row["image"]) > SHARD_BYTES):
            self._flush()
        self.rows.append({"index": self.count, **row})
        self.row_bytes += len(row["image"])
        self.count += 1

    def close(self) -> list[ShardInfo]:
        if self.rows:
            self._flush()
        return self.shards

    def _flush(self) -> None:
        path = self.directory / f"{self.split}-{len(self.shards):05d}.parquet"
        # JPEG does not compress further, and an uncompressed page is the fastest to read.
        pq.write_table(pa.Table.from_pylist(self.rows, self.schema), path, compression="none", use_dictionary=False)
        data = path.read_bytes()
        self.shards.append(
            ShardInfo(
                file=path.name,
                split=self.split,
                first_index=self.rows[0]["index"],
                rows=len(self.rows),
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
            )
        )
        self.rows, self.row_bytes = [], 0
