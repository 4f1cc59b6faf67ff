"""What a run leaves for people to read: its log, TensorBoard events, config and history."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
from tensorboardX import SummaryWriter

from ray_advpose.cluster.run_files import CONFIG, INPUTS, LOG, write_history
from ray_advpose.cluster.stretches import Stretch
from ray_advpose.cluster.watch import Drain
from ray_advpose.config import Config
from ray_advpose.pose.metrics import Score
from ray_advpose.pose.skeleton import Skeleton
from ray_advpose.report.clock import clock
from ray_advpose.report.inputs_picture import inputs_picture
from ray_advpose.training.glimpse import Glimpse
from ray_advpose.training.history import EpochRecord
from ray_advpose.training.loop import Progress

EVENTS = "events"
_JPEG_QUALITY = 85


class RunRecords:
    """Writes one run's records into its folder.

    Attributes:
        logger: Of the run's log.
    """

    def __init__(self, folder: Path, logger: logging.Logger, events: SummaryWriter) -> None:
        self._folder = folder
        self.logger = logger
        self._events = events

    def begin(self, step: int, checkpoint: str | None, workers: int, notes: list[str]) -> None:
        """Log where training starts and with how many workers, and what there is to say about its networks."""
        source = f"from {checkpoint}" if checkpoint else "from fresh weights"
        self.logger.info("training starts at step %d %s, %d worker(s)", step, source, workers)
        for note in notes:
            self.logger.info("%s", note)

    def draining(self, drain: Drain, step: int) -> None:
        """Log that nodes are about to go."""
        left = "no deadline" if drain.left_s is None else f"{drain.left_s:.0f} s left"
        nodes = ", ".join(node[:8] for node in sorted(drain.nodes))
        self.logger.info("node %s is being drained, %s: a checkpoint is taken at step %d", nodes, left, step)

    def progress(self, progress: Progress) -> None:
        """Log where a running epoch is."""
        self.logger.info("%s", progress_line(progress))

    def validated(self, score: Score) -> None:
        """Log a validation's definition and its median signed error, which would show a decoder's bias."""
        horizontal, vertical = score.median_error_px
        self.logger.info("%s: median signed error (%.2f, %.2f) px", score.caption, horizontal, vertical)

    def epoch(self, record: EpochRecord, history: list[EpochRecord]) -> None:
        """Log a finished epoch, and write its events and the history so far."""
        self.logger.info(
            "%s epoch %d done: step %d, score %.2f, %.0f images/s, %.0f %% of the time waiting for data",
            record.stage,
            record.epoch,
            record.step,
            record.metric,
            record.images / record.seconds,
            100 * record.waiting_share,
        )
        self._events.add_scalar("validation/score", record.metric, record.step)
        for name, accuracy in record.joints.items():
            self._events.add_scalar(f"validation_joints/{name}", accuracy, record.step)
        self._events.add_scalar("speed/images_per_s", record.images / record.seconds, record.step)
        self._events.add_scalar("speed/waiting_share", record.waiting_share, record.step)
        for name, value in record.means.items():
            self._events.add_scalar(f"train/{name}", value, record.step)
        for name, value in record.learning_rates.items():
            self._events.add_scalar(f"learning_rate/{name}", value, record.step)
        if record.probe is not None:
            # Takes half a second the first time, which a worker's start should not.
            from ray_advpose.report.probe_chart import probe_chart

            self._events.add_image("probe", probe_chart(record.probe), record.step, dataformats="HWC")
        self._events.flush()
        write_history(self._folder, history)

    def inputs(self, seen: Glimpse, skeleton: Skeleton, step: int) -> None:
        """Show images as the networks see them, as an event and in the run's folder."""
        picture = inputs_picture(seen, skeleton)
        self._events.add_image("inputs", picture, step, dataformats="HWC")
        done, data = cv2.imencode(
            ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        assert done, "a uint8 picture always encodes"
        _replace(self._folder / INPUTS, bytes(data))

    def stretch(self, stretch: Stretch) -> None:
        """Write how long it took to take up a checkpoint, or another trial's in an exploit."""
        kind = "exploit" if stretch.generation else "start"
        self._events.add_scalar(f"time/{kind}_s", stretch.trained_at - stretch.taken_at, stretch.step)

    def checkpoint(self, step: int, seconds: float) -> None:
        """Write how long a checkpoint took, in the background or not."""
        self._events.add_scalar("time/checkpoint_s", seconds, step)


@contextmanager
def run_records(folder: Path, config: Config, step: int, history: list[EpochRecord]) -> Iterator[RunRecords]:
    """Open a run's records, adding to what an earlier start of the run has written.

    Args:
        folder: The run's folder, made if needed.
        config: Written beside the records.
        step: Where training goes on; what TensorBoard knows of later steps is trained again and hidden.
        history: Epochs up to there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / CONFIG, config.to_yaml().encode())
    logger = logging.getLogger(f"ray_advpose.run.{folder.name}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.FileHandler(folder / LOG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    events = SummaryWriter(str(folder / EVENTS), purge_step=step + 1 if step else None)
    if history:
        write_history(folder, history)
    try:
        yield RunRecords(folder, logger, events)
    finally:
        events.close()
        logger.removeHandler(handler)
        handler.close()


def _replace(path: Path, content: bytes) -> None:
    """Write a file that appears whole, as others read it at any time."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def progress_line(progress: Progress) -> str:
    """Return a line such as ``joint 2/5 | step 1200/2836 | 71 images/s | 4:37 left | ...``."""
    left_s = progress.images_left / progress.images_per_s if progress.images_per_s else 0.0
    losses = " ".join(
        f"{name} {value:.4f}" for name, value in progress.means.items() if name.startswith(("loss", "kl"))
    )
    return (
        f"{progress.stage} {progress.epoch}/{progress.epochs} | step {progress.step}/{progress.total_steps}"
        f" | {progress.images_per_s:.0f} images/s | about {clock(left_s)} left at this speed | {losses}"
    )
