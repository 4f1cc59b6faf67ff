import json

import pytest

from ray_advpose.config import (
    Config,
    config_from_dict,
    field_of,
    fields,
    is_structural,
    load_config,
    parse_override,
)
from ray_advpose.errors import UserError
from ray_advpose.nets.pose_net import make_pose_net
from ray_advpose.presets import PRESETS, preset_named


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reward.alpha", 0),
        ("reward.alpha", 1.5),
        ("reward.beta", 0.0),
        ("reward.beta", -0.1),
        ("reward.probability_cap", 1),
        ("asr.scale_bins", 1),
        ("asr.max_rotation_deg", 181),
        ("aho.max_cells", 0),
        ("aho.reference", "sometimes"),
        ("random.flip_probability", 1.1),
        ("random.color_range", 1),
        ("loss.target_sigma_px", 0),
        ("optim.joint_lr", 0),
        ("stages.pretrain_images", 0),
        ("run.global_batch_size", 2),
        ("run.seed", -1),
        ("net.stacks", 0),
        ("net.architecture", "resnet"),
    ],
)
def test_a_value_out_of_bounds_names_field_and_value(field, value):
    with pytest.raises(UserError) as caught:
        Config().replaced({field: value}, "--set")
    assert str(caught.value).startswith(f"--set: {field} = {value!r}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [1e-6, 1.0])
def test_rates_up_to_and_including_one_are_allowed(rate):
    assert Config().replaced({"reward.alpha": rate}).reward.alpha == rate


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"net.input_px": 100}, ["net: input_px = 100", "32"]),
        ({"net.channels": 50}, ["channels = 50", "4"]),
        ({"net.architecture": "unet", "net.stacks": 2}, ["net: stacks = 2 is for hourglasses", "takes 1 only"]),
        ({"net.architecture": "unet", "net.block": "dense"}, ["net: block = 'dense' is for hourglasses", "'residual'"]),
        (
            {"net.architecture": "unet", "net.blocks_per_unit": 3},
            ["net: blocks_per_unit = 3 is for hourglasses", "architecture = 'unet'"],
        ),
        ({"run.num_workers": 2, "run.cuda_graphs": True}, ["run.cuda_graphs is for one worker", "run.num_workers = 2"]),
        (
            {"run.num_workers": 2, "run.sync_batchnorm": True, "run.precision": "bfloat16"},
            ["run.precision = 'bfloat16' with run.sync_batchnorm is for GPUs", "run.gpus_per_worker = 0"],
        ),
        ({"run.num_workers": 9}, ["run.global_batch_size = 24", "less than 3 images each", "run.num_workers = 9"]),
        (
            {"run.num_workers": 13, "asr.enabled": False},
            ["run.global_batch_size = 24", "less than 2 images each", "run.num_workers = 13"],
        ),
        (
            {"run.num_workers": 13, "aho.enabled": False},
            ["run.global_batch_size = 24", "less than 2 images each", "run.num_workers = 13"],
        ),
        (
            {"run.num_workers": 25, "asr.enabled": False, "aho.enabled": False},
            ["run.global_batch_size = 24", "less than 1 image each", "run.num_workers = 25"],
        ),
        (
            {"reward.baseline": "batch", "run.global_batch_size": 5},
            ["reward.baseline = 'batch'", "run.global_batch_size = 5 gives 3 shares"],
        ),
        ({"aho.grid_height": 25}, ["aho.grid_height = 25", "24 px"]),
        ({"aho.grid_height": 2, "aho.grid_width": 2, "aho.max_cells": 4}, ["aho.max_cells = 4", "4 cells"]),
    ],
)
def test_fields_that_do_not_go_together(overrides, words):
    with pytest.raises(UserError) as caught:
        Config().replaced(overrides)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asr", "aho", "most"), [(True, True, 8), (True, False, 12), (False, True, 12), (False, False, 24)]
)
def test_as_many_workers_as_the_smallest_share_of_a_joint_step_has_images(asr, aho, most):
    arms = {"asr.enabled": asr, "aho.enabled": aho}
    assert Config().replaced({**arms, "run.num_workers": most}).adversarial == (asr or aho)
    with pytest.raises(UserError):
        Config().replaced({**arms, "run.num_workers": most + 1})


@pytest.mark.parametrize("able", [{"run.gpus_per_worker": 0.5}, {"run.num_workers": 1}, {"run.precision": "float32"}])
def test_half_precision_with_a_synchronised_norm_is_refused_only_where_it_would_fail(able):
    half = {"run.num_workers": 2, "run.sync_batchnorm": True, "run.precision": "bfloat16"}
    assert Config().replaced({**half, **able}).run.sync_batchnorm


@pytest.mark.parametrize("workers", [5, 7])
def test_the_global_batch_need_not_divide_by_the_workers(workers):
    assert Config().replaced({"run.num_workers": workers}).run.global_batch_size % workers


