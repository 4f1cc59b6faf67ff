"""Names of Ray's that are not public and that this package calls: gone, they must be missed here first."""

from __future__ import annotations

import importlib
import inspect

from ray.data._internal.cluster_autoscaler import get_or_create_autoscaling_coordinator
from ray.data._internal.stats import get_or_create_stats_actor
from ray.train._internal.session import _TrainingResult
from ray.train.torch import config
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial, config_parser

from ray_advpose.cluster.torch_trainer import LeanTorchTrainer

# The package has a function of the module's name.
tune_module = importlib.import_module("ray.tune.tune")


def test_the_controller_trains_a_trial_when_told():
    assert list(inspect.signature(TuneController._schedule_trial_train).parameters) == ["self", "trial"]
    assert "_set_trial_status" in inspect.getsource(TuneController._wrapped), "no longer given to schedulers"


def test_a_trials_record_can_be_pointed_elsewhere():
    assert list(inspect.signature(_TrainingResult).parameters)[:2] == ["checkpoint", "metrics"]
    for name in ("is_saving", "set_status", "invalidate_json_state", "init_local_path", "latest_checkpoint_result"):
        assert hasattr(Trial, name), name


def test_the_trainer_starts_without_the_actors_that_are_of_no_use(tmp_path):
    trainer = LeanTorchTrainer(lambda: None)
    kinds = {type(callback) for callback in trainer._create_default_callbacks()}
    assert kinds, "Ray Train sets up nothing by this method any more"
    assert not kinds & {DatasetsCallback, PlacementGroupCleanerCallback}
    everything = {type(callback) for callback in super(LeanTorchTrainer, trainer)._create_default_callbacks()}
    assert everything >= {DatasetsCallback, PlacementGroupCleanerCallback}


def test_trials_are_made_by_tunes_own_functions():
    assert list(inspect.signature(config_parser._create_trial_from_spec).parameters) == [
        "spec",
        "parser",
        "trial_kwargs",
    ]
    assert list(inspect.signature(config_parser._make_parser).parameters) == ["parser_creator", "kwargs"]
    assert "SIGUSR1" in inspect.getsource(tune_module._setup_signal_catching), "Tune's loop is ended by another signal"


def test_a_cluster_has_one_coordinator_and_one_keeper_of_statistics():
    assert not inspect.signature(get_or_create_autoscaling_coordinator).parameters
    assert not inspect.signature(get_or_create_stats_actor).parameters


def test_the_process_group_is_joined_by_ray_trains_own_functions():
    assert list(inspect.signature(config._setup_torch_process_group).parameters) == [
        "backend",
        "world_rank",
        "world_size",
        "init_method",
        "timeout_s",
    ]
    assert list(inspect.signature(config._shutdown_torch).parameters) == ["destroy_process_group"]
    assert not inspect.signature(config._set_torch_distributed_env_vars).parameters
    assert hasattr(config.TorchConfigContextManager, "__enter__")
    steps = inspect.getsource(config._TorchBackend.on_start)
    for name in ("_set_torch_distributed_env_vars", "_setup_torch_process_group", "get_address_and_port"):
        assert name in steps, f"Ray Train's own backend does without {name}"
