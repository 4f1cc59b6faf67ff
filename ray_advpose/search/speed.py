"""How fast trials of a config train: from the records of earlier runs, or from a calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import ray

from ray_advpose.cluster.layout import Layout
from ray_advpose.cluster.run_files import read_history
from ray_advpose.config import Config, load_config
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError
from ray_advpose.training.schedule import Stage

_DECIDING = (
    "net.",
    "aho.",
    "asr.",
    "run.num_workers",
    "run.torch_threads_per_worker",
    "run.global_batch_size",
    "run.precision",
    "run.cuda_graphs",
)
_CALIBRATION_S = 5.0


@dataclass(frozen=True)
class Speed:
    """Speed of one trial while as many train as are to.

    Attributes:
        images_per_s: By stage.
        source: Where that was measured.
    """

    images_per_s: Mapping[str, float]
    source: str


def recorded_speed(root: Path, config: Config) -> Speed | None:
    """Return the speed of the last run below a folder whose networks, batch and workers were these; None without one.

    Args:
        root: Folder of the folders of runs and searches.
        config: Bins and grid count by their arms being on only: they hardly change how long a step takes.
    """
    for folder in _runs(root):
        try:
            used = load_config(folder / "config.yaml")
        except UserError:
            continue  # of another version
        rates = _rates(folder)
        # One that was cut has no speed of its later stages.
        if _decides(used) == _decides(config) and Stage.JOINT.label in rates:
            return Speed(rates, f"the records of {folder}")
    return None


def _runs(root: Path) -> Iterator[Path]:
    histories = [*root.glob("*/history.json"), *root.glob("*/trials/*/history.json")]
    for path in sorted(histories, key=lambda each: -each.stat().st_mtime):
        yield path.parent


def _rates(folder: Path) -> dict[str, float]:
    images: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for record in read_history(folder):
        images[record.stage] = images.get(record.stage, 0) + record.images
        seconds[record.stage] = seconds.get(record.stage, 0.0) + record.seconds
    return {stage: images[stage] / seconds[stage] for stage in images}


def _decides(config: Config) -> dict[str, object]:
    return {
        name: value
        for name, value in config.flat().items()
        if name.startswith(_DECIDING)
        and (name.endswith((".enabled", ".policy")) or not name.startswith(("asr.", "aho.")))
    }


def calibrated_speed(config: Config, shards: ShardSet, layout: Layout) -> Speed:
    """Train for some seconds on a connected Ray, on as many workers at a time as the search would."""
    run = config.run
    measure = ray.remote(num_cpus=run.cpus_per_worker, num_gpus=run.gpus_per_worker, max_calls=1)(_calibrated)
    workers = layout.slots * layout.workers
    rates: list[dict[str, float]] = ray.get([measure.remote(config.model_dump(), shards) for _ in range(workers)])
    return Speed(
        {stage: min(each[stage] for each in rates) for stage in rates[0]},
        f"a calibration of {_CALIBRATION_S:g} s a stage on {workers} worker(s) at a time",
    )


def _calibrated(config: dict[str, object], shards: ShardSet) -> dict[str, float]:
    from ray_advpose.config import config_from_dict
    from ray_advpose.data.calibration import calibrate

    return calibrate(config_from_dict(config, "base config"), shards, _CALIBRATION_S)
