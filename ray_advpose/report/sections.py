"""From an account to its report: which tables and pictures, in which order, with which words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ray_advpose.pose.gain import paired_gain
from ray_advpose.pose.score import Score
from ray_advpose.report.account import Account
from ray_advpose.report.arms_table import arms_rows
from ray_advpose.report.changes import changes_section
from ray_advpose.report.curves import score_figure, threshold_figure
from ray_advpose.report.learned import inputs_section, learned_section
from ray_advpose.report.page import Block, Code, Page, Paragraph, Picture, Section, Table
from ray_advpose.report.paper_table import PAPER_TABLE_1
from ray_advpose.report.population_figure import lineage_figure, settings_figure
from ray_advpose.report.ranking import ranking_rows
from ray_advpose.report.score_table import figure

_PAPER_ARMS = {"random": "random", "asr+aho": "ASR and AHO"}
_KINDS = {"run": "Training run", "search": "Search", "arms": "Arms of the ablation"}


def report_page(account: Account) -> Page:
    """Lay out the report."""
    makers: Sequence[Callable[[Account], Section | None]] = (
        _trials,
        _scores,
        learned_section,
        changes_section,
        inputs_section,
        _population,
        _settings,
        _cost,
    )
    sections = [section for make in makers if (section := make(account)) is not None]
    return Page(
        title=f"{_KINDS[account.kind]} {account.name}",
        summary=[_state(account), *account.troubles],
        facts=account.facts,
        sections=sections,
    )


def _state(account: Account) -> str:
    trials = "the run has" if account.trials == 1 else f"{account.ended} of {account.trials} trials have"
    if account.ended == account.trials:
        state = "It has ended." if account.trials == 1 else f"All {account.trials} trials have ended."
    elif account.running:
        state = "It is running." if account.trials == 1 else f"It is running: {trials} ended."
    else:
        state = "It was cut before its end." if account.trials == 1 else f"It is not running, and {trials} ended."
    if not any(outcome.history for outcome in account.outcomes):
        state += " No epoch has ended yet, so there is nothing to show but what it was started with."
    return state


def _trials(account: Account) -> Section | None:
    if not any(outcome.history for outcome in account.outcomes):
        return None
    chart = Picture(
        name="score",
        image=score_figure(account.outcomes, account.score_name),
        kind="png",
        caption=f"Validation {account.score_name} over training.",
        alt=f"Line chart of validation {account.score_name} over training steps, a line for each trial",
    )
    if account.kind == "run":
        return Section("Training", [Table(*_epoch_rows(account)), chart])
    header, rows = ranking_rows(account.outcomes, account.score_name)
    if account.labels:
        header = [*header[:2], "arm", *header[2:]]
        rows = [[*row[:2], account.labels.get(row[1], ""), *row[2:]] for row in rows]
    return Section("Ranked trials", [Table(header, rows), chart])


def _epoch_rows(account: Account) -> tuple[list[str], list[list[str]]]:
    header = ["stage", "epoch", "step", account.score_name, "images/s", "waiting for data", "rewarded ASR, AHO"]
    rows = []
    for record in account.outcomes[0].history:
        rewarded = [
            f"{100 * record.means[f'rewarded_{arm}']:.0f} %"
            for arm in ("asr", "aho")
            if f"rewarded_{arm}" in record.means
        ]
        rows.append(
            [
                record.stage,
                str(record.epoch),
                str(record.step),
                f"{record.metric:.2f}",
                f"{record.images / record.seconds:.0f}",
                f"{100 * record.waiting_share:.0f} %",
                ", ".join(rewarded),
            ]
        )
    return header, rows


def _scores(account: Account) -> Section | None:
    if not account.compared:
        return None
    scores = {name: {seed: each.score for seed, each in by_seed.items()} for name, by_seed in account.compared.items()}
    header, rows = arms_rows(scores, account.block) if account.kind == "arms" else _compared_rows(scores, account.block)
    captions = sorted({each.caption for by_seed in account.compared.values() for each in by_seed.values()})
    blocks: list[Block] = [
        Table(header, rows, caption="In the shape of the paper's Table 1, and beside it."),
        Paragraph(
            f"{account.compared_is} Here: split val; {' | '.join(captions)}. Interval: paired bootstrap over persons"
            f" and seeds, of mean_joint. Paper: Table 1, PCKh@0.5 on MPII validation, {account.block} hourglass:"
            " other data, and another measure than PCK."
        ),
        Picture(
            name="thresholds",
            image=threshold_figure({name: list(by_seed.values()) for name, by_seed in scores.items()}),
            kind="png",
            caption="As the paper's Figure 6: joints found over the distance that counts as found.",
            alt=f"Line chart of joints found over thresholds, for {', '.join(scores)}",
        ),
    ]
    return Section("Scores beside the paper's", blocks)


def _compared_rows(scores: dict[str, dict[int, Score]], block: str) -> tuple[list[str], list[list[str]]]:
    """Return rows as `arms_rows` does, where what is compared are not the paper's arms."""
    baseline, *_ = scores.values()
    some = next(iter(baseline.values()))
    header = ["", *some.groups, f"mean_joint{some.joints_counted}", "gain, 95 % interval"]
    rows = []
    for name, by_seed in scores.items():
        (score,), (first,) = by_seed.values(), baseline.values()
        gain = "" if by_seed is baseline else str(paired_gain([score.relative], [first.relative], score.threshold))
        rows.append([name, *map(figure, score.groups.values()), figure(score.mean_joint), gain])
    for arm, name in _PAPER_ARMS.items():
        paper = PAPER_TABLE_1[block][arm]
        gain = "" if arm == "random" else f"{paper[-1] - PAPER_TABLE_1[block]['random'][-1]:+.1f}"
        rows.append([f"paper, {name}", *(f"{value:.1f}" for value in paper), gain])
    return header, rows


def _population(account: Account) -> Section | None:
    if not account.parts:
        return None
    numbers = {
        name
        for name in account.parts[0].settings
        if all(isinstance(part.settings.get(name), int | float) for part in account.parts)
        and len({part.settings[name] for part in account.parts}) > 1
    }
    blocks: list[Block] = [
        Picture(
            name="lineage",
            image=lineage_figure(account.parts),
            kind="png",
            caption="Who copied whom: a lane for each trial, an arrow from the one that was copied.",
            alt="Chart of trials over training steps with arrows for copies",
        )
    ]
    if numbers:
        blocks.append(
            Picture(
                name="settings",
                image=settings_figure(account.parts, sorted(numbers)),
                kind="png",
                caption="Settings over training, a line for each trial.",
                alt=f"Charts of {', '.join(sorted(numbers))} over training steps, a line for each trial",
            )
        )
    if account.copies:
        blocks.append(Table(["step", "trial", "score", "copied", "its score", "changed"], account.copies))
    return Section("Population", blocks)


def _settings(account: Account) -> Section | None:
    blocks: list[Block] = []
    if account.best_config is not None:
        blocks.append(Code("Config of the best; train with `launch/train.py --config FILE`", account.best_config))
    if account.best_schedule is not None:
        blocks.append(
            Code("Path of settings that led to it; train with `launch/train.py --schedule FILE`", account.best_schedule)
        )
    return Section("Settings to copy", blocks) if blocks else None


def _cost(account: Account) -> Section | None:
    if not account.cost:
        return None
    return Section("Cost", [Table(["", ""], [list(row) for row in account.cost])])
