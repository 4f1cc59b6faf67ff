"""The one exception a user's mistake becomes: a single clear sentence, no traceback."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable

from pydantic import ValidationError


class UserError(ValueError):
    """A mistake in what the user gave: names the file, the field and the value.

    The message is one sentence. Launch scripts print it and exit with code 2; library users get
    an ordinary ``ValueError``.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known name closest to ``name``, or ``""``."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def first_problem(error: ValidationError) -> str:
    """Return ``"field.path: what is wrong"`` for the first thing a file's content fails on."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "content"
    return f"{where}: {first['msg'][0].lower() + first['msg'][1:]}"


def run_command(main: Callable[[], int | None]) -> int:
    """Run a launch script's ``main`` and turn its outcome into an exit code.

    Returns:
        0 on success, the command's own code, 2 after a `UserError` or what the operating system
        refused (printed to stderr as one sentence) and 130 after Ctrl-C.
    """
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
