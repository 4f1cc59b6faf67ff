"""What a search costs its driver as trials become many: 1,000 trials of a trainable that only reports.

``python benchmarks/scheduling.py`` runs the very scheduler, searcher and progress of a search (successive
halving, two trials at a time, worker processes passed on) around a trial that trains nothing, and prints
for every hundred trials

* *decision*: milliseconds that the scheduler and the callbacks take for a report,
* *report*: wall milliseconds from one report to the next, of all trials together,
* *memory*: resident MiB of the driver.

``--figure FILE`` draws them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import TrialScheduler

from ray_advpose.cluster.runtime import local_ray
from ray_advpose.cluster.signals import StopRequest
from ray_advpose.presets import preset_named
from ray_advpose.search.budget import Budget, Meter
from ray_advpose.search.domains import Uniform
from ray_advpose.search.orderly_end import OrderlyEnd
from ray_advpose.search.progress import SearchProgress
from ray_advpose.search.scheduling import Halving
from ray_advpose.search.space import SearchSpace
from ray_advpose.search.stop_board import StopBoard
from ray_advpose.search.stored import Search
from ray_advpose.search.trial import trial_resources
from ray_advpose.search.tune_parts import make_scheduler, make_searcher

_SLOTS, _EPOCHS, _BLOCK = 2, 4, 100


class Reporting(tune.Trainable):
    """Reports at once, with a score that depends on its setting."""

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the setting."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial."""
        self._alpha, self._epoch = new_config["overrides"]["reward.alpha"], 0
        return True

    def step(self) -> dict[str, Any]:
        """Report an epoch of stage 3."""
        self._epoch += 1
        score = 100 * self._alpha
        return {
            "stage": "joint",
            "epoch": self._epoch,
            "joint_epochs": self._epoch,
            "step": self._epoch,
            "total_steps": _EPOCHS,
            "images_per_s": 0.0,
            "metric": score,
            "best_metric": score,
            "done": self._epoch >= _EPOCHS,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing was trained."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was trained."""


class Silent:
    """Shows a search to nobody."""

    redraws = False

    def say(self, line: str, lasting: bool = True) -> None:
        """Tell nobody."""

    def show(self, *args: Any) -> None:
        """Show nobody."""

    def close(self) -> None:
        """Nothing was opened."""


class Watch(tune.Callback):
    """Notes for every block of trials what was spent."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._reports = 0
        self._ended = 0
        self._since = time.monotonic()
        self.rows: list[tuple[int, float, float, float]] = []

    def timed(self, owner: Any, name: str) -> None:
        """Count the time of a method."""
        inner: Callable[..., Any] = getattr(owner, name)

        def outer(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.spent_s += time.perf_counter() - begun

        setattr(owner, name, outer)

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: Any, **info: Any) -> None:
        """Count a report."""
        self._reports += 1

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Count an end, and write a row after every block of them."""
        self._ended += 1
        if self._ended % _BLOCK == 0:
            now = time.monotonic()
            memory = _resident_mib()
            self.rows.append(
                (self._ended, 1e3 * self.spent_s / self._reports, 1e3 * (now - self._since) / self._reports, memory)
            )
            print(f"| {self._ended} | {self.rows[-1][1]:.2f} | {self.rows[-1][2]:.1f} | {memory:.0f} |", flush=True)
            self.spent_s, self._reports, self._since = 0.0, 0, now


def main() -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--figure", type=Path, help="where to draw it, e.g. docs/scheduling.png")
    args = parser.parse_args()
    space = SearchSpace({"reward.alpha": Uniform(0.0, 1.0)}, args.trials, Halving())
    config = preset_named("quick").replaced({"stages.joint_epochs": _EPOCHS})
    search = Search(
        base=config.model_dump(),
        data="",
        fingerprint="",
        score_name="score",
        space=space,
        trials=args.trials,
        overrides=space.drawn(args.trials, seed=0),
    )
    with tempfile.TemporaryDirectory() as name, local_ray(_SLOTS):
        print("| trials ended | decision, ms | report, ms | memory, MiB |\n|---:|---:|---:|---:|")
        rows = _run(search, Path(name))
    if args.figure:
        _draw(rows, args.figure)


def _run(search: Search, output: Path) -> list[tuple[int, float, float, float]]:
    resources = trial_resources(_SLOTS)
    experiment = Experiment(
        "tune", tune.with_resources(Reporting, resources), config={}, num_samples=1, storage_path=str(output)
    )
    watch = Watch()
    scheduler: TrialScheduler = make_scheduler(search.space, search.trials, search.config, str(output), output)
    meter = Meter(output, Budget(max_hours=24), devices_each=1)
    progress = SearchProgress(search, output, _SLOTS, Silent(), search.trials, meter.left)
    end = OrderlyEnd(StopBoard(output), StopRequest(), meter, lambda trial: False, print)
    for name in ("on_trial_result", "on_trial_complete", "choose_trial_to_run"):
        watch.timed(scheduler, name)
    for name in ("on_step_begin", "on_step_end", "on_trial_result", "on_trial_complete"):
        watch.timed(progress, name)
    watch.timed(end, "on_step_begin")
    tune.run(
        experiment,
        metric="metric",
        mode="max",
        scheduler=scheduler,
        search_alg=make_searcher(search, experiment, _SLOTS, None),
        reuse_actors=True,
        callbacks=[progress, end, watch],
        verbose=0,
    )
    return watch.rows


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _draw(rows: list[tuple[int, float, float, float]], path: Path) -> None:
    import matplotlib.pyplot as plt

    trials, decision, report, memory = np.array(rows).T
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
    for axis, values, label in zip(
        axes,
        (decision, report, memory),
        ("decision, ms a report", "wall, ms a report", "driver's memory, MiB"),
        strict=True,
    ):
        axis.plot(trials, values, "o-", color="black", markersize=4)
        axis.set(xlabel="trials ended", ylabel=label, ylim=(0, 1.3 * values.max()))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
