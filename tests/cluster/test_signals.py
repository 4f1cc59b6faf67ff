from __future__ import annotations

import os
import signal

import pytest

from ray_advpose.cluster.run_card import alone_in
from ray_advpose.cluster.signals import stop_on_signals
from ray_advpose.errors import UserError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(number):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    with (
        alone_in(tmp_path / "run"),
        pytest.raises(UserError, match="another process is training in"),
        alone_in(tmp_path / "run"),
    ):
        pass
    with alone_in(tmp_path / "run"):
        pass
