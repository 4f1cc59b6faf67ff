"""What the augmentation networks learned, in a report: the paper's Figure 5, and inputs as networks saw them."""

from __future__ import annotations

from ray_advpose.report.account import Account
from ray_advpose.report.distribution_figure import (
    CELLS,
    ROTATION,
    SCALE,
    distribution_figure,
    flatness_figure,
    probed,
    spread_percent,
)
from ray_advpose.report.page import Block, Paragraph, Picture, Section, Table


def learned_section(account: Account) -> Section | None:
    """Return Figure 5 over scales, rotations and cells; None if nothing was measured."""
    if not probed(account.joint_history):
        return None
    random = account.random_history if probed(account.random_history) else ()
    predicted = any(
        record.probe.predicted_rotation or record.probe.predicted_cells
        for record in account.joint_history
        if record.probe is not None
    )
    histories = {account.joint_name: account.joint_history, **({"random": random} if random else {})}
    blocks: list[Block] = [
        Paragraph(
            "As the paper's Figure 5, on fixed validation images: "
            + ("what the augmentation networks predict, above " if predicted else "")
            + "how the pose network's loss is distributed. A bin's loss is measured by its centre alone, a cell's with"
            " that cell alone occluded; shares sum to 1."
        )
    ]
    if not random and predicted:
        blocks.append(
            Paragraph(
                "The paper's third row, the loss under random augmentation, needs a run without augmentation"
                " networks; `launch/train.py --arms random,asr+aho` trains both."
            )
        )
    for over in (ROTATION, SCALE, CELLS):
        blocks.append(
            Picture(
                name=f"distribution_{over.name}",
                image=distribution_figure(over, account.joint_history, random),
                kind="png",
                caption=f"{over.title}: {account.joint_name}" + (", and random augmentation." if random else "."),
                alt=f"Bar charts over {over.axis}, a column an epoch: predicted shares above loss shares",
            )
        )
        blocks.append(
            Picture(
                name=f"flatness_{over.name}",
                image=flatness_figure(over, histories),
                kind="png",
                caption=f"{over.title}: how far from flat the loss is, (largest - smallest) / mean. Falling: harder"
                " augmentations come to cost no more than easy ones.",
                alt=f"Line chart of the spread of the loss over {over.axis} in percent of its mean, over training",
            )
        )
    header = ["stage", "epoch", *(f"spread of loss, {over.title.lower()}" for over in (ROTATION, SCALE, CELLS))]
    rows = [
        [
            record.stage,
            str(record.epoch),
            *(f"{spread_percent(over.loss(record.probe)):.1f} %" for over in (ROTATION, SCALE, CELLS)),
        ]
        for record in probed(account.joint_history)
        if record.probe is not None
    ]
    blocks.append(Table(header, rows, caption=account.joint_name))
    return Section("What is hard, and what the augmentation networks make of it", blocks)


def inputs_section(account: Account) -> Section | None:
    """Return the picture of inputs; None if there is none."""
    if account.inputs is None:
        return None
    picture = Picture(
        name="inputs",
        image=account.inputs,
        kind="jpg",
        caption="Rows: random augmentation; scaled and rotated by G_ASR; occluded by G_AHO (dark), where these are on."
        " Skeletons are the annotation.",
        alt="Photographs of persons as the networks see them, augmented, with annotated skeletons",
    )
    return Section("What the networks saw", [picture])
