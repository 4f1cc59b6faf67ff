"""Reading what a run, a search or a set of arms has come to from its folder, also while it is at work."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ray_advpose.cluster.checkpoint_store import CHECKPOINTS
from ray_advpose.cluster.run_card import has_run, read_card
from ray_advpose.cluster.run_files import BEFORE_JOINT, CONFIG, INPUTS, LATEST, read_history
from ray_advpose.config import load_config
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError
from ray_advpose.pose.protocols import score_name
from ray_advpose.report.account import Account
from ray_advpose.report.clock import clock
from ray_advpose.report.ranking import TrialOutcome, ranked
from ray_advpose.search.ancestry import copies_of, parts_of, path_to_best
from ray_advpose.search.budget import read_spent
from ray_advpose.search.compared import TRAINED_LONGER, before_and_after, finished_arms, joint_and_random
from ray_advpose.search.endings import CUT, ENDINGS, FAILED, FINISHED, read_endings
from ray_advpose.search.lineage import LINEAGE, Lineage
from ray_advpose.search.places import scored_checkpoints, trial_folder, trial_folders, trial_number
from ray_advpose.search.stored import Search, has_search, read_search
from ray_advpose.training.checkpoint import MANIFEST, read_config
from ray_advpose.training.history import EpochRecord

_RUNNING = "running"


def account_of(folder: Path, price: float | None = None) -> Account:
    """Return what is in a folder, whether it is at work, has ended or was cut.

    Args:
        folder: Of a single run, a search or a set of arms.
        price: Of an hour of one GPU, or of one CPU where trials have no GPU; None leaves the cost out.

    Raises:
        UserError: There is none of them in the folder.
    """
    if has_search(folder):
        return _search_account(folder, read_search(folder), price)
    if has_run(folder):
        return _run_account(folder, price)
    found = "is no folder" if not folder.is_dir() else "holds no run, search or arms"
    raise UserError(f"{folder} {found}; name one that launch/train.py or launch/tune.py has written")


def _run_account(folder: Path, price: float | None) -> Account:
    card, config, _ = read_card(folder)
    troubles: list[str] = []
    history = _history(folder, troubles)
    finished = bool(history) and (history[-1].stage, history[-1].epoch) == ("joint", config.stages.joint_epochs)
    running = is_running(folder)
    ending = FINISHED if finished else _RUNNING if running else CUT
    fingerprint = _trained_on(folder)
    data, protocol_score = _data_facts(card.data, fingerprint, troubles)
    name = folder.resolve().name
    devices = config.run.num_workers * (config.run.gpus_per_worker or config.run.cpus_per_worker)
    hours = sum(record.seconds for record in history) / 3600
    return Account(
        kind="run",
        name=name,
        running=running,
        ended=int(finished),
        trials=1,
        troubles=troubles,
        score_name=protocol_score,
        block=config.net.block,
        facts=[*data, ("config", f"preset {config.preset}, seed {config.run.seed}")],
        outcomes=[TrialOutcome(name, ending, {}, history)],
        compared=before_and_after(folder / BEFORE_JOINT, folder / LATEST, troubles),
        compared_is=f"This run, when its stage 3 began and at the end of the last epoch of it. {TRAINED_LONGER}",
        joint_history=history,
        joint_name="this run",
        inputs=_picture(folder / INPUTS, troubles),
        best_config=_text(folder / CONFIG),
        data=card.data,
        fingerprint=fingerprint,
        cost=_cost(hours, hours * devices, config.run.gpus_per_worker > 0, price, "training, without validation"),
    )


def _search_account(folder: Path, search: Search, price: float | None) -> Account:
    troubles: list[str] = []
    running = is_running(folder)
    endings = read_endings(folder / ENDINGS)
    outcomes = [
        TrialOutcome(
            trial_id=trial_id,
            ending=endings.get(trial_id, _RUNNING if running else CUT),
            overrides=_overrides(trial, search),
            history=_history(trial, troubles),
        )
        for trial_id, trial in trial_folders(folder).items()
    ]
    for outcome in outcomes:
        if outcome.ending == FAILED:
            errors = sorted(folder.glob(f"tune/*{outcome.trial_id}*/error.txt"))
            troubles.append(f"{outcome.trial_id} failed; see {errors[0] if errors else folder / 'tune'}.")
    data, _ = _data_facts(search.data, search.fingerprint, troubles)
    config, spent = search.config, read_spent(folder)
    labels = {outcome.trial_id: search.labels[trial_number(outcome.trial_id)] for outcome in outcomes if search.labels}
    lineage = Lineage(folder / LINEAGE)
    best = _best(folder, outcomes, lineage)
    path = path_to_best(lineage, best, search)
    if search.labels:
        compared = finished_arms(folder, outcomes, troubles)
        compared_is = "The last checkpoint of every run that has finished, means over seeds."
        joint, random = joint_and_random(outcomes)
    else:
        root = f"{_stem(best)}_{path[0][0]:05d}" if best and path else best.trial_id if best else ""
        compared = (
            before_and_after(
                trial_folder(folder, root) / BEFORE_JOINT, trial_folder(folder, best.trial_id) / LATEST, troubles
            )
            if best
            else {}
        )
        compared_is = (
            f"The best trial, {best.trial_id}, when stage 3 began and at the end of the last epoch of it."
            f" {TRAINED_LONGER}"
            if best
            else ""
        )
        joint, random = best, None
    return Account(
        kind="arms" if search.labels else "search",
        name=folder.resolve().name,
        running=running,
        ended=len([each for each in outcomes if each.ending not in (_RUNNING, CUT)]),
        trials=search.trials,
        troubles=troubles,
        score_name=search.score_name,
        block=config.net.block,
        facts=[
            *data,
            ("config", f"preset {config.preset}, seed {config.run.seed}"),
            *((name, version) for name, version in search.software.items()),
        ],
        outcomes=outcomes,
        labels=labels,
        compared=compared,
        compared_is=compared_is,
        joint_history=joint.history if joint else (),
        joint_name=labels.get(joint.trial_id, joint.trial_id) if joint else "",
        random_history=random.history if random else (),
        inputs=_picture(trial_folder(folder, joint.trial_id) / INPUTS, troubles) if joint else None,
        parts=parts_of(lineage, outcomes, path, search),
        copies=copies_of(lineage, outcomes),
        best_config=None if search.labels else _best_config(folder),
        best_schedule=_text(folder / "best_schedule.yaml"),
        data=search.data,
        fingerprint=search.fingerprint,
        cost=_cost(spent.hours, spent.device_hours, config.run.gpus_per_worker > 0, price, "from start to end"),
    )


def _best(folder: Path, outcomes: Sequence[TrialOutcome], lineage: Lineage) -> TrialOutcome | None:
    """Return the trial with the best score that is its own; None before there is one.

    A copy has its donor's past, and so its donor's best score, until it comes to one of its own: among
    checkpoints that are equal the donor's is of the earlier generation.
    """
    by_name = {outcome.trial_id: outcome for outcome in outcomes if outcome.history}
    for each in scored_checkpoints(folder):
        last = lineage.last_exploit(trial_number(each.trial_id))
        if each.trial_id in by_name and each.generation == (last.generation if last else 0):
            return by_name[each.trial_id]
    return next((outcome for outcome in ranked(outcomes) if outcome.history), None)


def _best_config(folder: Path) -> str | None:
    """Return the config of the best checkpoint: as the search left it, or of the best so far."""
    if (written := _text(folder / "best_config.yaml")) is not None and not is_running(folder):
        return written
    for each in scored_checkpoints(folder):
        with suppress(UserError):  # a population deletes what it has left behind
            return read_config(each.place).to_yaml()
    return None


def is_running(folder: Path) -> bool:
    """Whether a process trains in a folder, see `ray_advpose.cluster.run_card.alone_in`; changes nothing."""
    try:
        with (folder / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _history(folder: Path, troubles: list[str]) -> list[EpochRecord]:
    try:
        return read_history(folder)
    except UserError as error:
        troubles.append(f"{error}.")
        return []


def _overrides(trial: Path, search: Search) -> Mapping[str, Any]:
    """Return a trial's settings as they are by now; those it was started with before it has any."""
    number = trial_number(trial.name)
    initial = search.overrides[number] if number < len(search.overrides) else {}
    names = initial.keys() or search.space.fields.keys()
    try:
        now = load_config(trial / CONFIG).flat()
    except UserError:  # it has not begun, or an older version has written it
        return initial
    return {**initial, **{name: now[name] for name in names if name in now}}


