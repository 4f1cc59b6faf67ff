"""Ray Train's trainer for torch, without an actor that it starts for every run and that is of no use here."""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback


class UncleanedTorchTrainer(TorchTrainer):
    """A `TorchTrainer` that leaves the cleaning up after a killed controller to `release_orphans`.

    Ray Train's cleaner needs the dashboard and a process of its own, outlives its run where there is
    none, and does not know what a start-up that was cut has reserved.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if not isinstance(callback, PlacementGroupCleanerCallback)]
