from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Pass:
    """One half of a pose net's forward: ``descend`` with its image, or ``ascend`` with a descent and masks."""

    kind: str
    learns: bool
    eval_mode: bool
    arguments: tuple
    result: object


@pytest.fixture
def passes(monkeypatch):
    """Records the halves a pose net runs; they run as ever."""

    def record(pose_net):
        seen: list[Pass] = []
        for kind in ("descend", "ascend"):

            def half(*arguments, kind=kind):
                result = getattr(type(pose_net), kind)(pose_net, *arguments)
                seen.append(Pass(kind, torch.is_grad_enabled(), not pose_net.training, arguments, result))
                return result

            monkeypatch.setattr(pose_net, kind, half)
        return seen

    return record
