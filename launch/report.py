"""Write the report of a run, a search or arms as one HTML file, and as Markdown: ``python launch/report.py FOLDER``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ray_advpose.errors import UserError, run_command
from ray_advpose.report.page import write_page
from ray_advpose.report.sections import report_page
from ray_advpose.search.accounting import account_of


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Write a report of what a run, a search or the arms have come to: report.html, one file that"
        " needs nothing else, and report.md with its pictures. Also while it is running."
    )
    parser.add_argument("folder", type=Path, help="what launch/train.py or launch/tune.py has written")
    parser.add_argument("--out", type=Path, help="folder for the report (default: the same)")
    parser.add_argument("--price", type=float, help="of an hour of one GPU, or of one CPU where trials have no GPU")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, draw and write."""
    args = build_parser().parse_args(arguments)
    if args.price is not None and not args.price > 0:
        raise UserError(f"--price {args.price:g}: expected more than 0")
    output = args.out or args.folder
    if output.exists() and not output.is_dir():
        raise UserError(f"--out {output} is a file, expected a folder")
    page = report_page(account_of(args.folder, args.price))
    for sentence in page.summary:
        print(sentence)
    for path in write_page(page, output):
        print(f"  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
