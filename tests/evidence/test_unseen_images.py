"""The layout of photographs that nothing was tuned on: what is tested on there was never trained on or scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from benchmarks.lspet_images import kept, main, unseen
from ray_advpose.errors import UserError
from ray_advpose.evidence.held import subset_of


def test_what_is_tested_on_was_in_no_experiment():
    places = unseen()
    train, val, test = np.split(places, [3000, 3400])
    before = {size: set(subset_of(3000, size).tolist()) for size in (500, 1000)}
    assert len(test) == len(set(test.tolist())) == 2000
    assert not set(test.tolist()) & (before[1000] | set(train.tolist()))
    assert val.tolist() == list(range(3000, 3400))
    few = train[subset_of(3000, 500)].tolist()
    assert len(set(few)) == 500
    assert set(few) == set(train.tolist())
    assert not set(few) & before[500]


def test_small_files_are_kept_in_order():
    sizes = [20_000, 16_384, 16_385, 1, *[5] * 5000]
    assert kept(sizes).tolist() == [1, 3, *range(4, 4002)]


def test_joints_go_with_their_images(tmp_path: Path):
    source, output = tmp_path / "source", tmp_path / "out"
    (source / "images").mkdir(parents=True)
    for number, size in enumerate((10, 20_000, 30), start=1):
        (source / "images" / f"im{number:05d}.jpg").write_bytes(b"x" * size)
    joints = np.random.default_rng(0).random((14, 3, 3))
    scipy.io.savemat(source / "joints.mat", {"joints": joints})
    main(["first", "--source", str(source), "--out", str(output)])
    assert np.array_equal(scipy.io.loadmat(output / "joints.mat")["joints"], joints[:, :, [0, 2]])
    assert [len(path.read_bytes()) for path in sorted((output / "images").iterdir())] == [10, 30]
    with pytest.raises(UserError, match="has 3 images where those of `first` are 4000"):
        main(["unseen", "--source", str(source), "--out", str(output)])
    (source / "images" / "im00002.jpg").unlink()
    with pytest.raises(UserError, match=r"im00002\.jpg"):
        main(["first", "--source", str(source), "--out", str(output)])
    assert (output / "joints.mat").exists()
