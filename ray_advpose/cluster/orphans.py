"""Placement groups whose makers are gone, and which Ray leaves reserved.

Ray frees an actor's placement groups only when the whole job ends. Ray Train has a cleaner for a
controller that was killed, but it needs the dashboard, one cluster per machine, and a worker group that
had finished starting. A controller that is killed may live on for some seconds and reserve anew, also
after its job has ended: such a group is given the next machine that joins, and keeps it for good.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import ray
from ray._private.state import actors
from ray._private.state import state as cluster_state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group

# How long a killed controller may go on reserving.
_QUIET_S = 5.0
_PATIENCE_S = 20.0
_LOOK_EVERY_S = 0.2


def release_orphans() -> list[str]:
    """Remove placement groups whose creating actor is dead, of this job and of those that have ended; return their ids.

    Who was just killed may reserve anew, so one call may not be enough. An actor may outlive its job.
    """
    job = ray.get_runtime_context().get_job_id()
    # The table's own creator_actor_dead misses what was reserved after the actor was declared dead.
    orphans = [group for group in _reserved() if _is_dead(ray.ActorID(group.creator_actor_id))]
    if any(group.creator_job_id.hex() != job for group in orphans):
        over = {job, *(entry["JobID"] for entry in cluster_state.job_table() if entry["IsDead"])}
        orphans = [group for group in orphans if group.creator_job_id.hex() in over]
    for group in orphans:
        _remove(group)
    return [group.placement_group_id.hex() for group in orphans]


def leave_nothing_reserved() -> None:
    """Remove all placement groups of this job, at its end, and those that killed actors of it reserve meanwhile."""
    job = ray.get_runtime_context().get_job_id()
    began, quiet_since = time.monotonic(), 0.0
    while (now := time.monotonic()) < began + _PATIENCE_S:
        mine = [group for group in _reserved() if group.creator_job_id.hex() == job]
        for group in mine:
            _remove(group)
        # Those that the driver itself has made come back by nobody.
        if any(not ray.ActorID(group.creator_actor_id).is_nil() for group in mine):
            quiet_since = now
        if now >= quiet_since + _QUIET_S:
            return
        time.sleep(_LOOK_EVERY_S)


def _reserved() -> Iterator[PlacementGroupTableData]:
    """Yield the placement groups that end with their makers; Ray's public tables do not tell who these are."""
    for raw in cluster_state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(raw)
        if not group.is_detached and group.state != PlacementGroupTableData.REMOVED:
            yield group


def _remove(group: PlacementGroupTableData) -> None:
    remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def _is_dead(actor: ray.ActorID) -> bool:
    # The creator of a driver's own groups is nil.
    return not actor.is_nil() and actors(actor.hex()).get("State") == "DEAD"
