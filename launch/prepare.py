"""Turn a data set into Parquet shards: ``python launch/prepare.py lspet --source DIR --out DIR``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ray_advpose.data.persons import Source
from ray_advpose.data.shard_writer import WriteReport, write_shards
from ray_advpose.data.sources.lsp import read_lsp, read_lspet
from ray_advpose.data.sources.mpii import read_mpii
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.errors import run_command

_DEFAULT_BOX_PX = {"synthetic": 96, "lspet": 128, "lsp": 256, "mpii": 256}


def build_parser() -> argparse.ArgumentParser:
    """Return the command line: one sub-command per data set."""
    parser = argparse.ArgumentParser(description="Cut every person of a data set out and write Parquet shards.")
    commands = parser.add_subparsers(dest="source_name", required=True, metavar="{lsp,lspet,mpii,synthetic}")
    subparsers = {
        "lsp": commands.add_parser("lsp", help="Leeds Sports Pose: joints.mat (3 x 14 x N) and images/"),
        "lspet": commands.add_parser("lspet", help="Leeds Sports Pose Extended: joints.mat (14 x 3 x N) and images/"),
        "mpii": commands.add_parser("mpii", help="MPII: the official .mat, or HRNet's .json files, and images/"),
        "synthetic": commands.add_parser("synthetic", help="drawn people, nothing to download"),
    }
    for name, command in subparsers.items():
        if name == "synthetic":
            command.add_argument("--persons", type=int, default=1600, help="how many to draw (default: %(default)s)")
        else:
            command.add_argument("--source", type=Path, required=True, help="directory of the original files")
        if name in ("mpii", "synthetic"):
            command.add_argument("--seed", type=int, default=0, help="of split or people (default: %(default)s)")
        command.add_argument("--out", type=Path, required=True, help="directory to write; replaced if prepared before")
        command.add_argument(
            "--box-px",
            type=int,
            default=_DEFAULT_BOX_PX[name],
            help="side of a person's box in canvas pixels; not below the network's input (default: %(default)s)",
        )
        command.add_argument("--skip-broken", action="store_true", help="leave out and list broken images")
    held_out = {"lsp": (0.1, "training half"), "lspet": (0.1, "images"), "mpii": (0.12, ".mat file's training images")}
    for name, (share, whole) in held_out.items():
        subparsers[name].add_argument(
            "--val-fraction", type=float, default=share, help=f"share of the {whole} held out (default: %(default)s)"
        )
    subparsers["lspet"].add_argument(
        "--test-fraction", type=float, default=0.15, help="share of the images at the end (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare one data set and print what was written."""
    # A terminated run must remove what it has half written, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    args = build_parser().parse_args(arguments)
    source = _read(args)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(source.name, total=source.count)
        report = write_shards(
            source,
            args.out,
            args.box_px,
            skip_broken=args.skip_broken,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    _print_report(report, args.out)
    return 0


def _read(args: argparse.Namespace) -> Source:
    match args.source_name:
        case "lsp":
            return read_lsp(args.source, args.val_fraction)
        case "lspet":
            return read_lspet(args.source, args.val_fraction, args.test_fraction)
        case "mpii":
            return read_mpii(args.source, args.val_fraction, args.seed)
        case _:
            return generate_synthetic(args.persons, args.seed)


def _print_report(report: WriteReport, out: Path) -> None:
    manifest = report.manifest
    counts = ", ".join(f"{count} {split}" for split, count in manifest.counts.items())
    print(f"{out}: {counts} persons in {len(manifest.shards)} shards, {report.bytes / 1e6:.1f} MB")
    canvas = manifest.canvas
    print(f"canvas {canvas.canvas_px} px, person's box {canvas.box_px} px, fingerprint {manifest.fingerprint}")
    for note in manifest.notes:
        print(f"note: {note}")
    if manifest.broken:
        print(f"{len(manifest.broken)} persons left out for a broken image:")
    for broken in manifest.broken:
        print(f"  {broken.person_id}: {broken.image}: {broken.reason}")


if __name__ == "__main__":
    sys.exit(run_command(main))
