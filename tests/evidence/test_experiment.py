from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ray_advpose.config import Config
from ray_advpose.errors import UserError
from ray_advpose.evidence.experiment import EXPERIMENT, Experiment, begin, read_experiment


@pytest.fixture
def experiment(base: Config) -> Experiment:
    return Experiment(base.model_dump(), "abc", ["random", "asr"], [0], [45], {"asr+aho": [], "random": []})


def test_an_experiment_grows_by_seeds_and_arms_alone(experiment: Experiment, tmp_path: Path):
    begin(experiment, tmp_path)
    grown = replace(experiment, seeds=[0, 1], arms=["random", "uniform", "asr"])
    begin(grown, tmp_path)
    assert read_experiment(tmp_path).seeds == [0, 1]
    for other in ({"sizes": [20]}, {"fingerprint": "def"}, {"seeds": [0]}, {"arms": ["random"]}):
        with pytest.raises(UserError, match=f"begun with other {next(iter(other))}"):
            begin(replace(grown, **other), tmp_path)


def test_one_of_before_a_setting_came_is_one_with_its_default(experiment: Experiment, tmp_path: Path):
    begin(experiment, tmp_path)
    path = tmp_path / EXPERIMENT
    older = json.loads(path.read_text())
    del older["config"]["reward"]["baseline"]
    path.write_text(json.dumps(older))
    begin(replace(experiment, seeds=[0, 1]), tmp_path)
    path.write_text(json.dumps(older))
    config = json.loads(json.dumps(experiment.config))
    config["reward"]["baseline"] = "batch"
    with pytest.raises(UserError, match="begun with other config"):
        begin(replace(experiment, config=config), tmp_path)


def test_what_was_tuned_elsewhere_is_not_tuned_again(experiment: Experiment, tmp_path: Path):
    drawn: dict[str, list[dict[str, object]]] = {
        "asr+aho": [{"reward.alpha": 0.9}],
        "random": [{"random.scale_times": 0.5}],
    }
    one_each = replace(experiment, arms=["tuned random", "asr"], drawn=drawn)
    assert one_each.tuned(tmp_path) is None
    assert [run.kind for run in one_each.runs(tmp_path)] == ["stage 1"] * 2 + ["tuning"] * 2

    taken = replace(one_each, taken={"asr+aho": "35.00, the best of 6", "random": "34.00, the best of 6"})
    runs = list(taken.runs(tmp_path))
    assert [run.kind for run in runs] == ["stage 1", "arm", "arm"]
    assert runs[1].config.random.scale_times == 0.5
    assert runs[2].config.reward.alpha == 0.9

    begin(taken, tmp_path)
    with pytest.raises(UserError, match="begun with other settings to tune by"):
        begin(one_each, tmp_path)
