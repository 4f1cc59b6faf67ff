"""The paper's ablation as one population: every arm with every seed, and the table they make.

Nothing is stopped early, every arm gives D the same number of images, and arms of one seed share
its stage 1 where that has been trained by the time they start.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ray_advpose.cluster.checkpoint_store import CHECKPOINTS
from ray_advpose.cluster.run_card import has_run
from ray_advpose.cluster.storage import store_at
from ray_advpose.config import Config
from ray_advpose.data.rescoring import score_file
from ray_advpose.data.scoring import predict_checkpoint
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError, nearest
from ray_advpose.pose.score import Score
from ray_advpose.presets import ARMS
from ray_advpose.report.arms_table import ArmScores, arms_json, arms_table
from ray_advpose.report.ranking import TrialOutcome
from ray_advpose.search.closing import exit_code
from ray_advpose.search.continuing import CODE
from ray_advpose.search.endings import FAILED, FINISHED
from ray_advpose.search.places import trial_folder
from ray_advpose.search.scheduling import RunAll
from ray_advpose.search.session import Means, new_search, train_population
from ray_advpose.search.space import SearchSpace
from ray_advpose.search.stored import Search, has_search, read_search

_ALL = "all"


def parse_arms(text: str) -> list[str]:
    """Read ``all`` or a comma-separated list of arms into the paper's order; `UserError` for an unknown one."""
    names = text.split(",")
    for name in names:
        if name not in (*ARMS, _ALL):
            raise UserError(
                f"--arms: unknown arm {name!r}{nearest(name, ARMS)}; there are {', '.join(ARMS)} and {_ALL}"
            )
    return [arm for arm in ARMS if arm in names or _ALL in names]


def arms_search(base: Config, data: str | Path, arms: Sequence[str], seeds: int) -> Search:
    """Lay out one trial for each arm and seed.

    Args:
        base: What the arms have in common; its seed is the first.
        data: Prepared data.
        arms: Names in `ARMS`.
        seeds: How many seeds.

    Raises:
        UserError: The data cannot be used with the config.
    """
    # All seeds of one arm first: by the time the next arm starts, their stage 1 is there to share.
    trials = [(arm, base.run.seed + number) for arm in arms for number in range(seeds)]
    return new_search(
        base,
        data,
        space=SearchSpace(fields={}, scheduling=RunAll()),
        trials=len(trials),
        overrides=[{**ARMS[arm], "run.seed": seed} for arm, seed in trials],
        labels=[f"{arm} seed {seed}" for arm, seed in trials],
    )


def conduct_arms(search: Search, output: Path, means: Means, command: str, allow: Collection[str] = ()) -> int:
    """Train all arms, or go on with those in the folder, and print and write their table.

    Args:
        search: From `arms_search`.
        output: Folder of all runs; the table goes to ``arms.md`` and ``arms.json`` in it, each run's
            predictions into its own folder.
        means: What to run them with.
        command: What the user has to repeat to go on after a cut.
        allow: With ``code`` in it, other software may go on with what is there.

    Returns:
        0; 1 if a run failed; if a signal has cut them 128 and its number.

    Raises:
        UserError: The folder holds other runs, the data changed, or not one run fits the cluster.
    """
    if has_run(output):
        raise UserError(f"{output} holds a single run, not arms; name another --out")
    if has_search(output):
        _check_same(search, read_search(output), output, allow)
    ended = train_population(search, output, means)
    outcomes, shards = ended.outcomes, ShardSet.open(search.data)
    scores, captions = _scores(search, outcomes, output, shards)
    failed = [
        f"{search.labels[search.overrides.index(dict(outcome.overrides))]} ({outcome.trial_id})"
        for outcome in outcomes
        if outcome.ending == FAILED
    ]
    if failed:
        print(
            f"failed, and not in the table: {', '.join(failed)}; errors are in error.txt files below {output / 'tune'}"
        )
    if not scores:
        return exit_code(search, ended, command, otherwise=1)
    text = (
        f"{arms_table(scores, search.config.net.block)}\n"
        f"Here: split val, the last checkpoint of each run, means over seeds; {' | '.join(sorted(captions))}.\n"
        "Interval: paired bootstrap over persons and seeds, of mean_joint.\n"
        f"Paper: Table 1, PCKh@0.5 on MPII validation, {search.config.net.block} hourglass.\n"
    )
    (output / "arms.md").write_text(text, encoding="utf-8")
    (output / "arms.json").write_text(arms_json(scores), encoding="utf-8")
    print(f"\n{text}\n{output / 'arms.md'}")
    return exit_code(search, ended, command, otherwise=1 if failed else 0)


def _scores(
    search: Search, outcomes: Sequence[TrialOutcome], output: Path, shards: ShardSet
) -> tuple[ArmScores, set[str]]:
    """Predict with the last checkpoint of every finished run; return its scores and their definitions."""
    scores: dict[str, dict[int, Score]] = {}
    captions = set()
    for outcome in outcomes:
        if outcome.ending != FINISHED:
            continue
        folder = trial_folder(output, outcome.trial_id)
        predictions = folder / "predictions.npz"
        if not predictions.exists():  # a finished run does not change any more
            store = store_at(str(folder / CHECKPOINTS))
            last = store.place_of(store.steps()[-1])
            predict_checkpoint(Path(last), shards, "val", flip_test=False).write(predictions)
        scored = score_file(predictions)
        arm = next(arm for arm, fields in ARMS.items() if fields.items() <= outcome.overrides.items())
        scores.setdefault(arm, {})[outcome.overrides["run.seed"]] = scored.score
        captions.add(scored.caption)
    return scores, captions


def _check_same(search: Search, found: Search, output: Path, allow: Collection[str]) -> None:
    if search.labels != found.labels:
        held, wanted = (", ".join(labels) or "a search" for labels in (found.labels, search.labels))
        raise UserError(f"{output} holds {held}, not {wanted}; name another --out")
    if search.fingerprint != found.fingerprint:
        raise UserError(
            f"{output} holds runs on data of fingerprint {found.fingerprint}, not {search.fingerprint};"
            " name another --out"
        )
    for name in search.software.keys() | found.software.keys():
        before, now = found.software.get(name, "none"), search.software.get(name, "none")
        if before != now and CODE not in allow:
            raise UserError(
                f"{output} holds runs by {name} {before}, not {now}; to go on so anyway, add --allow-change {CODE}"
            )
    held_fields = found.config.flat()
    for name, value in search.config.flat().items():
        if held_fields[name] != value:
            raise UserError(f"{output} holds runs with {name} = {held_fields[name]}, not {value}; name another --out")
