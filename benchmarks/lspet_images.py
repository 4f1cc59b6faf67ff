"""Lay out the photographs that the evidence was measured on, in the form of Leeds Sports Pose Extended.

``python benchmarks/lspet_images.py first --source DIR --out DIR`` takes the official 10,000 images and keeps the
first 4,000 whose file is at most 16 KiB, renumbered. ``python benchmarks/lspet_images.py unseen --source DIR
--out DIR`` takes those 4,000 and orders them anew, so that

``python launch/prepare.py lspet --source DIR --val-fraction 0.07408 --test-fraction 0.37037 --out DIR``

cuts 500 images to train on and 2,000 to test on that no experiment with 500 or 1,000 training images has seen
or scored, and the same 400 to validate on. The 500 are there several times over, for an epoch to have as many steps
as with 3,000 images; ``--sizes 500`` takes each once. The images are links to the originals.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io

from ray_advpose.errors import UserError, run_command
from ray_advpose.evidence.held import subset_of

_KEPT, _MOST_BYTES = 4000, 16 * 1024
_TRAIN, _VAL = 3000, 400  # of the kept ones, as `prepare.py lspet` parts them
_SEEN, _FEW = 1000, 500  # trained on in experiments with 1,000 images, and of them in those with 500


def kept(sizes: Sequence[int]) -> np.ndarray:
    """Return which images are small enough, in order: the first 4,000.

    Args:
        sizes: Bytes of every file.
    """
    return np.flatnonzero(np.asarray(sizes) <= _MOST_BYTES)[:_KEPT]


def unseen() -> np.ndarray:
    """Return the images' places, of the 4,000, in the order that the module's text describes."""
    trained_on, seen = subset_of(_TRAIN, _FEW), subset_of(_TRAIN, _SEEN)
    others = np.setdiff1d(seen, trained_on)
    train = np.resize(others, _TRAIN)
    # Where `--sizes 500` looks, each of them once.
    train[trained_on] = others
    test = np.setdiff1d(np.arange(_TRAIN), seen)
    return np.concatenate([train, np.arange(_TRAIN, _TRAIN + _VAL), test])


def lay_out(source: Path, places: np.ndarray, output: Path) -> None:
    """Write a data set that has some images of another, in an order of its own; replaces what was there.

    Args:
        source: Holds ``joints.mat`` and ``images/im00001.jpg`` onwards.
        places: (n,) int, from 0, of the images.
        output: Where to.
    """
    shutil.rmtree(output, ignore_errors=True)
    (output / "images").mkdir(parents=True)
    joints = scipy.io.loadmat(source / "joints.mat")["joints"]
    for number, place in enumerate(places, start=1):
        (output / "images" / f"im{number:05d}.jpg").symlink_to(_image(source, place).resolve())
    # Last: without it the folder is no data set.
    scipy.io.savemat(output / "joints.mat", {"joints": joints[:, :, places]})


def _image(source: Path, place: int) -> Path:
    return source / "images" / f"im{place + 1:05d}.jpg"


def main(arguments: Sequence[str] | None = None) -> int:
    """Lay out one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("first", "unseen"))
    parser.add_argument("--source", type=Path, required=True, help="joints.mat and images/")
    parser.add_argument("--out", type=Path, required=True, help="directory to write; replaced if there")
    args = parser.parse_args(arguments)
    try:
        count = scipy.io.loadmat(args.source / "joints.mat")["joints"].shape[-1]
        sizes = [_image(args.source, place).stat().st_size for place in range(count)]
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; --source must hold joints.mat and images/") from None
    if args.what == "unseen" and count != _KEPT:
        raise UserError(f"{args.source} has {count} images where those of `first` are {_KEPT}")
    places = kept(sizes) if args.what == "first" else unseen()
    lay_out(args.source, places, args.out)
    print(f"{args.out}: {len(np.unique(places))} of {count} images, in {len(places)} places")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
