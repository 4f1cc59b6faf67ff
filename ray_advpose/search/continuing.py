"""Going on with a search: what of it has been done, and whether it is the one that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray_advpose.cluster.checkpoint_store import CHECKPOINTS, FolderStore
from ray_advpose.cluster.software import software
from ray_advpose.config import binds_training, field_of
from ray_advpose.data.checks import check_data
from ray_advpose.errors import UserError
from ray_advpose.search.endings import ENDINGS, FAILED, read_endings
from ray_advpose.search.places import trial_folders
from ray_advpose.search.scheduling import Exploiting
from ray_advpose.search.stored import Search

DATA, CODE, SPACE = "data", "code", "space"
_NAMED = 8
# They decide which step lies in which epoch of which stage: what has been trained could not be told any more.
_LAYS_OUT_STEPS = {
    "stages.pose_epochs",
    "stages.pretrain_epochs",
    "stages.pretrain_images",
    "run.global_batch_size",
    "training images",
    "trials",
}


@dataclass(frozen=True)
class Difference:
    """Something in which a search is not the one in its folder.

    Attributes:
        name: What has to be allowed for it: a config field, or ``data``, ``code`` or ``space``.
        what: What differs, in words.
        held: As it is in the folder.
        wanted: As it is asked for.
    """

    name: str
    what: str
    held: str
    wanted: str


def check_allowed(allow: Collection[str]) -> None:
    """Check what may differ: names of fields, or ``data``, ``code`` or ``space``; `UserError` if not."""
    for name in allow:
        if name not in (DATA, CODE, SPACE):
            field_of(name, "--allow-change")


def continued(wanted: Search, held: Search, output: Path, allow: Collection[str] = ()) -> Search:
    """Return the search to go on with: the held one, with what is allowed to differ as it is wanted.

    Args:
        wanted: What is asked for.
        held: What the folder holds.
        output: The folder.
        allow: Names of what may differ.

    Raises:
        UserError: Something else differs: names all of it, with both values.
    """
    differences = _differences(wanted, held)
    refused = [each for each in differences if each.name not in allow or _never(each)]
    if refused:
        lines = [f"  {each.what}: {each.held} there, {each.wanted} here" for each in refused]
        names = sorted({each.name for each in refused if not _never(each)})
        advice = f"name another --out{''.join(f', or add --allow-change {name}' for name in names)}"
        raise UserError("\n".join([f"{output} holds a search that differs from this one; {advice}:", *lines]))
    _check_exploiting(wanted, held, output)
    # Trials that have been drawn stay as they are.
    allowed = sorted({*held.allowed, *(each.name for each in differences)})
    return replace(wanted, trials=held.trials, overrides=held.overrides, labels=held.labels, allowed=allowed)


def _check_exploiting(wanted: Search, held: Search, output: Path) -> None:
    """Check that trials which copy each other have a value of all that a copy may change; `UserError` if not."""
    if isinstance(wanted.space.scheduling, Exploiting):
        for name in sorted(wanted.space.fields.keys() - held.space.fields.keys()):
            raise UserError(f"{output} was begun without {name} in its space, and its trials have no value of it")


def _never(difference: Difference) -> bool:
    """Whether checkpoints could not be loaded any more, or trials not be told apart."""
    if difference.name in (DATA, CODE, SPACE):
        return difference.what == "space draw" and "optuna" in (difference.held, difference.wanted)
    name = difference.name
    return name in _LAYS_OUT_STEPS or binds_training(name)


def _differences(wanted: Search, held: Search) -> list[Difference]:
    found = []
    before, now = held.config.flat(), wanted.config.flat()
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name) and name != "preset":
            found.append(Difference(name, name, str(before.get(name)), str(now.get(name))))
    if held.fingerprint != wanted.fingerprint:
        found.append(Difference(DATA, f"data {wanted.data}", held.fingerprint, wanted.fingerprint))
    if held.train_images != wanted.train_images:
        held_images, wanted_images = str(held.train_images), str(wanted.train_images)
        found.append(Difference("training images", "training images", held_images, wanted_images))
    for name, (old, new) in _changes(held.space_as_dict(), wanted.space_as_dict()).items():
        found.append(Difference(SPACE, f"space {name}", old, new))
    for name, (old, new) in _changes(held.software, wanted.software).items():
        found.append(Difference(CODE, name, old, new))
    # Some may have been added since the command was first given.
    added_since = wanted.trials < held.trials and wanted.overrides == held.overrides[: wanted.trials]
    if held.trials != wanted.trials and not added_since:
        hint = f"{held.trials} (--extend N adds some)"
        found.append(Difference("trials", "trials", hint, str(wanted.trials)))
    return found


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        name: (str(before.get(name, "none")), str(now.get(name, "none")))
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    }


def extended(search: Search, more: int, output: Path) -> Search:
    """Return a search with more trials, if those it has have all ended; else the search as it is.

    So a command that extends can be repeated after a cut without adding trials twice.

    Args:
        search: What the folder holds.
        more: How many are added.
        output: The folder.

    Raises:
        UserError: It cannot have more trials.
    """
    if more < 1:
        raise UserError(f"--extend {more}: expected at least 1")
    if isinstance(search.space.scheduling, Exploiting):
        raise UserError(f"{output}: trials that copy each other start together, and cannot be joined by others")
    if search.labels:
        raise UserError(f"{output} holds arms; name their seeds instead")
    ended = read_endings(output / ENDINGS)
    if len(ended) < search.trials:
        print(
            f"{output}: {search.trials - len(ended)} of {search.trials} trials have not ended; they are first",
            file=sys.stderr,
        )
        return search
    space, trials = search.space, search.trials + more
    if space.draw == "grid":
        if trials > space.combinations:
            raise UserError(
                f"--extend {more}: the grid has {space.combinations} combinations, all but"
                f" {space.combinations - search.trials} are there"
            )
        drawn = space.drawn(trials, search.config.run.seed)[search.trials :]
    else:
        drawn = space.drawn(more, search.config.run.seed, after=search.trials)
    return replace(search, trials=trials, overrides=[*search.overrides, *drawn])


def what_is_kept(search: Search, output: Path) -> str:
    """Return in words which trials are kept as they are, which go on from where, and which begin."""
    endings = read_endings(output / ENDINGS)
    kept = {trial: ending for trial, ending in endings.items() if ending != FAILED}
    going_on = []
    for trial_id, folder in trial_folders(output).items():
        steps = [step for each in folder.glob(f"{CHECKPOINTS}*") for step in FolderStore(str(each)).steps()]
        if steps and trial_id not in kept:
            going_on.append(f"{trial_id} from step {max(steps)}")
    begin = search.trials - len(kept) - len(going_on)
    parts = [f"{len(kept)} of {search.trials} trials are kept"]
    if going_on:
        named = ", ".join([*going_on[:_NAMED], *(["..."] if len(going_on) > _NAMED else [])])
        parts.append(f"{len(going_on)} go on ({named})")
    if begin:
        parts.append(f"{begin} begin")
    return f"{output}: {'; '.join(parts)}"


def moved_data(held: Search, data: str | None) -> Search:
    """Return a search as it would be started now: with this software, and data as it is, perhaps elsewhere."""
    shards = check_data(held.config, data or held.data)
    return replace(
        held,
        data=str(shards.place),
        fingerprint=shards.fingerprint,
        train_images=shards.count("train"),
        software=software(),
    )
