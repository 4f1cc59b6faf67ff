from __future__ import annotations

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


def test_scales_beyond_the_canvas_are_refused_unless_nothing_is_scaled(drawn_people: ShardSet, tiny_config: Config):
    config = tiny_config.replaced({"asr.max_scale_log2": 1.0})
    with pytest.raises(UserError, match=r"asr\.max_scale_log2 with its sigma reaches 1\.05"):
        check_room(config, drawn_people)
    check_room(config.replaced({"asr.enabled": False}), drawn_people)
