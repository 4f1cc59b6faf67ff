"""What a CUDA graph needs of a step, shown without a GPU: nothing of it may come from the CPU, or go there."""

from __future__ import annotations

import pytest
import torch
from tiny_run import make_run
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ray_advpose.config import Config
from ray_advpose.data.shards import ShardSet
from ray_advpose.training.joint_step import JointStep
from ray_advpose.training.pose_step import PoseStep
from ray_advpose.training.state import make_state

META = torch.device("meta")


class BetweenDevices(TorchDispatchMode):
    """Notes every operation that takes values of the CPU to a device that holds none."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        from_cpu = any(tensor.device.type == "cpu" for tensor in given)
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        if from_cpu and any(tensor.device.type == "meta" for tensor in [*given, *made]):
            self.found.append(str(func))
        return out


@pytest.mark.parametrize("hierarchy", ["up", "down", "independent"])
@pytest.mark.parametrize("policy", ["learned", "uniform"])
@pytest.mark.parametrize("reward_by", ["loss", "pckh"])
def test_a_joint_step_stays_on_its_device(
    hierarchy: str, policy: str, reward_by: str, tiny_config: Config, drawn_people: ShardSet
):
    run = make_run(
        tiny_config,
        drawn_people,
        aho__hierarchy=hierarchy,
        reward__reward_by=reward_by,
        reward__probability_cap=2.0,
        reward__baseline="batch",
        asr__policy=policy,
        aho__policy=policy,
    )
    state = make_state(run.config, len(run.task.skeleton.joints), META)
    step = JointStep(run.task, state.pose_net, state.asr_net, state.aho_net)
    batch = run.batch()
    moved, draws = batch.to(META), step.draws(batch).to(META)
    step(moved, draws)  # what is copied there once may be
    with BetweenDevices() as between:
        loss, statistics = step(moved, draws)
        loss.backward()
    assert between.found == []
    assert {"loss_random", "loss_asr", "loss_aho"} <= statistics.keys()


def test_a_pose_step_stays_on_its_device(tiny_config: Config, drawn_people: ShardSet):
    run = make_run(tiny_config, drawn_people)
    state = make_state(run.config, len(run.task.skeleton.joints), META)
    step, batch = PoseStep(run.task, state.pose_net), run.batch()
    moved, draws = batch.to(META), step.draws(batch).to(META)
    step(moved, draws)
    with BetweenDevices() as between:
        step(moved, draws)[0].backward()
    assert between.found == []


def test_what_is_looked_for_would_be_found():
    on_device = torch.zeros(2, device=META)
    with BetweenDevices() as between:
        on_device + 1.0
    assert between.found == []
    with BetweenDevices() as between:
        torch.tensor([1.0, 2.0]).to(META)
    assert between.found == ["aten._to_copy.default"]
    with pytest.raises(RuntimeError):
        on_device.sum().item()


def test_batches_keep_their_places_on_the_cpu(tiny_config: Config, drawn_people: ShardSet):
    batch = make_run(tiny_config, drawn_people).batch()
    moved = batch.to(META)
    assert moved.canvas.device == moved.joints_cv.device == moved.annotated.device == moved.normalizer_cv.device == META
    assert torch.equal(moved.slot, batch.slot)
    assert torch.equal(moved.sample, batch.sample)
