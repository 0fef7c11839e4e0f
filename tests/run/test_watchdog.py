"""The watchdog: what it bites, and what it leaves alone."""

import subprocess
import sys
import threading
import time

import pytest

from jaxdl.errors import UsageError
from jaxdl.run.watchdog import FACTOR, Watchdog, floor_of


class Bitten:
    """Takes what the watchdog says, in place of the end of the process."""

    def __init__(self):
        self.said, self.event = [], threading.Event()

    def __call__(self, text):
        self.said.append(text)
        self.event.set()


def watchdog(bite, floor=0.2, **options):
    return Watchdog(floor, bite=bite, poll=0.02, **options)


def test_it_bites_when_no_tick_ends():
    bite = Bitten()
    with watchdog(bite) as dog:
        for _ in range(3):
            dog.tick()
        assert bite.event.wait(5)
    (text,) = bite.said
    assert text.startswith('no step has ended for 0 s') and 'newest checkpoint' in text


def test_it_sleeps_until_two_ticks_have_ended_and_while_paused():
    bite = Bitten()
    with watchdog(bite) as dog:
        time.sleep(0.4)
        dog.tick()  # compiled until now
        time.sleep(0.4)  # and so may the next
        for _ in range(4):
            dog.tick()
        with dog.paused():
            time.sleep(0.4)
        assert not bite.said
        assert bite.event.wait(5)  # it is awake again


def test_time_in_a_pause_is_not_of_the_tick():
    dog = watchdog(Bitten())
    dog.tick()
    with dog.paused():
        time.sleep(0.2)
    dog.tick()
    assert dog.limit == 0.2  # ten times less than 0.02 s


def test_the_limit_is_ten_medians_above_the_floor():
    dog = watchdog(Bitten(), floor=0.001)
    dog.tick()
    for _ in range(3):
        time.sleep(0.02)
        dog.tick()
    assert 0.02 * FACTOR <= dog.limit < 1


def test_it_waits_for_a_compiler():
    bite = Bitten()

    def compile_long():
        time.sleep(0.6)

    with watchdog(bite, busy=frozenset({compile_long.__code__})) as dog:
        dog.tick()
        dog.tick()
        compile_long()
        assert not bite.said
        assert bite.event.wait(5)


def test_zero_watches_nothing():
    with Watchdog(0, bite=Bitten()) as dog:
        dog.tick()
        dog.tick()
    assert not dog._thread.is_alive()


def test_the_floor_is_a_minute_or_what_is_said():
    assert floor_of({}) == 60
    assert floor_of({'JAXDL_WATCHDOG': '2.5'}) == 2.5
    for text in ('soon', '-1', 'nan'):
        with pytest.raises(UsageError, match=f"JAXDL_WATCHDOG: '{text}' is not allowed"):
            floor_of({'JAXDL_WATCHDOG': text})


def test_a_process_that_hangs_shows_its_stacks_and_leaves_with_76():
    code = (
        'import time\n'
        'from jaxdl.run.watchdog import Watchdog\n'
        'def stand():\n'
        '    time.sleep(60)\n'
        'with Watchdog(0.2, poll=0.02) as dog:\n'
        '    dog.tick(); dog.tick(); stand()\n'
    )
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=30)
    assert found.returncode == 76
    assert 'no step has ended' in found.stderr and 'in stand' in found.stderr
