"""A Ray Train worker group that lives in the background of a process and takes assignments."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
import ray.train
from ray.exceptions import RayActorError
from ray.util.placement_group import placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_advpose.cluster.mailbox import Assignment, Mailbox, Refusal, Report
from ray_advpose.cluster.orphans import release_orphans
from ray_advpose.cluster.serving import serve
from ray_advpose.cluster.torch_trainer import LeanTorchTrainer
from ray_advpose.errors import UserError

_TRAIN_ENVIRONMENT = {
    # How soon a node's drain is seen; it may have half a minute.
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    # A dead worker is noticed, and the end of a run is seen, at the controller's next poll.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # The other ranks wait in a collective while the population decides; that is no reason for a warning.
    "RAY_TRAIN_COLLECTIVE_WARN_INTERVAL_S": "1800",
}
_FAILURE_POLL_S = 0.5
# More than machines that come and go bring about; but workers that never get as far as to ask the mailbox, which
# counts what is fruitless, are not to be started again for ever.
_MAX_DEATHS = 10_000
# How often a group that follows the cluster's size looks whether it can grow; a start costs about as much.
_RESIZE_INTERVAL_S = 20.0
_REMOVAL_TIMEOUT_S = 10.0

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class GroupLayout:
    """What a worker group consists of.

    Attributes:
        storage_path: Folder for Ray Train's own records, reachable from every node.
        num_workers: Ranks, or the least and the most of them for a group that follows the cluster's size.
        resources_per_worker: Ray resources of each rank, e.g. ``{"CPU": 1}``.
        use_gpu: Whether each rank has a GPU.
        max_failures: How often workers may die without reaching a checkpoint in between.
    """

    storage_path: str
    num_workers: int | tuple[int, int]
    resources_per_worker: dict[str, float]
    use_gpu: bool
    max_failures: int


class WorkerGroup:
    """A running `LeanTorchTrainer` and the mailbox through which it is given work.

    The mailbox and Ray Train's controller are actors owned by this process, so they die with it.

    Args:
        name: Name of the Ray Train run; a name that was used before would resume that run.
        layout: Number and resources of the workers.
        train: What every rank does with an assignment: the name of a `ray_advpose.cluster.serving.TrainFunction`.
    """

    def __init__(self, name: str, layout: GroupLayout, train: str) -> None:
        for variable, value in _TRAIN_ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        self.name = name
        # Beside this process: an actor that needs nothing is put anywhere, also where nodes come and go.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox: Any = (
            ray.remote(num_cpus=0)(Mailbox).options(scheduling_strategy=here).remote(layout.max_failures)
        )
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._fit, args=(layout, train), name=name, daemon=True)
        self._thread.start()

    def assign(self, assignment: Assignment) -> None:
        """Give the workers an assignment; the previous one has been dismissed."""
        self._answer(self._mailbox.assign.remote(assignment))

    def next_report(self, meanwhile: Callable[[], None] = lambda: None) -> Report:
        """Wait for the next report of the workers.

        Args:
            meanwhile: Called at once, and then about twice a second.

        Raises:
            UserError: A worker found a mistake of the user's, such as a damaged shard.
            RuntimeError: The workers died again and again.
            Exception: What ended the worker group, if it died for good.
        """
        meanwhile()
        report = self._mailbox.next_report.remote()
        while not ray.wait([report], timeout=_FAILURE_POLL_S)[0]:
            meanwhile()
            if failure := self.failed():
                raise failure
            # The workers may be waiting for what a killed trial has left reserved.
            release_orphans()
        answer: Report | Refusal = self._answer(report)
        if isinstance(answer, Refusal):
            raise UserError(answer.reason) if answer.users_mistake else RuntimeError(answer.reason)
        return answer

    def ask_to_stop(self) -> None:
        """Have the workers take a checkpoint at their next step and report that they were cut."""
        self._answer(self._mailbox.ask_to_stop.remote())

    def is_at_work(self) -> bool:
        """Whether workers have taken the assignment and still have their place; else new ones are waited for."""
        taken, place = self._answer(self._mailbox.taken_in.remote())
        return bool(taken) and (place is None or _state(place) == "CREATED")

    def go_on(self) -> None:
        """Answer the last report: continue."""
        self._answer(self._mailbox.go_on.remote())

    def dismiss(self) -> None:
        """Answer the last report: leave the assignment and wait for the next."""
        self._answer(self._mailbox.dismiss.remote())

    def failed(self) -> Exception | None:
        """Return why the group has ended, or None while it lives."""
        if self._thread.is_alive():
            return None
        return self._failure or RuntimeError(f"worker group {self.name} has ended")

    def close(self, timeout_s: float) -> None:
        """Send the workers home, wait until they are gone and prove that their resources are free.

        Workers in the middle of a stretch leave at their next report. Those that take longer than
        ``timeout_s`` lose their placement group, and so their processes. Ray Train may then start
        them anew, and the mailbox sends these home too.

        Raises:
            RuntimeError: A placement group is still held in the end.
        """
        try:
            groups = ray.get(self._mailbox.close.remote())
        except RayActorError:
            groups = []  # The group has ended before; Ray Train has freed what it held.
        self._thread.join(timeout_s)
        for group in groups:
            _remove(group)
        if self._thread.is_alive():
            _log.warning("the workers of %s had not left after %.0f s and were removed", self.name, timeout_s)

    def _answer(self, call: Any) -> Any:
        try:
            return ray.get(call)
        except RayActorError:
            # The mailbox goes when the group ends, a moment before the thread does.
            self._thread.join(_FAILURE_POLL_S)
            raise self.failed() or RuntimeError(f"worker group {self.name} has lost its mailbox") from None

    def _fit(self, layout: GroupLayout, train: str) -> None:
        try:
            trainer = LeanTorchTrainer(
                serve,
                train_loop_config={"mailbox": self._mailbox, "train": train},
                scaling_config=ray.train.ScalingConfig(
                    num_workers=layout.num_workers,
                    use_gpu=layout.use_gpu,
                    resources_per_worker=dict(layout.resources_per_worker),
                    elastic_resize_monitor_interval_s=_RESIZE_INTERVAL_S,
                ),
                run_config=ray.train.RunConfig(
                    name=self.name,
                    storage_path=layout.storage_path,
                    # The mailbox counts, since only it knows what came of a start. This is for workers that do
                    # not get as far as to ask it; nodes that were drained are not counted.
                    failure_config=ray.train.FailureConfig(max_failures=_MAX_DEATHS),
                ),
            )
            trainer.fit()
        except Exception as error:
            self._failure = error
        finally:
            ray.kill(self._mailbox)


def _remove(placement_group: Any) -> None:
    deadline = time.monotonic() + _REMOVAL_TIMEOUT_S
    if _state(placement_group) != "REMOVED":
        remove_placement_group(placement_group)
    while (state := _state(placement_group)) != "REMOVED":
        if time.monotonic() > deadline:
            raise RuntimeError(f"placement group {placement_group.id.hex()} is still {state}")
        time.sleep(0.05)


def _state(placement_group: Any) -> str:
    # Ray forgets removed groups after a while and then knows no state.
    return str(placement_group_table(placement_group).get("state", "REMOVED"))
