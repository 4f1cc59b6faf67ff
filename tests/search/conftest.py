from __future__ import annotations

import pytest
from laid_out import SPACE

from ray_advpose.search.session import new_search


@pytest.fixture
def place(bucket, request):
    return bucket.replace("s3://advpose", f"s3://advpose/{request.node.name}")


@pytest.fixture
def search(tmp_path):
    """A folder as a search leaves it."""
    folder = tmp_path / "found"
    for name, content in {
        "search.json": "{}",
        "lineage.jsonl": "a\n",
        "tune/experiment_state-1.json": "state 1",
        "tune/trial_00000/checkpoint_000000/pointer.json": "{}",
        "trials/trial_00000/history.json": "[]",
        "trials/trial_00000/checkpoints/step_000000010/state.pt": "weights" * 1000,
        "trials/trial_00000/checkpoints/step_000000010/manifest.json": "{}",
        "trials/trial_00000/events/events.out.tfevents.1": "event",
        "trials/trial_00000/checkpoints/.step_000000020.partial/state.pt": "half",
        "train/group/record": "of no use",
        "stop/asked": "",
        ".lock": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def lay_out(tiny_config, drawn_people):
    """Lays out a search as the command does; fields of the config are overridden."""

    def make(space=SPACE, trials=4, data=drawn_people.place, **overrides):
        config = tiny_config.replaced({name.replace("__", "."): value for name, value in overrides.items()})
        return new_search(config, data, space, trials, space.drawn(trials, config.run.seed))

    return make
