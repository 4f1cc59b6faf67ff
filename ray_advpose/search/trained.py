"""What a search has trained already, which is not to be paid for again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ray_advpose.cluster.run_files import read_history
from ray_advpose.search.endings import ENDINGS, FAILED, read_endings
from ray_advpose.search.places import trial_folders, trial_number


@dataclass(frozen=True)
class Trained:
    """What has been trained, by the numbers of the trials.

    Attributes:
        ended: Trials that are not trained any more.
        images: Images of whole epochs that the others have trained on, by stage; a stage 1 that was
            taken over from another trial counts as well.
    """

    ended: frozenset[int] = frozenset()
    images: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


NOTHING = Trained()


def trained_in(output: Path) -> Trained:
    """Return what has been trained in a search's folder; nothing where there is none."""
    endings = read_endings(output / ENDINGS)
    ended = {trial_number(trial_id) for trial_id, how in endings.items() if how != FAILED}
    images = {}
    for trial_id, folder in trial_folders(output).items():
        if trial_number(trial_id) not in ended:
            counted: Counter[str] = Counter()
            for record in read_history(folder):
                counted[record.stage] += record.images
            images[trial_number(trial_id)] = dict(counted)
    return Trained(frozenset(ended), images)
