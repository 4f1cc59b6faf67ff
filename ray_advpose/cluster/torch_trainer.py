"""Ray Train's trainer for torch, without actors that it starts for every run and that are of no use here."""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

_OF_NO_USE = (PlacementGroupCleanerCallback, DatasetsCallback)


class LeanTorchTrainer(TorchTrainer):
    """A `TorchTrainer` with fewer processes; each costs a second of a core or more to start.

    Its cleaner of placement groups needs the dashboard, outlives its run where there is none, and does
    not know what a start-up that was cut has reserved: `release_orphans` does that. Its manager of data
    sets has none to manage: every worker streams its own.
    """

    def _create_default_callbacks(self) -> list[Any]:
        return [each for each in super()._create_default_callbacks() if not isinstance(each, _OF_NO_USE)]
