from __future__ import annotations

import pytest
from waiting import wait_for

from ray_advpose.search.mirror import Mirror
from ray_advpose.search.mirror_order import Rank, is_large, is_left_out, rank_of

EVERY_S = 0.2


@pytest.mark.parametrize(
    ("name", "rank", "large", "left_out"),
    [
        ("tune/experiment_state-1.json", Rank.TUNES, False, False),
        ("tune/trial_00000/checkpoint_000000/pointer.json", Rank.TUNES_TRIALS, False, False),
        ("lineage.jsonl", Rank.OURS, False, False),
        ("trials/trial_00000/history.json", Rank.OURS, False, False),
        ("trials/trial_00000/checkpoints_1/step_000000010/state.pt", Rank.OURS, True, False),
        ("trials/trial_00000/checkpoints/.step_000000020.partial/state.pt", Rank.OURS, True, True),
        ("validation.png", Rank.OURS, True, False),
        ("train/group/record", Rank.OURS, False, True),
        (".lock", Rank.OURS, False, True),
    ],
)
def test_what_a_file_is(name, rank, large, left_out):
    assert (rank_of(name), is_large(name), is_left_out(name)) == (rank, large, left_out)


def test_what_tune_says_of_its_trials_is_read_before_and_put_after_their_pointers(search, place):
    """A trial reports while the folder is looked at: the copy's record must not speak of a pointer it lacks."""
    put = []

    class Watched(Mirror):
        def _stat(self, name):
            found = super()._stat(name)
            if name == "tune/experiment_state-1.json" and not (search / "tune/trial_00000/checkpoint_000001").exists():
                pointer = search / "tune/trial_00000/checkpoint_000001/pointer.json"
                pointer.parent.mkdir()
                pointer.write_text("{}")
                (search / name).write_text("state that speaks of checkpoint_000001")
            return found

        def _put(self, name, content):
            put.append((name, content))
            super()._put(name, content)

    mirror = Watched(search, place, pytest.fail, EVERY_S)
    wait_for(lambda: any(name == "tune/experiment_state-1.json" for name, _ in put))
    mirror.close()
    names = [name for name, _ in put if name.startswith("tune/")]
    first = put[[name for name, _ in put].index("tune/experiment_state-1.json")]
    assert b"checkpoint_000001" in first[1]
    before = names[: names.index("tune/experiment_state-1.json")]
    assert "tune/trial_00000/checkpoint_000001/pointer.json" in before
