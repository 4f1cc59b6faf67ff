"""What a finished search leaves behind: ranked table, best configuration, best checkpoint, picture."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ray_advpose.cluster.run_card import CHECKPOINTS
from ray_advpose.cluster.storage import store_at
from ray_advpose.report.ranking import TrialOutcome, markdown_table, ranked, ranking_rows
from ray_advpose.search.population import Search, trial_folder


def write_results(search: Search, outcomes: Sequence[TrialOutcome], output: Path) -> Path | None:
    """Write ``ranked.md``, ``best_config.yaml`` and ``best_checkpoint/``.

    Args:
        search: What was searched.
        outcomes: How the trials ended.
        output: The search's folder.

    Returns:
        The best checkpoint; None if no trial came to one.
    """
    header, rows = ranking_rows(outcomes, search.score_name)
    (output / "ranked.md").write_text(markdown_table(header, rows), encoding="utf-8")
    for outcome in ranked(outcomes):
        folder = trial_folder(output, outcome.trial_id)
        source = _best_checkpoint(outcome, folder)
        if source is None:
            continue
        config = search.config.replaced(outcome.overrides, outcome.trial_id)
        (output / "best_config.yaml").write_text(config.to_yaml(), encoding="utf-8")
        target, partial = output / "best_checkpoint", output / ".best_checkpoint.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        return target
    return None


def _best_checkpoint(outcome: TrialOutcome, folder: Path) -> Path | None:
    """Return the kept checkpoint of a trial with the highest score."""
    store = store_at(str(folder / CHECKPOINTS))
    kept = store.steps()
    scored = [record for record in outcome.history if record.step in kept]
    return Path(store.place_of(max(scored, key=lambda record: record.metric).step)) if scored else None
