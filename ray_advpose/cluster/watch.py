"""What may interrupt a running epoch: a checkpoint that is due, a node that is drained, a wish to stop.

All workers have to agree on it, at the same step. Asking costs milliseconds, so they do it about
once a second: with each answer comes the step at which they ask next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import ray.train
import ray.train.collective

_ASK_EVERY_S = 1.0
_FIRST_AFTER_S = 20.0
# A node that is drained may go before its deadline; what was trained since the last checkpoint would go with it.
_CHECKPOINT_WHILE_DRAINED_EVERY_S = 10.0


class Call(StrEnum):
    """What is to be done between two steps."""

    GO_ON = "go on"
    CHECKPOINT = "checkpoint"
    CHECKPOINT_NOW = "checkpoint now"
    STOP = "stop"


@dataclass(frozen=True)
class Drain:
    """A notice that nodes of this run are about to go.

    Attributes:
        nodes: Their Ray ids.
        left_s: Seconds to the deadline; None if none was given.
    """

    nodes: frozenset[str]
    left_s: float | None


class Watch:
    """Answers after each step what is to be done; built and asked on every worker.

    Args:
        step: Global steps done at the start.
        checkpoint_every_s: Seconds between checkpoints within an epoch.
        stop_wanted: Whether training is to stop; asked on rank 0 only.
    """

    def __init__(self, step: int, checkpoint_every_s: float, stop_wanted: Callable[[], bool]) -> None:
        self._every_s = checkpoint_every_s
        self._stop_wanted = stop_wanted
        self.drain: Drain | None = None
        self.epoch_begins(step)
        # The first comes early: workers that are lost again soon should not be back where they were.
        self._saved_at = self._asked_at - max(0.0, checkpoint_every_s - _FIRST_AFTER_S)

    def epoch_begins(self, step: int) -> None:
        """Have the next question come after the next step: another stage may have slower ones."""
        self._next_step, self._stride = step + 1, 1
        self._asked_step, self._asked_at = step, time.monotonic()

    def saved(self) -> None:
        """Note that a checkpoint has just been taken."""
        self._saved_at = time.monotonic()

    def call(self, step: int) -> Call:
        """Return what is to be done now that ``step`` steps are done."""
        if step < self._next_step:
            return Call.GO_ON
        # Also a barrier, in which every worker gets the same answer.
        news = self._news(_drain_notice())
        context = ray.train.get_context()
        answer = (self._decide(news).value, self._paced(step)) if context.get_world_rank() == 0 else None
        if context.get_world_size() > 1:
            answer = ray.train.collective.broadcast_from_rank_zero(answer)
        assert answer is not None
        call, self._next_step = Call(answer[0]), answer[1]
        if call is not Call.GO_ON:
            self.saved()
        return call

    def _news(self, drain: Drain | None) -> bool:
        known = self.drain.nodes if self.drain else frozenset()
        self.drain = drain
        return drain is not None and not drain.nodes <= known

    def _decide(self, news: bool) -> Call:
        if self._stop_wanted():
            return Call.STOP
        if news:
            return Call.CHECKPOINT_NOW
        every_s = min(self._every_s, _CHECKPOINT_WHILE_DRAINED_EVERY_S) if self.drain else self._every_s
        return Call.CHECKPOINT if time.monotonic() - self._saved_at >= every_s else Call.GO_ON

    def _paced(self, step: int) -> int:
        now = time.monotonic()
        steps_per_s = (step - self._asked_step) / max(now - self._asked_at, 1e-3)
        self._asked_step, self._asked_at = step, now
        # Steps may become slower meanwhile, so the stride grows step by step.
        self._stride = max(1, min(2 * self._stride, round(steps_per_s * _ASK_EVERY_S)))
        return step + self._stride


def _drain_notice() -> Drain | None:
    info = ray.train.get_preemption_info()
    if info is None:
        return None
    left_s = None if info.deadline_ms is None else info.deadline_ms / 1000 - time.time()
    return Drain(frozenset(info.preempted_node_ids), left_s)
