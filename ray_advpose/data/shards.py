"""Prepared data: checked Parquet shards, and any of their persons by index."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ray_advpose.data.canvas import decode_canvas
from ray_advpose.data.manifest import MANIFEST, Manifest, ShardInfo, parse_manifest
from ray_advpose.data.persons import Split
from ray_advpose.data.shard_place import ShardPlace, file_content, file_sizes, local_file, shard_place
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

    place: ShardPlace
    manifest: Manifest

    @staticmethod
    def open(given: str | Path) -> ShardSet:
        """Open a prepared data set and check that every shard is there in full length.

        Args:
            given: A folder, or the URI of an object store.

        Raises:
            UserError: No or a bad manifest, or a shard missing or of another size.
        """
        place = shard_place(given)
        try:
            manifest = parse_manifest(file_content(place, MANIFEST), place)
            sizes = file_sizes(place)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{place} is not a prepared data set: it holds no {MANIFEST}") from None
        except OSError as error:
            raise UserError(f"cannot read {MANIFEST} in {place}: {error.strerror or error}") from None
        for shard in manifest.shards:
            _check_size(place, shard, sizes.get(shard.file))
        return ShardSet(place, manifest)

    @property
    def fingerprint(self) -> str:
        """Identifies the content: equal for equal shards."""
        return self.manifest.fingerprint

    def count(self, split: Split) -> int:
        """Return the number of persons in a split."""
        return self.manifest.counts.get(split, 0)


def read_persons(shards: ShardSet, split: Split, indices: Sequence[int] | np.ndarray, threads: int = 1) -> PersonArrays:
    """Read persons of a split by their position in it, in any order.

    Shards stay in a cache of this process, least recently used ones leaving first once
    `CACHE_BYTES` are held; a shard is checked against its hash when it enters.

    Args:
        shards: The data set.
        split: ``train``, ``val`` or ``test``.
        indices: (n,) integers in ``0 .. shards.count(split) - 1``, at least one; repeats are
            allowed.
        threads: How many decode.

    Raises:
        UserError: A shard was removed, cut off or altered after the data set was opened.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    count = shards.count(split)
    assert wanted.size > 0, "no person asked for"
    assert ((wanted >= 0) & (wanted < count)).all(), f"{split} has {count} persons"
    side = shards.manifest.canvas.canvas_px
    canvas = np.empty((len(wanted), side, side, 3), dtype=np.uint8)
    columns: dict[str, np.ndarray] = {}
    pictures: list[pa.Scalar] = [None] * len(wanted)
    for shard in shards.manifest.shards:
        rows = wanted - shard.first_index
        here = np.flatnonzero((rows >= 0) & (rows < shard.rows))
        if shard.split != split or len(here) == 0:
            continue
        held = _cached(shards.place, shard)
        for position in here:
            pictures[position] = held.images[int(rows[position])]
        for name, values in held.columns.items():
            if name not in columns:
                columns[name] = np.empty((len(wanted), *values.shape[1:]), values.dtype)
            columns[name][here] = values[rows[here]]
    _decode(pictures, canvas, threads)
    return PersonArrays(person_id=columns.pop("person_id").tolist(), canvas=canvas, **columns)


def read_columns(shards: ShardSet, split: Split, columns: Sequence[str]) -> list[pa.Table]:
    """Read some columns of all persons of a split, one table a shard; `UserError` as `read_persons`."""
    wanted = [shard for shard in shards.manifest.shards if shard.split == split]
    place = shards.place
    if isinstance(place, Path):
        return [pq.read_table(place / shard.file, columns=list(columns)) for shard in wanted]
    return [pq.read_table(pa.BufferReader(_content(place, shard)), columns=list(columns)) for shard in wanted]


def _decode(pictures: Sequence[pa.Scalar], canvas: np.ndarray, threads: int) -> None:
    def decode(which: range) -> None:
        for position in which:
            decode_canvas(np.frombuffer(pictures[position].as_buffer(), np.uint8), canvas[position])

    shares = [range(first, len(pictures), threads) for first in range(threads)]
    with ThreadPoolExecutor(threads) as others:
        # OpenCV lets go of the interpreter lock; this thread decodes as well.
        decoded = [others.submit(decode, share) for share in shares[1:]]
        decode(shares[0])
        for share in decoded:
            share.result()


_TAIL_SHAPES = {"joints_cv": (-1, 2), "image_from_canvas": (2, 3)}


@dataclass(frozen=True)
class _HeldShard:
    """A shard in memory: JPEGs as Arrow holds them, the other columns as arrays.

    To gather the few rows of a training step from Arrow's lists took a fifth as long as decoding them.
    """

    images: pa.BinaryArray
    columns: dict[str, np.ndarray]
    bytes: int

    @staticmethod
    def of(table: pa.Table) -> _HeldShard:
        """Take over a table whose columns are of one chunk each."""
        columns = {name: table.column(name).chunk(0) for name in table.column_names}
        images = columns.pop("image")
        arrays = {}
        for name, column in columns.items():
            listed = pa.types.is_fixed_size_list(column.type)
            flat = (column.flatten() if listed else column).to_numpy(zero_copy_only=False)
            arrays[name] = flat.reshape(len(column), *_TAIL_SHAPES.get(name, (-1,))) if listed else flat
        return _HeldShard(images, arrays, table.nbytes)


_cache: OrderedDict[tuple[ShardPlace, str], _HeldShard] = OrderedDict()
_cache_lock = threading.Lock()


def _cached(place: ShardPlace, shard: ShardInfo) -> _HeldShard:
    key = (place, shard.sha256)
    if key not in _cache:
        # It may take minutes to come, in which others read what is there.
        local_file(place, shard)
    with _cache_lock:
        held = _cache.get(key)
        if held is None:
            file = pq.ParquetFile(pa.BufferReader(_content(place, shard)))
            held = _HeldShard.of(file.read(use_threads=False).combine_chunks())
            _cache[key] = held
            while len(_cache) > 1 and sum(other.bytes for other in _cache.values()) > CACHE_BYTES:
                _cache.popitem(last=False)
        else:
            _cache.move_to_end(key)
        return held


def _check_size(place: ShardPlace, shard: ShardInfo, found: int | None) -> None:
    if found is None:
        raise UserError(f"shard {shard.file} in {place} is missing")
    if found != shard.bytes:
        raise UserError(
            f"shard {shard.file} in {place} is cut off or altered: {found} bytes found, {shard.bytes} expected"
        )


def _content(place: ShardPlace, shard: ShardInfo) -> bytes:
    """Return a shard's bytes, which are as the manifest says."""
    path = local_file(place, shard)
    try:
        return _read_checked(path, shard)
    except UserError:
        if isinstance(place, Path):
            raise
        # A machine that went down may have left it so; the store has it whole.
        path.unlink(missing_ok=True)
        return _read_checked(local_file(place, shard), shard)


def _read_checked(path: Path, shard: ShardInfo) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read shard {path}: {error.strerror}") from None
    if len(data) != shard.bytes:
        raise UserError(f"shard {path} is cut off or altered: {len(data)} bytes found, {shard.bytes} expected")
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise UserError(f"shard {path} was altered: its hash differs from the one in the manifest")
    return data
