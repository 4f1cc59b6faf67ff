"""What a checkpoint's pose network makes of pictures, with no data set at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path

import cv2
import numpy as np
import torch

from ray_advpose.data.canvas import cut_canvas
from ray_advpose.data.persons import Person
from ray_advpose.data.pictures import Bbox, boxed_person, read_picture
from ray_advpose.errors import UserError
from ray_advpose.pose.protocols import PCK_THRESHOLDS
from ray_advpose.pose.skeleton import Skeleton, skeleton_named
from ray_advpose.training.batch import CanvasGeometry
from ray_advpose.training.checkpoint import data_identity, read_config, read_manifest
from ray_advpose.training.evaluation import EvaluationBatch, predict
from ray_advpose.training.pose_step import Task
from ray_advpose.training.restoring import load_networks
from ray_advpose.training.state import make_state

# Pictures that wait until a batch is full; of large ones fewer are held than would fill it.
_HELD_BYTES = 256 << 20


@dataclass(frozen=True)
class PicturePrediction:
    """The P persons of a picture.

    Attributes:
        path: The picture's file.
        image_bgr: (H, W, 3) uint8.
        boxes: P squares that were looked at, left, top, width and height in pixels.
        joints_px: (P, J, 2) float64 in the picture's pixels, edges at integers.
        confidence: (P, J) float32, 0 to 1.
    """

    path: Path
    image_bgr: np.ndarray
    boxes: list[Bbox]
    joints_px: np.ndarray
    confidence: np.ndarray


_Held = tuple[Path, np.ndarray, list[Person]]


class Predictor:
    """A checkpoint's pose network, ready to look at pictures.

    Args:
        checkpoint: Its folder.
        device: ``cpu`` or ``cuda``; None takes a GPU where there is one.
        flip_test: Whether heatmaps are averaged with the mirrored crop's.

    Attributes:
        skeleton: The joints it finds.

    Raises:
        UserError: The checkpoint is not whole, or there is no such device.
    """

    def __init__(self, checkpoint: Path, device: str | None, flip_test: bool) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("--device cuda: torch finds no GPU here")
        identity = data_identity(read_manifest(checkpoint))
        config = read_config(checkpoint)
        self.skeleton: Skeleton = skeleton_named(identity.skeleton)
        self._geometry = CanvasGeometry(identity.canvas_px, identity.box_px)
        self._task = Task(config, self._geometry, self.skeleton, PCK_THRESHOLDS[identity.protocol])
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        state = make_state(config, len(self.skeleton.joints), place)
        load_networks(checkpoint, state)
        self._pose_net = state.pose_net
        self._flip_test = flip_test

    def __call__(
        self, wanted: Iterable[tuple[Path, Sequence[Bbox | None]]], batch_size: int
    ) -> Iterator[PicturePrediction]:
        """Predict pictures, in order.

        Args:
            wanted: Files, each with the boxes of its persons; None is the whole picture.
            batch_size: How many persons go through the network at a time, of one picture or of several.

        Raises:
            UserError: A picture cannot be read, or a box does not fit it.
        """
        held: list[_Held] = []
        for path, boxes in wanted:
            image_bgr = read_picture(path)
            persons = [boxed_person(path, image_bgr, box, len(self.skeleton.joints)) for box in boxes]
            held.append((path, image_bgr, persons))
            if (
                sum(len(persons) for _, _, persons in held) >= batch_size
                or sum(image_bgr.nbytes for _, image_bgr, _ in held) >= _HELD_BYTES
            ):
                yield from self._predicted(held, batch_size)
                held = []
        yield from self._predicted(held, batch_size)

    def _predicted(self, held: Sequence[_Held], batch_size: int) -> Iterator[PicturePrediction]:
        shown = [(image_bgr, person) for _, image_bgr, persons in held for person in persons]
        batches = (self._batch(shown[start : start + batch_size]) for start in range(0, len(shown), batch_size))
        found = predict(self._pose_net, batches, self._task, self._flip_test)
        ends = accumulate(chain([0], (len(persons) for _, _, persons in held)))
        for (path, image_bgr, persons), (start, end) in zip(held, pairwise(ends), strict=True):
            squares = [_square(each) for each in persons]
            yield PicturePrediction(path, image_bgr, squares, found.joints_px[start:end], found.confidence[start:end])

    def _batch(self, shown: Sequence[tuple[np.ndarray, Person]]) -> EvaluationBatch:
        cuts = [
            cut_canvas(image_bgr, person, self._geometry.box_px, self._geometry.canvas_px)
            for image_bgr, person in shown
        ]
        canvases = np.stack([cv2.cvtColor(cut.canvas_bgr, cv2.COLOR_BGR2RGB) for cut in cuts])
        return EvaluationBatch(
            torch.from_numpy(canvases), torch.from_numpy(np.stack([c.image_from_canvas for c in cuts]))
        )


def _square(person: Person) -> Bbox:
    left, top = (person.center_px - person.box_px / 2).tolist()
    return left, top, person.box_px, person.box_px
