from __future__ import annotations

from dataclasses import replace

import pytest

from ray_advpose.config import Config
from ray_advpose.data.checks import check_room
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError


def test_a_canvas_with_room_for_a_square_at_45_degrees_has_room_for_every_turn(
    drawn_people: ShardSet, tiny_config: Config
):
    assert drawn_people.manifest.canvas.max_rotation_deg >= 45
    check_room(tiny_config.replaced({"asr.max_rotation_deg": 180.0}), drawn_people)


def test_a_canvas_without_that_room_has_no_more_than_it_was_cut_for(drawn_people: ShardSet, tiny_config: Config):
    canvas = drawn_people.manifest.canvas.model_copy(update={"max_rotation_deg": 40.0})
    tighter = replace(drawn_people, manifest=drawn_people.manifest.model_copy(update={"canvas": canvas}))
    with pytest.raises(UserError, match=r"asr\.max_rotation_deg with its sigma reaches 65"):
        check_room(tiny_config, tighter)
    check_room(tiny_config.replaced({"asr.max_rotation_deg": 30.0}), tighter)


def test_random_ranges_beyond_the_canvas_are_refused(drawn_people: ShardSet, tiny_config: Config):
    check_room(tiny_config.replaced({"random.scale_times": 1.3}), drawn_people)
    with pytest.raises(UserError, match=r"random\.scale_times with its range reaches 0\.7,"):
        check_room(tiny_config.replaced({"random.scale_times": 1.4}), drawn_people)
    check_room(tiny_config.replaced({"random.scale_times": 2.0, "random.random_range": "paper"}), drawn_people)