def test_an_unknown_field_names_the_nearest_one():
    with pytest.raises(UserError, match=r"--set: unknown field 'reward\.alhpa' \(did you mean 'reward\.alpha'\?\)"):
        Config().replaced({"reward.alhpa": 0.3}, "--set")
    with pytest.raises(UserError, match=r"a\.yaml: unknown field 'asr\.scalebins' \(did you mean 'asr\.scale_bins'"):
        config_from_dict({"asr": {"scalebins": 7}}, "a.yaml")


def test_replacing_leaves_the_rest_and_the_original_alone():
    before = Config()
    after = before.replaced({"reward.alpha": 0.3, "preset": "mine"})
    changed = {name for name, value in after.flat().items() if value != before.flat()[name]}
    assert changed == {"reward.alpha", "preset"}
    assert before == Config()


def test_yaml_and_json_come_back_equal(tmp_path):
    config = Config().replaced({"optim.joint_lr": 3e-6, "stages.pretrain_images": None, "reward.probability_cap": 2})
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    (tmp_path / "config.json").write_text(json.dumps(config.model_dump()))
    assert load_config(tmp_path / "config.yaml") == config
    assert load_config(tmp_path / "config.json") == config


@pytest.mark.parametrize("content", ["net: [", "- 1", "", "net: {stacks: two}", "nett: {}"])
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no\.yaml"):
        load_config(tmp_path / "no.yaml")


def test_overrides_are_read_as_yaml():
    assert parse_override("reward.alpha=0.3") == ("reward.alpha", 0.3)
    assert parse_override("stages.pretrain_images=null") == ("stages.pretrain_images", None)
    # YAML reads 1e-3 as text, and the field as a number.
    assert Config().replaced(dict([parse_override("optim.pose_lr=1e-3")])).optim.pose_lr == 0.001
    with pytest.raises(UserError, match="FIELD=VALUE"):
        parse_override("reward.alpha")


def test_structural_fields_are_the_ones_that_shape_tensors():
    structural = {name for name, _ in fields() if is_structural(name)}
    assert {"net.architecture", "net.channels", "asr.scale_bins", "asr.rotation_bins", "aho.grid_width"} <= structural
    assert not structural & {"reward.alpha", "optim.pose_lr", "asr.max_rotation_deg", "run.seed"}
    assert field_of("reward.alpha", "test").default == 0.2


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name):
    preset = preset_named(name)
    assert preset.preset == name
    # Copies of presets are not validated when they are made.
    assert config_from_dict(preset.model_dump(), name) == preset
    # A grid finer than the lowest map would not be scaled up to it, but down.
    assert max(preset.aho.grid_width, preset.aho.grid_height) <= preset.net.lowest_px


@pytest.mark.parametrize("name", ["paper-residual", "paper-dense", "paper-8stack"])
def test_paper_presets_are_the_papers(name):
    preset = preset_named(name)
    assert (preset.net.input_px, preset.net.heatmap_px, preset.net.lowest_px) == (256, 64, 4)
    assert (preset.asr.scale_bins, preset.asr.rotation_bins) == (7, 9)
    assert (preset.optim.optimizer, preset.optim.pose_lr, preset.optim.joint_lr) == ("rmsprop", 2.5e-4, 5e-5)
    assert (preset.loss.foreground_weight, preset.loss.target_sigma_px) == (0, 1)
    assert (preset.stages.pretrain_images, preset.run.global_batch_size) == (None, 24)


def test_an_unknown_preset_names_the_nearest_one():
    with pytest.raises(UserError, match=r"'paper-residul' \(did you mean 'paper-residual'\?\)"):
        preset_named("paper-residul")


@pytest.mark.parametrize("architecture", ["hourglass", "unet"])
def test_heatmaps_are_a_quarter_and_the_lowest_map_is_as_small_as_the_net_makes_it(tiny_config, architecture):
    config = tiny_config.replaced({"net.architecture": architecture}).net
    sides = [side for _, side in make_pose_net(config, 3).bridge_shapes]
    assert (sides[0], sides[-1]) == (config.heatmap_px, config.lowest_px) == (8, 2)


@pytest.mark.parametrize("preset", ["paper-residual", "paper-dense", "paper-8stack"])
def test_paper_presets_train_as_section_5_1_says(preset):
    config = preset_named(preset)
    optim, asr, aho, reward = config.optim, config.asr, config.aho, config.reward
    assert (optim.optimizer, optim.pose_lr, optim.pretrain_lr, optim.joint_lr) == ("rmsprop", 2.5e-4, 2.5e-4, 5e-5)
    assert optim.pose_lr_after_plateau == 5e-5
    assert (config.net.input_px, config.net.heatmap_px, config.net.lowest_px) == (256, 64, 4)
    assert (asr.scale_bins, asr.rotation_bins) == (7, 9)
    assert (aho.grid_width, aho.grid_height, aho.max_cells, aho.hierarchy) == (4, 4, 2, "up")
    assert (reward.reward_by, reward.probability_cap) == ("loss", None)
    assert config.stages.pretrain_images is None
    # The small sizes' aids are off.
    assert (config.loss.foreground_weight, config.loss.target_sigma_px, config.loss.decoder) == (0, 1, "paper")
