"""The tables of an experiment's page."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ray_advpose.evidence.arms import BASELINES, RANDOM, kind_of, varied_by
from ray_advpose.evidence.comparison import FEWEST_PERSONS, ArmRun, Comparison, followed_loss, standing
from ray_advpose.evidence.experiment import Experiment, result_of
from ray_advpose.evidence.one_run import is_done
from ray_advpose.evidence.robustness import CHANGED, OCCLUDED_CELLS, OCCLUSION_GRID, ROTATIONS_DEG, SCALES
from ray_advpose.pose.gain import Gain
from ray_advpose.report.ranking import markdown_table
from ray_advpose.report.score_table import figure

_HASHED = {"val": "val predictions", "test": "test predictions", "changed": "distances in changed pictures"}
_ENDS: dict[str, dict[float, str]] = {
    "scale": {end: f"at {end} times" for end in (SCALES[0], SCALES[-1])},
    "occlusion": {end: f"with {end} cells black" for end in OCCLUDED_CELLS[-1:]},
}


def score_table(found: Comparison, images: int) -> str:
    """Return accuracy by joint and the gains over every baseline."""
    arms = found.arms[images]
    some = next(iter(next(iter(arms.values())).values())).score
    header = ["arm", "seeds", *some.groups, f"mean_joint{some.joints_counted}", *_over(arms)]
    rows = []
    for arm, by_seed in arms.items():
        scores = [run.score for run in by_seed.values()]
        means = np.mean([[*score.groups.values(), score.mean_joint] for score in scores], axis=0)
        over = _gains(arm, arms, partial(found.gain, images, arm))
        rows.append([arm, str(len(scores)), *map(figure, means.tolist()), *over])
    return markdown_table(header, rows)


def changed_table(found: Comparison, images: int) -> str:
    """Return what scaled and occluded pictures come to, and accuracy at the ends of what was measured."""
    arms, tables = found.arms[images], []
    for change, ends in _ENDS.items():
        header = ["arm", f"mean_joint, {CHANGED[change]}", *_over(arms), *ends.values()]
        rows = []
        for arm in arms:
            mean, curve = found.changed_score(images, arm, change), found.curve(images, arm, change)
            over = _gains(arm, arms, partial(found.changed_gain, images, arm, change=change))
            rows.append([arm, "" if mean is None else figure(mean), *over, *(figure(curve[end]) for end in ends)])
        tables.append(markdown_table(header, rows))
    return (
        f"The same images with crops scaled {SCALES[0]} to {SCALES[-1]} times (mean over {len(SCALES)}), and with up to"
        f" {OCCLUDED_CELLS[-1]} of {OCCLUSION_GRID**2} cells blackened (mean over {len(OCCLUDED_CELLS)} numbers of"
        " them); in the last columns joints are pooled:\n\n" + "\n".join(tables)
    )


def turned_table(found: Comparison, images: int) -> str:
    """Return what turned images come to, and how steep loss and accuracy are over rotation."""
    arms = found.arms[images]
    header = [
        "arm",
        "mean_joint, turned",
        *_over(arms),
        "loss at 60 degrees over upright",
        "accuracy at 60 degrees over upright",
    ]
    rows = []
    for arm in arms:
        mean = found.changed_score(images, arm, "rotation")
        loss, accuracy = found.flatness(images, arm)
        over = _gains(arm, arms, partial(found.changed_gain, images, arm, change="rotation"))
        turned = "" if mean is None else figure(mean)
        rows.append([arm, turned, *over, f"{loss:+.1f} %", f"{accuracy:+.1f} %"])
    return (
        f"The same images turned by {ROTATIONS_DEG[0]} to {ROTATIONS_DEG[-1]} degrees in {len(ROTATIONS_DEG)} even"
        " steps (mean over them, upright among them; the last two columns: mean of the two outermost):\n\n"
        + markdown_table(header, rows)
    )


def tilt_table(found: Comparison, images: int) -> str:
    """Return scores and gains by how bodies lie in the pictures themselves; nothing if that is not known."""
    arms, groups = found.arms[images], found.by_tilt(images)
    if not groups:
        return ""
    header = ["torso from upright, degrees", "persons", "arm", "seeds", "mean_joint"]
    rows = []
    for tilts, persons in groups.items():
        for arm, by_seed in arms.items():
            score = figure(found.score_among(images, arm, tilts))
            over = _gains(arm, arms, partial(found.gain, images, arm, tilts=tilts))
            rows.append([tilts, str(int(persons.sum())), arm, str(len(by_seed)), score, *over])
    told = sum(int(persons.sum()) for persons in groups.values())
    scored = int(found.scored(images).sum())
    return (
        f"The pictures as they are, by how the person lies in them: {told} of {scored} scored persons, those with both"
        f" hips and shoulders annotated, in groups of at least {FEWEST_PERSONS}:\n\n"
        + markdown_table([*header, *_over(arms)], rows)
    )


def learning_table(found: Comparison, images: int) -> str:
    """Return what each arm cost, and whether its networks learned what is hard."""
    header = [
        "arm",
        "seconds in stages 1/2/3",
        "stage 3 over random's",
        "rewarded ASR / AHO",
        "own draws raise a bin or cell above",
        "prediction follows loss: scale / rotation / cells",
    ]
    arms, rows = found.arms[images], []
    base = _seconds(arms[RANDOM], "joint") if RANDOM in arms else float("nan")
    for arm, by_seed in arms.items():
        seconds = [_seconds(by_seed, stage) for stage in ("pose", "pretrain", "joint")]
        last = [run.history[-1].means for run in by_seed.values()]
        rewarded = [
            f"{100 * np.mean([means[name] for means in last]):.0f} %" if name in last[0] else "-"
            for name in ("rewarded_asr", "rewarded_aho")
        ]
        times = "/".join(f"{each:.0f}" for each in seconds)
        followed = [followed_loss(run.history) for run in by_seed.values()]
        follows = [
            f"{np.mean([each[name] for each in followed]):+.2f}" if name in followed[0] else "-"
            for name in ("scale", "rotation", "cells")
        ]
        networks = any(name in last[0] for name in ("rewarded_asr", "rewarded_aho"))
        above = _break_even(next(iter(by_seed.values())).result["config"]) if networks else "-"
        rows.append([arm, times, figure(seconds[2] / base), " / ".join(rewarded), above, " / ".join(follows)])
    return (
        "What it cost, and what was learned: of the last epoch the share of adversarial draws that were harder than"
        " their reference; which share of such rewards makes a bin or cell likelier; and the rank correlation, -1 to 1,"
        " of the predicted probabilities with D's loss on a few fixed images:\n\n" + markdown_table(header, rows)
    )


def standing_sentence(random: Mapping[int, ArmRun]) -> str:
    """Say whether random augmentation had anything left to teach, and how far D knows its training images by heart."""
    found = [standing(run) for run in random.values()]
    dropped = [each.before_drop for each in found if each.before_drop is not None]
    before = f" at {np.mean(dropped):.1f} before the learning rate dropped," if len(dropped) == len(found) else ""
    first, end, training, held = (
        np.mean([getattr(each, name) for each in found])
        for name in ("after_stage_one", "at_end", "training_loss", "held_loss")
    )
    return (
        f"Random augmentation alone stood at {first:.1f} on validation (joints pooled) after stage 1,{before} and at"
        f" {end:.1f} at the end: what stage 3 still gained, it had left to teach. D's loss was then {training:.4f} on"
        f" training images augmented at random, and {held:.4f} on the scored images as they are.\n"
    )


def tuning_table(experiment: Experiment, folder: Path) -> str:
    """Return the settings tried, the best on validation first; or those that were taken from elsewhere."""
    rows = []
    for run in experiment.runs(folder):
        if run.kind == "tuning" and is_done(folder, run.name):
            number = int(run.name.rpartition("-")[2])
            settings = _settings_text(experiment.drawn[run.arm][number])
            rows.append([run.arm, f"{result_of(folder, run.name)['val']:.2f}", settings])
    rows.sort(key=lambda row: (row[0], -float(row[1])))
    for arm, score in experiment.taken.items():
        rows.append([arm, score, _settings_text(experiment.drawn[arm][0])])
    return markdown_table(["arm", "validation at the end", "settings"], rows)


def hash_table(found: Comparison) -> str:
    """Return the hashes of all predictions."""
    results = [run.result for arms in found.arms.values() for by_seed in arms.values() for run in by_seed.values()]
    rows = [
        [each["name"], each["ended"], *(each["predictions_sha256"].get(what, "")[:16] for what in _HASHED)]
        for each in results
    ]
    return markdown_table(["run", "ended", *(f"SHA-256 of {what}" for what in _HASHED.values())], rows)


def _break_even(config: Mapping[str, Any]) -> str:
    """Say which share of an entry's draws has to be rewarded for them to raise it (see `reward.rates`)."""
    alpha, beta = config["reward.alpha"], config["reward.beta"]
    if config.get("reward.baseline", "none") == "none":
        return f"{100 * beta / (alpha + beta):.0f} % rewarded"
    return "the batch's rewarded share" if alpha == beta else f"{beta / alpha:.2f} times the batch's odds of a reward"


def _over(arms: Collection[str]) -> list[str]:
    """Return the headings of an arm's gains: over every baseline and, if there are variants, over what they vary."""
    header = [f"over {arm}" for arm in BASELINES if arm in arms]
    return [*header, "over the arm it varies"] if any(map(varied_by, arms)) else header


def _gains(arm: str, arms: Collection[str], gain_over: Callable[[str], Gain | None]) -> list[str]:
    """Return an arm's cells below `_over`, empty where there is no gain to tell."""
    others = [baseline for baseline in BASELINES if baseline in arms]
    if any(map(varied_by, arms)):
        others.append(kind_of(arm))
    gains = [None if other == arm else gain_over(other) for other in others]
    return ["" if gain is None else str(gain) for gain in gains]


def _settings_text(settings: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name.rpartition('.')[2]}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in settings.items()
    )


def _seconds(by_seed: Mapping[int, ArmRun], stage: str) -> float:
    return float(np.mean([run.result["seconds"][stage] for run in by_seed.values()]))
