"""Writing a run's checkpoints: in the background while training goes on, or at once where it counts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ray_advpose.cluster.checkpoint_store import CheckpointStore, OvertakenError
from ray_advpose.cluster.storage import keep_checkpoints
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import DataIdentity, Snapshot


class CheckpointSaver:
    """Rank 0's writer of checkpoints.

    In the background only the newest snapshot waits, behind the best epoch's end if that waits as well:
    if storage is slower than checkpoints come, the others are left out, and training does not stand still.

    Args:
        store: Where they go.
        data: What the run is trained on.
        keep_last: How many stay, see `ray_advpose.cluster.storage.keep_checkpoints`.
        on_saved: Told the place of a checkpoint written in the background once it is whole, before older
            ones are deleted.
        logger: The run's log.
        on_written: Told the step and the seconds of every checkpoint written.
        writer: By what name the run has claimed the store; None if nobody else can come to write there.

    Raises:
        OvertakenError: By any method that saves, once another start of the run has claimed the store.
    """

    def __init__(
        self,
        store: CheckpointStore,
        data: DataIdentity,
        keep_last: int,
        on_saved: Callable[[str], None],
        logger: logging.Logger,
        on_written: Callable[[int, float], None] = lambda step, seconds: None,
        writer: str | None = None,
    ) -> None:
        self._writer = writer
        self._overtaken: OvertakenError | None = None
        self._store = store
        self._data = data
        self._keep_last = keep_last
        self._on_saved = on_saved
        self._logger = logger
        self._on_written = on_written
        self._last: str | None = None
        self._changed = threading.Condition()
        self._taken: set[int] = set()
        self._waiting: list[Snapshot] = []
        self._writing = False
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="checkpoints", daemon=True)
        self._thread.start()

    @property
    def waits(self) -> bool:
        """Whether a snapshot waits for the one before it to be written."""
        with self._changed:
            return bool(self._waiting)

    def drop(self) -> None:
        """Forget what waits; what is being written comes to its end."""
        with self._changed:
            self._waiting = []

    def close(self) -> None:
        """Wait until everything is written."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def save(self, snapshot: Snapshot) -> None:
        """Have a checkpoint written in the background; a failure is logged, and training goes on."""
        with self._changed:
            if self._overtaken is not None:
                raise self._overtaken
            self._waiting = [*self._still_needed(snapshot), snapshot]
            self._changed.notify_all()

    def save_now(self, snapshot: Snapshot, urgent: bool = False) -> str:
        """Write a checkpoint, after the best epoch's end if that waits, and return its place once it is whole.

        Args:
            snapshot: What is written.
            urgent: The machine goes; there is no time for anything but this.

        Raises:
            UserError: It cannot be written; says where the last whole one is.
        """
        with self._changed:
            needed = self._still_needed(snapshot)
            self._waiting = [] if urgent else needed
            self._changed.wait_for(lambda: not self._waiting and not self._writing)
        try:
            return self._commit(snapshot, lambda place: None)
        except OSError as error:
            raise UserError(self._failure(snapshot, error)) from None

    def _still_needed(self, newest: Snapshot) -> list[Snapshot]:
        """Note a new snapshot and return what has to be written before it: the best epoch's end, if that waits."""
        # An epoch's end of which no snapshot was taken may be better still.
        self._taken.add(newest.step)
        best = next((step for step in newest.epoch_ends if step in self._taken), newest.step)
        return [each for each in self._waiting if each.step == best < newest.step]

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                snapshot = self._waiting.pop(0)
                self._writing = True
            try:
                self._commit(snapshot, self._on_saved)
            except OvertakenError as error:
                self._logger.warning("%s", error)
                self.drop()
            except Exception as error:
                # Whatever it is, the next one must be tried.
                self._logger.warning("%s; training goes on", self._failure(snapshot, error))
            finally:
                with self._changed:
                    self._writing = False
                    self._changed.notify_all()

    def _failure(self, snapshot: Snapshot, error: Exception) -> str:
        last = f"the last one written is {self._last}" if self._last else "none has been written since this start"
        return f"the checkpoint of step {snapshot.step} cannot be written to {self._store.place}: {error}; {last}"

    def _commit(self, snapshot: Snapshot, then: Callable[[str], None]) -> str:
        if self._overtaken is not None:
            raise self._overtaken
        if self._last == self._store.place_of(snapshot.step):
            return self._last
        self.has_claim()
        started = time.monotonic()
        self._last = self._store.commit(snapshot, self._data)
        seconds = time.monotonic() - started
        self._logger.info("checkpoint of step %d written in %.2f s", snapshot.step, seconds)
        self._on_written(snapshot.step, seconds)
        then(self._last)
        if self.has_claim():
            try:
                keep_checkpoints(self._store, snapshot.step, snapshot.epoch_ends, self._keep_last)
            except OSError as error:
                self._logger.warning("older checkpoints in %s could not be deleted: %s", self._store.place, error)
        return self._last

    def has_claim(self) -> bool:
        """Whether nobody else writes here; False if that cannot be read now, which is no reason to lose a checkpoint.

        Raises:
            OvertakenError: Somebody does.
        """
        if self._writer is None:
            return True
        try:
            self._store.check_claim(self._writer)
        except OvertakenError as error:
            self._overtaken = error
            raise
        except (OSError, ValueError, KeyError) as error:
            self._logger.warning("who writes to %s cannot be read: %s", self._store.place, error)
            return False
        return True


@contextmanager
def checkpoint_saver(
    store: CheckpointStore,
    data: DataIdentity,
    keep_last: int,
    on_saved: Callable[[str], None],
    logger: logging.Logger,
    on_written: Callable[[int, float], None] = lambda step, seconds: None,
    writer: str | None = None,
) -> Iterator[CheckpointSaver]:
    """Have a saver for the time being, arguments as `CheckpointSaver`; leftovers of earlier ones are removed."""
    saver = CheckpointSaver(store, data, keep_last, on_saved, logger, on_written, writer)
    try:
        if saver.has_claim():
            store.sweep()
        yield saver
    except BaseException:
        saver.drop()
        raise
    finally:
        saver.close()
