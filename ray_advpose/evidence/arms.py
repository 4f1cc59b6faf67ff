"""What is compared: the arms of the paper's Table 1, and the controls that a sceptic asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ray_advpose.config import Config, parse_override
from ray_advpose.errors import UserError, nearest
from ray_advpose.presets import ARMS

RANDOM, TUNED, UNIFORM, JOINT = "random", "tuned random", "uniform", "asr+aho"
BASELINES = (RANDOM, TUNED, UNIFORM)
"""What ``asr+aho`` has to beat: the best of these."""

MEANINGS = {
    RANDOM: "random augmentation alone, with the ranges of the preset",
    TUNED: "random augmentation alone, its ranges tuned on validation by as many trials as asr+aho had",
    UNIFORM: "the shares, bins and cells of asr+aho, but drawn evenly and by no network",
    "asr": "adversarial scaling and rotating",
    "aho": "adversarial occluding",
    JOINT: "both augmentation networks",
}
TAKE_TUNED = (UNIFORM, "asr", "aho", JOINT)
"""Arms with the settings that were tuned of ``asr+aho``, and so their variants."""
_WITH = ":"
_IN_A_NAME, _LONGEST = re.compile(r"[A-Za-z0-9._=+-]+"), 200

Kind = Literal["stage 1", "tuning", "arm"]


@dataclass(frozen=True)
class Run:
    """One training run of an experiment.

    Attributes:
        name: Unique, and a folder's name.
        kind: ``stage 1`` ends with it; the others go on from a ``stage 1`` with random augmentation.
        arm: Which arm; for tuning, which of the two that are tuned.
        config: Its config; the seed is in it.
        images: Training images.
        after: Name of the stage 1 it goes on from; None for a stage 1.
    """

    name: str
    kind: Kind
    arm: str
    config: Config
    images: int
    after: str | None = None


@dataclass(frozen=True)
class Tuned:
    """Settings that tuning has found best on validation: of ``asr+aho``, and of random augmentation."""

    joint: Mapping[str, Any]
    random: Mapping[str, Any]


def stage_one(base: Config, seed: int, images: int) -> Run:
    """Return the stage 1 that all runs of a seed and a number of images share."""
    config = base.replaced({**ARMS[RANDOM], "run.seed": seed})
    return Run(f"stage1-{images}-seed{seed}", "stage 1", RANDOM, config, images)


def tuning_runs(base: Config, seed: int, images: int, drawn: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Run]:
    """Return a run for every draw of settings of ``asr+aho`` and of random augmentation, in turn.

    Args:
        base: What all runs have in common.
        seed: One that no arm is trained with.
        images: Training images.
        drawn: Settings by arm.
    """
    shared = stage_one(base, seed, images).name
    runs = []
    for arm, draws in drawn.items():
        for number, settings in enumerate(draws):
            config = base.replaced({**ARMS[arm], **settings, "run.seed": seed})
            runs.append(Run(f"tuning-{_slug(arm)}-{number}", "tuning", arm, config, images, shared))
    return runs


def arm_runs(base: Config, arms: Sequence[str], seeds: Sequence[int], images: int, tuned: Tuned) -> list[Run]:
    """Return a run for every arm and seed, seed by seed, so that whole rows of a seed are done first."""
    runs = []
    for seed in seeds:
        for arm in arms:
            config = base.replaced({**overrides_of(arm, tuned), "run.seed": seed})
            shared = stage_one(base, seed, images).name
            runs.append(Run(f"{_slug(arm)}-{images}-seed{seed}", "arm", arm, config, images, shared))
    return runs


def parse_arms(text: str) -> list[str]:
    """Split arms at commas and put them in the order of `MEANINGS`, an arm before its variants.

    A variant is an arm with settings of its own, as in ``asr+aho:reward.reward_by=pckh``, or several of them with a
    colon before each: it is compared with that arm and with the baselines.

    Raises:
        UserError: There is no such arm, or a setting cannot be read or has no place in a folder's name.
    """
    wanted = []
    for name in text.split(","):
        kind, *settings = (part.strip() for part in name.split(_WITH))
        if kind not in MEANINGS:
            hint = "; settings of a variant have a colon before each" if "=" in kind else ""
            there = f"{nearest(kind, MEANINGS)}; there are {', '.join(MEANINGS)}"
            raise UserError(f"--arms: unknown arm {kind!r}{hint or there}")
        arm = _WITH.join([kind, *settings])
        fields = [parse_override(setting, f"--arms {name.strip()}")[0] for setting in settings]
        if len(set(fields)) < len(fields):
            raise UserError(f"--arms {arm}: a field is given twice")
        if not all(map(_IN_A_NAME.fullmatch, settings)) or len(arm) > _LONGEST:
            raise UserError(
                f"--arms {arm}: names a folder, for which it is too long (more than {_LONGEST}) or has characters"
                " other than letters, digits and ._=+-"
            )
        wanted.append(arm)
    order = list(MEANINGS)
    return sorted(dict.fromkeys(wanted), key=lambda arm: (order.index(kind_of(arm)), arm != kind_of(arm)))


def kind_of(arm: str) -> str:
    """Return which of `MEANINGS` an arm is, or is a variant of."""
    return arm.partition(_WITH)[0]


def varied_by(arm: str) -> str | None:
    """Return the arm that one is a variant of; None if of none."""
    return kind_of(arm) if _WITH in arm else None


def meaning_of(arm: str) -> str:
    """Say in words what an arm is."""
    _, *settings = arm.split(_WITH)
    return f"as {kind_of(arm)}, with {' and '.join(settings)}" if settings else MEANINGS[arm]


def overrides_of(arm: str, tuned: Tuned) -> dict[str, Any]:
    """Return what an arm, as `parse_arms` has it, changes of the common config."""
    kind, *settings = arm.split(_WITH)
    return {**_of_kind(kind, tuned), **dict(map(parse_override, settings))}


def _of_kind(arm: str, tuned: Tuned) -> dict[str, Any]:
    if arm == TUNED:
        return {**ARMS[RANDOM], **tuned.random}
    if arm == UNIFORM:
        return {**ARMS[JOINT], **tuned.joint, "asr.policy": "uniform", "aho.policy": "uniform"}
    return {**ARMS[arm], **(tuned.joint if arm in TAKE_TUNED else {})}


def _slug(arm: str) -> str:
    kind, *settings = arm.split(_WITH)
    return "-".join([kind.replace(" ", "-").replace("+", "-"), *settings])
