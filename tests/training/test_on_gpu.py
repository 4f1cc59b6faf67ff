"""A GPU does what a CPU does: same draws, and the same losses but for the order of sums."""

from __future__ import annotations

import pytest
import torch
from tiny_run import TinyRun, make_run, shake

from ray_advpose.config import Config
from ray_advpose.data.shards import ShardSet
from ray_advpose.training.joint_step import JointStep
from ray_advpose.training.pretrain_step import PretrainStep
from ray_advpose.training.state import make_state

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU = torch.device("cuda")


def steps_on(device: torch.device, config: Config, drawn_people: ShardSet):
    run = make_run(config, drawn_people)
    state = make_state(run.config, len(run.task.skeleton.joints), torch.device("cpu"))
    for net in state.networks.values():
        shake(net)
        net.to(device)
    joint = JointStep(run.task, state.pose_net, state.asr_net, state.aho_net)
    cells = torch.full((4,), 0.25)
    pretrain = PretrainStep(run.task, state.pose_net, state.asr_net, state.aho_net, cells, {})
    return run.batch().to(device), joint, pretrain


@pytest.mark.parametrize("step", ["joint", "pretrain"])
def test_losses_are_those_of_a_cpu(step: str, tiny_config: Config, drawn_people: ShardSet, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    results = []
    for device in (torch.device("cpu"), GPU):
        batch, joint, pretrain = steps_on(device, tiny_config, drawn_people)
        loss, statistics = (joint if step == "joint" else pretrain)(batch)
        sums = {name: float(total) for name, (total, _) in statistics.items()}
        results.append({"loss": float(loss.detach()), **sums})
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        assert results[1][name] == pytest.approx(value, rel=2e-3, abs=2e-3), name


def test_a_joint_step_never_waits_for_the_gpu(tiny_config: Config, drawn_people: ShardSet):
    batch, joint, _ = steps_on(GPU, tiny_config, drawn_people)
    draws = joint.draws(batch).to(GPU)
    joint(batch, draws)[0].backward()  # what is set up once may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        joint(batch, draws)[0].backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("policy", ["learned", "uniform"])
def test_replayed_steps_train_as_written_ones_do(policy: str, tiny_config: Config, drawn_people: ShardSet):
    states = []
    for graphs in (False, True):
        settings = {"run__cuda_graphs": graphs, "run__probe_images": 0, "asr__policy": policy, "aho__policy": policy}
        settings["reward__baseline"] = "batch"
        run = make_run(tiny_config, drawn_people, **settings)
        state = make_state(run.config, len(run.task.skeleton.joints), GPU)
        run = TinyRun(run.config, run.shards, run.task, run.schedule, state)
        for _ in run.epochs():
            pass
        states.append(state)
    for written, replayed in zip(states[0].history, states[1].history, strict=True):
        assert (replayed.step, replayed.learning_rates) == (written.step, written.learning_rates)
        assert replayed.means.keys() == written.means.keys()
        for name in ("loss_random", "loss_asr", "loss_aho"):
            if name in written.means:
                assert replayed.means[name] == pytest.approx(written.means[name], rel=0.05), (written.stage, name)
    replayed_steps = {name: each.state_dict()["state"] for name, each in states[1].optimizers.items()}
    for name, optimizer in states[0].optimizers.items():
        for index, values in optimizer.state_dict()["state"].items():
            assert float(replayed_steps[name][index]["step"]) == float(values["step"])


def test_bfloat16_trains_as_float32_does(tiny_config: Config, drawn_people: ShardSet):
    losses = {}
    for precision in ("float32", "bfloat16"):
        run = make_run(tiny_config, drawn_people, run__precision=precision)
        state = make_state(run.config, len(run.task.skeleton.joints), GPU)
        run = TinyRun(run.config, run.shards, run.task, run.schedule, state)
        first = next(iter(run.epochs()))
        losses[precision] = first.means["loss_random"]
        assert all(parameter.dtype == torch.float32 for parameter in state.pose_net.parameters())
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
