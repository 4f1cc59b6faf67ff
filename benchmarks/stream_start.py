"""How long a stream takes to begin, by the number of steps that are left of a run.

``python benchmarks/stream_start.py`` draws a few people, makes every block a step, as canvases of the paper's size
do, and asks streams over more and more steps for their first batch: bounded, as `stream_batches` divides the rest of
a run into executions, and whole, in a single one. The first stream on a Ray, which starts Ray Data's own processes,
is not counted. The last line is the ratio at the most steps.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from ray_advpose.cluster.runtime import local_ray
from ray_advpose.data import stream
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.presets import QUICK
from ray_advpose.training.schedule import Schedule, make_schedule

_BATCH = 24
_CPUS = 2


def main() -> None:
    """Measure, and print a line for each kind and number of steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="1000,10000,100000", help="left of a run (default: %(default)s)")
    counts = [int(each) for each in parser.parse_args().steps.split(",")]
    stream._BYTES_PER_BLOCK = 1
    bound = stream._TASKS_PER_EXECUTION
    with tempfile.TemporaryDirectory() as folder:
        write_shards(generate_synthetic(persons=160), Path(folder) / "people", box_px=64)
        shards = ShardSet.open(Path(folder) / "people")
        with local_ray(_CPUS):
            _first_batch(shards, _schedule(shards, _BATCH))
            for count in counts:
                schedule = _schedule(shards, count)
                seconds = {}
                for kind, tasks in (("bounded", bound), ("whole", count)):
                    stream._TASKS_PER_EXECUTION = tasks
                    seconds[kind] = _first_batch(shards, schedule)
                    print(f"{schedule.total_steps:>8,} steps  {kind:<8} {seconds[kind]:>7.2f} s", flush=True)
    print(f"whole over bounded: {seconds['whole'] / seconds['bounded']:.1f}")


def _schedule(shards: ShardSet, steps: int) -> Schedule:
    epochs = max(1, steps // (shards.count("train") // _BATCH))
    settings = {"stages.pose_epochs": epochs, "stages.joint_epochs": 1, "asr.enabled": False, "aho.enabled": False}
    return make_schedule(QUICK.replaced({**settings, "run.global_batch_size": _BATCH}), shards.count("train"))


def _first_batch(shards: ShardSet, schedule: Schedule) -> float:
    started = time.monotonic()
    batches = stream.stream_batches(shards, schedule, start_step=0, rank=0, world_size=1)
    next(batches)
    seconds = time.monotonic() - started
    batches.close()
    return seconds


if __name__ == "__main__":
    main()
