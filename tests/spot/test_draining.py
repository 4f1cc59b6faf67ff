"""The agent as a command, on a real cluster of two nodes beside a metadata server."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from metadata_server import metadata_server
from ray._raylet import GcsClient, InnerGcsClient
from ray.core.generated import autoscaler_pb2

from ray_advpose.drill.nodes import local_nodes
from ray_advpose.spot.draining import DrainedNode

AGENT = Path(__file__).parents[2] / "launch" / "drain_agent.py"
# Has an actor on a node, says on which, and leaves when its input ends.
BUSY = """
import sys
import ray

@ray.remote(num_cpus=1)
class Busy:
    def node(self):
        return ray.get_runtime_context().get_node_id()

ray.init(sys.argv[1], log_to_driver=False)
busy = Busy.remote()
print(ray.get(busy.node.remote()), flush=True)
sys.stdin.read()
"""


def test_rays_private_names_are_there():
    assert autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
    assert hasattr(InnerGcsClient, "drain_node")
    assert hasattr(InnerGcsClient, "get_all_node_info")
    from ray.scripts import scripts

    called = inspect.getsource(scripts.drain_node.callback)
    assert "gcs_client.drain_node(" in called, "Ray's own command drains in another way now"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name where notices come from"),
        (["--aws", "--now", "5"], "name where notices come from"),
        (["--now", "-1"], "--now -1: expected more than 0 seconds"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence):
    done = subprocess.run([sys.executable, AGENT, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_cluster_that_is_not_there_is_said_at_once():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    node, began = DrainedNode(address, None), time.monotonic()
    for _ in range(2):
        with pytest.raises(ConnectionError, match=r"the Ray cluster at [\d.]+:\d+ does not answer"):
            node.drain(10, "going")
    assert time.monotonic() - began < 5
    with pytest.raises(ValueError, match="--address"):
        DrainedNode("nonsense", None).find()


@pytest.mark.ray
@pytest.mark.slow
def test_a_notice_drains_the_node_with_its_deadline(tmp_path):
    with metadata_server() as server, local_nodes(cpus=1) as nodes:
        (node,) = nodes.ids
        client = GcsClient(address=nodes.address)
        # A drained node that has nothing to do is gone at once. A process of its own: this one may have joined another.
        busy = subprocess.Popen(
            [sys.executable, "-c", BUSY, nodes.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert busy.stdout.readline().strip() == node
        watched = subprocess.Popen(
            [sys.executable, AGENT, "--aws", "--address", nodes.address, "--node", node],
            env={**os.environ, **server.environment()},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert f"waiting for a notice from AWS for node {node}" in watched.stdout.readline()
        time.sleep(2)
        assert watched.poll() is None
        assert draining(client) == {}
        server.goes_at = time.time() + 40
        began = time.monotonic()
        assert "AWS announces: terminate" in watched.stdout.readline()
        assert f"Ray drains node {node}" in watched.stdout.readline()
        took_s = time.monotonic() - began
        assert watched.wait(timeout=20) == 0
        print(f"notice to drain: {took_s:.2f} s")
        (deadline_ms,) = draining(client).values()
        assert deadline_ms / 1000 == pytest.approx(server.goes_at, abs=1.5)

        busy.communicate("", timeout=30)
        # By hand, as a pod's preStop hook does: it returns when the time is over.
        nodes.add()
        other = next(each for each in nodes.ids if each != node)
        began = time.monotonic()
        done = subprocess.run([sys.executable, AGENT, "--now", "6", "--address", nodes.address, "--node", other])
        assert done.returncode == 0
        assert time.monotonic() - began >= 6


def draining(client):
    """Deadlines in ms of the nodes that are drained, by id."""
    return dict(client.get_draining_nodes(timeout=5))
