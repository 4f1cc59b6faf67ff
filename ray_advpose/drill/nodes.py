"""A Ray cluster of several nodes on this machine, whose nodes can be drained and taken away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.cluster_utils import Cluster

from ray_advpose.spot.draining import DrainedNode

_OBJECT_STORE_BYTES = 300 << 20


class LocalNodes:
    """A head that runs the command, and nodes for its workers.

    Args:
        cpus: CPUs that each node for workers announces.
    """

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        # Without a dashboard, whose port another cluster on this machine may have.
        head = {"num_cpus": 0, "object_store_memory": _OBJECT_STORE_BYTES, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """Of the cluster."""
        return str(self._cluster.address)

    @property
    def ids(self) -> list[str]:
        """Ids of the nodes for workers."""
        return list(self._nodes)

    def add(self) -> str:
        """Add a node for workers and return its id."""
        node = self._cluster.add_node(num_cpus=self._cpus, object_store_memory=_OBJECT_STORE_BYTES)
        self._nodes[node.node_id] = node
        return str(node.node_id)

    def drain(self, node: str, deadline_s: int) -> None:
        """Announce that a node will be gone, as a spot machine's agent would."""
        DrainedNode(self.address, node).drain(deadline_s, "drill")

    def remove(self, node: str) -> None:
        """Kill everything that runs on a node."""
        self._cluster.remove_node(self._nodes.pop(node), allow_graceful=False)

    def close(self) -> None:
        """End the cluster."""
        self._cluster.shutdown()


@contextmanager
def local_nodes(cpus: int) -> Iterator[LocalNodes]:
    """Run a cluster with one node for workers for the time being."""
    nodes = LocalNodes(cpus)
    try:
        nodes.add()
        yield nodes
    finally:
        nodes.close()
