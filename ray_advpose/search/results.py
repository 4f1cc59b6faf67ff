"""What a finished search leaves behind: ranked table, best configuration, best checkpoint, its schedule."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ray_advpose.cluster.storage import is_whole
from ray_advpose.report.ranking import TrialOutcome, markdown_table, ranking_rows
from ray_advpose.search.lineage import LINEAGE, Lineage, Stretch
from ray_advpose.search.places import scored_checkpoints, trial_number
from ray_advpose.search.stored import Search
from ray_advpose.training.checkpoint import read_config
from ray_advpose.training.setting_changes import SettingChange, changes_text


def write_results(search: Search, outcomes: Sequence[TrialOutcome], output: Path) -> Path | None:
    """Write ``ranked.md``, ``best_config.yaml`` and ``best_checkpoint/``.

    If trials copied others, also ``best_schedule.yaml``: all settings that led to the best checkpoint.

    Args:
        search: What was searched.
        outcomes: How the trials ended.
        output: The search's folder.

    Returns:
        The best checkpoint; None if no trial came to one.
    """
    header, rows = ranking_rows(outcomes, search.score_name)
    (output / "ranked.md").write_text(markdown_table(header, rows), encoding="utf-8")
    # One that was damaged since is skipped.
    best = next((each for each in scored_checkpoints(output) if is_whole(each.place)), None)
    if best is None:
        return None
    (output / "best_config.yaml").write_text(read_config(best.place).to_yaml(), encoding="utf-8")
    lineage = Lineage(output / LINEAGE)
    if lineage.exploits:
        path = lineage.path_to(trial_number(best.trial_id), best.generation, search.overrides)
        (output / "best_schedule.yaml").write_text(_schedule(search, path), encoding="utf-8")
    target, partial = output / "best_checkpoint", output / ".best_checkpoint.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(best.place, partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target


def _schedule(search: Search, path: Sequence[Stretch]) -> str:
    """Return the file that trains a fresh network along a path of settings."""
    changes = []
    for before, after in pairwise(path):
        changed = {name: value for name, value in after.overrides.items() if before.overrides[name] != value}
        changes.append(SettingChange(after.barrier * search.every_joint_epochs, changed))
    return changes_text(search.config.replaced(path[0].overrides, "the path's start"), changes)
