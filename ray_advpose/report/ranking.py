"""The ranked table of a search: what each trial tried, what it came to, and how it got there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from ray_advpose.training.history import EpochRecord
from ray_advpose.training.schedule import Stage


@dataclass(frozen=True)
class TrialOutcome:
    """How one trial ended.

    Attributes:
        trial_id: Its name.
        ending: ``finished``, ``stopped early``, ``failed`` or ``cut``, when the search was.
        overrides: What it tried, by dotted field.
        history: Its epochs.
    """

    trial_id: str
    ending: str
    overrides: Mapping[str, Any]
    history: Sequence[EpochRecord]

    @property
    def best(self) -> EpochRecord | None:
        """The epoch with the highest score, the first of equals; None before the first epoch."""
        return max(self.history, key=lambda record: record.metric, default=None)

    @property
    def before_joint(self) -> float | None:
        """Score when stage 3 began; None if it never did."""
        earlier = [record.metric for record in self.history if record.stage != Stage.JOINT.label]
        return earlier[-1] if earlier and self._joint else None

    @property
    def after_joint(self) -> float | None:
        """Score at the end of stage 3, or of as much of it as there was."""
        return self._joint[-1].metric if self._joint else None

    def steps_of(self, stage: Stage) -> int:
        """Return how many steps of a stage were trained."""
        steps, before = 0, 0
        for record in self.history:
            steps += (record.step - before) * (record.stage == stage.label)
            before = record.step
        return steps

    def rewarded(self, arm: str) -> float | None:
        """Return the share of an arm's draws that were harder than the reference, over all of stage 3."""
        epochs = [record for record in self._joint if f"rewarded_{arm}" in record.means]
        images = sum(record.images for record in epochs)
        return sum(record.means[f"rewarded_{arm}"] * record.images for record in epochs) / images if images else None

    @property
    def _joint(self) -> list[EpochRecord]:
        return [record for record in self.history if record.stage == Stage.JOINT.label]


def ranked(outcomes: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    """Return the outcomes by falling best score; failed and empty ones last."""
    return sorted(outcomes, key=lambda outcome: outcome.best.metric if outcome.best else float("-inf"), reverse=True)


def ranking_rows(outcomes: Sequence[TrialOutcome], score_name: str) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the ranked table.

    Args:
        outcomes: The trials of a search.
        score_name: What the score is, e.g. ``PCK@0.2``.
    """
    header = [
        "rank",
        "trial",
        f"best {score_name}",
        "before stage 3",
        "after stage 3",
        "steps in stages 1/2/3",
        "rewarded ASR",
        "rewarded AHO",
        "ending",
        "settings",
    ]
    rows = []
    for rank, outcome in enumerate(ranked(outcomes), start=1):
        best = outcome.best
        rows.append(
            [
                str(rank),
                outcome.trial_id,
                _number(best.metric if best else None),
                _number(outcome.before_joint),
                _number(outcome.after_joint),
                "/".join(str(outcome.steps_of(stage)) for stage in Stage),
                _percent(outcome.rewarded("asr")),
                _percent(outcome.rewarded("aho")),
                outcome.ending,
                " ".join(
                    f"{name.rpartition('.')[2]}={setting_text(value)}" for name, value in outcome.overrides.items()
                ),
            ]
        )
    return header, rows


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def terminal_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> Table:
    """Return a table for a terminal."""
    table = Table(*header, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def setting_text(value: Any) -> str:
    """Return a setting's value, numbers to three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
