"""Published numbers drawn beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gains import gains_of, main
from ray_advpose.errors import UserError

PUBLISHED = Path(__file__).parents[2] / "docs" / "evidence"


def test_published_experiments_are_drawn(tmp_path: Path):
    out = tmp_path / "gains.png"
    main(
        ["--out", str(out), f"500={PUBLISHED / 'lspet500_wide'}", f"3,000\\nlarge={PUBLISHED / 'lspet3000_wide_h200'}"]
    )
    assert out.read_bytes().startswith(b"\x89PNG")
    turned = tmp_path / "turned.png"
    main(["--turned", "--out", str(turned), f"500={PUBLISHED / 'lspet500_wide'}"])
    assert turned.read_bytes() != out.read_bytes()


def test_gains_are_those_of_the_page():
    folder = PUBLISHED / "lspet3000_wide_h200"
    page = (folder / "evidence.md").read_text()
    for arm, gain in gains_of(folder, "gains").items():
        [row] = [line for line in page.splitlines() if line.startswith(f"| {arm} | 3 | ")]
        assert f" {gain} |" in row


@pytest.mark.parametrize(
    ("given", "says"),
    [("500", "expected LABEL=DIR"), ("500=nowhere", "no numbers"), (f"b={PUBLISHED / 'lspet3000_batch'}", "lacks")],
)
def test_what_cannot_be_drawn_is_said(given: str, says: str, tmp_path: Path):
    with pytest.raises(UserError, match=says):
        main([given, "--out", str(tmp_path / "gains.png")])
    assert not (tmp_path / "gains.png").exists()
