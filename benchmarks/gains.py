r"""Draw the gains of experiments beside each other: ``python benchmarks/gains.py --out FILE LABEL=DIR ...``.

Each ``DIR`` holds the ``evidence.json`` of `launch/evidence.py`, of one number of training images; drawn are the
gains of ``tuned random``, ``uniform`` and ``asr+aho`` over random augmentation, on the pictures as they are or, with
``--turned``, over those turned by up to 60 degrees. ``\n`` in a label begins a new line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray_advpose.errors import UserError, run_command
from ray_advpose.evidence.arms import JOINT, RANDOM, TUNED, UNIFORM
from ray_advpose.pose.gain import Gain
from ray_advpose.report.evidence_figures import gain_figure

_ARMS = (TUNED, UNIFORM, JOINT)


def gains_of(folder: Path, what: str) -> dict[str, Gain]:
    """Return each arm's gain over random augmentation.

    Args:
        folder: Of an experiment, or of its numbers alone.
        what: ``gains`` or ``turned_gains``.

    Raises:
        UserError: It has no numbers, those of several sizes, or lacks an arm.
    """
    path = folder / "evidence.json"
    try:
        sizes: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["sizes"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no numbers of an experiment: {error}") from None
    if len(sizes) != 1:
        raise UserError(f"{path}: has {len(sizes)} numbers of training images, expected one")
    [arms] = sizes.values()
    try:
        return {arm: Gain(**arms[arm][what][RANDOM]) for arm in _ARMS}
    except KeyError as error:
        raise UserError(f"{path}: lacks {error}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", metavar="LABEL=DIR")
    parser.add_argument("--turned", action="store_true", help="over turned pictures")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    args = parser.parse_args(arguments)
    folders = {}
    for each in args.experiments:
        label, equals, folder = each.rpartition("=")
        if not equals:
            raise UserError(f"{each!r}: expected LABEL=DIR")
        folders[label.replace("\\n", "\n")] = Path(folder)
    found = [gains_of(folder, "turned_gains" if args.turned else "gains") for folder in folders.values()]
    by_arm = {arm: [gains[arm] for gains in found] for arm in _ARMS}
    args.out.write_bytes(gain_figure(list(folders), by_arm, "training images"))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
