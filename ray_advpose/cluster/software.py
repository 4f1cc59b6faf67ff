"""Which software a run is made with: of this package, and of what computes."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ray_advpose

_PACKAGE = Path(ray_advpose.__file__).parent
_COMPUTES = ("ray", "torch", "numpy", "pyarrow", "opencv-python")


def software() -> dict[str, str]:
    """Return versions of what computes and a digest of this package's code."""
    computes = {name: _version(name) for name in _COMPUTES}
    return {"ray_advpose": f"{ray_advpose.__version__} {code_digest()}", **computes}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def code_digest() -> str:
    """Return a hash over this package's files, in 8 digits."""
    content = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        content.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:8]


def write_versions(folder: Path) -> None:
    """Write the versions of what computes, and of this code, into a run's folder."""
    versions = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **software(),
        "commit": _commit(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "versions.json").write_text(json.dumps(versions, indent=1), encoding="utf-8")


def _commit() -> str:
    command = ["git", "-C", str(_PACKAGE), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
