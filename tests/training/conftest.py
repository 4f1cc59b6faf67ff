from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from tiny_run import TinyRun, make_run

from ray_advpose.config import Config
from ray_advpose.data.shards import ShardSet


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def new_run(tiny_config: Config, drawn_people: ShardSet) -> Callable[..., TinyRun]:
    """Makes a run with fresh networks; fields can be overridden as in `make_run`."""
    return lambda **overrides: make_run(tiny_config, drawn_people, **overrides)
