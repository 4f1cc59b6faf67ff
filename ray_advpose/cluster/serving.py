"""The Ray Train function of every rank: serve one assignment after another until sent home.

Nothing is reported to Ray Train itself. Its controller takes one report per poll and stores the
checkpoints of all trials that a worker group serves in one folder; the mailbox is in lockstep with
the trial and keeps each trial's checkpoints apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
import ray.train
import ray.train.collective
import ray.util

from ray_advpose.cluster.mailbox import Assignment, Report

Metrics = dict[str, float | int | str]
ReportFunction = Callable[[Metrics, str | None, bool], bool]
TrainFunction = Callable[[Assignment, ReportFunction], None]


def serve(loop_config: dict[str, Any]) -> None:
    """Train what the mailbox assigns, as one rank of a worker group.

    Args:
        loop_config: ``mailbox``, the handle of the trial's mailbox, and ``train``, a
            `TrainFunction`. ``train(assignment, report)`` runs on every rank, calls
            ``report(metrics, checkpoint, done)`` equally often on each of them (rank 0's
            arguments count) and returns once it has answered False or after reporting ``done``.

    Raises:
        RuntimeError: ``train`` returned although it was neither done nor told to leave.
    """
    mailbox, train = loop_config["mailbox"], loop_config["train"]
    while (assignment := _next_assignment(mailbox)) is not None:
        reporter = _Reporter(mailbox, assignment)
        train(assignment, reporter.report)
        if not reporter.left:
            raise RuntimeError(f"training of trial {assignment.trial_id} returned without reporting that it is done")


class _Reporter:
    """Delivers the reports of one assignment and remembers whether it has ended."""

    def __init__(self, mailbox: Any, assignment: Assignment) -> None:
        self._mailbox = mailbox
        self._assignment = assignment
        self.left = False

    def report(self, metrics: Metrics, checkpoint: str | None, done: bool) -> bool:
        """Deliver rank 0's report and give every rank the same answer: go on, or leave."""
        assert not self.left
        answer = None
        if _is_rank_zero():
            trial_id, generation = self._assignment.trial_id, self._assignment.generation
            answer = ray.get(self._mailbox.report.remote(Report(trial_id, generation, dict(metrics), checkpoint, done)))
        go_on = bool(_from_rank_zero(answer))
        self.left = not go_on
        return go_on


def _next_assignment(mailbox: Any) -> Assignment | None:
    assignment: Assignment | None = None
    if _is_rank_zero():
        assignment = ray.get(mailbox.next_assignment.remote(ray.util.get_current_placement_group()))
    # Ray's broadcast is for less than 1 kB, so it only tells the other ranks when to look.
    _from_rank_zero(None)
    if not _is_rank_zero():
        assignment = ray.get(mailbox.taken_assignment.remote())
    return assignment


def _is_rank_zero() -> bool:
    return bool(ray.train.get_context().get_world_rank() == 0)


def _from_rank_zero(value: bool | None) -> bool | None:
    """Broadcast through Ray instead of torch: waiting for a trial must not run into a collective's time limit."""
    if ray.train.get_context().get_world_size() == 1:
        return value
    answer: bool | None = ray.train.collective.broadcast_from_rank_zero(value)
    return answer
