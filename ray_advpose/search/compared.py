"""What of a run or search is set side by side in its report, by saved predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ray_advpose.cluster.run_files import LATEST
from ray_advpose.data.array_files import read_arrays
from ray_advpose.data.rescoring import score_file
from ray_advpose.errors import UserError
from ray_advpose.presets import ARMS
from ray_advpose.report.account import Predicted
from ray_advpose.report.arms_table import BASELINE
from ray_advpose.report.ranking import TrialOutcome
from ray_advpose.search.endings import FINISHED
from ray_advpose.search.places import trial_folder

TRAINED_LONGER = (
    "It had trained longer by then, so the gain is not one over random augmentation; `launch/train.py --arms` measures"
    " that."
)
_BEFORE, _AFTER = "before stage 3", "after stage 3"


def _predicted(path: Path, troubles: list[str]) -> Predicted | None:
    if not path.is_file():
        return None
    try:
        scored = score_file(path)
        arrays = read_arrays(path)
        return Predicted(scored.score, scored.caption, arrays["predictions_px"], arrays["person_id"].tolist())
    except UserError as error:
        troubles.append(f"Predictions cannot be read: {error}.")
        return None


def before_and_after(before: Path, after: Path, troubles: list[str]) -> dict[str, dict[int, Predicted]]:
    """Return what there is of both, in the form of `Account.compared`."""
    found = {_BEFORE: _predicted(before, troubles), _AFTER: _predicted(after, troubles)}
    there = {name: {0: each} for name, each in found.items() if each is not None}
    return _comparable(there, troubles)


def _comparable(found: Mapping[str, Mapping[int, Predicted]], troubles: list[str]) -> dict[str, dict[int, Predicted]]:
    """Return what predicts the persons that the last of it does; data may have changed on the way."""
    if not found:
        return {}
    persons = next(iter(list(found.values())[-1].values())).person_id
    same = {
        name: {seed: each for seed, each in by_seed.items() if each.person_id == persons}
        for name, by_seed in found.items()
    }
    if any(len(same[name]) < len(by_seed) for name, by_seed in found.items()):
        troubles.append("Some predictions are of other persons, as the data has changed; they are not compared.")
    return {name: by_seed for name, by_seed in same.items() if by_seed}


def finished_arms(
    folder: Path, outcomes: Sequence[TrialOutcome], troubles: list[str]
) -> dict[str, dict[int, Predicted]]:
    """Return what the finished runs of every arm predict, in the order of the paper's rows."""
    found: dict[str, dict[int, Predicted]] = {}
    for outcome in outcomes:
        if outcome.ending == FINISHED:
            trial = trial_folder(folder, outcome.trial_id)
            predicted = _predicted(trial / LATEST, troubles) or _predicted(trial / "predictions.npz", troubles)
            if predicted is not None:
                found.setdefault(_arm(outcome), {})[outcome.overrides["run.seed"]] = predicted
    return _comparable({arm: found[arm] for arm in ARMS if arm in found}, troubles)


def _arm(outcome: TrialOutcome) -> str:
    return next(arm for arm, fields in ARMS.items() if fields.items() <= outcome.overrides.items())


def joint_and_random(outcomes: Sequence[TrialOutcome]) -> tuple[TrialOutcome | None, TrialOutcome | None]:
    """Return a run with as many augmentation networks as there is, and the random one of its seed."""
    order = list(ARMS)
    with_probe = [each for each in outcomes if any(record.probe is not None for record in each.history)]
    joint = max(
        (each for each in with_probe if _arm(each) != BASELINE),
        key=lambda each: (order.index(_arm(each)), -each.overrides["run.seed"]),
        default=None,
    )
    if joint is None:
        return None, None
    seed = joint.overrides["run.seed"]
    same_seed = (each for each in with_probe if _arm(each) == BASELINE and each.overrides["run.seed"] == seed)
    return joint, next(same_seed, None)
