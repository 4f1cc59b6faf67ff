"""Small data sets on disk, in the original files' forms."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from painted_data import body_labels, paint


@pytest.fixture
def lspet_dir(tmp_path: Path) -> Callable[..., Path]:
    """Builds a directory of n persons; ``edit`` may change the 14 x 3 x n array first."""

    def build(n: int = 20, edit: Callable[[np.ndarray], np.ndarray | None] = lambda joints: None) -> Path:
        directory = tmp_path / "lspet"
        joints = np.concatenate([body_labels(n), np.ones((n, 14, 1))], axis=2).transpose(1, 2, 0).copy()
        edited = edit(joints)
        for k in range(n):
            paint(directory / "images" / f"im{k + 1:05d}.jpg", k)
        scipy.io.savemat(directory / "joints.mat", {"joints": joints if edited is None else edited})
        return directory

    return build


@pytest.fixture(scope="session")
def real_data() -> Path:
    root = os.environ.get("ADVPOSE_DATA")
    if not root:
        pytest.skip("ADVPOSE_DATA is not set: no real images to test on")
    return Path(root)
