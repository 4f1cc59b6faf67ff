import numpy as np
import pytest
import torch

from ray_advpose.data.identity import identity_of
from ray_advpose.data.scoring import score_checkpoint
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet, read_persons
from ray_advpose.data.sources.synthetic import draw_person, generate_synthetic
from ray_advpose.data.task import task_for
from ray_advpose.data.validation import ScoredSplit
from ray_advpose.errors import UserError
from ray_advpose.nets.bridge import BridgedPoseNet, Descent
from ray_advpose.pose.heatmap import encode
from ray_advpose.training.checkpoint import write_checkpoint
from ray_advpose.training.restoring import take_snapshot
from ray_advpose.training.state import make_state


class Oracle(BridgedPoseNet):
    """Knows the persons it will be shown, in order, and answers with their true heatmaps."""

    def __init__(self, joints_hm: torch.Tensor, side: int) -> None:
        super().__init__()
        self._device = torch.nn.Parameter(torch.zeros(()))
        self._joints_hm = joints_hm
        self._side = side
        self._shown = 0

    @property
    def bridge_shapes(self):
        return ((1, self._side),)

    def descend(self, x_in):
        return Descent((x_in,))

    def ascend(self, descent, masks=None):
        count = len(descent.features[0])
        joints_hm = self._joints_hm[self._shown : self._shown + count]
        self._shown += count
        everywhere = torch.ones(joints_hm.shape[:2], dtype=torch.bool)
        return encode(joints_hm, everywhere, self._side, 1.5, "exact")[:, None]


@pytest.fixture
def config(tiny_config):
    return tiny_config.replaced({"net.input_px": 64})


@pytest.fixture
def oracle(drawn_people, config):
    """An oracle for a split, with its answers off by some heatmap pixels."""

    def build(split="test", off_hm=0.0):
        persons = read_persons(drawn_people, split, np.arange(drawn_people.count(split)))
        # The 32 px box in the middle of the 72 px canvas fills the 16 px heatmap.
        return Oracle((torch.tensor(persons.joints_cv) - 20) / 2 + off_hm, config.net.heatmap_px)

    return build


def inside_box(drawn_people, split="test"):
    persons = read_persons(drawn_people, split, np.arange(drawn_people.count(split)))
    return persons.annotated & ((persons.joints_cv > 20.5) & (persons.joints_cv < 51.5)).all(axis=2)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_perfect_pose_net_scores_one_hundred_in_original_pixels(drawn_people, config, oracle, split):
    scored = ScoredSplit(drawn_people, split, task_for(config, drawn_people))
    result = scored.predict(oracle(split)).score()
    assert result.pooled > 99
    assert np.abs(result.median_error_px).max() < 0.05
    truth = [draw_person(index, 0, 96) for index in range(60)]
    originals = np.stack([person.joints_px for person in truth if person.split == split])
    known = inside_box(drawn_people, split)
    np.testing.assert_allclose(scored.predictions(oracle(split))[known], originals[known], atol=0.2)


def test_an_error_in_the_heatmap_is_the_same_error_in_the_original(drawn_people, config, oracle):
    scored = ScoredSplit(drawn_people, "test", task_for(config, drawn_people))
    off, right = (scored.predictions(oracle(off_hm=off_hm)) for off_hm in (0.5, 0.0))
    persons = read_persons(drawn_people, "test", np.arange(9))
    known = inside_box(drawn_people)
    known &= (persons.joints_cv < 48).all(axis=2)  # still on the heatmap when moved
    # Half a heatmap pixel is one canvas pixel, of which 32 make the person's box.
    expected = np.broadcast_to((persons.box_px / 32)[:, None, None], off.shape)
    np.testing.assert_allclose((off - right)[known], expected[known], atol=0.05)
    assert scored.predict(oracle(off_hm=4.0)).score().pooled < 20


def test_predictions_do_not_depend_on_batches(drawn_people, config):
    net = make_state(config, 14, torch.device("cpu")).pose_net
    one, many = (
        ScoredSplit(
            drawn_people, "test", task_for(config.replaced({"run.eval_batch_size": size}), drawn_people)
        ).predictions(net)
        for size in (2, 50)
    )
    np.testing.assert_allclose(one, many, atol=1e-3)
    assert net.training


def test_truth_is_the_sources(drawn_people, config):
    truth = ScoredSplit(drawn_people, "test", task_for(config, drawn_people)).truth
    persons = [person for person in (draw_person(index, 0, 96) for index in range(60)) if person.split == "test"]
    assert truth.person_id == [person.person_id for person in persons]
    for row, person in enumerate(persons):
        np.testing.assert_array_equal(truth.annotated[row], person.annotated)
        np.testing.assert_allclose(
            truth.joints_px[row][person.annotated], person.joints_px[person.annotated], atol=1e-3
        )
        np.testing.assert_equal(truth.normalizer_px[row], person.normalizer_px)


class Symmetric(BridgedPoseNet):
    """Answers a mirrored picture with mirrored heatmaps: brightness, for left joints more so towards the right edge."""

    def __init__(self, mirror: torch.Tensor) -> None:
        super().__init__()
        self._device = torch.nn.Parameter(torch.zeros(()))
        self._mirror = mirror

    @property
    def bridge_shapes(self):
        return ((3, 64),)

    def descend(self, x_in):
        return Descent((x_in,))

    def ascend(self, descent, masks=None):
        brightness = torch.nn.functional.avg_pool2d(descent.features[0].mean(1, keepdim=True), 4)
        slope = torch.linspace(1, 2, 16)
        partner, itself = self._mirror, torch.arange(14)
        towards = torch.where((itself < partner)[:, None], slope, slope.flip(0))
        towards[itself == partner] = 1
        return (brightness * towards[:, None])[:, None]


def test_the_flip_test_leaves_a_symmetric_answer_as_it_is(drawn_people, config):
    task = task_for(config, drawn_people)
    net = Symmetric(torch.from_numpy(task.skeleton.mirror))
    scored = ScoredSplit(drawn_people, "test", task)
    once = scored.predictions(net)
    np.testing.assert_allclose(scored.predictions(net, flip_test=True), once, atol=0.05)
    left, right = task.skeleton.index("left_wrist"), task.skeleton.index("right_wrist")
    assert not np.allclose(once[:, left], once[:, right], atol=1)


def test_an_empty_split_is_refused(config, tmp_path):
    write_shards(generate_synthetic(3, image_px=64), tmp_path / "few", 32, workers=1)
    few = ShardSet.open(tmp_path / "few")
    with pytest.raises(UserError, match="split 'val' has no persons"):
        ScoredSplit(few, "val", task_for(config, few))


def test_a_checkpoint_is_scored_from_its_folder(drawn_people, config, tmp_path):
    state = make_state(config.replaced({"run.seed": 3}), 14, torch.device("cpu"))
    write_checkpoint(tmp_path / "checkpoint", take_snapshot(state), identity_of(drawn_people))
    found = score_checkpoint(tmp_path / "checkpoint", drawn_people, "test", flip_test=False)
    scored = ScoredSplit(drawn_people, "test", task_for(config, drawn_people))
    np.testing.assert_array_equal(found.predictions_px, scored.predictions(state.pose_net))
    assert found.score.pooled == scored.predict(state.pose_net).score().pooled
    assert found.caption.endswith("decoder exact, flip test off")
