"""The rules of the code base that no linter checks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ray_advpose

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ray_advpose"
SCRIPTS = sorted((ROOT / "launch").glob("*.py"))

IMPORT_EVERYTHING = """
import importlib, pkgutil, ray_advpose
for module in pkgutil.walk_packages(ray_advpose.__path__, "ray_advpose."):
    importlib.import_module(module.name)
    print(module.name)
"""


def run_python(*arguments: str | Path, cwd: Path) -> str:
    """Run this Python in a folder; return what it printed, or fail with its error."""
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_files_stay_below_300_lines():
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in [*PACKAGE.rglob("*.py"), *SCRIPTS]
    }
    assert lines
    assert {path: count for path, count in lines.items() if count > 300} == {}


def test_tasks_that_read_data_do_not_load_torch(tmp_path: Path):
    # Loading it takes seconds and hundreds of megabytes in each of Ray Data's worker processes.
    modules = ["ray_advpose.data.canvas_source", "ray_advpose.data.rows", "ray_advpose.training.schedule"]
    loaded = run_python("-c", f"import sys, {', '.join(modules)}; print(*sys.modules)", cwd=tmp_path).split()
    assert set(modules) <= set(loaded)
    assert "torch" not in loaded


def test_importing_makes_no_files(tmp_path: Path):
    imported = run_python("-c", IMPORT_EVERYTHING, cwd=tmp_path).split()
    # A folder without __init__.py would be missing from what is imported, and from what is installed.
    assert len(imported) + 1 == len(list(PACKAGE.rglob("*.py")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_launch_scripts_say_what_they_do(script: Path, tmp_path: Path):
    usage, description, *_ = run_python(script, "--help", cwd=tmp_path).split("\n\n")
    assert usage.startswith(f"usage: {script.name}")
    assert description.endswith(".")
    assert list(tmp_path.iterdir()) == []


def test_commit_hooks_run_what_ci_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"] for hook in config["repos"][0]["hooks"]]
    # A running make hands its own options down through these.
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    dry_run = subprocess.run(
        ["make", "--dry-run", "--old-file=.venv/dev-stamp", "lint"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert dry_run.stdout.splitlines() == hooks


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{ray_advpose.__version__}"' in project
    assert citation["version"] == ray_advpose.__version__
