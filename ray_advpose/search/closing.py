"""What a search shows in the end, or when it was cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
from rich.console import Console

from ray_advpose.data.scoring import score_checkpoint
from ray_advpose.data.shards import ShardSet
from ray_advpose.report.ranking import TrialOutcome, ranking_rows, terminal_table
from ray_advpose.report.validation_picture import prediction_picture
from ray_advpose.search.progress import CUT
from ray_advpose.search.results import write_results
from ray_advpose.search.stored import Search

# A log file has no width of its own.
_LOG_COLUMNS = 130
_CUT_EXIT_CODE = 130


def close(search: Search, outcomes: Sequence[TrialOutcome], output: Path, shards: ShardSet) -> int:
    """Write a search's results into its folder, print its table, and return the command's exit code."""
    best = write_results(search, outcomes, output)
    go_on = f"python launch/tune.py --resume {output}"
    header, rows = ranking_rows(outcomes, search.score_name)
    console = Console()
    if not console.is_terminal:
        console.width = _LOG_COLUMNS
    console.print(terminal_table(header[:-1], [row[:-1] for row in rows], title="Ranked trials"))
    for row in rows:
        print(f"  {row[1]}: {row[-1]}")
    if best is None:
        print(f"no trial came to a checkpoint; errors are in error.txt files below {output / 'tune'}")
        return exit_code(search, outcomes, go_on, otherwise=1)
    scored = score_checkpoint(best, shards, "val", flip_test=False)
    picture = prediction_picture(shards, "val", scored.predictions_px)
    cv2.imwrite(str(output / "validation.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    definition = (
        f"Scores are validation {scored.caption}; pooled over all joints, best checkpoint {scored.score.pooled:.2f}"
    )
    with (output / "ranked.md").open("a", encoding="utf-8") as ranked:
        ranked.write(f"\n{definition}.\n")
    print(f"{definition}. Best checkpoint: {scored.score.pooled:.2f}")
    for name in ("ranked.md", "best_config.yaml", "best_schedule.yaml", "best_checkpoint", "validation.png"):
        if (output / name).exists():
            print(f"  {output / name}")
    return exit_code(search, outcomes, go_on, otherwise=0)


def exit_code(search: Search, outcomes: Sequence[TrialOutcome], go_on: str, otherwise: int) -> int:
    """Return the command's exit code; if the search was cut, say how to go on with it."""
    if len(outcomes) == search.trials and all(outcome.ending != CUT for outcome in outcomes):
        return otherwise
    print(f"the search was cut; go on with: {go_on}")
    return _CUT_EXIT_CODE
