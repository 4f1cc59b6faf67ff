"""Notices are found where clouds put them, whatever the metadata server does in between."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from metadata_server import metadata_server

from ray_advpose.spot import agent
from ray_advpose.spot.agent import await_notice, hand_on
from ray_advpose.spot.notices import GCP_LEFT_S, AwsNotices, FileNotices, GcpNotices, Notice


@pytest.fixture
def server(monkeypatch):
    with metadata_server() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        # A proxy would not know this machine's metadata server.
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        yield running


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(agent, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(agent, "_RETRY_S", 0.01)


def test_aws_announces_an_instant(server):
    source = AwsNotices()
    assert source.look() is None
    server.goes_at = time.time() + 120
    notice = source.look()
    assert 118 <= notice.left_s <= 120
    assert "terminate" in notice.said
    assert [request.split()[0] for request in server.requests] == ["PUT", "GET", "GET"], "one token serves"


def test_aws_takes_another_token_when_one_is_used_up(server):
    source = AwsNotices()
    source.look()
    server.tokens.clear()
    with pytest.raises(OSError, match="401"):
        source.look()
    assert source.look() is None


def test_google_says_yes_or_no(server):
    source = GcpNotices()
    assert source.look() is None
    server.goes_at = time.time()
    assert source.look().left_s == pytest.approx(GCP_LEFT_S, abs=1)


@pytest.mark.parametrize(
    ("content", "left_s"),
    [
        ("", GCP_LEFT_S),
        ("90", 90),
        ("12.5\n", 12.5),
        ("soon", GCP_LEFT_S),
        ("inf", GCP_LEFT_S),
        ("\udcff", GCP_LEFT_S),
        ("ISO", 45),
    ],
)
def test_a_file_may_say_how_long(tmp_path, content, left_s):
    path = tmp_path / "notice"
    source = FileNotices(path)
    assert source.look() is None
    instant = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 45))
    path.write_text(instant if content == "ISO" else content, errors="surrogateescape")
    assert source.look().left_s == pytest.approx(left_s, abs=1.1)


def test_a_files_seconds_count_from_its_writing(tmp_path):
    path = tmp_path / "notice"
    path.write_text("60")
    os.utime(path, (time.time() - 20, time.time() - 20))
    assert FileNotices(path).look().left_s == pytest.approx(40, abs=1)
    os.utime(path, (time.time() - 100, time.time() - 100))
    assert FileNotices(path).look().left_s == 0


@pytest.mark.parametrize("trouble", ["error", "reset", pytest.param("slow", marks=pytest.mark.slow)])
@pytest.mark.parametrize("cloud", [AwsNotices, GcpNotices])
def test_a_server_in_trouble_is_said_once_and_asked_again(server, impatient, cloud, trouble, monkeypatch):
    said = []
    server.trouble, server.goes_at = trouble, time.time() + 60
    times = {"error": 4, "reset": 4, "slow": 2}[trouble]

    source = cloud()
    look, failures = source.look, []

    def until_it_is_well():
        try:
            return look()
        except OSError:
            failures.append(1)
            if len(failures) == times:
                server.trouble = ""
            raise

    monkeypatch.setattr(source, "look", until_it_is_well)
    assert await_notice([source], said.append).left_s > 25
    assert len(failures) == times
    assert [source.name in sentence for sentence in said] == [True, True], said
    assert "cannot be asked" in said[0]
    assert "can be asked again" in said[1]


def test_an_answer_that_is_no_action_is_trouble(server, monkeypatch):
    source = AwsNotices()
    server.goes_at = time.time()
    monkeypatch.setattr("json.dumps", lambda content: "nonsense")
    with pytest.raises(OSError, match="not an instance action: 'nonsense'"):
        source.look()


def test_an_answer_that_is_no_http_is_trouble(server, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{listening.getsockname()[1]}")

        def answer():
            connection, _ = listening.accept()
            connection.recv(1000)
            connection.sendall(b"garbage\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OSError, match="not HTTP"):
            GcpNotices().look()
        thread.join()


def test_the_first_source_with_a_notice_counts(server, impatient, tmp_path):
    (tmp_path / "notice").write_text("5")
    notice = await_notice([GcpNotices(), FileNotices(tmp_path / "notice")], print)
    assert "notice is there" in notice.said


class Node:
    """A node whose cluster does not answer at first."""

    def __init__(self, refusals):
        self.refusals = refusals
        self.drained = []

    def drain(self, left_s, reason):
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("the Ray cluster does not answer")
        self.drained.append((left_s, reason))
        return "abc"


def test_a_notice_is_handed_on_until_ray_has_it(impatient):
    said, node = [], Node(refusals=3)
    assert hand_on(Notice(time.time() + 20, "going"), node, said.append)
    assert node.drained == [(pytest.approx(20, abs=1), "going")]
    assert said == ["the Ray cluster does not answer", "Ray drains node abc, 20 s before its end"]


def test_it_is_given_up_at_the_deadline(impatient):
    node = Node(refusals=10**9)
    assert not hand_on(Notice(time.time() + 0.2, "going"), node, print)
    assert node.drained == []
