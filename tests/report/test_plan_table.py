from __future__ import annotations

import json

import pytest

from ray_advpose.cluster.layout import Layout
from ray_advpose.cluster.run_files import write_history
from ray_advpose.data.shards import read_persons
from ray_advpose.report.plan_table import plan_rows, size
from ray_advpose.search.budget import Budget
from ray_advpose.search.domains import Choice, LogUniform, Uniform
from ray_advpose.search.early_ends import expected_joint_share
from ray_advpose.search.endings import write_ending
from ray_advpose.search.plan import devices_of, disk_needed, make_plan
from ray_advpose.search.scheduling import Exploiting, Halving, RunAll
from ray_advpose.search.session import new_search
from ray_advpose.search.space import SearchSpace
from ray_advpose.search.speed import Speed, recorded_speed
from ray_advpose.search.trained import NOTHING, Trained, trained_in
from ray_advpose.training.history import EpochRecord

# The tiny config trains on 90, 24 and 90 images in its three stages: 9, 6 and 18 s at these speeds.
SPEED = Speed({"pose": 10.0, "pretrain": 4.0, "joint": 5.0}, "the records of runs/first")
WHOLE_S = 33.0
CLUSTER = {"cpus": 4.0, "gpus": 0.0}
TWO_AT_ONCE = Layout(slots=2, workers=1, cpus=2, gpus=0)
OWN_STAGE_1 = {"optim.pose_lr": LogUniform(1e-4, 1e-2)}
ONE_STAGE_1 = {"reward.alpha": Uniform(0.1, 0.5)}


@pytest.fixture
def planned(tiny_config, drawn_people):
    """Plans a search; fields of the config are overridden."""

    def plan(
        fields,
        trials,
        scheduling=None,
        layout=TWO_AT_ONCE,
        speed=SPEED,
        budget=None,
        cluster=CLUSTER,
        trained=NOTHING,
        **overrides,
    ):
        config = tiny_config.replaced({name.replace("__", "."): value for name, value in overrides.items()})
        space = SearchSpace(fields, trials, scheduling or RunAll())
        search = new_search(config, drawn_people.place, space, trials, space.drawn(trials, 0))
        return make_plan(search, drawn_people, layout, cluster, speed, budget or Budget(), trained)

    return plan


def seconds(estimate):
    return 3600 * estimate.hours, 3600 * estimate.device_hours


def test_whole_trials_of_their_own_end_in_waves(planned):
    plan = planned(OWN_STAGE_1, 5)
    assert plan.epochs == {"pose": 2, "pretrain": 2, "joint": 2}
    assert plan.images == {"pose": 90, "pretrain": 24, "joint": 90}
    assert plan.joint_share == 1
    assert seconds(plan.at_most) == pytest.approx((3 * WHOLE_S, 5 * WHOLE_S))
    assert plan.likely == plan.at_most
    assert plan.likely.cost is None


def test_a_search_that_goes_on_pays_for_what_is_left(planned):
    """Of five trials two have ended and one is in its second epoch of stage 3."""
    trained = Trained(frozenset({0, 1}), {2: {"pose": 90, "pretrain": 24, "joint": 45}})
    plan = planned(OWN_STAGE_1, 5, trained=trained)
    begun_s = 45 / SPEED.images_per_s["joint"]
    assert seconds(plan.at_most) == pytest.approx((begun_s + WHOLE_S, begun_s + 2 * WHOLE_S))
    assert (plan.trials, plan.ended) == (5, 2)
    assert ("  ended already", "2; time and cost are of what is left") in plan_rows(plan.as_dict())
    assert planned(OWN_STAGE_1, 2, trained=trained).at_most.device_hours == 0


