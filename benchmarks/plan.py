"""What ``tune.py --plan`` says a search will take, beside what the same search then took.

``python benchmarks/plan.py`` plans a search, with a calibration, runs it by the same command, and prints
for each figure the plan, the measurement, and their ratio. Trials, peak concurrency and disk should agree
within a fifth; time depends on which trials are stopped.

* *peak concurrency*: most trials that had begun and not ended at one moment.
* *disk*: all checkpoints that are there in the end.
* *hours*: from the first trial's first stretch to the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ray_advpose.cluster.stretches import read_stretches
from ray_advpose.search.budget import read_spent

_TUNE = Path(__file__).parent.parent / "launch" / "tune.py"


def main() -> None:
    """Plan, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arguments", nargs="*", help="of tune.py, after --; default: its defaults")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "search"
        command = [sys.executable, str(_TUNE), "--out", str(out), *args.arguments]
        told = subprocess.run([*command, "--plan", "--calibrate", "--json"], check=True, stdout=subprocess.PIPE)
        plan = json.loads(told.stdout)
        subprocess.run(command, check=True)
        _compare(plan, out)


def _compare(plan: dict[str, Any], out: Path) -> None:
    intervals = [_interval(trial) for trial in sorted(out.glob("trials/*"))]
    begun, ended = min(first for first, _ in intervals), max(last for _, last in intervals)
    peak = max(sum(first <= moment < last for first, last in intervals) for moment, _ in intervals)
    folders = [*out.glob("trials/*/checkpoints*/step_*"), *out.glob("pose_stages/*"), out / "best_checkpoint"]
    disk = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    rows: list[tuple[str, float, float]] = [
        ("trials", plan["trials"], len(intervals)),
        ("peak concurrency", plan["at_once"], peak),
        ("disk, MB", plan["disk_bytes"] / 1e6, disk / 1e6),
        ("hours, likely", plan["likely"]["hours"], (ended - begun) / 3600),
        ("hours, at most", plan["at_most"]["hours"], (ended - begun) / 3600),
        ("device hours, likely", plan["likely"]["device_hours"], read_spent(out).device_hours),
    ]
    print("\n| | plan | measured | measured / plan |\n|---|---:|---:|---:|")
    for what, planned, measured in rows:
        print(f"| {what} | {planned:.3g} | {measured:.3g} | {measured / planned:.2f} |")


def _interval(trial: Path) -> tuple[float, float]:
    manifests = list(trial.glob("checkpoints*/*/manifest.json"))
    return read_stretches(trial)[0].taken_at, max(path.stat().st_mtime for path in manifests)


if __name__ == "__main__":
    main()
