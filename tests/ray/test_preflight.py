"""What the nodes of a cluster are asked, on the one node of the tests' cluster; test_cut_search asks several."""

from __future__ import annotations

import re
import time

import pytest
import ray

from ray_advpose.cluster import preflight
from ray_advpose.cluster.preflight import check_fit, examine_cluster
from ray_advpose.errors import UserError

pytestmark = pytest.mark.ray


@pytest.fixture
def ask(clean_cluster, drawn_people, tmp_path):
    """Ask the node, with some of the questions changed; returns its problems."""

    def call(data=None, fingerprint=None, needed_bytes=0):
        place, wanted = data or str(drawn_people.place), fingerprint or drawn_people.fingerprint
        (report,) = examine_cluster(place, wanted, tmp_path / "found", needed_bytes)
        assert list((tmp_path / "found").iterdir()) == []
        return report

    return call


def test_a_fit_node_is_told_to_be(ask):
    report = ask()
    assert report.problems == []
    assert {"reach", "package", "data", "storage", "disk", "clock", "versions", "shared memory"} <= report.checks.keys()
    check_fit([report])


def test_what_is_wrong_with_data_and_disk_is_said(ask, tmp_path):
    assert "has fingerprint" in ask(fingerprint="0" * 16).checks["data"]
    assert "cannot read the data" in ask(data=str(tmp_path / "nowhere")).checks["data"]
    report = ask(needed_bytes=1 << 60)
    assert "are free in" in report.checks["disk"]
    with pytest.raises(UserError, match=r"the cluster is not fit for this search:\n  node .*: .* GB are free in"):
        check_fit([report])


@pytest.mark.parametrize("seconds", [-30, 30])
def test_a_clock_that_differs_is_seen_however_long_the_node_looked_around(ask, monkeypatch, seconds):
    look = preflight._look

    def slowly(*questions):
        time.sleep(2)
        return look(*questions)

    monkeypatch.setattr(preflight, "_look", slowly)
    monkeypatch.setattr(preflight, "_clock", lambda: time.time() + seconds)
    assert re.match(r"its clock differs by (29\.\d|30\.0) s", ask().checks["clock"])


def test_other_versions_are_named(ask, monkeypatch):
    monkeypatch.setattr(preflight, "software", lambda: {"torch": "9.9"})
    assert ask().checks["versions"].endswith("there and 9.9 here, make them equal")


def test_what_is_written_elsewhere_is_noticed(clean_cluster, tmp_path):
    (node,) = ray.nodes()
    answer = ray.put(({}, {"written": "somewhere else"}, 0))
    report = preflight._answer(node, answer, tmp_path)
    assert "name a shared --out" in report.checks["storage is shared"]