def test_what_was_trained_is_read_from_the_folder(tmp_path):
    assert trained_in(tmp_path) == Trained()
    for number, stages in enumerate([["pose"], ["pose", "pose", "joint"], ["pose"]]):
        folder = tmp_path / "trials" / f"trial_{number:05d}"
        folder.mkdir(parents=True)
        write_history(folder, [EpochRecord(stage, 1, 8, 90, 9.0, 0.1, 30.0, {}, {}) for stage in stages])
    write_ending(tmp_path / "endings.jsonl", "trial_00000", "stopped early")
    write_ending(tmp_path / "endings.jsonl", "trial_00002", "failed")
    assert trained_in(tmp_path) == Trained(frozenset({0}), {1: {"pose": 180, "joint": 90}, 2: {"pose": 90}})


def test_a_trial_is_charged_for_its_gpus_or_else_for_its_cpus(planned):
    two_workers = Layout(slots=1, workers=2, cpus=6, gpus=0)
    plan = planned(
        OWN_STAGE_1, 5, layout=two_workers, budget=Budget(price=2), run__num_workers=2, run__cpus_per_worker=3
    )
    assert (plan.cpus_per_trial, plan.gpus_per_trial) == (6, 0)
    assert seconds(plan.at_most) == pytest.approx((5 * WHOLE_S, 5 * WHOLE_S * 6))
    assert plan.at_most.cost == pytest.approx(2 * 5 * WHOLE_S * 6 / 3600)
    gpus = {"run__num_workers": 2, "run__cpus_per_worker": 3, "run__gpus_per_worker": 0.5}
    plan = planned(OWN_STAGE_1, 5, layout=Layout(1, 2, 6, 1), budget=Budget(price=2), **gpus)
    assert (plan.cpus_per_trial, plan.gpus_per_trial) == (6, 1)
    assert plan.at_most.cost == pytest.approx(2 * 5 * WHOLE_S / 3600)


def test_those_stopped_early_save_of_stage_3_alone(planned):
    plan = planned(OWN_STAGE_1, 6, Halving(1, 2), stages__joint_epochs=4)
    share = expected_joint_share(Halving(1, 2), 6, 4)
    assert plan.joint_share == share < 1
    assert plan.images["joint"] == 180
    assert seconds(plan.likely) == pytest.approx(((6 * (15 + 36 * share)) / 2, 6 * (15 + 36 * share)))
    assert seconds(plan.at_most) == pytest.approx((3 * 51, 6 * 51))


def test_a_search_takes_as_long_as_a_whole_trial_at_least(planned):
    plan = planned(OWN_STAGE_1, 4, Halving(1, 2), layout=Layout(4, 1, 4, 0), stages__joint_epochs=4)
    assert seconds(plan.likely)[0] == pytest.approx(51)
    assert seconds(plan.likely)[1] < 4 * 51


def test_a_stage_1_that_is_shared_is_trained_by_the_first_trials_alone(planned):
    plan = planned(ONE_STAGE_1, 5)
    assert seconds(plan.likely)[1] == pytest.approx(5 * WHOLE_S - 3 * 9)
    assert seconds(planned(ONE_STAGE_1, 2).likely)[1] == pytest.approx(2 * WHOLE_S)


def test_at_most_is_enough_where_stage_1_is_shared(planned):
    # Two trials train all of it, 33 s; then three train the 24 s after stage 1, two at a time.
    assert seconds(planned(ONE_STAGE_1, 5).at_most)[0] >= WHOLE_S + 24 + 24 - 1e-6


def test_disk_is_checkpoints_times_their_size(planned):
    plan = planned(OWN_STAGE_1, 5)
    # Of each trial the last two and an earlier best; in the end the best of all once more.
    assert plan.disk_bytes == (5 * 2.5 + 1) * plan.checkpoint_bytes  # of half of the trials the best is older
    assert planned(ONE_STAGE_1, 5).disk_bytes == (5 * 2.5 + 1 + 1) * plan.checkpoint_bytes
    assert planned(OWN_STAGE_1, 5, run__keep_last_checkpoints=4).disk_bytes == (5 * 4.5 + 1) * plan.checkpoint_bytes
    # Six epochs have two or one.
    assert planned(OWN_STAGE_1, 5, run__checkpoint_every_epochs=3).disk_bytes == (5 * 2 + 1) * plan.checkpoint_bytes
    assert planned(OWN_STAGE_1, 5, run__checkpoint_every_epochs=9).disk_bytes == (5 * 1 + 1) * plan.checkpoint_bytes


