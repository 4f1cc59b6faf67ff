"""A plan in words: two columns for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray_advpose.report.clock import clock

_BYTES = ("B", "kB", "MB", "GB", "TB")


def plan_rows(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a plan says, line by line.

    Args:
        plan: `ray_advpose.search.plan.Plan` as plain values.
    """
    rows = [
        ("trials", f"{plan['trials']}: {plan['scheduling']}"),
        *([("  ended already", f"{plan['ended']}; time and cost are of what is left")] if plan["ended"] else []),
        *((f"  {name}", _domain(plan, name)) for name in plan["drawn"]),
        ("budget of a trial", ", ".join(_stage(plan, stage) for stage in plan["epochs"])),
        (
            "workers of a trial",
            f"{plan['workers']}, in all {plan['cpus_per_trial']:g} CPUs and {plan['gpus_per_trial']:g} GPUs",
        ),
        (
            "at once",
            f"{plan['at_once']} trials on a cluster of {plan['cluster_cpus']:g} CPUs and {plan['cluster_gpus']:g} GPUs",
        ),
        (
            "disk",
            f"about {size(plan['disk_bytes'])} of checkpoints, {size(plan['checkpoint_bytes'])} each;"
            f" the data has {size(plan['data_bytes'])}",
        ),
    ]
    if not plan["images_per_s"]:
        return [*rows, ("time", "not known: no earlier run with these networks is recorded; --calibrate measures it")]
    speeds = ", ".join(f"{stage} {rate:.1f}" for stage, rate in plan["images_per_s"].items())
    rows += [
        ("images/s of a trial", f"{speeds} (from {plan['speed_source']})"),
        ("data rate", f"{size(plan['data_rate'])} a second of decoded images for all trials at once, at their fastest"),
        ("time, likely", _estimate(plan, plan["likely"])),
        ("time, at most", _estimate(plan, plan["at_most"])),
    ]
    return rows


def size(count: float) -> str:
    """Return bytes as e.g. ``12.3 MB``."""
    for unit in _BYTES[:-1]:
        if count < 999.5:  # three digits round the rest up
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {_BYTES[-1]}"


def _domain(plan: Mapping[str, Any], name: str) -> str:
    notes = [
        *(["structural"] if name in plan["structural"] else []),
        *(["changes in a copy"] if name in plan["mutates"] else []),
    ]
    return plan["drawn"][name] + (f" ({', '.join(notes)})" if notes else "")


def _stage(plan: Mapping[str, Any], stage: str) -> str:
    count = f"{plan['epochs'][stage]} epochs" if plan["epochs"][stage] != 1 else "1 epoch"
    likely = f", likely {100 * plan['joint_share']:.0f} % of it" if stage == "joint" and plan["joint_share"] < 1 else ""
    return f"{stage} {count} ({plan['images'][stage]:,} images{likely})"


def _estimate(plan: Mapping[str, Any], estimate: Mapping[str, Any]) -> str:
    device = "GPU-hours" if plan["gpus_per_trial"] else "CPU-hours"
    text = f"{clock(3600 * estimate['hours'])} of training, {estimate['device_hours']:.2f} {device}"
    return text if estimate["cost"] is None else f"{text}, cost {estimate['cost']:.2f}"
