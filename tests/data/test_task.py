from dataclasses import replace

import numpy as np
import pytest
import torch

from ray_advpose.data.checks import check_data
from ray_advpose.data.identity import identity_of
from ray_advpose.data.shards import read_persons
from ray_advpose.data.task import occlusion_target, task_for
from ray_advpose.errors import UserError


def test_a_task_knows_canvas_joints_and_threshold(tiny_config, drawn_people):
    task = task_for(tiny_config, drawn_people)
    assert (task.geometry.box_px, task.geometry.canvas_px) == (32, 72)
    assert (task.skeleton.name, task.pck_threshold) == ("lsp", 0.2)


@pytest.mark.parametrize(
    ("field", "value", "reach"),
    [
        ("asr.max_scale_log2", 0.61, "0.66"),
        ("asr.scale_sigma_log2", 0.06, "0.66"),
    ],
)
def test_bins_that_reach_beyond_the_canvas_are_refused(tiny_config, drawn_people, field, value, reach):
    with pytest.raises(UserError, match=f"reaches {reach}") as caught:
        task_for(tiny_config.replaced({field: value}), drawn_people)
    assert str(drawn_people.place) in str(caught.value)
    task_for(tiny_config.replaced({field: value, "asr.enabled": False}), drawn_people)


def test_identity_is_the_contents(drawn_people):
    identity = identity_of(drawn_people)
    assert identity.fingerprint == drawn_people.fingerprint
    assert (identity.protocol, identity.skeleton, identity.canvas_px, identity.box_px) == ("lspet", "lsp", 72, 32)
    assert replace(identity, box_px=33) != identity


def test_occlusion_target_counts_the_joints_of_the_training_split(tiny_config, drawn_people):
    config = tiny_config.replaced({"aho.grid_width": 4, "aho.grid_height": 2})
    target = occlusion_target(drawn_people, task_for(config, drawn_people))
    persons = read_persons(drawn_people, "train", np.arange(45))
    # The 32 px box lies in the middle of the 72 px canvas; a cell of it is 8 px wide and 16 px high.
    votes = np.zeros((2, 4))
    for x, y in (persons.joints_cv - 20)[persons.annotated]:
        if 0 <= x < 32 and 0 <= y < 32:
            votes[int(y // 16), int(x // 8)] += 1
    assert votes.sum() > 500
    torch.testing.assert_close(target, torch.tensor(votes.flatten() / votes.sum()).float(), atol=2e-3, rtol=0)
    assert target.sum().item() == pytest.approx(1)


def test_checked_data_is_opened(tiny_config, drawn_people, tmp_path):
    assert check_data(tiny_config, drawn_people.place) == drawn_people
    with pytest.raises(UserError, match="not a prepared data set"):
        check_data(tiny_config, tmp_path)
