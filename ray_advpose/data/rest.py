"""Keeping Ray Data's scheduling loop from taking the training thread's time.

A module of its own: Ray ships the callback to every process that reads, and those do without torch.
"""

from __future__ import annotations

import threading
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback

# How long the loop sleeps between its steps while the trainer trains.
_REST_S = 0.05

trainer_waits = threading.Event()
"""Whether this process's training thread waits for a block, and so has no use for the interpreter lock."""


class RestWhileTraining(ExecutionCallback):
    """Lets Ray Data's scheduling loop sleep between its steps while the trainer is busy with a block.

    The loop runs in the trainer's process. With output that is ready and cannot be handed on yet it
    would spin, and ask for the interpreter lock before almost every operation of the training thread:
    a small network then trained at a twentieth of its speed.
    """

    def on_execution_step(self, executor: Any) -> None:
        """Sleep for `_REST_S`, or until the trainer waits; called after each step of the loop."""
        trainer_waits.wait(_REST_S)
