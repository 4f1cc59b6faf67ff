"""What a population costs beside runs without one: exploits, hand-overs, the first start, images a second.

``python benchmarks/population.py`` runs four trials that copy each other, two at a time, with
``launch/tune.py``; then the same four trainings with ``launch/train.py``, two lanes of two runs back to
back. Both by the real commands, on the same data, with the same number of epochs.

* *exploit*: from the decision to the end of the copy's first optimiser step, of trials that kept their
  worker group; of it the time from the assignment until networks and optimisers are loaded.
* *hand-over*: from a trial's last report on a worker group to the first step of the next trial there.
* *first start*: from the command to the first optimiser step, and what was reached when on the way.
* *images/s* over stage 3: of the population from the beginning of the first trial's to the end of the
  last trial's, everything between included; of the runs, each from the end of its stage 2 to its end, and
  what a lane does between two runs not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ray_advpose.cluster.stretches import read_stretches
from ray_advpose.cluster.timeline import read_timeline
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.presets import PRESETS, preset_named
from ray_advpose.search.lineage import LINEAGE
from ray_advpose.training.schedule import Stage

_GOAL = 0.85
_LAUNCH = Path(__file__).parent.parent / "launch"
_TRIALS, _LANES = 4, 2
_SPACE = """
from ray_advpose.search.domains import LogUniform, Uniform
from ray_advpose.search.scheduling import Exploiting
from ray_advpose.search.space import SearchSpace
FIELDS = {"reward.alpha": Uniform(0.05, 0.5), "optim.pose_lr": LogUniform(3e-4, 3e-3)}
SPACE = SearchSpace(FIELDS, 4, Exploiting(tuple(FIELDS), fraction=0.5))
"""


def main() -> None:
    """Print the figures of one turn or more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="prepared shards (default: drawn people)")
    parser.add_argument("--persons", type=int, default=1600, help="drawn without --data (default: %(default)s)")
    parser.add_argument("--preset", default="quick", choices=PRESETS, help="(default: %(default)s)")
    parser.add_argument("--joint-epochs", type=int, default=5, help="(default: %(default)s)")
    args = parser.parse_args()
    fields = {
        "stages.pose_epochs": 1,
        "stages.pretrain_epochs": 1,
        "stages.pretrain_images": preset_named(args.preset).run.global_batch_size,
        "stages.joint_epochs": args.joint_epochs,
        "run.keep_last_checkpoints": 99,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = args.data.absolute() if args.data else folder / "shards"
        if args.data is None:
            write_shards(generate_synthetic(args.persons), data, preset_named(args.preset).net.input_px)
        common = ["--data", data, "--preset", args.preset, *_set(fields)]
        rate = population(folder, common)
        alone = lanes(folder, common)
    print(f"\nimages/s in stage 3: population {rate:.1f}, runs without Tune {alone:.1f}: {rate / alone:.3f}", end="")
    print(f" (goal {_GOAL})")


def population(folder: Path, common: Sequence[object]) -> float:
    """Run the population, print its times, and return its images/s in stage 3."""
    space, out = folder / "space.py", folder / "population"
    space.write_text(_SPACE, encoding="utf-8")
    begun = time.time()
    _run("tune.py", "--search", space, "--out", out, *common)
    events = [json.loads(line) for line in (out / LINEAGE).read_text(encoding="utf-8").splitlines()]
    stretches = [(path, stretch) for path in out.glob("trials/*") for stretch in read_stretches(path)]
    first = min(stretch.trained_at for _, stretch in stretches)
    print("| first start | s after the command |\n|---|---:|")
    for mark in read_timeline(out):
        if mark.at < first:
            print(f"| {mark.what} | {mark.at - begun:.1f} |")
    print(f"| first optimiser step | {first - begun:.1f} |\n")

    decided = {event["barrier"]: event["at"] for event in events if event["event"] == "decision"}
    exploits = {
        (exploit["trial"], exploit["generation"]): decided[exploit["barrier"]]
        for event in events
        if event["event"] == "decision"
        for exploit in event["exploits"]
    }
    gaps, loads = [], []
    for path, stretch in stretches:
        at = exploits.get((int(path.name.rpartition("_")[2]), stretch.generation))
        # Later than that, the trial had to wait for a worker group.
        if at is not None and stretch.taken_at - at < 1:
            gaps.append(stretch.trained_at - at)
            loads.append(stretch.loaded_at - stretch.taken_at)
    paused = sorted(event["at"] for event in events if event["event"] == "standing")
    handovers = []
    for _, stretch in stretches:
        before = [at for at in paused if at < stretch.taken_at]
        if before and stretch.taken_at - before[-1] < 1 and stretch.taken_at not in decided.values():
            handovers.append(stretch.trained_at - before[-1])
    print("| | count | median, s | longest, s |\n|---|---:|---:|---:|")
    for what, seconds in (
        (f"exploit ({len(exploits)} in all)", gaps),
        ("of it loading", loads),
        ("exploits and hand-overs", handovers),
    ):
        if seconds:
            print(f"| {what} | {len(seconds)} | {statistics.median(seconds):.2f} | {max(seconds):.2f} |")
    trials = list(out.glob("trials/*"))
    # Checkpoints from before a copy are pruned: the beginning follows from the first report and the longest epoch.
    first_epochs = [next(each for each in _history(path) if each["stage"] == Stage.JOINT.label) for path in trials]
    begins = min(event["at"] for event in events) - max(each["seconds"] for each in first_epochs)
    return sum(_images(path) for path in trials) / (max(_ended(path, Stage.JOINT) for path in trials) - begins)


def lanes(folder: Path, common: Sequence[object]) -> float:
    """Run the same trainings without Tune; return images/s of all lanes together."""

    def lane(number: int) -> list[Path]:
        outs = [folder / f"lane{number}-{run}" for run in range(_TRIALS // _LANES)]
        for out in outs:
            _run("train.py", "--out", out, *common)
        return outs

    with ThreadPoolExecutor(_LANES) as pool:
        outs = [out for found in pool.map(lane, range(_LANES)) for out in found]
    seconds = sum(_ended(out, Stage.JOINT) - _ended(out, Stage.PRETRAIN) for out in outs)
    return sum(map(_images, outs)) / (seconds / _LANES)


def _images(folder: Path) -> int:
    return sum(record["images"] for record in _history(folder) if record["stage"] == Stage.JOINT.label)


def _ended(folder: Path, stage: Stage) -> float:
    """Return when the checkpoint of a stage's last epoch was whole."""
    step = max(record["step"] for record in _history(folder) if record["stage"] == stage.label)
    return max(path.stat().st_mtime for path in folder.glob(f"checkpoints*/step_{step:09d}/manifest.json"))


def _history(folder: Path) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return history


def _set(fields: Mapping[str, object]) -> list[str]:
    return [part for name, value in fields.items() for part in ("--set", f"{name}={value}")]


def _run(script: str, *arguments: object) -> None:
    command = [sys.executable, str(_LAUNCH / script), *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
