"""Prepared data: checked Parquet shards, and any of their persons by index."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ray_advpose.data.canvas import decode_canvas
from ray_advpose.data.manifest import Manifest, ShardInfo, read_manifest
from ray_advpose.data.persons import Split
from ray_advpose.errors import UserError

CACHE_BYTES = 1 << 30


def shard_schema(joints: int) -> pa.Schema:
    """Return the columns of a shard for J joints; `PersonArrays` describes their meaning."""
    return pa.schema(
        [
            ("index", pa.int64()),
            ("person_id", pa.string()),
            ("image", pa.binary()),
            ("joints_cv", pa.list_(pa.float32(), 2 * joints)),
            ("annotated", pa.list_(pa.bool_(), joints)),
            ("occluded", pa.list_(pa.bool_(), joints)),
            ("center_px", pa.list_(pa.float64(), 2)),
            ("box_px", pa.float64()),
            ("normalizer_px", pa.float64()),
            ("image_from_canvas", pa.list_(pa.float64(), 6)),
        ]
    )


@dataclass(frozen=True)
class PersonArrays:
    """n persons as stacked arrays, in the order asked for.

    Attributes:
        index: (n,) int64, position within the split.
        person_id: The source's names of the persons.
        canvas: (n, H, W, 3) uint8 in RGB order, H = W = ``canvas_px``.
        joints_cv: (n, J, 2) float32 in canvas pixels; 0 where not annotated.
        annotated: (n, J) bool.
        occluded: (n, J) bool.
        center_px: (n, 2) float64, the box's centre in original-image pixels.
        box_px: (n,) float64, the box's side in original-image pixels.
        normalizer_px: (n,) float64, original-image pixels; NaN where unknown.
        image_from_canvas: (n, 2, 3) float64, takes canvas to original-image pixels.
    """

    index: np.ndarray
    person_id: list[str]
    canvas: np.ndarray
    joints_cv: np.ndarray
    annotated: np.ndarray
    occluded: np.ndarray
    center_px: np.ndarray
    box_px: np.ndarray
    normalizer_px: np.ndarray
    image_from_canvas: np.ndarray


@dataclass(frozen=True)
class ShardSet:
    """A prepared data set: where it is and its manifest. Cheap to pickle; holds no open file."""

    directory: Path
    manifest: Manifest

    @staticmethod
    def open(directory: Path) -> ShardSet:
        """Open a prepared data set and check that every shard is there in full length.

        Raises:
            UserError: No or a bad manifest, or a shard missing or of another size.
        """
        shards = ShardSet(directory.absolute(), read_manifest(directory))
        for shard in shards.manifest.shards:
            _check_size(shards.directory / shard.file, shard)
        return shards

    @property
    def fingerprint(self) -> str:
        """Identifies the content: equal for equal shards."""
        return self.manifest.fingerprint

    def count(self, split: Split) -> int:
        """Return the number of persons in a split."""
        return self.manifest.counts.get(split, 0)


def read_persons(shards: ShardSet, split: Split, indices: Sequence[int] | np.ndarray) -> PersonArrays:
    """Read persons of a split by their position in it, in any order.

    Shards stay in a cache of this process, least recently used ones leaving first once
    `CACHE_BYTES` are held; a shard is checked against its hash when it enters.

    Args:
        shards: The data set.
        split: ``train``, ``val`` or ``test``.
        indices: (n,) integers in ``0 .. shards.count(split) - 1``, at least one; repeats are
            allowed.

    Raises:
        UserError: A shard was removed, cut off or altered after the data set was opened.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    count = shards.count(split)
    assert wanted.size > 0, "no person asked for"
    assert ((wanted >= 0) & (wanted < count)).all(), f"{split} has {count} persons"
    side = shards.manifest.canvas.canvas_px
    canvas = np.empty((len(wanted), side, side, 3), dtype=np.uint8)
    order: list[np.ndarray] = []
    tables: list[pa.Table] = []
    for shard in shards.manifest.shards:
        rows = wanted - shard.first_index
        here = np.flatnonzero((rows >= 0) & (rows < shard.rows))
        if shard.split != split or len(here) == 0:
            continue
        table = _cached(shards.directory / shard.file, shard)
        images = table.column("image").chunk(0)
        for position in here:
            decode_canvas(np.frombuffer(images[int(rows[position])].as_buffer(), np.uint8), canvas[position])
        tables.append(table.drop_columns("image").take(pa.array(rows[here])))
        order.append(here)
    columns = pa.concat_tables(tables).take(pa.array(np.argsort(np.concatenate(order))))
    return _arrays(columns, canvas)


def _arrays(columns: pa.Table, canvas: np.ndarray) -> PersonArrays:
    n = len(canvas)

    def stacked(name: str, *shape: int) -> np.ndarray:
        column = columns.column(name).combine_chunks()
        flat = column.flatten() if shape else column
        return cast(np.ndarray, flat.to_numpy(zero_copy_only=False)).reshape(n, *shape)

    joints = columns.schema.field("annotated").type.list_size
    return PersonArrays(
        index=stacked("index"),
        person_id=columns.column("person_id").to_pylist(),
        canvas=canvas,
        joints_cv=stacked("joints_cv", joints, 2),
        annotated=stacked("annotated", joints),
        occluded=stacked("occluded", joints),
        center_px=stacked("center_px", 2),
        box_px=stacked("box_px"),
        normalizer_px=stacked("normalizer_px"),
        image_from_canvas=stacked("image_from_canvas", 2, 3),
    )


_cache: OrderedDict[tuple[Path, str], pa.Table] = OrderedDict()
_cache_lock = threading.Lock()


def _cached(path: Path, shard: ShardInfo) -> pa.Table:
    key = (path, shard.sha256)
    with _cache_lock:
        table = _cache.get(key)
        if table is None:
            file = pq.ParquetFile(pa.BufferReader(_read_checked(path, shard)))
            table = file.read(use_threads=False).combine_chunks()
            _cache[key] = table
            while len(_cache) > 1 and sum(held.nbytes for held in _cache.values()) > CACHE_BYTES:
                _cache.popitem(last=False)
        else:
            _cache.move_to_end(key)
        return table


def _check_size(path: Path, shard: ShardInfo) -> None:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read shard {path}: {error.strerror}") from None
    if found != shard.bytes:
        raise UserError(f"shard {path} is cut off or altered: {found} bytes found, {shard.bytes} expected")


def _read_checked(path: Path, shard: ShardInfo) -> bytes:
    _check_size(path, shard)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read shard {path}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise UserError(f"shard {path} was altered: its hash differs from the one in the manifest")
    return data
