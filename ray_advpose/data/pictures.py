"""Pictures to predict, of any size, and the boxes of the persons in them.

Unlike in data sets, whose labels refer to stored pixels, a picture is turned as its camera says: what
is predicted lies on what people see. Pixels have their edges at integers, so that the first pixel's
centre is at 0.5, as in COCO's files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ray_advpose.data.images import BrokenImageError, read_bgr
from ray_advpose.data.persons import BOX_MARGIN, Person, image_box
from ray_advpose.errors import UserError, nearest

Bbox = tuple[float, float, float, float]
"""Left, top, width and height in pixels."""

_LARGEST_BOX = 100
"""Times the picture's longer side: beyond, a person in it would be less than a pixel of the network's input."""

_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def listed_pictures(paths: Iterable[Path]) -> list[Path]:
    """Return the picture files that are named; of a folder, all in it, by name.

    Raises:
        UserError: There is no such file, or a folder holds none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in _SUFFIXES)
            if not inside:
                raise UserError(f"{path} holds no picture ({', '.join(sorted(_SUFFIXES))})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path}: there is no such picture")
    return list(dict.fromkeys(found))


def read_picture(path: Path) -> np.ndarray:
    """Decode a picture to (H, W, 3) uint8 in BGR order, turned as its camera says.

    Grey and 16-bit pictures become 8-bit colour; transparency is dropped.

    Raises:
        UserError: It cannot be read, is cut off or is not a picture.
    """
    try:
        return read_bgr(path, upright=True)
    except BrokenImageError as error:
        raise UserError(f"{path}: {error}") from None


def parse_box(text: str) -> Bbox:
    """Read ``X,Y,W,H``; `UserError` for anything else."""
    try:
        left, top, width, height = map(float, text.split(","))
    except ValueError:
        raise UserError(f"--box {text}: expected X,Y,W,H in pixels") from None
    return _checked((left, top, width, height), f"--box {text}")


def read_boxes(path: Path, pictures: Sequence[Path]) -> dict[Path, list[Bbox]]:
    """Read persons' boxes from a file of detections.

    Args:
        path: A JSON list of objects with ``bbox``, [left, top, width, height], and ``file_name`` (or an
            ``image_id`` that is one), as COCO's detections have; or one of COCO's own files, in which
            ``annotations`` is such a list and ``images`` tells the file name of each ``image_id``.
        pictures: Whose boxes are looked for, by file name.

    Returns:
        For every picture its boxes, in the file's order; none for one that the file does not name.

    Raises:
        UserError: The file cannot be read, names none of the pictures, or has a box that is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read boxes from {path}: {error}") from None
    entries = content.get("annotations") if isinstance(content, Mapping) else content
    if not isinstance(entries, list):
        raise UserError(f"{path}: expected a list of detections, found {type(content).__name__}")
    by_name: dict[str, Path] = {}
    for picture in pictures:
        if by_name.setdefault(picture.name, picture) != picture:
            raise UserError(f"{path} names pictures by file name, and two are called {picture.name}")
    names = _file_names(content, path)
    others: list[str] = []
    boxes: dict[Path, list[Bbox]] = {picture: [] for picture in pictures}
    for place, entry in enumerate(entries):
        where = f"{path}: detection {place}"
        if not isinstance(entry, Mapping):
            raise UserError(f"{where}: expected an object, found {entry!r:.40}")
        name = str(entry.get("file_name", entry.get("image_id")))
        name = names.get(name, name)
        # A file of a whole data set serves for some of its pictures.
        if name in by_name:
            boxes[by_name[name]].append(_bbox_in(entry, where))
        else:
            others.append(name)
    if others and not any(boxes.values()):
        raise UserError(f"{path} has no box of these pictures; it names {others[0]!r}{nearest(others[0], by_name)}")
    return boxes


def _file_names(content: Any, path: Path) -> dict[str, str]:
    """Return what ``images`` calls each picture, by its id as text."""
    images = content.get("images", []) if isinstance(content, Mapping) else []
    try:
        return {str(image["id"]): Path(image["file_name"]).name for image in images}
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: images: expected objects with id and file_name ({error!r})") from None


def _bbox_in(entry: Mapping[str, Any], where: str) -> Bbox:
    bbox = entry.get("bbox")
    numbers = isinstance(bbox, list) and len(bbox) == 4 and all(type(value) in (int, float) for value in bbox)
    if not numbers:
        raise UserError(f"{where}: bbox = {bbox!r:.60}, expected four numbers")
    assert bbox is not None
    try:
        left, top, width, height = map(float, bbox)
    except OverflowError:
        raise UserError(f"{where}: bbox = {bbox!r:.60}, expected finite numbers") from None
    return _checked((left, top, width, height), f"{where}: bbox = {bbox}")


def _checked(box: Bbox, where: str) -> Bbox:
    if not all(map(math.isfinite, box)):
        raise UserError(f"{where}: expected finite numbers")
    if min(box[2:]) <= 0:
        raise UserError(f"{where}: width and height must be more than 0")
    return box


def check_pictures(
    wanted: Sequence[tuple[Path, Sequence[Bbox | None]]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Decode all pictures and check all boxes, so that a mistake shows before the first is predicted.

    Args:
        wanted: Files, each with the boxes of its persons; None is the whole picture.
        progress: Called with the pictures done and the total.

    Raises:
        UserError: A picture cannot be read, or a box does not fit it.
    """
    for done, (path, boxes) in enumerate(wanted, start=1):
        image_bgr = read_picture(path)
        for box in boxes:
            boxed_person(path, image_bgr, box, joints=0)
        progress(done, len(wanted))


def boxed_person(path: Path, image_bgr: np.ndarray, box: Bbox | None, joints: int) -> Person:
    """Return a person to cut out: the square around the box, or around the whole picture without one.

    A box is widened by `BOX_MARGIN`, as training's are around the joints.

    Args:
        path: Of the picture.
        image_bgr: (H, W, 3) uint8.
        box: In its pixels.
        joints: J, of the network that will look for them.

    Raises:
        UserError: The box lies outside of the picture, or is far smaller or larger than a person can be.
    """
    height, width = image_bgr.shape[:2]
    if box is None:
        center_px, side = image_box(width, height)
    else:
        left, top, box_width, box_height = box
        if left >= width or top >= height or left + box_width <= 0 or top + box_height <= 0:
            raise UserError(f"{path}: the box {box} lies outside of the picture's {width} x {height} pixels")
        if not 1 <= max(box_width, box_height) <= _LARGEST_BOX * max(width, height):
            raise UserError(
                f"{path}: the box {box} has a longer side of {max(box_width, box_height):g} pixels, expected 1 to"
                f" {_LARGEST_BOX} times the picture's {width} x {height}"
            )
        center_px = np.array([left + box_width / 2, top + box_height / 2])
        side = BOX_MARGIN * max(box_width, box_height)
    nowhere = np.zeros((joints, 2))
    unknown = np.zeros(joints, bool)
    return Person(str(path), "test", path, nowhere, unknown, unknown, center_px, side, math.nan)
