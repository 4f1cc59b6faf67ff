"""Picture files: their size without decoding, and their pixels with damage noticed."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

# Stored pixels, never turned by the camera's orientation tag: labels refer to the stored ones.
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_UPRIGHT = cv2.IMREAD_COLOR
_START_OF_SCAN = 0xDA
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class BrokenImageError(Exception):
    """A picture that is missing, damaged or not a picture; the message says which."""


def image_size_px(path: Path) -> tuple[int, int] | None:
    """Return the width and height of a picture file, from its header where it is a JPEG.

    Returns:
        ``(width, height)``, or None where the file is missing or no picture, for which `read_bgr`
        raises. A size does not promise that the pixels behind it are whole.
    """
    try:
        with path.open("rb") as file:
            frame = _jpeg_size(file)
        if frame is not None:
            return frame
        height, width = read_bgr(path).shape[:2]
    except (OSError, BrokenImageError):
        return None
    return width, height


def read_bgr(path: Path, upright: bool = False) -> np.ndarray:
    """Decode a picture file to (H, W, 3) uint8 in BGR order.

    Grey and 16-bit pictures become 8-bit colour; transparency is dropped.

    Args:
        path: The file.
        upright: Whether it is turned as its camera says; else it stays as it is stored.

    Raises:
        BrokenImageError: It cannot be read, is cut off or is not a picture.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenImageError(error.strerror or "cannot be read") from None
    # From memory OpenCV refuses a cut-off JPEG; from a file it pads it with grey.
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _UPRIGHT if upright else _AS_STORED) if data else None
    except cv2.error:  # a header that promises more pixels than OpenCV takes
        image = None
    if image is None:
        raise BrokenImageError(f"its {len(data)} bytes are not a whole picture")
    return np.asarray(image)


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Walk a JPEG's segments up to its frame header: ``(width, height)``, or None without one."""
    if file.read(2) != b"\xff\xd8":
        return None
    while True:
        marker = file.read(2)
        while marker == b"\xff\xff":  # fill bytes may stand before any marker
            marker = b"\xff" + file.read(1)
        length = file.read(2)
        if len(length) < 2 or marker[0] != 0xFF or marker[1] == _START_OF_SCAN:
            return None
        if marker[1] in _FRAME_MARKERS:
            body = file.read(5)
            if len(body) < 5:
                return None
            height, width = struct.unpack(">xHH", body)
            return width, height
        file.seek(struct.unpack(">H", length)[0] - 2, io.SEEK_CUR)
