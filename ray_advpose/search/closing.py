"""What a search shows in the end, or when it was cut."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import cv2
from rich.console import Console

from ray_advpose.cluster.signals import SIGNALLED
from ray_advpose.data.scoring import score_checkpoint
from ray_advpose.data.shards import ShardSet
from ray_advpose.report.ranking import TrialOutcome, ranking_rows, terminal_table
from ray_advpose.report.validation_picture import prediction_picture
from ray_advpose.search.endings import CUT
from ray_advpose.search.population import Ended
from ray_advpose.search.results import write_results
from ray_advpose.search.stored import Search

# A log file has no width of its own.
_LOG_COLUMNS = 130


def close(search: Search, ended: Ended, output: Path, shards: ShardSet, go_on: str) -> int:
    """Write a search's results into its folder, print its table, and return the command's exit code.

    Args:
        search: What was searched.
        ended: How it ended.
        output: Its folder.
        shards: Its data.
        go_on: The command that goes on with it.
    """
    outcomes = ended.outcomes
    best = write_results(search, outcomes, output)
    header, rows = ranking_rows(outcomes, search.score_name)
    console = Console()
    if not console.is_terminal:
        console.width = _LOG_COLUMNS
    console.print(terminal_table(header[:-1], [row[:-1] for row in rows], title="Ranked trials"))
    for row in rows:
        print(f"  {row[1]}: {row[-1]}")
    if best is None:
        if any(outcome.ending == CUT for outcome in outcomes):
            print("no trial has come to the end of an epoch yet")
        else:
            print(f"no trial came to a checkpoint; errors are in error.txt files below {output / 'tune'}")
        return exit_code(search, ended, go_on, otherwise=1)
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
    return exit_code(search, ended, go_on, otherwise=0)


def exit_code(search: Search, ended: Ended, go_on: str, otherwise: int) -> int:
    """Return the command's exit code; if trials are left, say how to go on with them."""
    if _all_have_ended(search, ended.outcomes):
        return otherwise
    if ended.by is not None:
        print(f"the search was cut by {ended.by.name}; go on with: {go_on}")
        return SIGNALLED + ended.by
    if ended.reason is not None:
        print(f"{ended.reason}; go on with more of it: {go_on}")
        return 0
    print(f"the search was cut; go on with: {go_on}")
    return SIGNALLED + signal.SIGINT


def _all_have_ended(search: Search, outcomes: Sequence[TrialOutcome]) -> bool:
    return len(outcomes) == search.trials and all(outcome.ending != CUT for outcome in outcomes)
