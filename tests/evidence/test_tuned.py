from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ray_advpose.config import Config
from ray_advpose.data.identity import persons_digest
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.lsp import read_lspet
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.errors import UserError
from ray_advpose.evidence.experiment import RUNS, Experiment
from ray_advpose.evidence.tuned import NUMBERS, take_tuned, tuned_numbers

PUBLISHED = Path(__file__).parents[2] / "docs" / "evidence"
DRAWN: dict[str, list[dict[str, object]]] = {
    "asr+aho": [{"reward.alpha": 0.2}, {"reward.alpha": 0.4}],
    "random": [{"random.scale_times": 0.5}, {"random.scale_times": 0.9}],
}


@pytest.fixture
def experiment(base: Config, drawn_people: ShardSet) -> Experiment:
    return Experiment(
        config=base.model_dump(),
        fingerprint=drawn_people.fingerprint,
        arms=["random"],
        seeds=[0],
        sizes=[45],
        drawn=DRAWN,
        persons=persons_digest(drawn_people),
    )


def ended(folder: Path, scores: dict[str, float]) -> None:
    for run, score in scores.items():
        (folder / run).mkdir(parents=True)
        (folder / run / "result.json").write_text(json.dumps({"val": score}))


def test_the_best_of_each_is_taken_by_its_page_alone(experiment: Experiment, drawn_people: ShardSet, tmp_path: Path):
    folder = tmp_path / RUNS
    scores = {"tuning-asr-aho-0": 30.0, "tuning-asr-aho-1": 29.0, "tuning-random-0": 27.5}
    ended(folder, scores)
    assert tuned_numbers(experiment, folder) == {}, "one is left to be tried"
    ended(folder, {"tuning-random-1": 28.25})
    (tmp_path / NUMBERS).write_text(json.dumps(tuned_numbers(experiment, folder)))
    found = take_tuned(tmp_path, drawn_people)
    assert found.settings == {"asr+aho": {"reward.alpha": 0.2}, "random": {"random.scale_times": 0.9}}
    assert found.came_to["random"] == "28.25, the best of 2 on 45 images"

    # And by one that takes them from there.
    drawn = {arm: [settings] for arm, settings in found.settings.items()}
    second = replace(experiment, drawn=drawn, taken=found.came_to)
    (tmp_path / NUMBERS).write_text(json.dumps(tuned_numbers(second, tmp_path / "elsewhere")))
    assert take_tuned(tmp_path, drawn_people) == found


def test_what_cannot_be_taken_is_said(experiment: Experiment, drawn_people: ShardSet, tmp_path: Path):
    def refusal(content: str, data: ShardSet = drawn_people) -> str:
        (tmp_path / NUMBERS).write_text(content)
        with pytest.raises(UserError) as refused:
            take_tuned(tmp_path, data)
        return str(refused.value)

    taken = replace(experiment, drawn={arm: draws[:1] for arm, draws in DRAWN.items()}, taken=dict.fromkeys(DRAWN, ""))
    numbers = tuned_numbers(taken, tmp_path)
    write_shards(generate_synthetic(60, seed=1, image_px=96), tmp_path / "others", box_px=32, workers=1)
    assert "on other data" in refusal(json.dumps(numbers), ShardSet.open(tmp_path / "others"))
    assert "nothing was tuned there" in refusal("{}")
    assert "invalid json" in refusal("{").lower()
    assert "tuned.persons" in refusal(json.dumps({"tuned": {"settings": {}}}))
    assert "tuned.settings" in refusal(json.dumps({"tuned": {**numbers["tuned"], "settings": []}}))
    del numbers["tuned"]["settings"]["random"]
    assert "tells of asr+aho" in refusal(json.dumps(numbers))


def test_what_was_tuned_for_the_published_results_can_be_taken(tmp_path: Path):
    root = os.environ.get("ADVPOSE_DATA")
    if not root or not Path(root, "lspet").is_dir():
        pytest.skip("ADVPOSE_DATA names no folder with lspet/")
    write_shards(read_lspet(Path(root, "lspet")), tmp_path / "lspet", box_px=32)
    found = take_tuned(PUBLISHED / "lspet500_wide", ShardSet.open(tmp_path / "lspet"))
    assert found.settings["asr+aho"]["asr.max_rotation_deg"] == pytest.approx(99.18, abs=0.01)
