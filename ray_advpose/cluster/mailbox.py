"""How a trial and its worker group talk: one mailbox, in lockstep.

The trial puts an `Assignment` in, the workers take it and put `Report` after `Report` back. After
each report they stand still until the trial has answered, so what the population decides, the
metrics it decided on and the checkpoint it keeps always belong to the same moment. `Mailbox` is a
plain asyncio class; `ray_advpose.cluster.group` runs it as an actor.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One stretch of training, from a checkpoint on, with fixed hyper-parameters.

    Attributes:
        trial_id: The trial it belongs to.
        generation: How often the trial has copied another.
        config: The whole `ray_advpose.config.Config` as ``model_dump()`` gives it.
        data: Folder of the shards.
        output: Folder for this trial's records.
        checkpoint: Place of the checkpoint to start from; None starts from fresh weights.
        checkpoints: Folder or URI for this trial's checkpoints.
        pose_stage: Without a checkpoint, the end of another run's equal stage 1 to start from.
        share_pose_stage: Where to put the end of stage 1 for other runs; None keeps it to this run.
        report_whole: Whether an epoch is reported only once its checkpoint is whole, as a population
            needs that may copy it at once; else checkpoints are written while training goes on.
        allow_changes: What may differ from the checkpoint, see `ray_advpose.training.restoring`.
        any_member: Whether the checkpoint may be of other settings, as a copied trial's is: heads of
            augmentation networks are mapped where they differ.
        writer: By what name the place of its checkpoints is claimed; None if nobody else can write there.
    """

    trial_id: str
    generation: int
    config: dict[str, Any]
    data: str
    output: str
    checkpoint: str | None
    checkpoints: str
    pose_stage: str | None = None
    share_pose_stage: str | None = None
    report_whole: bool = True
    allow_changes: tuple[str, ...] = ()
    any_member: bool = False
    writer: str | None = None


