"""Processes of this machine that belong together: started, read, told to stop, and waited for."""

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

from launch.policy import PEER_LOST

# What terminals and schedulers send; SIGINT is a person's Ctrl-C.
PASSED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
LOOK = 0.1  # seconds between two looks at the processes
LAST = 10.0  # seconds from SIGTERM to SIGKILL of a rank that hangs


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """The signals of PASSED_ON that this process was sent, in their order, as they come.

    Those that it ignores, as SIGHUP under nohup and SIGINT behind an `&`, stay ignored.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    heeded = [each for each in PASSED_ON if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, note) for each in heeded}
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def run_ranks(
    command: Sequence[str],
    environments: Sequence[Mapping[str, str]],
    *,
    received: list[int],
    grace: float,
    say: Callable[[str], None],
) -> list[int]:
    """Run `command` once in each environment, and return the exit codes; signals are negative.

    Every line of a rank is printed behind '[RANK] '. What is added to `received` meanwhile is sent
    to all. A rank that still runs `grace` seconds after another has failed is ended, SIGTERM first,
    and its code is then 76: it has not found out by itself.
    Raises OSError where the command cannot be started; then nothing runs.
    """
    ranks = []
    try:
        for environment in environments:
            ranks.append(_start(command, environment))
    except OSError:
        _end(ranks, signal.SIGKILL)
        raise
    passed, failed_at, ended_at = len(received), 0.0, 0.0
    hanging: set[int] = set()
    with _Lines(ranks) as lines:
        while any(rank.poll() is None for rank in ranks):
            lines.read(LOOK)
            for number in received[passed:]:
                passed += 1
                _end(ranks, signal.Signals(number))
            now = time.monotonic()
            failed = [i for i, rank in enumerate(ranks) if rank.returncode]
            failed_at = failed_at or now * bool(failed)
            running = [i for i, rank in enumerate(ranks) if rank.returncode is None]
            if failed and running and now - failed_at > grace and not ended_at:
                ended_at, hanging = now, set(running)
                say(f'ranks {running} still run {grace:g} s after {failed} failed: ended')
                _end(ranks, signal.SIGTERM)
            if ended_at and now - ended_at > LAST:
                _end(ranks, signal.SIGKILL)
    return [PEER_LOST if i in hanging else rank.wait() for i, rank in enumerate(ranks)]


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A process in a session of its own: a terminal's Ctrl-C comes through us, and once."""
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=die_with_parent if sys.platform == 'linux' else None,
    )


def die_with_parent() -> None:
    """Ask Linux for a SIGTERM when the parent is killed: ranks then save and leave, too."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _end(ranks: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    """Send a signal to each rank that runs."""
    for rank in ranks:
        if rank.poll() is None:
            rank.send_signal(number)


class _Lines:
    """What ranks print, line by line, each behind its rank, while somebody reads it."""

    def __init__(self, ranks: Sequence[subprocess.Popen[bytes]]) -> None:
        self._selector = selectors.DefaultSelector()
        self._open = {i: rank.stdout for i, rank in enumerate(ranks) if rank.stdout}
        self._rest = {i: b'' for i in self._open}
        for i, stream in self._open.items():
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, i)

    def __enter__(self) -> '_Lines':
        return self

    def __exit__(self, *error: object) -> None:
        # Not until every stream ends: a process that outlives its rank may hold it open.
        while self.read(0):
            pass
        for i, stream in self._open.items():
            self._print(i, b'\n' if self._rest[i] else b'')
            stream.close()
        self._selector.close()

    def read(self, timeout: float) -> bool:
        """Print what has come within `timeout` seconds; False where nothing has."""
        if not self._selector.get_map():
            time.sleep(timeout)
            return False
        found = False
        for key, _ in self._selector.select(timeout):
            chunk = os.read(key.fd, 1 << 16)
            if chunk:
                self._print(key.data, chunk)
                found = True
            else:
                self._selector.unregister(key.fileobj)
        return found

    def _print(self, rank: int, chunk: bytes) -> None:
        *whole, self._rest[rank] = (self._rest[rank] + chunk).split(b'\n')
        text = b''.join(b'[%d] %s\n' % (rank, line) for line in whole)
        # Where nobody reads us any more ranks go on all the same.
        with contextlib.suppress(OSError):
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
