"""An experiment's findings as a Markdown page with its figures, and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ray_advpose.evidence.arms import JOINT, RANDOM, TAKE_TUNED, meaning_of
from ray_advpose.evidence.comparison import ArmRun, Comparison, compare, dropped_after, headline
from ray_advpose.evidence.experiment import RUNS, Experiment
from ray_advpose.evidence.robustness import CHANGED
from ray_advpose.evidence.tables import (
    changed_table,
    hash_table,
    learning_table,
    score_table,
    standing_sentence,
    tilt_table,
    tuning_table,
    turned_table,
)
from ray_advpose.evidence.tuned import NUMBERS, tuned_numbers
from ray_advpose.pose.gain import Gain
from ray_advpose.report.curves import threshold_figure
from ray_advpose.report.distribution_figure import ROTATION, distribution_figure
from ray_advpose.report.evidence_figures import (
    gain_figure,
    robustness_figure,
    size_figure,
    training_figure,
)
from ray_advpose.report.score_table import json_text
from ray_advpose.training.history import EpochRecord

PAGE = "evidence.md"
_CAPTIONS = {
    "robustness": "Accuracy, all annotated joints pooled, on pictures changed in one way at a time.",
    "loss": "D's loss on the same pictures.",
    "thresholds": "Joints found over the largest distance that counts as found, as in the paper's Figure 6.",
    "training": "Accuracy on validation while training, the mean over seeds.",
    "rotations": "What G_ASR predicts beside D's loss on a few fixed images, as in the paper's Figure 5; one seed.",
    "tilts": "Gains over random augmentation by how people lie in the pictures, with 95 % intervals.",
}


def write_findings(experiment: Experiment, output: Path, persons: str, machine: str) -> Path | None:
    """Write what is known by now into the experiment's folder; without a page, None, if no arm has ended.

    Args:
        experiment: What is compared.
        output: Its folder.
        persons: Of its data (`persons_digest`).
        machine: What it ran on, in words.
    """
    folder = output / RUNS
    found = compare(experiment, folder)
    tuned = tuned_numbers(experiment, folder, persons)
    if not found.arms:
        if tuned:
            (output / NUMBERS).write_text(json_text(tuned), encoding="utf-8")
        return None
    sections = ["# Arms and controls on equal terms\n", _terms(experiment, found, machine)]
    for images, arms in found.arms.items():
        sections.append(f"## {images:,} training images\n")
        sentence = headline(found, images)
        sections += [] if sentence is None else [f"{sentence}\n"]
        sections += [score_table(found, images), tilt_table(found, images), turned_table(found, images)]
        sections += [changed_table(found, images), learning_table(found, images)]
        sections += [standing_sentence(arms[RANDOM])] if RANDOM in arms else []
        for name, picture in {**_figures(arms, found.split), **_tilts(found, images)}.items():
            path = output / f"{name}-{images}.png"
            path.write_bytes(picture)
            sections.append(f"![{name}]({path.name})\n\n*{_CAPTIONS[name]}*\n")
    metric = next(iter(next(iter(next(iter(found.arms.values())).values())).values())).score.metric
    if len(found.arms) > 1:
        sections.append("## Over the number of training images\n")
        (output / "sizes.png").write_bytes(_sizes(found, f"{found.split} {metric}, %"))
        sections.append("![sizes](sizes.png)\n")
    if experiment.drawn[RANDOM]:
        sections += ["## What was tuned, on validation\n", tuning_table(experiment, folder)]
    sections += ["## Predictions\n", hash_table(found)]
    (output / NUMBERS).write_text(json_text({**_numbers(found), **tuned}), encoding="utf-8")
    page = output / PAGE
    page.write_text("\n".join(sections), encoding="utf-8")
    return page


def _terms(experiment: Experiment, found: Comparison, machine: str) -> str:
    run = next(iter(next(iter(next(iter(found.arms.values())).values())).values()))
    base = experiment.base
    took = (
        f" {', '.join(TAKE_TUNED)} and variants of them have what was tuned of {JOINT}, its ranges of random"
        " augmentation too." * bool(experiment.drawn[RANDOM])
    )
    tuned_here = " Settings were tuned on this same split." * (found.split == "val" and bool(experiment.drawn[RANDOM]))
    arms = "".join(f"- **{arm}**: {meaning_of(arm)}\n" for arm in experiment.arms)
    return (
        f"{machine}. Data of fingerprint {experiment.fingerprint}. Split {found.split!r}, last weights of each run,"
        f" {run.caption}. Runs of a seed share its stage 1 ({base.stages.pose_epochs} epochs), and every run gives D"
        f" {run.result['images_with_gradient']:,} images with a gradient. Intervals: 95 %, paired bootstrap over"
        f" persons and seeds (of one seed over persons alone), of mean_joint. {rate_drops(found)}{took}{tuned_here}\n\n"
        f"{arms}"
    )


def rate_drops(found: Comparison) -> str:
    """Say after which epoch of stage 3 D's learning rate dropped, which is part of the terms."""
    after = {
        f"{arm} on {images:,} images, seed {seed}": dropped_after(run)
        for images, arms in found.arms.items()
        for arm, by_seed in arms.items()
        for seed, run in by_seed.items()
    }
    [(usual, _)] = Counter(after.values()).most_common(1)
    others = [f"{name}: {epochs}" for name, epochs in after.items() if epochs != usual]
    # A variant may set another epoch, and runs of earlier versions dropped it at a plateau.
    but = f", but for {'; '.join(others)}" if others else ""
    when = "did not drop in stage 3" if usual is None else f"dropped after epoch {usual} of stage 3"
    return f"D's learning rate {when}{but}."


