import pytest
import torch

from ray_advpose.config import Config
from ray_advpose.training.history import EpochRecord
from ray_advpose.training.schedule import Stage
from ray_advpose.training.state import learning_rates, make_state

CONFIG = Config().replaced({"optim.plateau_patience_epochs": 2, "optim.pretrain_lr": 1e-4})


def history(*scores, stage="joint"):
    return [EpochRecord(stage, k + 1, k, 1, 1.0, 0.0, score, {}, {}) for k, score in enumerate(scores)]


def test_each_stage_has_its_rates():
    assert learning_rates(CONFIG, Stage.POSE, []) == {"pose": 2.5e-4}
    assert learning_rates(CONFIG, Stage.PRETRAIN, []) == {"asr": 1e-4, "aho": 1e-4}
    assert learning_rates(CONFIG, Stage.JOINT, []) == {"pose": 2.5e-4, "asr": 5e-5, "aho": 5e-5}


@pytest.mark.parametrize(
    ("scores", "dropped"),
    [
        ([1, 2, 3, 4], False),
        ([4, 3], False),
        ([4, 3, 2], True),
        ([4, 4, 4], True),  # equal is not risen
        ([4, 3, 5, 4], False),
        ([4, 3, 2, 9, 10], True),  # for good
        ([float("nan")] * 3, True),
    ],
)
def test_the_pose_net_slows_down_on_a_plateau_of_the_third_stage(scores, dropped):
    rates = learning_rates(CONFIG, Stage.JOINT, history(*scores))
    assert rates["pose"] == (5e-5 if dropped else 2.5e-4)
    assert rates["asr"] == 5e-5


@pytest.mark.parametrize(("ended", "dropped"), [(0, False), (2, False), (3, True), (7, True)])
def test_the_pose_net_slows_down_after_so_many_epochs_at_the_latest(ended, dropped):
    config = CONFIG.replaced({"optim.drop_after_joint_epochs": 3})
    rising = history(*range(ended))
    assert learning_rates(config, Stage.JOINT, rising)["pose"] == (5e-5 if dropped else 2.5e-4)


def test_without_patience_no_plateau_counts():
    config = CONFIG.replaced({"optim.plateau_patience_epochs": None})
    assert learning_rates(config, Stage.JOINT, history(9, 1, 1, 1, 1))["pose"] == 2.5e-4
    config = config.replaced({"optim.drop_after_joint_epochs": 5})
    assert learning_rates(config, Stage.JOINT, history(9, 1, 1, 1, 1))["pose"] == 5e-5


def test_plateaus_of_earlier_stages_do_not_count():
    earlier = history(9, 9, 9, stage="pose") + history(9, 9, 9, stage="pretrain")
    assert learning_rates(CONFIG, Stage.JOINT, earlier + history(1, 2))["pose"] == 2.5e-4


def weights(config):
    with torch.no_grad():
        return torch.cat([p.flatten() for p in make_state(config, 14, torch.device("cpu")).pose_net.parameters()])


def test_initial_weights_are_a_function_of_the_seed(tiny_config):
    torch.manual_seed(1)
    first = weights(tiny_config)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after  # nothing was taken from the global generator
    assert torch.equal(first, weights(tiny_config))
    assert not torch.equal(first, weights(tiny_config.replaced({"run.seed": 1})))


def test_the_pose_net_starts_alike_in_every_arm(tiny_config):
    assert torch.equal(
        weights(tiny_config), weights(tiny_config.replaced({"asr.enabled": False, "aho.enabled": False}))
    )


def test_best_score_so_far(tiny_config):
    state = make_state(tiny_config, 14, torch.device("cpu"))
    assert state.best_metric == float("-inf")
    state.history = history(3, 7, 5)
    assert state.best_metric == 7


@pytest.mark.parametrize(("name", "kind"), [("rmsprop", torch.optim.RMSprop), ("adam", torch.optim.Adam)])
def test_every_network_has_its_optimizer(tiny_config, name, kind):
    state = make_state(tiny_config.replaced({"optim.optimizer": name}), 14, torch.device("cpu"))
    assert set(state.optimizers) == {"pose", "asr", "aho"}
    for network, optimizer in state.optimizers.items():
        assert isinstance(optimizer, kind)
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert held == {id(p) for p in state.networks[network].parameters()}


def test_how_an_optimiser_computes_is_the_devices_and_not_the_checkpoints(tiny_config):
    saved = make_state(tiny_config, 14, torch.device("cpu")).state_dict()
    for optimizer in saved["optimizers"].values():
        for group in optimizer["param_groups"]:
            group["capturable"] = True
            group["betas"] = (0.5, 0.6)
    state = make_state(tiny_config, 14, torch.device("cpu"))
    state.load_state_dict(saved)
    (group,) = state.optimizers["pose"].param_groups
    assert group["capturable"] is False
    assert group["betas"] == (0.5, 0.6)
