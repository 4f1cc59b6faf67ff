"""A Ray cluster of several nodes on this machine, each with an address of its own and ready to be taken away.

Where the kernel lets us, every worker node has a network namespace: what it reaches of the others is
what a machine would, and killing the namespace's processes is pulling a machine's plug.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_RAY = str(Path(sys.executable).with_name("ray"))
_STORE_BYTES = 300 << 20


def namespaces_missing() -> str:
    """Why there can be no network namespaces here; "" if there can."""
    if os.geteuid() or shutil.which("ip") is None:
        return "network namespaces need root and the command ip"
    name = f"advtest{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    bridge = subprocess.run(
        ["ip", "link", "add", f"b{name}"[:15], "type", "bridge"], capture_output=True, text=True, check=False
    )
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    subprocess.run(["ip", "link", "delete", f"b{name}"[:15]], capture_output=True, check=False)
    return (made.stderr + bridge.stderr).strip().replace("\n", "; ")


class Machine:
    """A machine of the cluster: its name, address and namespace."""

    def __init__(self, cluster: NamespacedCluster, number: int) -> None:
        self._cluster = cluster
        self.namespace = f"{cluster.bridge}w{number}"
        self.address = f"{cluster.network}.{10 + number}"
        self.alive = True
        outside, inside = f"{cluster.bridge}v{number}", f"{cluster.bridge}i{number}"
        _ip("netns", "add", self.namespace)
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside)
        _ip("link", "set", inside, "netns", self.namespace)
        _ip("link", "set", outside, "master", cluster.bridge, "up")
        _ip("-n", self.namespace, "link", "set", "lo", "up")
        _ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", inside)
        _ip("-n", self.namespace, "link", "set", inside, "up")
        _ip("-n", self.namespace, "route", "add", "default", "via", cluster.head)

    def run(self, *command: object, log: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command on it."""
        out = log.open("ab") if log else subprocess.DEVNULL
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *map(str, command)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**self._cluster.environment, **environment},
            start_new_session=True,
        )

    def processes(self) -> list[int]:
        """All that runs on it."""
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        return [int(pid) for pid in listed.stdout.split()]

    def pull_the_plug(self) -> None:
        """Kill everything that runs on it, and take it from the network."""
        self.alive = False
        subprocess.run(["ip", "link", "delete", self.namespace.replace("w", "v")], capture_output=True, check=False)
        while pids := self.processes():
            _kill(pids)
            time.sleep(0.05)

    def forget(self) -> None:
        """Delete it."""
        self.pull_the_plug()
        subprocess.run(["ip", "netns", "delete", self.namespace], capture_output=True, check=False)


class NamespacedCluster:
    """A head on this machine's side of a bridge, and machines on the other.

    Args:
        folder: Ray's sessions and logs.
    """

    def __init__(self, folder: Path) -> None:
        number = os.getpid() % 250
        self.bridge = f"adv{os.getpid() % 10000}"
        self.network = f"10.{200 + number // 25}.{number}"
        self.head = f"{self.network}.1"
        self.port, self.dashboard_port = 6399, 8299
        self.folder = folder
        self.machines: list[Machine] = []
        # As on a real cluster: who has the token may use it.
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "OMP_NUM_THREADS": "1",
            "RAY_JOB_STOP_WAIT_TIME_S": "300",
            "RAY_idle_worker_killing_time_threshold_ms": "600000",
        }
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("address", "add", f"{self.head}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        self._start_head(
            *(f"--port={self.port}", "--num-cpus=0", f"--node-ip-address={self.head}"),
            *("--include-dashboard=true", f"--dashboard-host={self.head}", f"--dashboard-port={self.dashboard_port}"),
            f"--temp-dir={folder}",
        )

    @property
    def address(self) -> str:
        return f"{self.head}:{self.port}"

    def add(self, cpus: int, *arguments: str) -> Machine:
        """Have a machine join; arguments are for ``ray start``."""
        machine, join = self.add_later(cpus, *arguments)
        join()
        return machine

    def add_later(self, cpus: int, *arguments: str) -> tuple[Machine, Callable[[], None]]:
        """Have a machine join in its own time; the function waits until it has."""
        machine = Machine(self, len(self.machines))
        self.machines.append(machine)
        here = (f"--address={self.address}", f"--node-ip-address={machine.address}", f"--num-cpus={cpus}")
        command, log = self._start_command(*here, *arguments)
        starting = machine.run(*command, log=log)

        def join() -> None:
            assert starting.wait(timeout=120) == 0, log.read_text()[-3000:]

        return machine, join

    def submit(self, name: str, entrypoint: Sequence[object]) -> None:
        """Submit a job; the head takes some seconds before it takes any."""
        deadline = time.monotonic() + 60
        arguments = ("--no-wait", "--submission-id", name, "--", *map(str, entrypoint))
        while "No available agent" in (said := self.job("submit", *arguments)):
            assert time.monotonic() < deadline, self._agents_log()
            time.sleep(1)
        assert "submitted successfully" in said, said

    def _agents_log(self) -> str:
        logs = sorted(self.folder.glob("session_*/logs/dashboard_agent*.log"))
        return "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    def job(self, command: str, *arguments: str) -> str:
        """Run ``ray job`` and return all that it says."""
        done = subprocess.run(
            [_RAY, "job", command, "--address", f"http://{self.head}:{self.dashboard_port}", *arguments],
            env={**self.environment, "RAY_ADDRESS": ""},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout + done.stderr

    def close(self) -> None:
        """End everything."""
        for machine in self.machines:
            machine.forget()
        deadline = time.monotonic() + 20
        # Those that are killed take a moment to be gone, and may have started others.
        while (pids := self.processes()) and time.monotonic() < deadline:
            _kill(pids)
            time.sleep(0.05)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)

    def processes(self) -> list[int]:
        """Processes that carry the cluster's token: its own, and those of its jobs."""
        token = self.environment["RAY_AUTH_TOKEN"].encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    if token in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def _start_head(self, *arguments: str) -> None:
        command, log = self._start_command("--head", *arguments)
        with log.open("ab") as out:
            code = subprocess.call(command, env=self.environment, stdout=out, stderr=out, start_new_session=True)
        assert code == 0, log.read_text()[-3000:]

    def _start_command(self, *arguments: str) -> tuple[list[str], Path]:
        """What starts a node, and where it is to say what came of it."""
        command = [_RAY, "start", *arguments, f"--object-store-memory={_STORE_BYTES}", "--disable-usage-stats"]
        return command, self.folder / "ray_start.txt"


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def namespaced_cluster(folder: Path) -> Iterator[NamespacedCluster]:
    """Run a head for the time being; machines are added to it."""
    cluster = NamespacedCluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()
