"""A run of jaxdl under the launcher: a rank that is told to stop goes on, to the same numbers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from launch.progress import progress_of

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_stopped_rank_is_started_again_and_ends_as_undisturbed(tmp_path):
    shutil.copy(ROOT / 'tests' / 'slurm' / 'study.py', tmp_path)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    del environment['XLA_FLAGS']  # devices and a compiler for tests
    jaxdl = ['jaxdl', 'run', 'study.py', '--arm', 'narrow', '--seeds', '1', '--no-tensorboard']
    jaxdl += ['--steps', '1000']
    launcher = subprocess.Popen(
        [sys.executable, '-m', 'launch.local', '--', *jaxdl],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = tmp_path / 'runs' / 'study'
    while progress_of(folder).saved == 0 and launcher.poll() is None:
        time.sleep(0.05)
    (rank,) = psutil.Process(launcher.pid).children()
    rank.send_signal(signal.SIGTERM)
    out, err = launcher.communicate(timeout=400)
    assert launcher.returncode == 0, err
    assert 'exit code 75, preempted and saved: started again at once' in err
    assert all(line.startswith('[0] ') for line in out.splitlines())
    jaxdl[0] = str(Path(sys.executable).parent / 'jaxdl')
    still = [*jaxdl, '--workdir', 'still']
    subprocess.run(still, cwd=tmp_path, env=environment, check=True, capture_output=True)
    found, undisturbed = (
        json.loads((tmp_path / run / 'result.json').read_text()) for run in ('runs/study', 'still')
    )
    assert found['arms']['narrow']['metrics'] == undisturbed['arms']['narrow']['metrics']
    assert len(found['commands']) == 1
    starts = json.loads((folder / 'narrow' / 'env.json').read_text())['starts']
    assert len(starts) == 2