def _figures(arms: Mapping[str, Mapping[int, ArmRun]], split: str) -> dict[str, bytes]:
    some = next(iter(next(iter(arms.values())).values()))
    label = f"{split} {some.score.metric}, %"

    def means(name: str) -> dict[str, dict[str, list[float]]]:
        return {
            arm: {
                change: np.mean([getattr(run.robustness, name)[change] for run in by_seed.values()], axis=0).tolist()
                for change in some.robustness.values
            }
            for arm, by_seed in arms.items()
        }

    drawn = {
        "robustness": robustness_figure(some.robustness.values, means("accuracy"), label),
        "loss": robustness_figure(some.robustness.values, means("loss"), "loss"),
        "thresholds": threshold_figure({arm: [run.score for run in by_seed.values()] for arm, by_seed in arms.items()}),
        "training": training_figure(
            {arm: [run.history for run in by_seed.values()] for arm, by_seed in arms.items()},
            f"validation {some.score.metric}, %",
        ),
    }
    if JOINT in arms and RANDOM in arms:
        seed = next(iter(arms[JOINT]))
        joint, random = (arms[arm][seed].history if seed in arms[arm] else [] for arm in (JOINT, RANDOM))
        if _bins(joint):
            # Shares of other bins, as tuning may give the joint arm, are not to be compared.
            drawn["rotations"] = distribution_figure(ROTATION, joint, random if _bins(random) == _bins(joint) else ())
    return drawn


def _bins(history: Sequence[EpochRecord]) -> list[float]:
    """Return the rotations that a run was measured at; empty if it was not."""
    probes = [record.probe for record in history if record.probe is not None]
    return probes[-1].rotations_deg if probes else []


def _tilts(found: Comparison, images: int) -> dict[str, bytes]:
    groups, arms = found.by_tilt(images), found.arms[images]
    every = {arm: [found.gain(images, arm, RANDOM, tilts) for tilts in groups] for arm in arms}
    gains = {arm: [gain for gain in by_tilt if gain is not None and arm != RANDOM] for arm, by_tilt in every.items()}
    labels = [f"{tilts}\n({int(persons.sum())} persons)" for tilts, persons in groups.items()]
    return {"tilts": gain_figure(labels, gains, "torso from upright, degrees")} if any(gains.values()) else {}


def _sizes(found: Comparison, label: str) -> bytes:
    scores: dict[str, dict[int, list[float]]] = {}
    for images, arms in found.arms.items():
        for arm, by_seed in arms.items():
            scores.setdefault(arm, {})[images] = [run.score.mean_joint for run in by_seed.values()]
    return size_figure({arm: by_size for arm, by_size in scores.items() if len(by_size) > 1}, label)


def _numbers(found: Comparison) -> dict[str, Any]:
    def gains(images: int, arm: str, gain_over: Callable[[int, str, str], Gain | None]) -> dict[str, Any]:
        every = {other: gain_over(images, arm, other) for other in found.arms[images] if other != arm}
        return {other: vars(gain) for other, gain in every.items() if gain is not None}

    return {
        "split": found.split,
        "sizes": {
            str(images): {
                arm: {
                    "gains": gains(images, arm, found.gain),
                    **{
                        f"{what}_gains": gains(images, arm, partial(found.changed_gain, change=change))
                        for change, what in CHANGED.items()
                    },
                    "by_tilt": {
                        f"{tilts} degrees": {
                            "persons": int(persons.sum()),
                            "mean_joint": found.score_among(images, arm, tilts),
                            "gains": gains(images, arm, partial(found.gain, tilts=tilts)),
                        }
                        for tilts, persons in found.by_tilt(images).items()
                    },
                    "steepness": dict(zip(("loss", "accuracy"), found.flatness(images, arm), strict=True)),
                    "seeds": {
                        str(seed): {
                            **run.score.groups,
                            "mean_joint": run.score.mean_joint,
                            "pooled": run.score.pooled,
                            "dropped_after_joint_epochs": dropped_after(run),
                            "robustness": run.robustness.curves(),
                            "result": json.loads(json.dumps(run.result)),
                        }
                        for seed, run in by_seed.items()
                    },
                }
                for arm, by_seed in arms.items()
            }
            for images, arms in found.arms.items()
        },
    }
