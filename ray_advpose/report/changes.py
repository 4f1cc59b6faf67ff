"""The paper's Figure 7: persons by two networks, those whose predictions changed most, for better and for worse."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ray_advpose.data.persons import Split
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError
from ray_advpose.pose.score import Score
from ray_advpose.report.account import Account
from ray_advpose.report.page import Block, Paragraph, Picture, Section
from ray_advpose.report.skeletons import picture_grid
from ray_advpose.report.validation_picture import person_pictures

_PERSONS = 4


@dataclass(frozen=True)
class Change:
    """A person whose joints were found by one of two networks more than by the other.

    Attributes:
        person: Place in the split.
        before: Joints found by the first network.
        after: By the second.
        counted: Joints that count.
    """

    person: int
    before: int
    after: int
    counted: int

    def __str__(self) -> str:
        return f"{self.before} to {self.after} of {self.counted}"


def largest_changes(before: Score, after: Score, count: int) -> tuple[list[Change], list[Change]]:
    """Return the persons that gained and that lost the most joints, at most ``count`` each.

    Of equal gains that with the larger fall in distance comes first, distances counted up to the
    normaliser. A person without a change in joints found is in neither.

    Args:
        before: Of one network on a split.
        after: Of another on the same.
        count: How many either way.
    """
    counted = ~np.isnan(before.relative)
    assert np.array_equal(counted, ~np.isnan(after.relative)), "two scores of different persons"
    found = [(score.relative <= score.threshold).sum(axis=1) for score in (before, after)]
    nearer = np.nansum(np.minimum(before.relative, 1) - np.minimum(after.relative, 1), axis=1)
    gained = found[1] - found[0]
    order = np.lexsort((-nearer, -gained))

    def change(person: int) -> Change:
        return Change(person, int(found[0][person]), int(found[1][person]), int(counted[person].sum()))

    better = [change(int(person)) for person in order if gained[person] > 0][:count]
    worse = [change(int(person)) for person in order[::-1] if gained[person] < 0][:count]
    return better, worse


def change_picture(
    shards: ShardSet, split: Split, changes: list[Change], before_px: np.ndarray, after_px: np.ndarray
) -> np.ndarray:
    """Draw persons by two networks, the first's predictions in the upper row; an RGB picture.

    Args:
        shards: Prepared data.
        split: The split that was predicted.
        changes: The persons, at least one.
        before_px: (N, J, 2) predictions for all of the split, in original-image pixels.
        after_px: Those of the other network.
    """
    chosen = np.array([change.person for change in changes])
    rows = [person_pictures(shards, split, chosen, predictions) for predictions in (before_px, after_px)]
    return picture_grid([picture for row in rows for picture in row], columns=len(changes))


def changes_section(account: Account) -> Section | None:
    """Return Figure 7, between the first and the last of what is compared, of the first seed that both have."""
    if len(account.compared) < 2:
        return None
    title = "Persons that changed most"
    (first_name, first), *_, (last_name, last) = account.compared.items()
    seeds = [seed for seed in first if seed in last]
    if not seeds:
        return None
    before, after = first[seeds[0]], last[seeds[0]]
    better, worse = largest_changes(before.score, after.score, _PERSONS)
    try:
        shards = ShardSet.open(account.data)
        if account.fingerprint not in ("", shards.fingerprint):
            raise UserError(f"{account.data} holds other data now")
        blocks: list[Block] = [
            Paragraph(
                f"As the paper's Figure 7: upper row {first_name}, lower row {last_name}"
                + (f", seed {seeds[0]}" if account.kind == "arms" else "")
                + ". White crosses are annotations. The persons are those with the largest change in joints found,"
                " in either direction; none was picked by hand."
            )
        ]
        for name, words, changes in (("better", "More joints found", better), ("worse", "Fewer joints found", worse)):
            if not changes:
                blocks.append(Paragraph(f"{words}: nobody."))
                continue
            drawn = change_picture(shards, "val", changes, before.predictions_px, after.predictions_px)
            blocks.append(
                Picture(
                    name=f"changes_{name}",
                    image=_jpeg(drawn),
                    kind="jpg",
                    caption=f"{words}: {'; '.join(map(str, changes))}.",
                    alt=f"Photographs with skeletons predicted by {first_name} above those by {last_name}",
                )
            )
    except UserError as error:
        return Section(title, [Paragraph(f"Their photographs cannot be shown: {error}.")])
    return Section(title, blocks)


def _jpeg(picture: np.ndarray) -> bytes:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done, "a uint8 picture always encodes"
    return bytes(data)
