"""The command-line arguments that every command which trains has in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from ray_advpose.config import Config, load_config, parse_override
from ray_advpose.presets import PRESETS, preset_named


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add data, config, output and cluster to a command."""
    add_config_arguments(parser)
    parser.add_argument(
        "--cluster",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="use a running Ray cluster (default address: RAY_ADDRESS, or the one on this machine)",
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add data, config and output to a command."""
    parser.add_argument("--data", metavar="DIR|URI", help="prepared data (default: the embedded drawn people)")
    parser.add_argument("--preset", default="quick", help=f"config: {', '.join(PRESETS)} (default: %(default)s)")
    parser.add_argument("--config", type=Path, help="config from a YAML file, e.g. a search's best_config.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field of the config; repeatable"
    )
    parser.add_argument("--out", type=Path, help="folder for everything that comes out (default: one in runs/)")


def chosen_config(args: argparse.Namespace) -> Config:
    """Return the config that the arguments name; `UserError` for what is unknown or out of bounds."""
    return overridden(load_config(args.config) if args.config else preset_named(args.preset), args.set)


def overridden(config: Config, settings: Iterable[str]) -> Config:
    """Return a config changed by ``FIELD=VALUE`` texts; `UserError` as in `chosen_config`."""
    return config.replaced(dict(parse_override(text) for text in settings), "--set")
