from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from command_runs import ROOT

from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.errors import run_command


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> Path:
    """A prepared data set of 160 drawn people, 120 of them for training."""
    folder = tmp_path_factory.mktemp("people") / "shards"
    write_shards(generate_synthetic(persons=160), folder, box_px=48)
    return folder


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a launch script's ``main`` in an empty folder and returns the one sentence it refuses with."""
    monkeypatch.chdir(tmp_path)

    def call(script, *arguments):
        main = runpy.run_path(str(ROOT / "launch" / script))["main"]
        code = run_command(lambda: main([str(argument) for argument in arguments]))
        lines = capsys.readouterr().err.splitlines()
        assert code == 2
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        return lines[0]

    return call
