"""What a user gets wrong is answered by one sentence and a non-zero exit code, before Ray starts."""

from __future__ import annotations

import shutil

import pytest
from command_runs import run

PEOPLE = object()  # stands for a prepared data set
SPACE_HEAD = """
from ray_advpose.search.domains import Choice
from ray_advpose.search.space import SearchSpace
"""


def test_a_process_prints_the_sentence_and_exits_with_2(tmp_path):
    code, output = run("tune.py", "--set", "reward.alpha=0", cwd=tmp_path)
    assert code == 2
    assert "error: --set: reward.alpha = 0: input should be greater than 0" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("tune.py", ["--set", "reward.alpha=0"], ["--set", "reward.alpha = 0"]),
        ("tune.py", ["--set", "reward.alpha=1.5"], ["--set", "reward.alpha = 1.5"]),
        ("tune.py", ["--set", "reward.alpah=0.5"], ["reward.alpah", "did you mean 'reward.alpha'"]),
        ("tune.py", ["--preset", "lspet-smal"], ["lspet-smal", "did you mean 'lspet-small'"]),
        ("tune.py", ["--trials", "0"], ["--trials 0"]),
        ("tune.py", ["--search", "nowhere.py"], ["nowhere.py"]),
        ("tune.py", ["--resume", "nowhere"], ["nowhere", "search.json"]),
        ("tune.py", ["--at-once", "2"], ["--at-once 2", "--cluster"]),
        ("tune.py", ["--data", "s3://key:secret@bucket/shards"], ["//***@bucket", "credentials come from the"]),
        ("tune.py", ["--storage", "s3://key:se/cr+et@bucket/search"], ["//***@bucket/search", "the environment"]),
        ("tune.py", ["--resume", "s3://key:se/cret@bucket/search"], ["//***@bucket/search", "the environment"]),
        ("train.py", ["--storage", "s3://key:secret@bucket/run"], ["//***@bucket/run", "the environment"]),
        ("drill.py", ["--storage", "s3://key:secret@bucket/run"], ["//***@bucket/run", "the environment"]),
        ("tune.py", ["--data", "nowhere"], ["nowhere", "manifest.json"]),
        ("train.py", ["--data", "nowhere"], ["nowhere", "manifest.json"]),
        ("train.py", ["--config", "nowhere.yaml"], ["nowhere.yaml"]),
        ("train.py", ["--data", PEOPLE, "--arms", "asr,ahoo"], ["--arms", "'ahoo'", "did you mean 'aho'", "random"]),
        ("train.py", ["--data", PEOPLE, "--arms", "all", "--seeds", "0"], ["--seeds 0"]),
        ("train.py", ["--data", PEOPLE, "--seeds", "2"], ["--seeds goes with --arms", "run.seed"]),
        (
            "drill.py",
            ["--data", PEOPLE, "--cluster", "a:1", "--kinds", "worker,node"],
            ["node (", "a cluster of yours"],
        ),
        ("drill.py", ["--data", PEOPLE, "--cluster", "a:1", "--fault", "drain@9"], ["drain (", "a cluster of yours"]),
        ("drill.py", ["--data", PEOPLE, "--cluster", "a:1", "--fault", "reader@9"], ["reader (", "a cluster of yours"]),
        ("train.py", ["--set", "run.num_workers=0"], ["run.num_workers = 0"]),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(tmp_path, refused, people, script, arguments, words):
    sentence = refused(script, *(people if argument is PEOPLE else argument for argument in arguments))
    assert all(word in sentence for word in words), sentence
    assert list(tmp_path.iterdir()) == [], "nothing half-written"


def test_a_search_space_with_an_unknown_field_is_named(tmp_path, refused, people):
    space = tmp_path / "mine.py"
    space.write_text(SPACE_HEAD + "SPACE = SearchSpace({'asr.scale_bin': Choice((5, 7))}, 2)")
    sentence = refused("tune.py", "--data", people, "--search", space)
    assert "mine.py" in sentence
    assert "did you mean 'asr.scale_bins'" in sentence


def test_a_shard_cut_off_in_the_middle_is_named(tmp_path, refused, people):
    data = tmp_path / "cut"
    shutil.copytree(people, data)
    shard = next(data.glob("train-*.parquet"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    sentence = refused("train.py", "--data", data, "--out", tmp_path / "run")
    assert shard.name in sentence
    assert str(len(whole)) in sentence
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_is_none_is_named(tmp_path, refused, people):
    (tmp_path / "empty").mkdir()
    sentence = refused("evaluate.py", "--checkpoint", "empty", "--data", people)
    assert "empty is not a whole checkpoint" in sentence


def test_canvases_without_room_for_the_scales_are_refused(refused, people):
    sentence = refused("train.py", "--data", people, "--set", "asr.max_scale_log2=0.9")
    assert "asr.max_scale_log2" in sentence
    assert "0.95" in sentence
