"""Ray Train's trainer, for torch, with as little as possible around the workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray._common.network_utils import build_address
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

_OF_NO_USE = (PlacementGroupCleanerCallback, DatasetsCallback)
_COLLECTIVE_TIMEOUT_S = 1800
_LEAVE_TIMEOUT_S = 30.0

_log = logging.getLogger(__name__)


class LeanTorchTrainer(DataParallelTrainer):
    """What `ray.train.torch.TorchTrainer` is, with fewer processes and without torch in its own and its controller's.

    Each process takes a second of a core or more to start, and torch as much again. Ray Train's cleaner
    of placement groups needs the dashboard, outlives its run where there is none, and does not know what
    a start-up that was cut has reserved: `ray_advpose.cluster.orphans` does that. Its manager of data sets has none
    to manage: every worker streams its own.
    """

    def __init__(self, train: Any, **arguments: Any) -> None:
        super().__init__(train, backend_config=_TorchInWorkers(), **arguments)

    def _create_default_callbacks(self) -> list[Any]:
        return [each for each in super()._create_default_callbacks() if not isinstance(each, _OF_NO_USE)]


@dataclass
class _TorchInWorkers(BackendConfig):
    @property
    def backend_cls(self) -> type[Backend]:
        return _ProcessGroup

    @property
    def train_func_context(self) -> Callable[[], AbstractContextManager[None]]:
        return _on_its_device


class _ProcessGroup(Backend):
    """What Ray Train's backend for torch does, by the same functions, imported where they run."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        address, port = worker_group.execute_single(0, get_address_and_port)
        library = "nccl" if worker_group.get_resources_per_worker().get("GPU", 0) > 0 else "gloo"
        workers = len(worker_group)
        joining = [
            worker_group.execute_single_async(rank, _join, library, rank, workers, build_address(address, port))
            for rank in range(workers)
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:
        leaving = worker_group.execute_async(_leave, len(worker_group) > 1)
        if len(ray.wait(leaving, num_returns=len(leaving), timeout=_LEAVE_TIMEOUT_S)[0]) < len(leaving):
            _log.warning("workers did not leave their process group within %.0f s", _LEAVE_TIMEOUT_S)


def _join(library: str, rank: int, workers: int, address: str) -> None:
    from ray.train.torch import config

    config._set_torch_distributed_env_vars()
    config._setup_torch_process_group(library, rank, workers, f"tcp://{address}", _COLLECTIVE_TIMEOUT_S)


def _leave(destroy: bool) -> None:
    from ray.train.torch import config

    config._shutdown_torch(destroy)


@contextmanager
def _on_its_device() -> Iterator[None]:
    from ray.train.torch import config

    with config.TorchConfigContextManager():
        yield
