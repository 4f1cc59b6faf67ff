"""The Ray Train function of every rank: serve one assignment after another until sent home.

Nothing is reported to Ray Train itself. Its controller takes one report per poll and stores the
checkpoints of all trials that a worker group serves in one folder; the mailbox is in lockstep with
the trial and keeps each trial's checkpoints apart.
"""

from __future__ import annotations

import pkgutil
import traceback
from collections.abc import Callable
from typing import Any, Protocol

import ray
import ray.train
import ray.train.collective
import ray.util

from ray_advpose.cluster.mailbox import Assignment, Refusal, Report
from ray_advpose.data.reader import start_reader
from ray_advpose.errors import UserError

Metrics = dict[str, float | int | str]


class Session(Protocol):
    """How a worker speaks with the trial that it trains an assignment of."""

    def report(self, metrics: Metrics, checkpoint: str | None, done: bool, cut: bool = False) -> bool:
        """Deliver a report, on every rank equally often; rank 0's arguments count.

        Returns:
            The same answer on every rank: go on, or leave.
        """

    def saved(self, checkpoint: str) -> None:
        """Say that a checkpoint is whole, from any thread."""

    def stop_wanted(self) -> bool:
        """Whether the trial has asked to stop."""


TrainFunction = Callable[[Assignment, Session], None]

TRAIN_ASSIGNMENT = "ray_advpose.cluster.worker:train_assignment"
"""The name of the one that trains. A name, because with the function comes torch, which takes each process between
the command and the workers a second."""


def serve(loop_config: dict[str, Any]) -> None:
    """Train what the mailbox assigns, as one rank of a worker group.

    Args:
        loop_config: ``mailbox``, the handle of the trial's mailbox, and ``train``, the
            name of a `TrainFunction`. ``train(assignment, session)`` runs on every rank and returns once a
            report was answered by False, as it is after ``done`` and ``cut``.

    Raises:
        RuntimeError: ``train`` returned although it was neither done nor told to leave.
    """
    # Before the import of what trains.
    start_reader()
    mailbox, train = loop_config["mailbox"], pkgutil.resolve_name(loop_config["train"])
    while (assignment := _next_assignment(mailbox)) is not None:
        session = _MailboxSession(mailbox, assignment)
        try:
            train(assignment, session)
        except Exception as error:
            mistake = _users_mistake(error)
            if mistake is None:
                ray.get(mailbox.failed.remote("".join(traceback.format_exception_only(error)).strip()))
                raise
            # Trying again would not help. The trial sends the group home; other ranks wait for this one until then.
            # Ray Data adds advice of its own below the sentence.
            ray.get(mailbox.refuse.remote(Refusal(str(mistake).splitlines()[0], users_mistake=True)))
            continue
        if not session.left:
            raise RuntimeError(f"training of trial {assignment.trial_id} returned without reporting that it is done")


def _users_mistake(error: BaseException) -> UserError | None:
    """Return the user's mistake behind an error, also where Ray has wrapped it, if that is what it was."""
    cause: BaseException | None = error
    while cause is not None:
        # Ray raises a class made of its own and the task's; only the innermost has the plain message.
        inner = getattr(cause, "cause", None) or cause.__cause__
        if isinstance(cause, UserError) and not isinstance(inner, UserError):
            return cause
        cause = inner
    return None


class _MailboxSession:
    """Delivers the reports of one assignment and remembers whether it has ended."""

    def __init__(self, mailbox: Any, assignment: Assignment) -> None:
        self._mailbox = mailbox
        self._stretch = (assignment.trial_id, assignment.generation)
        self.left = False

    def report(self, metrics: Metrics, checkpoint: str | None, done: bool, cut: bool = False) -> bool:
        """See `Session`."""
        assert not self.left
        answer = None
        if _is_rank_zero():
            report = Report(*self._stretch, dict(metrics), checkpoint, done, cut)
            answer = ray.get(self._mailbox.report.remote(report))
        go_on = bool(_from_rank_zero(answer))
        self.left = not go_on
        return go_on

    def saved(self, checkpoint: str) -> None:
        """See `Session`."""
        ray.get(self._mailbox.saved.remote(*self._stretch, checkpoint))

    def stop_wanted(self) -> bool:
        """See `Session`."""
        return bool(ray.get(self._mailbox.stop_wanted.remote()))


def _next_assignment(mailbox: Any) -> Assignment | None:
    assignment: Assignment | None = None
    if _is_rank_zero():
        workers = ray.train.get_context().get_world_size()
        assignment = ray.get(mailbox.next_assignment.remote(ray.util.get_current_placement_group(), workers))
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
