"""Draining a node of a Ray cluster, as Ray's own autoscaler does.

Ray's public interface has no drain. What is used here is what the command ``ray drain-node`` calls,
which is hidden and starts for seconds; a test fails if it is gone.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from typing import Any

import ray
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # is compiled
from ray.core.generated import autoscaler_pb2, gcs_pb2

from ray_advpose.errors import UserError

_ANSWER_TIMEOUT_S = 2


def use_token() -> None:
    """Have this process use the token that is at hand, if there is one and nothing else is said, as `ray.init` does.

    Not in a process that has joined a cluster already: that speaks to it as it has begun.
    """
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


class DrainedNode:
    """A node of a cluster, which can be drained.

    Args:
        address: Of the cluster, host and port; None for the one that ``ray start`` has made or joined here.
        node: Address or id of the node; None for the one on this machine.
    """

    def __init__(self, address: str | None, node: str | None) -> None:
        self._given = address
        self._node = node or ray.util.get_node_ip_address()
        self._control: GcsClient | None = None

    def find(self) -> str:
        """Return the node's id; looked up anew each time, as Ray may have been started anew.

        Raises:
            ConnectionError: The cluster does not answer, or the node is not in it.
            UserError: The address is none, or several nodes have it.
        """
        infos = self._ask(lambda control: control.get_all_node_info(timeout=_ANSWER_TIMEOUT_S))
        alive = {info.node_id.hex(): info for info in infos.values() if info.state == gcs_pb2.GcsNodeInfo.ALIVE}
        there = [node for node, info in alive.items() if self._node in (node, info.node_manager_address)]
        if not there:
            raise ConnectionError(f"no node {self._node} is alive in the Ray cluster")
        if len(there) > 1:
            raise UserError(f"--node {self._node}: {len(there)} nodes have this address, name one by its id")
        return there[0]

    def drain(self, left_s: float, reason: str) -> str:
        """Tell Ray that the node will be gone; nothing new is started on it from now on.

        Args:
            left_s: Seconds until it is.
            reason: Shown beside the node.

        Returns:
            The node's id.

        Raises:
            ConnectionError: As `find`, or Ray refuses.
            UserError: As `find`.
        """
        node = self.find()
        deadline_ms = math.floor(1000 * (time.time() + left_s))
        preempted = autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
        accepted, refusal = self._ask(lambda control: control.drain_node(node, preempted, reason, deadline_ms))
        if not accepted:
            raise ConnectionError(f"Ray does not drain node {node}: {refusal}")
        return node

    def _ask(self, question: Callable[[GcsClient], Any]) -> Any:
        try:
            address = canonicalize_bootstrap_address(self._given)
        except ValueError as error:
            raise UserError(f"--address {self._given}: {error}") from None
        if address is None:
            raise ConnectionError("no Ray cluster was started or joined on this machine; name its --address")
        host, _, port = address.rpartition(":")
        try:
            # Ray's client tries for 40 s where nobody listens, longer than some notices are.
            socket.create_connection((host.strip("[]"), int(port)), _ANSWER_TIMEOUT_S).close()
            if self._control is None:
                self._control = GcsClient(address=address)
            return question(self._control)
        except (RuntimeError, ray.exceptions.RayError, OSError, ValueError) as error:
            sentence = " ".join(str(error).split())
            raise ConnectionError(f"the Ray cluster at {address} does not answer: {sentence}") from None