def _data_facts(data: str, trained_on: str, troubles: list[str]) -> tuple[list[tuple[str, str]], str]:
    """Return what there is to say of the data, and what scores are called."""
    try:
        shards = ShardSet.open(data)
    except UserError as error:
        troubles.append(f"The data cannot be read: {error}.")
        return [("data", f"fingerprint {trained_on}")], "score"
    if trained_on not in ("", shards.fingerprint):
        troubles.append(f"{data} holds other data now than it was trained on, of fingerprint {trained_on}.")
    counts = ", ".join(f"{shards.count(split):,} {split}" for split in ("train", "val", "test"))
    name = f"{shards.manifest.source}, fingerprint {shards.fingerprint}"
    return [("data", f"{name}: {counts}")], score_name(shards.manifest.protocol)


def _trained_on(folder: Path) -> str:
    """Return the fingerprint in a run's newest checkpoint in its own folder; "" where there is none."""
    for manifest in sorted(folder.glob(f"{CHECKPOINTS}/*/{MANIFEST}"), reverse=True):
        with suppress(OSError, ValueError, KeyError):  # it may be deleted meanwhile
            return str(json.loads(manifest.read_text(encoding="utf-8"))["data"]["fingerprint"])
    return ""


def _cost(hours: float, device_hours: float, gpu: bool, price: float | None, what: str) -> list[tuple[str, str]]:
    device = "GPU" if gpu else "CPU"
    rows = [(f"time ({what})", clock(3600 * hours)), (f"{device}-hours", f"{device_hours:.3f}")]
    if price is not None:
        rows.append((f"cost at {price:g} per {device}-hour", f"{price * device_hours:.2f}"))
    return rows


def _stem(outcome: TrialOutcome | None) -> str:
    return outcome.trial_id.rpartition("_")[0] if outcome else ""


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _picture(path: Path, troubles: list[str]) -> bytes | None:
    if not path.is_file():
        return None
    content = path.read_bytes()
    if not content or cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is None:
        troubles.append(f"{path} is not a whole picture.")
        return None
    return content
