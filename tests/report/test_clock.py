from __future__ import annotations

from ray_advpose.report.clock import told_now_and_then


def test_a_line_comes_every_few_seconds(capsys):
    seconds = iter([0.0, 2.0, 5.0, 5.0, 6.0, 65.0, 65.0])
    tell = told_now_and_then("pictures", every_s=5, now=lambda: next(seconds))
    for done in (1, 2, 3, 13):
        tell(done, 26)
    assert capsys.readouterr().err.splitlines() == [
        "2/26 pictures | about 1:00 left",
        "13/26 pictures | about 1:05 left",
    ]
