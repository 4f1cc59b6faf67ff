from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.lspet_images import lay_out, unseen
from ray_advpose.config import Config
from ray_advpose.data.identity import persons_digest
from ray_advpose.data.persons import Source
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.lsp import read_lspet
from ray_advpose.errors import UserError
from ray_advpose.evidence.experiment import RUNS, Experiment
from ray_advpose.evidence.findings import write_findings
from ray_advpose.evidence.tuned import NUMBERS, take_tuned, tuned_numbers
from ray_advpose.presets import ARMS, preset_named

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
    )


def ended(folder: Path, scores: dict[str, float]) -> None:
    for run, score in scores.items():
        (folder / run).mkdir(parents=True)
        (folder / run / "result.json").write_text(json.dumps({"val": score}))


def test_the_best_of_each_is_taken_by_its_page_alone(experiment: Experiment, drawn_people: ShardSet, tmp_path: Path):
    folder = tmp_path / RUNS
    scores = {"tuning-asr-aho-0": 30.0, "tuning-asr-aho-1": 29.0, "tuning-random-0": 27.5}
    ended(folder, scores)
    assert write_findings(experiment, tmp_path, "abc", "") is None
    assert not (tmp_path / NUMBERS).exists(), "one is left to be tried"
    ended(folder, {"tuning-random-1": 28.25})
    assert write_findings(experiment, tmp_path, "abc", "") is None, "no arm has ended"
    found = take_tuned(tmp_path, "abc")
    assert found.settings.by_arm == {"asr+aho": {"reward.alpha": 0.2}, "random": {"random.scale_times": 0.9}}
    assert found.came_to.random == "28.25, the best of 2 on 45 images"

    # And by one that takes them from there.
    drawn = {arm: [settings] for arm, settings in found.settings.by_arm.items()}
    second = replace(experiment, drawn=drawn, taken=found.came_to.by_arm)
    (tmp_path / NUMBERS).write_text(json.dumps(tuned_numbers(second, tmp_path / "elsewhere", "abc")))
    assert take_tuned(tmp_path, "abc") == found


def test_what_cannot_be_taken_is_said(experiment: Experiment, tmp_path: Path):
    def refusal(numbers: object, persons: str = "abc") -> str:
        (tmp_path / NUMBERS).write_text(json.dumps(numbers))
        with pytest.raises(UserError) as refused:
            take_tuned(tmp_path, persons)
        return str(refused.value)

    taken = replace(experiment, drawn={arm: draws[:1] for arm, draws in DRAWN.items()}, taken=dict.fromkeys(DRAWN, ""))
    numbers = tuned_numbers(taken, tmp_path, "abc")
    assert "tuned on other persons (abc, here def)" in refusal(numbers, "def")
    assert "tells of nothing that was tuned" in refusal({})
    assert "input should be" in refusal([]).lower()
    assert "tuned.persons" in refusal({"tuned": {"settings": {}}})
    assert "tuned.settings: input should be an object" in refusal({"tuned": {**numbers["tuned"], "settings": []}})
    del numbers["tuned"]["came_to"]["random"]
    assert "tuned.came_to.random" in refusal(numbers)


def persons_in(source: Source, shards: Path) -> str:
    """Return the digest of a data set's persons; how large they are cut makes no difference to it."""
    write_shards(source, shards, box_px=32)
    return persons_digest(ShardSet.open(shards))


def test_what_was_tuned_for_the_published_results_can_be_taken(tmp_path: Path):
    root = os.environ.get("ADVPOSE_DATA")
    if not root or not Path(root, "lspet").is_dir():
        pytest.skip("ADVPOSE_DATA names no folder with lspet/")
    lay_out(Path(root, "lspet"), unseen(), tmp_path / "others")
    persons = persons_in(read_lspet(Path(root, "lspet")), tmp_path / "lspet")
    others = persons_in(
        read_lspet(tmp_path / "others", val_fraction=0.07408, test_fraction=0.37037), tmp_path / "shards"
    )
    published = [path.parent for path in sorted(PUBLISHED.glob("lspet*/evidence.json")) if "tuned" in path.read_text()]
    found = {place.name: take_tuned(place, others if "unseen" in place.name else persons) for place in published}
    assert found["lspet500_wide"].settings.joint["asr.max_rotation_deg"] == pytest.approx(99.18, abs=0.01)
    assert found["lspet500_unseen"].settings == found["lspet500_wide"].settings
    with pytest.raises(UserError, match="tuned on other persons"):
        take_tuned(PUBLISHED / "lspet500_wide", others)
    for tuned in found.values():
        for arm, settings in tuned.settings.by_arm.items():
            preset_named("lspet-small").replaced({**ARMS[arm], **settings})
