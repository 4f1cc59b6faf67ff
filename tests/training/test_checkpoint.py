import json
from dataclasses import replace

import pytest
import torch

from ray_advpose.data.identity import identity_of
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import MANIFEST, data_identity, read_config, read_manifest, write_checkpoint
from ray_advpose.training.restoring import load_checkpoint, load_networks, take_snapshot


@pytest.fixture
def saved(new_run, tmp_path):
    """A run and the folder of its checkpoint."""
    run = new_run()
    run.state.step = 5
    write_checkpoint(tmp_path / "checkpoint", take_snapshot(run.state), identity_of(run.shards))
    return run, tmp_path / "checkpoint"


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def alter(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut, alter, lambda path: path.unlink()])
@pytest.mark.parametrize("name", ["state.pt", "config.yaml"])
def test_a_damaged_file_is_one_sentence_that_names_it(saved, damage, name):
    run, folder = saved
    damage(folder / name)
    with pytest.raises(UserError) as caught:
        load_checkpoint(folder, run.state, identity_of(run.shards))
    assert str(folder / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [cut, lambda path: path.unlink(), lambda path: path.write_text("[]")])
def test_a_folder_without_a_whole_manifest_is_no_checkpoint(saved, damage):
    _, folder = saved
    damage(folder / MANIFEST)
    with pytest.raises(UserError, match=r"manifest\.json"):
        read_manifest(folder)


def test_another_schema_is_refused(saved):
    _, folder = saved
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "schema_version": 99}))
    with pytest.raises(UserError, match=r"manifest\.json: schema_version = 99"):
        read_manifest(folder)


@pytest.mark.parametrize(("field", "value"), [("fingerprint", "0" * 16), ("box_px", 33), ("skeleton", "mpii")])
def test_other_data_is_refused_and_the_state_left_alone(saved, new_run, field, value):
    run, folder = saved
    other = replace(identity_of(run.shards), **{field: value})
    fresh = new_run(run__seed=1)
    before = fresh.state.pose_net.state_dict()["stem.0.weight"].clone()
    with pytest.raises(UserError, match=str(value)) as caught:
        load_checkpoint(folder, fresh.state, other)
    assert str(folder) in str(caught.value)
    assert torch.equal(fresh.state.pose_net.state_dict()["stem.0.weight"], before)
    assert fresh.state.step == 0


def test_a_folder_is_never_written_twice(saved):
    run, folder = saved
    with pytest.raises(FileExistsError):
        write_checkpoint(folder, take_snapshot(run.state), identity_of(run.shards))


def test_config_data_and_versions_are_remembered(saved):
    run, folder = saved
    manifest = read_manifest(folder)
    assert read_config(folder) == run.config
    assert data_identity(manifest) == identity_of(run.shards)
    assert manifest["step"] == 5
    assert manifest["versions"]["torch"] == torch.__version__


def test_networks_alone(saved, new_run):
    run, folder = saved
    other = new_run(run__seed=1)
    load_networks(folder, other.state)
    for name, net in run.state.networks.items():
        for key, value in net.state_dict().items():
            assert torch.equal(value, other.state.networks[name].state_dict()[key])
    assert other.state.step == 0