@dataclasses.dataclass(frozen=True)
class Report:
    """What the workers say at a report boundary.

    Attributes:
        metrics: Figures of the stretch since the last report.
        checkpoint: Place of a checkpoint that is complete on storage, None if none was written.
        done: Whether the assignment has nothing left to train.
        cut: Whether this ends the assignment within an epoch, because the trial asked to stop.
    """

    trial_id: str
    generation: int
    metrics: dict[str, float | int | str]
    checkpoint: str | None
    done: bool
    cut: bool = False


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why the workers cannot train the assignment at all.

    Attributes:
        reason: For the user.
        users_mistake: Whether it is a mistake in what the user gave.
    """

    reason: str
    users_mistake: bool


class Mailbox:
    """Holds the current assignment and the report that awaits its answer.

    Args:
        max_failures: How often a worker group may start again without a report or a checkpoint in
            between; machines that come and go may make it start any number of times with one.
    """

    def __init__(self, max_failures: int = 3) -> None:
        self._changed = asyncio.Condition()
        self._max_failures = max_failures
        self._fruitless_starts = 0
        self._last_error = ""
        self._refusal: Refusal | None = None
        self._stop_wanted = False
        self._assignment: Assignment | None = None
        self._report: Report | None = None
        self._closed = False
        # Counts assignments and dismissals, so that a call that slept through several tells them apart.
        self._era = 0
        self._taken: Assignment | None = None
        self._taken_era = 0
        self._taken_in: Any = None
        self._workers = 0
        self._placement_groups: dict[str, Any] = {}

    async def next_assignment(self, placement_group: Any = None, workers: int = 1) -> Assignment | None:
        """Wait for work; rank 0 of a worker group calls this.

        A group that restarted after a failure is given the current assignment again, now starting
        from the last checkpoint that was reported, and only once the trial has answered the
        report that came with it.

        Args:
            placement_group: The Ray placement group the caller runs in, kept for the trial, which has
                to prove in the end that it is gone.
            workers: How many workers the group has now; a start with another number of them is no failure.

        Returns:
            The assignment, or None: leave, the group is shutting down.
        """
        async with self._changed:
            if placement_group is not None:
                self._placement_groups[placement_group.id.hex()] = placement_group
            await self._changed.wait_for(self._can_be_taken)
            if self._assignment is not None and (self._taken_era, self._workers) == (self._era, workers):
                self._fruitless_starts += 1
                if self._fruitless_starts > self._max_failures:
                    starts = f"the workers died {self._fruitless_starts} times without reaching a checkpoint in between"
                    self._refuse(Refusal(f"{starts}; the last error: {self._last_error or 'unknown'}", False))
                    await self._changed.wait_for(self._can_be_taken)
            self._taken, self._taken_era, self._workers = self._assignment, self._era, workers
            self._taken_in = placement_group
            return self._taken

    async def taken_assignment(self) -> Assignment | None:
        """Return what rank 0 was given last, for the other ranks."""
        return self._taken

    async def taken_in(self) -> tuple[bool, Any]:
        """Return whether workers have taken the current assignment, and the placement group of those who did last."""
        return self._taken_era == self._era, self._taken_in

    async def stop_wanted(self) -> bool:
        """Return whether the trial has asked to stop."""
        return self._stop_wanted

    async def ask_to_stop(self) -> None:
        """Have the workers take a checkpoint at their next step and leave; they say so in a report."""
        self._stop_wanted = True

    async def saved(self, trial_id: str, generation: int, checkpoint: str) -> None:
        """Note a checkpoint that is whole and that no report comes with: workers that die start from it."""
        async with self._changed:
            assignment = self._assignment
            if assignment is None or self._taken_era != self._era:
                return
            if (assignment.trial_id, assignment.generation) == (trial_id, generation):
                self._assignment = dataclasses.replace(assignment, checkpoint=checkpoint)
                self._fruitless_starts = 0

    async def failed(self, error: str) -> None:
        """Note why a worker is about to die."""
        self._last_error = error

    async def refuse(self, refusal: Refusal) -> None:
        """Say that the assignment cannot be trained; whoever asks for work waits until it is dismissed."""
        async with self._changed:
            self._refuse(refusal)

    async def report(self, report: Report) -> bool:
        """Deliver a report and wait for the trial's answer.

        Returns:
            Whether to go on. False: leave this assignment, another one or the end follows.
        """
        async with self._changed:
            era = self._era
            if self._assignment is None or self._taken_era != era:
                return False
            assert (report.trial_id, report.generation) == (self._assignment.trial_id, self._assignment.generation)
            if report.checkpoint is not None:
                self._assignment = dataclasses.replace(self._assignment, checkpoint=report.checkpoint)
                self._fruitless_starts = 0
            self._report = report
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._report is not report)
            return self._era == era

    async def assign(self, assignment: Assignment) -> None:
        """Give the workers something to do; the previous assignment has been dismissed."""
        async with self._changed:
            assert self._assignment is None
            assert not self._closed
            self._assignment = assignment
            self._fruitless_starts = 0
            self._era += 1
            self._changed.notify_all()

    async def next_report(self) -> Report | Refusal:
        """Wait for a report that has not been answered, or for a refusal."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._report is not None or self._refusal is not None)
            answer = self._refusal or self._report
            assert answer is not None
            return answer

    async def go_on(self) -> None:
        """Answer the report: continue the assignment."""
        async with self._changed:
            assert self._report is not None
            assert not self._report.done
            assert not self._report.cut
            self._report = None
            self._changed.notify_all()

    async def dismiss(self) -> None:
        """Answer the report: leave the assignment and wait for the next one."""
        async with self._changed:
            self._leave()

    async def close(self) -> list[Any]:
        """Send the workers home, now and whenever they ask again.

        Returns:
            The placement groups of every worker group that has asked for work.
        """
        async with self._changed:
            self._closed = True
            self._leave()
            return list(self._placement_groups.values())

    def _can_be_taken(self) -> bool:
        return self._closed or (self._assignment is not None and self._report is None and self._refusal is None)

    def _refuse(self, refusal: Refusal) -> None:
        self._refusal = self._refusal or refusal
        self._changed.notify_all()

    def _leave(self) -> None:
        self._assignment = None
        self._report = None
        self._refusal = None
        self._stop_wanted = False
        self._era += 1
        self._changed.notify_all()
