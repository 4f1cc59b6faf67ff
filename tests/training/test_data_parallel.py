import pytest
import torch
import torch.multiprocessing
from tiny_run import make_run
from two_workers import WORKERS, gradients, on_two_workers, step_and_run, whole_or_cut


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config.replaced({"run.num_workers": WORKERS, "stages.pose_epochs": 1, "stages.joint_epochs": 1})


@pytest.fixture(scope="module")
def found(tmp_path_factory, config, drawn_people):
    """What the two workers left behind."""
    return on_two_workers(tmp_path_factory.mktemp("workers"), step_and_run, config, drawn_people)


def test_gradients_are_the_sum_of_the_workers_parts(found, config, drawn_people):
    parts = []
    for rank in range(WORKERS):
        run = make_run(config, drawn_people)
        batch = run.batch(0, rank, WORKERS)
        assert batch.slot.tolist() == list(range(rank, 12, 2))
        # Outside a process group a part's loss is its share of the mean over the global batch.
        run.joint_step()(batch)[0].backward()
        parts.append(gradients(run))
    assert not torch.equal(parts[0]["pose.stem.0.weight"], parts[1]["pose.stem.0.weight"])
    for result in found:
        assert result["gradients"].keys() == parts[0].keys()
        for name, gradient in result["gradients"].items():
            torch.testing.assert_close(gradient, parts[0][name] + parts[1][name], atol=1e-6, rtol=1e-4)


def test_workers_end_with_the_same_networks(found):
    first, second = (result["state"] for result in found)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_workers_validate_with_the_same_running_statistics(found):
    assert torch.equal(found[0]["buffers"], found[1]["buffers"])


def test_statistics_are_those_of_all_workers(found):
    assert found[0]["means"] == found[1]["means"]


def test_every_worker_knows_every_sweep(found, config, drawn_people):
    run = make_run(config, drawn_people)
    first, second = (result["sweep_targets"] for result in found)
    assert first.keys() == second.keys() == set(run.schedule.pretrain_subset)
    for sample, target in first.items():
        torch.testing.assert_close(target, second[sample], atol=1e-6, rtol=0)


@pytest.mark.parametrize("cut_at", [3, 13])
def test_two_workers_cut_within_an_epoch_end_as_if_they_had_not_been(tmp_path, config, drawn_people, cut_at):
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = on_two_workers(tmp_path / "whole", whole_or_cut, config, drawn_people, tmp_path, None)
    cut = on_two_workers(tmp_path / "cut", whole_or_cut, config, drawn_people, tmp_path, cut_at)
    for first, second in zip(whole, cut, strict=True):
        assert first["records"] == second["records"]
        assert first["tensors"].keys() == second["tensors"].keys()
        for name, tensor in first["tensors"].items():
            assert torch.equal(tensor, second["tensors"][name]), name
