"""A training command run to its end, whatever is done to it on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_advpose.cluster.sample_log import last_step, logged_bytes
from ray_advpose.cluster.storage import fetched, last_whole, store_at
from ray_advpose.cluster.worker_records import WorkerRecord, read_workers
from ray_advpose.drill.faults import Fault, Kind
from ray_advpose.drill.leaks import reading_processes, still_held
from ray_advpose.drill.nodes import LocalNodes
from ray_advpose.training.checkpoint import read_manifest

_DRAIN_S = 12
_SETTLE_S = 15.0
_POLL_S = 0.02
# Nothing moves while processes start; longer than this means that something hangs.
_STANDSTILL_S = 240.0


@dataclass(frozen=True)
class FaultOutcome:
    """What came of a fault.

    Attributes:
        fault: The fault.
        happened: Whether it had an effect, rather than find the run done or nothing to damage.
        at_step: The last step that had been begun when it happened.
        checkpoint_step: The last step that was in a whole checkpoint then; 0 if there was none.
        resumed_step: Where training went on.
        recovery_s: From the fault to the first step begun after it.
    """

    fault: Fault
    happened: bool
    at_step: int
    checkpoint_step: int
    resumed_step: int
    recovery_s: float

    @property
    def lost_nothing_else(self) -> bool:
        """Whether nothing was lost but what was trained since the last checkpoint; of a stop, nothing at all."""
        if self.fault.kind in (Kind.STOP, Kind.READER):
            return self.resumed_step == self.at_step + 1
        return self.resumed_step >= self.checkpoint_step


class Command:
    """A training command that is started again when it ends before its time.

    Args:
        arguments: Of ``launch/train.py``, without ``--out``.
        script: Path of ``launch/train.py``.
        output: The run's folder.
        log: Everything it prints goes there.
    """

    def __init__(self, arguments: Sequence[str], script: Path, output: Path, log: Path) -> None:
        self._script = script
        self._arguments = list(arguments)
        self._output = output
        self._log = log
        self.process = self.start()

    def start(self, resume: Sequence[str] | None = None) -> subprocess.Popen[bytes]:
        """Give the command, or the one that resumes it."""
        what = ["--resume", str(self._output), *resume] if resume is not None else self._given
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(self._script), *what], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        return self.process

    def end(self) -> None:
        """End the process, should it still be there."""
        if self.process.poll() is None:
            self.kill()

    @property
    def _given(self) -> list[str]:
        return [*self._arguments, "--out", str(self._output)]

    def kill(self) -> None:
        """End the process as a machine's end would, and wait for it."""
        self.process.kill()
        self.process.wait()

    def last_words(self) -> str:
        """Return the end of what it printed."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


class Disturbance:
    """Runs a command under faults.

    Args:
        command: The command, started.
        output: The run's folder.
        checkpoints: Its place for checkpoints.
        address: The cluster's, as ``--resume`` needs it.
        nodes: The drill's own nodes, if the cluster is its own.
        mark: What the processes of these nodes carry, see `ray_advpose.drill.leaks`.
        say: Told what happens.
    """

    def __init__(
        self,
        command: Command,
        output: Path,
        checkpoints: str,
        address: str,
        nodes: LocalNodes | None,
        mark: str,
        say: Callable[[str], None],
    ) -> None:
        self._command = command
        self._output = output
        self._store = store_at(checkpoints)
        self._address = address
        self._nodes = nodes
        self._mark = mark
        self._held_before = still_held(timeout_s=0)
        self._say = say

    def run(self, faults: Sequence[Fault]) -> list[FaultOutcome]:
        """Let each fault happen at its step, and the command come to its end.

        Raises:
            RuntimeError: The command failed, or nothing moved for minutes.
        """
        outcomes = []
        for fault in faults:
            self._wait_for(lambda due=fault.step: self._ended() or self._step() >= due)  # type: ignore[misc]
            if self._ended():
                break
            outcomes.append(self._happen(fault))
        self._wait_for(self._ended)
        late = faults[len(outcomes) :]
        step = self._checkpoint_step()
        return outcomes + [FaultOutcome(fault, False, step, step, step, 0.0) for fault in late]

    def _happen(self, fault: Fault) -> FaultOutcome:
        before = self._starts()
        self._say(f"step {self._step()}: {fault.kind.meaning}")
        if fault.kind is Kind.WORKER:
            _kill(before[-1])
        elif fault.kind is Kind.READER:
            return self._kill_a_reader(fault)
        elif fault.kind is Kind.STOP:
            self._command.process.send_signal(signal.SIGTERM)
            self._wait_for(lambda: self._command.process.poll() is not None)
            if self._command.process.returncode == 0:
                return FaultOutcome(fault, False, self._step(), self._step(), self._step() + 1, 0.0)
        elif fault.kind.ends_the_command:
            self._command.kill()
            # Its workers notice a moment later, and what they still write is theirs.
            still_held(_SETTLE_S, but=self._held_before)
        else:
            self._take_node_away(before[-1].node, with_notice=fault.kind is Kind.DRAIN)
        happened, at_step, logged = time.monotonic(), self._step(), logged_bytes(self._output)
        steps = self._store.steps()
        if fault.kind is Kind.TRUNCATED and steps:
            _truncate(self._store.place_of(steps[-1]))
        checkpoint_step = self._checkpoint_step()
        if fault.kind is Kind.STOP:
            self._command.start(resume=["--cluster", self._address])
        elif fault.kind.ends_the_command:
            self._command.start()
        self._wait_for(lambda: self._ended() or len(self._starts()) > len(before))
        self._wait_for(lambda: self._ended() or logged_bytes(self._output) > logged)
        starts = self._starts()[len(before) :]
        # Whatever came too late for the run found it done.
        resumed_step = starts[0].step if starts else checkpoint_step
        effect = bool(starts) and (bool(steps) or fault.kind is not Kind.TRUNCATED)
        return FaultOutcome(fault, effect, at_step, checkpoint_step, resumed_step, time.monotonic() - happened)

    def _kill_a_reader(self, fault: Fault) -> FaultOutcome:
        """Kill a data task; Ray does it again, and the run goes on where it is."""
        starts, killed = len(self._starts()), 0
        while not killed and not self._ended():
            self._wait_for(lambda: self._ended() or bool(reading_processes(self._mark)))
            for process in reading_processes(self._mark):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    killed += 1
        happened, at_step, logged = time.monotonic(), self._step(), logged_bytes(self._output)
        self._wait_for(lambda: self._ended() or logged_bytes(self._output) > logged)
        again = self._starts()[starts:]
        resumed_step = again[0].step if again else at_step + 1
        recovery_s = time.monotonic() - happened
        return FaultOutcome(fault, killed > 0, at_step, self._checkpoint_step(), resumed_step, recovery_s)

    def _take_node_away(self, node: str, with_notice: bool) -> None:
        assert self._nodes is not None
        self._nodes.add()
        if with_notice:
            self._nodes.drain(node, _DRAIN_S)
            time.sleep(_DRAIN_S)
        self._nodes.remove(node)

    def _ended(self) -> bool:
        return self._command.process.poll() == 0

    def _starts(self) -> list[WorkerRecord]:
        return read_workers(self._output, rank=0)

    def _step(self) -> int:
        return last_step(self._output)

    def _checkpoint_step(self) -> int:
        place = last_whole(self._store, skipped=lambda sentence: None)
        if place is None:
            return 0
        with fetched(place) as folder:
            return int(read_manifest(folder)["step"])

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        seen, since = self._step(), time.monotonic()
        while not condition():
            if (step := self._step()) != seen:
                seen, since = step, time.monotonic()
            code = self._command.process.poll()
            if code not in (None, 0, 128 + signal.SIGTERM):
                raise RuntimeError(f"the command ended with {code}: {self._last_words()}")
            if time.monotonic() - since > _STANDSTILL_S:
                raise RuntimeError(
                    f"nothing has moved since step {seen} for {_STANDSTILL_S:.0f} s: {self._last_words()}"
                )
            time.sleep(_POLL_S)

    def _last_words(self) -> str:
        return f"\n{self._command.last_words()}"


def _kill(worker: WorkerRecord) -> None:
    """Kill a worker's process on whatever node it is."""
    strategy = NodeAffinitySchedulingStrategy(worker.node, soft=False)
    ray.get(_send_kill.options(scheduling_strategy=strategy).remote(worker.pid))


@ray.remote(num_cpus=0, max_retries=0)
def _send_kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _truncate(checkpoint: str) -> None:
    """Cut a checkpoint's largest file in half, as a copy that was interrupted leaves it."""
    files, folder = pyarrow.fs.FileSystem.from_uri(checkpoint)
    largest = max(files.get_file_info(pyarrow.fs.FileSelector(folder)), key=lambda info: info.size or 0)
    with files.open_input_stream(largest.path) as stream:
        half = stream.read(largest.size // 2)
    with files.open_output_stream(largest.path) as stream:
        stream.write(half)
