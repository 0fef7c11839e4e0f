"""One run a folder: who holds it is said, and death releases it."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from jaxdl.errors import UsageError
from jaxdl.run.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from jaxdl.run.lock import locked
with locked(Path(sys.argv[1])):
    print('held', flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_and_told_by_whom(tmp_path):
    folder = tmp_path / 'runs' / 'digits' / 'lenet'
    with locked(folder):
        with pytest.raises(UsageError) as refused, locked(folder):
            pass
        me = json.loads((folder / 'LOCK').read_text())
    assert me['pid'] == os.getpid()
    message = str(refused.value)
    for part in (str(folder), f'process {os.getpid()}', me['host'], me['since']):
        assert part in message
    assert re.fullmatch(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d', me['since'])
    assert '\n' not in message


def test_leaving_releases_also_after_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass


def test_two_folders_do_not_meet(tmp_path):
    with locked(tmp_path / 'a'), locked(tmp_path / 'b'):
        pass


def test_sigkill_releases_and_the_stale_file_is_taken_over(tmp_path):
    with subprocess.Popen(
        [sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b'held\n'
        with pytest.raises(UsageError, match=f'process {child.pid} '), locked(tmp_path):
            pass
        child.send_signal(signal.SIGKILL)
    assert json.loads((tmp_path / 'LOCK').read_text())['pid'] == child.pid
    with locked(tmp_path):
        assert json.loads((tmp_path / 'LOCK').read_text())['pid'] == os.getpid()


def test_a_longer_stale_text_leaves_nothing_behind(tmp_path):
    (tmp_path / 'LOCK').write_text('x' * 1000)
    with locked(tmp_path):
        assert json.loads((tmp_path / 'LOCK').read_text())['pid'] == os.getpid()


def test_a_holder_without_a_name_yet(tmp_path):
    with locked(tmp_path):
        (tmp_path / 'LOCK').write_text('')
        with pytest.raises(UsageError, match='another process'), locked(tmp_path):
            pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UsageError, match='Not a directory'), locked(tmp_path / 'file' / 'arm'):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def flock(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, 'flock', flock)
    with pytest.raises(UsageError, match='without locks .*--workdir'), locked(tmp_path):
        pass