def test_the_disk_that_is_looked_for_is_that_of_the_plan(tiny_config, drawn_people):
    space = SearchSpace(ONE_STAGE_1, 5)
    search = new_search(tiny_config, drawn_people.place, space, 5, space.drawn(5, 0))
    plan = make_plan(search, drawn_people, TWO_AT_ONCE, CLUSTER, None, Budget())
    assert plan.disk_bytes < disk_needed(search, drawn_people, None) <= 1.2 * plan.disk_bytes
    assert devices_of(search.config) == 1


def test_epochs_that_are_long_leave_checkpoints_from_within(planned, drawn_people):
    def kept(**overrides):
        plan = planned(OWN_STAGE_1, 5, **overrides)
        return (plan.disk_bytes / plan.checkpoint_bytes - 1) / 5

    epoch_s = drawn_people.count("train") / SPEED.images_per_s["joint"]
    every = [kept(run__checkpoint_every_s=share * epoch_s) for share in (1.01, 0.99, 0.34, 0.1)]
    assert every == [2.5, 3.5, 4.5, 4.5]


def test_data_is_counted_as_stored_and_as_decoded(planned, drawn_people):
    plan = planned(OWN_STAGE_1, 5)
    stored = sum(path.stat().st_size for path in drawn_people.place.rglob("*.parquet"))
    assert plan.data_bytes == stored > 0
    canvas = read_persons(drawn_people, "train", [0]).canvas
    assert plan.data_rate == 2 * 10.0 * canvas.nbytes


def test_only_trials_that_will_be_started_are_planned(planned):
    assert planned(OWN_STAGE_1, 5, budget=Budget(max_trials=2)) == planned(OWN_STAGE_1, 2)
    assert planned(OWN_STAGE_1, 5, budget=Budget(max_trials=9)) == planned(OWN_STAGE_1, 5)


def test_without_augmentation_networks_there_is_no_stage_2(planned):
    plan = planned(OWN_STAGE_1, 2, asr__enabled=False, aho__enabled=False)
    assert plan.images == {"pose": 90, "joint": 90}
    assert seconds(plan.at_most) == pytest.approx((27, 2 * 27))


def test_a_plan_in_words(planned):
    fields = {**ONE_STAGE_1, "asr.scale_bins": Choice((3, 5))}
    plan = planned(fields, 4, Exploiting(("asr.scale_bins",)), budget=Budget(price=36))
    rows = dict(plan_rows(plan.as_dict()))
    assert rows["trials"] == "4: the worst 25 % copy the best every 1 epoch(s) of stage 3"
    assert rows["  reward.alpha"] == "0.1 to 0.5"
    assert rows["  asr.scale_bins"] == "3 or 5 (structural, changes in a copy)"
    assert rows["budget of a trial"] == (
        "pose 2 epochs (90 images), pretrain 2 epochs (24 images), joint 2 epochs (90 images)"
    )
    assert rows["workers of a trial"] == "1, in all 1 CPUs and 0 GPUs"
    assert rows["at once"] == "2 trials on a cluster of 4 CPUs and 0 GPUs"
    assert rows["disk"] == (
        f"about {size(plan.disk_bytes)} of checkpoints, {size(plan.checkpoint_bytes)} each;"
        f" the data has {size(plan.data_bytes)}"
    )
    assert rows["images/s of a trial"] == "pose 10.0, pretrain 4.0, joint 5.0 (from the records of runs/first)"
    # Two of four share their stage 1: 4 * 33 - 2 * 9 = 114 s of one CPU.
    assert rows["time, likely"] == "0:57 of training, 0.03 CPU-hours, cost 1.14"
    assert rows["time, at most"].endswith(" of training, 0.03 CPU-hours, cost 1.14")


