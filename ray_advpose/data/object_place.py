"""Places in object stores, as URIs such as ``s3://bucket/run``: what they name, and what they may not hold.

What follows a question mark are pyarrow's options, such as ``endpoint_override``.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.fs

from ray_advpose.errors import UserError

_T = TypeVar("_T")
_COPY_BYTES = 8 << 20
# On top of the tries of pyarrow's client, which last some seconds and do not cover an answer that is cut off.
# Somebody may be waiting.
_WAITS_S = (1.0, 4.0)
# The user's part of a URI with a password in it; a colon may come before a port as well.
_SECRET = re.compile(r"//[^@?]*:(?!\d+/)[^@?]*@")
# As pyarrow's S3 client names them in an ordinary `OSError`.
_FINAL = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")


def file_system_at(place: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Return the file system of a URI and the path in it.

    Raises:
        UserError: The URI names none, or holds a secret.
        OSError: The store cannot be reached: where a bucket is has to be asked for.
    """
    check_public(place)
    try:
        files, root = pyarrow.fs.FileSystem.from_uri(place)
    except pa.ArrowException as error:
        raise UserError(f"{place} names no storage: {error}") from None
    if not root:
        raise UserError(f"{place} names no storage: expected something like s3://bucket/folder")
    return files, root.rstrip("/")


def copy_out(files: pyarrow.fs.FileSystem, path: str, target: Path) -> None:
    """Copy a file of a store into a local one; `OSError` if it cannot be read or written."""
    with files.open_input_stream(path) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, _COPY_BYTES)


def copy_in(files: pyarrow.fs.FileSystem, source: Path, path: str) -> None:
    """Copy a local file to a place in a store; `OSError` if it cannot be read or written."""
    with source.open("rb") as original, files.open_output_stream(path) as copy:
        shutil.copyfileobj(original, copy, _COPY_BYTES)


def spelled(place: str) -> str:
    """Return the one spelling of a place."""
    base, question, options = place.partition("?")
    return f"{base.rstrip('/')}{question}{options}"


def check_public(*places: str | None) -> None:
    """Check that places hold no secret, which records and messages would repeat; `UserError` for a URI that does."""
    for place in places:
        if place is not None and _SECRET.search(place):
            raise UserError(f"{_SECRET.sub('//***@', place)}: credentials come from the environment, not from a URI")


def patiently(ask: Callable[[], _T], waits_s: Sequence[float] = _WAITS_S) -> _T:
    """Ask a store, again if it fails; not if it says that there is no such thing, or not for us.

    Args:
        ask: Does it; may be called several times.
        waits_s: Before each further try.

    Raises:
        OSError: The last try's.
    """
    for wait_s in waits_s:
        try:
            return ask()
        except OSError as error:
            if isinstance(error, FileNotFoundError) or any(word in str(error) for word in _FINAL):
                raise
            # The last try says what is wrong.
            time.sleep(wait_s)
    return ask()
