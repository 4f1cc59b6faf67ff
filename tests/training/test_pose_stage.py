"""A run that takes over another's stage 1 ends as if it had trained its own."""

import pytest
from tiny_run import assert_equal, finish, make_run

from ray_advpose.config import Config
from ray_advpose.data.identity import identity_of
from ray_advpose.errors import UserError
from ray_advpose.presets import ARMS
from ray_advpose.training.checkpoint import write_checkpoint
from ray_advpose.training.pose_stage import DECIDING_LATER, ends_pose_stage, pose_stage_key
from ray_advpose.training.restoring import take_snapshot
from ray_advpose.training.take_over import load_pose_stage


@pytest.fixture(scope="module")
def checkpoints(tiny_config, drawn_people, tmp_path_factory):
    """A run's checkpoints by the number of epochs it had: the second lies at the end of stage 1."""
    run = make_run(tiny_config, drawn_people, asr__scale_bins=5, reward__alpha=0.9)
    folder = tmp_path_factory.mktemp("donor")
    for epochs, _ in zip((1, 2, 3), run.epochs(), strict=False):
        write_checkpoint(folder / str(epochs), take_snapshot(run.state), identity_of(run.shards))
    return {epochs: folder / str(epochs) for epochs in (1, 2, 3)}


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_goes_on_from_one_stage_1_as_from_its_own(new_run, checkpoints, arm):
    overrides = {name.replace(".", "__"): value for name, value in ARMS[arm].items()}
    alone = new_run(**overrides)
    finish(alone)
    taken_over = new_run(**overrides)
    load_pose_stage(checkpoints[2], taken_over.state, identity_of(taken_over.shards))
    assert taken_over.state.step == 8
    finish(taken_over)
    assert_equal(taken_over.state, alone.state)


def test_the_stage_ends_with_its_last_epoch(new_run):
    run = new_run()
    assert [ends_pose_stage(record, run.config) for record in run.epochs()] == [False, True] + [False] * 4


@pytest.mark.parametrize(
    ("field", "value"), [("optim.pose_lr", 3e-3), ("run.seed", 1), ("net.channels", 12), ("stages.pose_epochs", 3)]
)
def test_what_decides_stage_1_must_be_equal(new_run, checkpoints, field, value):
    run = new_run(**{field.replace(".", "__"): value})
    with pytest.raises(UserError, match=rf"stage 1 with {field} = .*, this run's has {value}"):
        load_pose_stage(checkpoints[2], run.state, identity_of(run.shards))


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_checkpoint_from_elsewhere_is_refused(new_run, checkpoints, epochs):
    run = new_run()
    with pytest.raises(UserError, match="not the end of stage 1"):
        load_pose_stage(checkpoints[epochs], run.state, identity_of(run.shards))


def test_the_key_tells_apart_what_stage_1_depends_on():
    base = Config()
    key = pose_stage_key(base)
    for later in ({"reward.alpha": 0.7}, {"asr.enabled": False}, {"aho.grid_width": 2}, {"optim.joint_lr": 1e-3}):
        assert pose_stage_key(base.replaced(later)) == key
    for deciding in ({"random.random_range": "paper"}, {"loss.target_sigma_px": 2.0}, {"run.global_batch_size": 12}):
        assert pose_stage_key(base.replaced(deciding)) != key


def test_what_decides_later_are_fields():
    # A renamed field would otherwise decide stage 1 without anybody noticing.
    assert set(Config().flat()) >= DECIDING_LATER
