"""Signals: what is asked to stop is saved, or ends at once where there is nothing to save."""

import os
import select
import signal
import subprocess
import sys

import pytest

from jaxdl.errors import InterruptedRunError, PreemptedError
from jaxdl.run import interruption
from jaxdl.run.interruption import ASKING, StopAsked, note_signals, preemptible, stopped_by


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize('number', ASKING)
def test_every_signal_that_asks_is_noted_in_an_arm_and_stops_around_it(number):
    before = [signal.getsignal(each) for each in ASKING]
    with preemptible():
        with note_signals() as received:
            send(number)
            send(number)
            assert received == [number] * 2
        with pytest.raises(StopAsked):
            send(number)
    assert [signal.getsignal(each) for each in ASKING] == before
    assert isinstance(stopped_by(number, 'x'), PreemptedError)
    assert isinstance(stopped_by(signal.SIGINT, 'x'), InterruptedRunError)
    assert not issubclass(StopAsked, Exception)  # an `except Exception` lets it through


def test_ctrl_c_after_another_signal_still_saves(capfd):
    with note_signals() as received:
        send(signal.SIGTERM)
        send(signal.SIGINT)
        assert received == [signal.SIGTERM, signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert 'Ctrl-C again stops without saving' in capfd.readouterr().err


def test_a_run_under_nohup_stays_when_the_terminal_goes():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with preemptible(), note_signals() as received:
            send(signal.SIGHUP)
            send(signal.SIGUSR1)
        assert received == [signal.SIGUSR1]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


ENDS = """
import os, sys
from jaxdl.run.interruption import end_when_asked
end_when_asked()
try:
    os.kill(os.getpid(), int(sys.argv[1]))
finally:
    print('not reached')
"""


@pytest.mark.parametrize('number', [*ASKING, signal.SIGINT])
def test_a_process_that_is_asked_where_nothing_is_to_save_ends_at_once(number):
    words = [sys.executable, '-c', ENDS, str(int(number))]
    ended = subprocess.run(words, capture_output=True, text=True)
    interrupt = number == signal.SIGINT
    assert (ended.returncode, ended.stdout) == (130 if interrupt else 75, '')
    said = 'interrupted' if interrupt else 'stopped; the same command goes on from there'
    assert ended.stderr == f'jaxdl: {said}\n'


def test_a_handler_never_waits_for_a_reader(monkeypatch):
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while select.select([], [write], [], 0)[1]:
            os.write(write, b'x' * 512)
    except BlockingIOError:
        pass
    os.set_blocking(write, True)
    saved = os.dup(2)
    os.dup2(write, 2)
    try:
        interruption.tell('nobody reads this\n')
    finally:
        os.dup2(saved, 2)
        for fd in (saved, read, write):
            os.close(fd)
