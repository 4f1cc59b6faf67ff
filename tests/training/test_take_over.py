from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import make_run, shake

from ray_advpose.data.identity import identity_of
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import write_checkpoint
from ray_advpose.training.digests import digests
from ray_advpose.training.restoring import take_snapshot
from ray_advpose.training.schedule import Stage
from ray_advpose.training.take_over import bin_mapping, load_member

COUNTS = st.integers(2, 15)


@given(old=COUNTS, new=COUNTS)
def test_a_mapping_is_a_mean_that_keeps_order_and_symmetry(old, new):
    matrix = bin_mapping(old, new).double()
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(1), torch.ones(new, dtype=torch.float64))
    # What rises evenly over the range still does, from the same end to the same end.
    torch.testing.assert_close(
        matrix @ torch.linspace(-1, 1, old, dtype=torch.float64),
        torch.linspace(-1, 1, new, dtype=torch.float64),
        atol=1e-6,
        rtol=0,
    )
    torch.testing.assert_close(matrix, matrix.flip(0, 1), atol=1e-6, rtol=0)


@given(count=COUNTS)
def test_equal_numbers_change_nothing_and_halving_undoes_doubling(count):
    torch.testing.assert_close(bin_mapping(count, count), torch.eye(count), atol=0, rtol=0)
    finer = 2 * count - 1  # every old place is among the new ones
    torch.testing.assert_close(bin_mapping(finer, count) @ bin_mapping(count, finer), torch.eye(count))


def trained(config, shards, tmp_path, **overrides):
    """A run one step into stage 3, its heads far from where they start, and its checkpoint."""
    run = make_run(config, shards, **overrides)
    for net in run.state.networks.values():
        shake(net)
    run.state.step = next(span.first_step for span in run.schedule.spans if span.stage is Stage.JOINT)
    epochs = run.epochs()
    next(epochs)
    folder = tmp_path / "donor"
    write_checkpoint(folder, take_snapshot(run.state), identity_of(shards))
    return run, folder


def test_a_member_of_equal_shape_is_taken_over_to_the_last_bit(tiny_config, drawn_people, tmp_path):
    donor, folder = trained(tiny_config, drawn_people, tmp_path)
    copy = make_run(tiny_config, drawn_people, reward__alpha=0.7, optim__joint_lr=3e-4, asr__max_rotation_deg=41.0)
    assert load_member(folder, copy.state, identity_of(drawn_people)) == []
    assert digests(copy.state.state_dict()) == digests(donor.state.state_dict())
    assert copy.state.step == donor.state.step
    assert copy.state.config.reward.alpha == 0.7


def test_the_copys_own_rates_are_used_and_not_those_the_optimiser_was_saved_with(tiny_config, drawn_people, tmp_path):
    _, folder = trained(tiny_config, drawn_people, tmp_path)
    copy = make_run(tiny_config, drawn_people, optim__joint_lr=3e-4, optim__pose_lr=7e-4)
    load_member(folder, copy.state, identity_of(drawn_people))
    record = next(copy.epochs())
    assert record.learning_rates == {"pose": 7e-4, "asr": 3e-4, "aho": 3e-4}
    for name, optimizer in copy.state.optimizers.items():
        assert [group["lr"] for group in optimizer.param_groups] == [record.learning_rates[name]]


def test_other_bins_predict_what_lies_between_the_old_ones(tiny_config, drawn_people, tmp_path):
    donor, folder = trained(tiny_config, drawn_people, tmp_path)
    wanted = {"asr__scale_bins": 5, "asr__rotation_bins": 7}
    copy = make_run(tiny_config, drawn_people, **wanted)
    assert load_member(folder, copy.state, identity_of(drawn_people)) == ["asr.scale_bins", "asr.rotation_bins"]
    features = [torch.randn(2, channels, side, side) for channels, side in donor.state.pose_net.bridge_shapes]
    with torch.no_grad():
        before = [*donor.state.asr_net.eval()(features)]
        after = [*copy.state.asr_net.eval()(features)]
    for old, new in zip(before, after, strict=True):
        expected = torch.log_softmax(old @ bin_mapping(old.shape[1], new.shape[1]).T, dim=1)
        torch.testing.assert_close(new, expected)
    same = digests(copy.state.state_dict())
    assert all(same[name] == digest for name, digest in digests(donor.state.state_dict()).items() if "asr" not in name)
    # It trains on, its moments in the new shape.
    next(copy.epochs())
    for parameter in copy.state.asr_net.parameters():
        moments = copy.state.optimizers["asr"].state[parameter]
        assert moments["exp_avg"].shape == parameter.shape
        assert (moments["exp_avg_sq"] >= 0).all()


@pytest.mark.parametrize("width", [4, 2])
def test_another_grid_keeps_what_it_still_reads(tiny_config, drawn_people, tmp_path, width):
    donor, folder = trained(tiny_config, drawn_people, tmp_path, aho__grid_width=6 - width)
    copy = make_run(tiny_config, drawn_people, aho__grid_width=width)
    assert load_member(folder, copy.state, identity_of(drawn_people)) == ["aho.grid_width"]
    held, kept = donor.state.aho_net.state_dict(), copy.state.aho_net.state_dict()
    shared = [name for name in kept if name in held]
    assert "cells.weight" in shared
    assert all(torch.equal(kept[name], held[name]) for name in shared)
    next(copy.epochs())


@pytest.mark.parametrize(
    ("overrides", "words"), [({"net__channels": 16}, "net.channels = 8"), ({"aho__enabled": False}, "aho.enabled")]
)
def test_other_networks_are_refused(tiny_config, drawn_people, tmp_path, overrides, words):
    _, folder = trained(tiny_config, drawn_people, tmp_path)
    copy = make_run(tiny_config, drawn_people, **overrides)
    with pytest.raises(UserError, match=words):
        load_member(folder, copy.state, identity_of(drawn_people))
