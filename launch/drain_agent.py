"""Hand a spot machine's notice on to Ray; one on each such machine: ``python launch/drain_agent.py --aws``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ray_advpose.errors import UserError, run_command
from ray_advpose.spot.agent import await_notice, hand_on
from ray_advpose.spot.draining import DrainedNode, use_token
from ray_advpose.spot.notices import AwsNotices, FileNotices, GcpNotices, Notice, NoticeSource

_JOIN_TIMEOUT_S = 120.0


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Wait for the notice that this machine will be taken away, and have Ray drain its node: training"
        " takes checkpoints, and nothing new is started here.",
        epilog="Ends when Ray has been told. Exit codes: 0 Ray drains the node, 1 it could not be told in time,"
        " 2 a mistake in what was given.",
    )
    parser.add_argument("--aws", action="store_true", help="ask AWS's metadata service")
    parser.add_argument("--gcp", action="store_true", help="ask Google Cloud's metadata server")
    parser.add_argument(
        "--file", type=Path, action="append", default=[], help="wait for this file; it may hold the seconds left"
    )
    parser.add_argument(
        "--now", type=float, metavar="SECONDS", help="do not wait: drain now, and return when they are over"
    )
    parser.add_argument("--address", help="of the cluster (default: the one that runs on this machine)")
    parser.add_argument("--node", help="address or id of the node (default: this machine's)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Wait, and drain."""
    args = build_parser().parse_args(arguments)
    sources: list[NoticeSource] = [FileNotices(path.absolute()) for path in args.file]
    sources += [AwsNotices()] * args.aws + [GcpNotices()] * args.gcp
    if bool(sources) == (args.now is not None):
        raise UserError("name where notices come from, by --aws, --gcp or --file, or drain --now")
    if args.now is not None and args.now <= 0:
        raise UserError(f"--now {args.now:g}: expected more than 0 seconds")
    use_token()
    node = DrainedNode(args.address, args.node)
    if args.now is not None:
        notice = Notice(time.time() + args.now, "drained by hand, or by Kubernetes")
    else:
        named = _joined(node)
        _say(f"waiting for a notice from {' or '.join(source.name for source in sources)} for node {named}")
        notice = await_notice(sources, _say)
        _say(notice.said)
    if not hand_on(notice, node, _say):
        _say("Ray could not be told in time")
        return 1
    if args.now is not None:
        time.sleep(notice.left_s)
    return 0


def _joined(node: DrainedNode) -> str:
    """Return the node's id once it is in the cluster; `UserError` if it does not come."""
    until, said = time.monotonic() + _JOIN_TIMEOUT_S, ""
    while True:
        try:
            return node.find()
        except ConnectionError as error:
            if time.monotonic() > until:
                raise UserError(str(error)) from None
            if str(error) != said:
                said = str(error)
                _say(f"{said}; waiting for it")
        time.sleep(1)


def _say(text: str) -> None:
    print(f"{datetime.now():%F %T} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