def test_a_plan_says_how_much_of_stage_3_is_likely(planned):
    plan = planned(OWN_STAGE_1, 6, Halving(1, 2), stages__pose_epochs=1, stages__joint_epochs=4)
    (budget,) = [text for name, text in plan_rows(plan.as_dict()) if name == "budget of a trial"]
    assert budget.startswith("pose 1 epoch (45 images), ")
    assert budget.endswith(f"joint 4 epochs (180 images, likely {100 * plan.joint_share:.0f} % of it)")


def test_gpus_are_named_where_trials_have_them(planned):
    plan = planned(OWN_STAGE_1, 2, cluster={"cpus": 4.0, "gpus": 2.0}, run__gpus_per_worker=1)
    rows = dict(plan_rows(plan.as_dict()))
    assert rows["time, at most"] == "0:33 of training, 0.02 GPU-hours"
    assert rows["workers of a trial"] == "1, in all 1 CPUs and 1 GPUs"
    assert rows["at once"] == "2 trials on a cluster of 4 CPUs and 2 GPUs"


def test_an_unknown_speed_is_said_and_not_made_up(planned):
    plan = planned(OWN_STAGE_1, 5, speed=None)
    assert (plan.likely, plan.at_most, plan.data_rate, plan.images_per_s) == (None, None, None, {})
    *_, (name, text) = plan_rows(plan.as_dict())
    assert name == "time"
    assert "not known" in text
    assert "--calibrate" in text


def recorded(root, name, config, *stages):
    """A run's folder with an epoch of 90 images in 9 s for each named stage."""
    folder = root / name
    folder.mkdir()
    (folder / "config.yaml").write_text(config.to_yaml())
    write_history(folder, [EpochRecord(stage, 1, 8, 90, 9.0, 0.1, 30.0, {}, {}) for stage in stages])


def test_the_speed_is_that_of_a_run_of_equal_networks(planned, tiny_config, tmp_path):
    assert recorded_speed(tmp_path, tiny_config) is None
    recorded(tmp_path, "larger", tiny_config.replaced({"net.channels": 12}), "pose", "pretrain", "joint")
    recorded(tmp_path, "begun", tiny_config)
    assert recorded_speed(tmp_path, tiny_config) is None
    recorded(tmp_path, "like", tiny_config.replaced({"asr.scale_bins": 5}), "pose", "pose", "pretrain", "joint")
    speed = recorded_speed(tmp_path, tiny_config)
    assert speed == Speed(dict.fromkeys(("pose", "pretrain", "joint"), 10.0), f"the records of {tmp_path / 'like'}")
    assert seconds(planned(OWN_STAGE_1, 2, speed=speed).at_most)[0] == pytest.approx(9 + 2.4 + 9)


def test_a_run_that_was_cut_before_stage_3_tells_no_speed(planned, tiny_config, tmp_path):
    recorded(tmp_path, "cut", tiny_config, "pose")
    assert planned(OWN_STAGE_1, 2, speed=recorded_speed(tmp_path, tiny_config)).likely is None


def test_a_plan_is_plain_values_for_machines(planned):
    plan = planned({**ONE_STAGE_1, "asr.scale_bins": Choice((3, 5))}, 4, Exploiting(("asr.scale_bins",)))
    read = json.loads(json.dumps(plan.as_dict()))
    assert plan_rows(read) == plan_rows(plan.as_dict())
    assert read["at_most"]["hours"] == plan.at_most.hours


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234, "1.23 kB"),
        (45_600_000, "45.6 MB"),
        (999_700, "1 MB"),  # rounded up into the next unit
        (7.5e9, "7.5 GB"),
        (2e12, "2 TB"),
    ],
)
def test_bytes_are_told_in_three_digits(count, text):
    assert size(count) == text
