"""Reading what a run, a search or a set of arms has come to from its folder, also while it is at work."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ray_advpose.cluster.run_card import has_run, read_card
from ray_advpose.cluster.run_files import BEFORE_JOINT, INPUTS, LATEST, read_history
from ray_advpose.data.array_files import read_arrays
from ray_advpose.data.rescoring import score_file
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError
from ray_advpose.pose.protocols import score_name
from ray_advpose.presets import ARMS
from ray_advpose.report.account import Account, Predicted
from ray_advpose.report.arms_table import BASELINE
from ray_advpose.report.clock import clock
from ray_advpose.report.ranking import TrialOutcome, ranked
from ray_advpose.search.ancestry import copies_of, parts_of, path_to_best, trial_number
from ray_advpose.search.budget import read_spent
from ray_advpose.search.endings import CUT, ENDINGS, FAILED, FINISHED, read_endings
from ray_advpose.search.lineage import LINEAGE, Lineage
from ray_advpose.search.places import trial_folder, trial_folders
from ray_advpose.search.stored import Search, has_search, read_search
from ray_advpose.training.history import EpochRecord

_RUNNING = "running"
_TRAINED_LONGER = (
    "It had trained longer by then, so the gain is not one over random augmentation; `launch/train.py --arms` measures"
    " that."
)
_BEFORE, _AFTER = "before stage 3", "after stage 3"


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
    data, fingerprint, protocol_score = _data_facts(Path(card.data), troubles)
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
        compared=_before_and_after(folder / BEFORE_JOINT, folder / LATEST, troubles),
        compared_is=f"This run, when its stage 3 began and at the end of the last epoch of it. {_TRAINED_LONGER}",
        joint_history=history,
        joint_name="this run",
        inputs=_bytes(folder / INPUTS),
        best_config=_text(folder / "config.yaml"),
        data=Path(card.data),
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
    data, fingerprint, _ = _data_facts(Path(search.data), troubles)
    config, spent = search.config, read_spent(folder)
    labels = {outcome.trial_id: search.labels[trial_number(outcome.trial_id)] for outcome in outcomes if search.labels}
    best = next((outcome for outcome in ranked(outcomes) if outcome.history), None)
    lineage = Lineage(folder / LINEAGE)
    path = path_to_best(lineage, best, search)
    if search.labels:
        compared = _arms(folder, outcomes, troubles)
        compared_is = "The last checkpoint of every run that has finished, means over seeds."
        joint, random = _joint_and_random(outcomes)
    else:
        root = f"{_stem(best)}_{path[0][0]:05d}" if best and path else best.trial_id if best else ""
        compared = (
            _before_and_after(
                trial_folder(folder, root) / BEFORE_JOINT, trial_folder(folder, best.trial_id) / LATEST, troubles
            )
            if best
            else {}
        )
        compared_is = (
            f"The best trial, {best.trial_id}, when stage 3 began and at the end of the last epoch of it."
            f" {_TRAINED_LONGER}"
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
        inputs=_bytes(trial_folder(folder, joint.trial_id) / INPUTS) if joint else None,
        parts=parts_of(lineage, outcomes, path, search),
        copies=copies_of(lineage, outcomes),
        best_config=_text(trial_folder(folder, best.trial_id) / "config.yaml") if best and not search.labels else None,
        best_schedule=_text(folder / "best_schedule.yaml"),
        data=Path(search.data),
        fingerprint=fingerprint or search.fingerprint,
        cost=_cost(spent.hours, spent.device_hours, config.run.gpus_per_worker > 0, price, "from start to end"),
    )


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
    except (ValueError, TypeError, KeyError) as error:
        troubles.append(f"The history in {folder} cannot be read: {error}.")
        return []


def _overrides(trial: Path, search: Search) -> Mapping[str, Any]:
    """Return a trial's settings as they are by now; those it was started with before it has any."""
    number = trial_number(trial.name)
    initial = search.overrides[number] if number < len(search.overrides) else {}
    names = initial.keys() or search.space.fields.keys()
    content = yaml.safe_load(_text(trial / "config.yaml") or "") or {}
    found = {}
    for name in names:
        section, _, field = name.partition(".")
        if field in content.get(section, {}):
            found[name] = content[section][field]
    return {**initial, **found}


def _data_facts(data: Path, troubles: list[str]) -> tuple[list[tuple[str, str]], str, str]:
    """Return what there is to say of the data, its fingerprint, and what scores are called; "" where it is gone."""
    try:
        shards = ShardSet.open(data)
    except UserError as error:
        troubles.append(f"The data cannot be read: {error}.")
        return [("data", str(data))], "", "score"
    counts = ", ".join(f"{shards.count(split):,} {split}" for split in ("train", "val", "test"))
    name = f"{shards.manifest.source}, fingerprint {shards.fingerprint}"
    return [("data", f"{name}: {counts}")], shards.fingerprint, score_name(shards.manifest.protocol)


def _predicted(path: Path, troubles: list[str]) -> Predicted | None:
    if not path.is_file():
        return None
    try:
        scored = score_file(path)
        return Predicted(scored.score, scored.caption, read_arrays(path)["predictions_px"])
    except UserError as error:
        troubles.append(f"Predictions cannot be read: {error}.")
        return None


def _before_and_after(before: Path, after: Path, troubles: list[str]) -> dict[str, dict[int, Predicted]]:
    found = {_BEFORE: _predicted(before, troubles), _AFTER: _predicted(after, troubles)}
    return {name: {0: each} for name, each in found.items() if each is not None}


def _arms(folder: Path, outcomes: Sequence[TrialOutcome], troubles: list[str]) -> dict[str, dict[int, Predicted]]:
    """Return what the finished runs of every arm predict, in the order of the paper's rows."""
    found: dict[str, dict[int, Predicted]] = {}
    for outcome in outcomes:
        if outcome.ending == FINISHED:
            trial = trial_folder(folder, outcome.trial_id)
            predicted = _predicted(trial / LATEST, troubles) or _predicted(trial / "predictions.npz", troubles)
            if predicted is not None:
                found.setdefault(_arm(outcome), {})[outcome.overrides["run.seed"]] = predicted
    return {arm: found[arm] for arm in ARMS if arm in found}


def _arm(outcome: TrialOutcome) -> str:
    return next(arm for arm, fields in ARMS.items() if fields.items() <= outcome.overrides.items())


def _joint_and_random(outcomes: Sequence[TrialOutcome]) -> tuple[TrialOutcome | None, TrialOutcome | None]:
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


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
