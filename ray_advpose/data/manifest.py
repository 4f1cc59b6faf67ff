"""The manifest of a shard directory: what it holds, cut how, and how to tell it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ray_advpose.data.persons import Protocol, Split
from ray_advpose.errors import UserError, first_problem

MANIFEST = "manifest.json"
SCHEMA_VERSION: Literal[1] = 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CanvasGeometry(_Record):
    """How persons were cut: sides in canvas pixels, and the crop the canvas has room for."""

    canvas_px: int
    box_px: int
    max_scale_log2: float
    max_rotation_deg: float


class ShardInfo(_Record):
    """One Parquet file: its persons are ``first_index .. first_index + rows - 1`` of the split."""

    file: str
    split: Split
    first_index: int
    rows: int
    bytes: int
    sha256: str


class BrokenImage(_Record):
    """A person left out because the image could not be decoded."""

    person_id: str
    image: str
    reason: str


class Manifest(_Record):
    """Everything about a prepared data set that a run must know before it reads a row."""

    schema_version: Literal[1] = SCHEMA_VERSION
    source: str
    protocol: Protocol
    skeleton: str
    canvas: CanvasGeometry
    counts: dict[Split, int]
    shards: tuple[ShardInfo, ...]
    fingerprint: str
    package_version: str
    broken: tuple[BrokenImage, ...]
    notes: tuple[str, ...]


def fingerprint_of(shards: Iterable[ShardInfo]) -> str:
    """Return 16 hexadecimal digits that change when any shard's content or order does."""
    return hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest()[:16]


def parse_manifest(content: bytes, place: object) -> Manifest:
    """Return the manifest that a file holds.

    Args:
        content: Of the file.
        place: Where it is from.

    Raises:
        UserError: It is none, or of another version.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{MANIFEST} in {place}: {first_problem(error)}") from None
