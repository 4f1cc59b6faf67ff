"""Running the launch scripts as a user does, on tiny networks and few drawn people."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

TINY = {
    "net.channels": 8,
    "net.input_px": 32,
    "net.poolings": 2,
    "stages.pose_epochs": 2,
    "stages.pretrain_epochs": 1,
    "stages.pretrain_images": 12,
    "stages.joint_epochs": 2,
}


def settings(**more: object) -> list[str]:
    """Return ``--set`` arguments of the tiny config and of further fields, dots written as two underscores."""
    fields = TINY | {name.replace("__", "."): value for name, value in more.items()}
    return [part for name, value in fields.items() for part in ("--set", f"{name}={value}")]


def start(script: str, *arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """Start a launch script."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch" / script), *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run(script: str, *arguments: object, cwd: Path, timeout_s: float = 240) -> tuple[int, str]:
    """Run a launch script to its end and return its exit code and all it printed."""
    process = start(script, *arguments, cwd=cwd)
    output, _ = process.communicate(timeout=timeout_s)
    return process.returncode, output
