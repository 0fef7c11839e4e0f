"""A run in a process of its own: killed at random moments, it ends as if it had never been.

The issue's full version, ten kills of the whole study `digits` (about ten minutes), by hand:

    JAXDL_KILLS=10 JAXDL_KILL_RUN=digits pytest tests/run/test_kill.py -k sigkill -s
"""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxdl.checkpoint.manager import load_weights
from jaxdl.cli.main import main
from jaxdl.run.record import read_metrics

KILLS = int(os.environ.get('JAXDL_KILLS', '3'))
SMALL = 'digits --arm tiny --network mlp --steps 200 --seeds 2'
RUN = shlex.split(os.environ.get('JAXDL_KILL_RUN', SMALL))


def start(folder, *words):
    """`jaxdl run WORDS` as a user starts it in `folder`, on the machine as it is."""
    folder.mkdir(exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k not in ('XLA_FLAGS', 'NPROC')}
    command = [sys.executable, '-m', 'jaxdl.cli.main', 'run', *words]
    output = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **output)


def lines(folder):
    """How many evaluations are recorded, in all arms."""
    texts = [path.read_bytes() for path in folder.glob('runs/*/*/metrics.jsonl')]
    return sum(text.count(b'\n') for text in texts)


def until(condition, process, seconds=120):
    """Wait for a condition, as long as the process lives."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline, 'nothing happened'
        time.sleep(0.005)


def figures(folder):
    """What result.json and metrics.jsonl say was found, which takes other seconds each time."""

    def timeless(value):
        if isinstance(value, dict):
            return {name: timeless(item) for name, item in value.items() if name != 'seconds'}
        return [timeless(item) for item in value] if isinstance(value, list) else value

    (result,) = folder.glob('runs/*/result.json')
    arms = sorted(path.parent for path in result.parent.glob('*/DONE'))
    # The commit may change while this test runs.
    found = json.loads(result.read_text())
    kept = {name: found[name] for name in ('study', 'command', 'seeds', 'arms', 'claims')}
    return timeless([kept, [read_metrics(arm) for arm in arms]])


def states(folder):
    """The final checkpoint of every arm."""
    arms = sorted(path.parent for path in folder.glob('runs/*/*/DONE'))
    return {arm.name: load_weights(arm / 'checkpoints') for arm in arms}


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_no_bit(tmp_path):
    quiet, killed = tmp_path / 'undisturbed', tmp_path / 'killed'
    began = time.monotonic()
    process = start(quiet, *RUN)
    until(lambda: lines(quiet) > 0, process)
    first = time.monotonic() - began
    # Its reader leaves, as `| head -1` does; the run goes on without one.
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 0
    total, rest = lines(quiet), time.monotonic() - began - first

    moments, hits = random.Random(0), 0
    for number in range(KILLS):
        with start(killed, *RUN) as process:
            # On average the kills are spread evenly over the run; the first is in its start.
            goal = moments.randint(0, 2 * total // (KILLS + 1)) if number else 0
            before = lines(killed)
            until(lambda: lines(killed) >= before + goal, process, 60 + 10 * (first + rest))  # noqa: B023
            time.sleep(moments.uniform(0, rest / total if goal else first))
            process.kill()
            code = process.wait()
        hits += code == -signal.SIGKILL
        print(f'kill {number + 1} ({code}) after {lines(killed)} of {total} evaluations')
        assert code in (-signal.SIGKILL, 0)
    assert hits >= min(KILLS, 2)

    process = start(killed, *RUN)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert figures(killed) == figures(quiet)
    got, want = states(killed), states(quiet)
    assert got.keys() == want.keys() and want
    for arm in want:
        assert (got[arm].step, got[arm].phase) == (want[arm].step, want[arm].phase)
        assert jax.tree.structure(got[arm].state) == jax.tree.structure(want[arm].state)
        jax.tree.map(np.testing.assert_array_equal, got[arm].state, want[arm].state)


def test_sigterm_saves_and_a_second_run_in_the_folder_is_refused(tmp_path, monkeypatch, capfd):
    words = shlex.split(SMALL.replace('200', '100000'))
    with start(tmp_path, *words) as process:
        until(lambda: lines(tmp_path) > 0, process)
        assert process.poll() is None, process.stdout.read()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv('JAXDL_MALLOPT', '0')
        assert main(['run', *words]) == 2
        refused = capfd.readouterr().err
        assert re.match(rf'jaxdl: .*digits/tiny is in use by process {process.pid} on ', refused)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    (step,) = re.findall(r'^jaxdl: stopped and saved at step (\d+); the same', output, re.MULTILINE)
    assert 0 < int(step) < 100_000
    assert load_weights(tmp_path / 'runs' / 'digits' / 'tiny' / 'checkpoints').step == int(step)
