"""A population's lineage as a report shows it: stretches, the path to the best, copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray_advpose.report.population_figure import Part
from ray_advpose.report.ranking import TrialOutcome, setting_text
from ray_advpose.search.lineage import Lineage
from ray_advpose.search.places import trial_number
from ray_advpose.search.stored import Search

AncestralPath = list[tuple[int, int, int]]
"""Trial, generation and first step of each stretch that led to a network."""


def path_to_best(lineage: Lineage, best: TrialOutcome | None, search: Search) -> AncestralPath:
    """Return the stretches that led to the best trial, from the start of training; none if nobody copied."""
    if best is None or not lineage.exploits:
        return []
    last = lineage.last_exploit(trial_number(best.trial_id))
    steps = {(exploit.trial, exploit.generation): exploit.step for exploit in lineage.exploits}
    stretches = lineage.path_to(trial_number(best.trial_id), last.generation if last else 0, search.overrides)
    return [(each.trial, each.generation, steps.get((each.trial, each.generation), 0)) for each in stretches]


def parts_of(lineage: Lineage, outcomes: Sequence[TrialOutcome], path: AncestralPath, search: Search) -> list[Part]:
    """Return the stretches of all trials, and once more those that led to the best; none if nobody copied."""
    if not lineage.exploits:
        return []
    starts: dict[tuple[int, int], tuple[int, Mapping[str, Any], int | None]]
    starts = {(number, 0): (0, overrides, None) for number, overrides in enumerate(search.overrides)}
    starts |= {(each.trial, each.generation): (each.step, each.overrides, each.donor) for each in lineage.exploits}
    reached = {trial_number(each.trial_id): each.history[-1].step for each in outcomes if each.history}
    parts = []
    for (trial, generation), (first, settings, donor) in starts.items():
        last = starts[trial, generation + 1][0] if (trial, generation + 1) in starts else reached.get(trial, first)
        parts.append(Part(trial, first, max(first, last), settings, donor, led_to_best=False))
    for (trial, generation, first), following in zip(path, [*path[1:], None], strict=True):
        last = following[2] if following else max(first, reached.get(trial, first))
        parts.append(Part(trial, first, last, starts[trial, generation][1], None, led_to_best=True))
    return parts


def copies_of(lineage: Lineage, outcomes: Sequence[TrialOutcome]) -> list[list[str]]:
    """Return a row for each copy: step, who, its score, from whom, that one's score, what was changed."""
    names = {trial_number(each.trial_id): each.trial_id for each in outcomes}
    return [
        [
            str(each.step),
            names.get(each.trial, str(each.trial)),
            f"{each.score:.2f}",
            names.get(each.donor, str(each.donor)),
            f"{each.donor_score:.2f}",
            ", ".join(
                f"{name} {setting_text(old)} to {setting_text(new)}" for name, (old, new) in each.changes.items()
            ),
        ]
        for each in lineage.exploits
    ]
