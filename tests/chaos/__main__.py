"""The soak: `make chaos`, or `PYTHONPATH=tests python -m chaos --minutes 10 --seed 0`.

One history after another: a run of one kind of task is started with the real command, disturbed,
damaged, and started again, until what was drawn for it is used up and the run is done. Then it must
be that of an undisturbed run, bit for bit. Where a start refuses damaged files in one line, the
files are put back, as that line says, and the history goes on. Ctrl-C ends the soak with its table.
With `--processes 2` each run is two processes, and each disturbance is of one of them, drawn.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

from as_users import QUICK

from chaos import five
from chaos.injections import DAMAGES, DISTURBANCES, OF_CHECKPOINTS, Process, is_early
from chaos.judge import difference, fault_of_end, seconds_of_training
from chaos.tally import Done, Tally
from jaxdl.errors import LostPeerError
from launch.ports import free_ports

STUDY = Path(five.__file__)
TESTS = STUDY.parent.parent
STARTS = 30  # of one history, at most


class WrongError(Exception):
    """A history that did not go as promised."""


class Member:
    """A process of `jaxdl run`, its output read all the time."""

    def __init__(self, folder: Path, kind: str, environment: Mapping[str, str]) -> None:
        self.process: Process = subprocess.Popen(
            [Path(sys.executable).with_name('jaxdl'), 'run', STUDY, '--arm', kind],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the soak
        )
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as pipe:
            for part in iter(lambda: os.read(pipe.fileno(), 65536), b''):
                self._parts.append(part)

    def end(self, seconds: float) -> tuple[int, str]:
        """The exit code and all output. Raises WrongError for a process that does not end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise WrongError(f'hangs: no end within {seconds:.0f} s\n{self.output()}') from None
        self._reader.join()
        return code, self.output()

    def output(self) -> str:
        return b''.join(self._parts).decode(errors='replace')

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()


class Start:
    """One start of a run: a process, or several that find each other, by rank."""

    def __init__(self, folder: Path, kind: str, cache: Path, processes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        paths = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get('PYTHONPATH', '')])
        # Programs that are compiled fast, and once for all starts: this is about runs, not XLA.
        known = {
            **os.environ,
            'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} {QUICK}',
            'JAX_COMPILATION_CACHE_DIR': str(cache),
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
            'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
            'PYTHONPATH': paths,
        }
        if processes > 1:
            known |= {
                'JAXDL_COORDINATOR': f'127.0.0.1:{free_ports(1)[0]}',
                'JAXDL_PROCESSES': str(processes),
                'JAXDL_HEARTBEAT': '15',
                'JAXDL_PATIENCE': '30',  # for one that was killed before it came
            }
        self.members = [
            Member(folder, kind, {**known, 'JAXDL_PROCESS': str(rank)} if processes > 1 else known)
            for rank in range(processes)
        ]

    def lives(self) -> bool:
        """Whether every process does."""
        return all(member.process.poll() is None for member in self.members)

    def end(self, seconds: float) -> list[tuple[int, str]]:
        """The exit code and output of each. Raises WrongError where one does not end."""
        return [member.end(seconds) for member in self.members]

    def output(self) -> str:
        return '\n'.join(member.output() for member in self.members)

    def kill(self) -> None:
        for member in self.members:
            member.kill()


class Undisturbed:
    """The run of a kind that nothing happens to, with what it took: seconds to the first line of
    metrics.jsonl, between two lines, and in all.
    """

    def __init__(self, folder: Path, kind: str, cache: Path, processes: int) -> None:
        self.kind, self.cache, self.run = kind, cache, folder / 'runs' / STUDY.stem
        self.processes = processes
        start, began, first = Start(folder, kind, cache, processes), time.monotonic(), 0.0
        try:
            while start.lives():
                time.sleep(0.02)
                first = first or (time.monotonic() - began) * bool(lines(self.run / kind))
            codes = [code for code, _ in start.end(60)]
        finally:
            start.kill()
        if any(codes):
            raise WrongError(f'undisturbed, {kind} ends with {codes}\n{start.output()}')
        self.first = first / 2  # the others find their programs compiled
        self.lines = lines(self.run / kind)
        self.training = seconds_of_training(self.run / kind)
        self.between, self.total = self.training / self.lines, time.monotonic() - began


def lines(arm: Path) -> int:
    """How many lines metrics.jsonl has."""
    path = arm / 'metrics.jsonl'
    return path.read_bytes().count(b'\n') if path.is_file() else 0


def _said(own: str, first: str) -> str:
    """What a process says, and where that is no reason what the first does: for all of them."""
    lines = own.splitlines()
    return own if lines and lines[-1].startswith('jaxdl: ') else f'{own}\n{first}'


class History:
    """One run with all that happens to it. `done` lists that, and whether it was refused."""

    def __init__(self, folder: Path, like: Undisturbed, rng: Random, until: float) -> None:
        self.folder, self.like, self.rng, self.until = folder, like, rng, until
        self.run = folder / 'runs' / STUDY.stem
        self.arm = self.run / like.kind
        self.done: list[Done] = []
        self.said = ''
        self._left = rng.randint(3, 6)
        self._damaged = ''  # what was, and no start has got over yet
        self._starts = 0

    def go(self) -> None:
        """All of it. Raises WrongError."""
        while True:
            code = self._start()
            if code == 0 and not (self._left and time.monotonic() < self.until):
                break
            if self._left and not self._damaged and self.rng.random() < 0.5:
                self._damage()
        if fault := difference(self.run, self.like.run, said=self.said):
            raise WrongError(fault)

    def _start(self) -> int:
        self._starts += 1
        if self._starts > STARTS:
            raise WrongError(f'not done after {STARTS} starts')
        start = Start(self.folder, self.like.kind, self.like.cache, self.like.processes)
        codes: tuple[int, ...] = ()
        early = False
        try:
            while self._left and time.monotonic() < self.until and self._wait(start):
                name = self.rng.choice(list(DISTURBANCES))
                # Of one alone nothing is drawn, so that a seed's histories stay what they were.
                many = len(start.members) > 1
                rank = self.rng.randrange(len(start.members)) if many else 0
                process = start.members[rank].process
                early = early or (name.startswith('SIG') and is_early(process))
                whom = f'rank {rank}, ' * many
                self._note(name, f'{whom}{lines(self.arm)} of {self.like.lines} lines')
                DISTURBANCES[name].do(process, self.rng)
                codes += DISTURBANCES[name].codes
                if many:
                    codes += (LostPeerError.code,)  # of the others
                if any(code not in (0, 1) for code in DISTURBANCES[name].codes):
                    break
            found = start.end(120 + 10 * self.like.total)
        finally:
            start.kill()
            (self.folder / f'start{self._starts}.txt').write_text(start.output())
        self.said += start.output()
        damaged = bool(self._damaged)
        found = [(code, _said(own, found[0][1])) for code, own in found]
        for code, output in found:
            if fault := fault_of_end(code, output, allowed=codes, early=early, damaged=damaged):
                raise WrongError(f'{fault}\n{start.output()[-3000:]}')
        code, output = next((it for it in found if it[0]), found[0])
        if damaged and code in (1, 2, 77) and not codes:
            print(f'    refused: {output.splitlines()[-1]}')
            self.done[self.done.index((self._damaged, False))] = (self._damaged, True)
            shutil.rmtree(self.run)
            (self.folder / 'copy').rename(self.run)
            self._damaged = ''
        elif code == 0 or 'saved at step' in output:  # not if it was stopped before it looked
            self._damaged = ''
        return code

    def _wait(self, start: Start) -> bool:
        """Wait for a moment; whether the process still lives then."""
        goal, seconds = 0, self.rng.uniform(0, self.like.first)
        if self.rng.random() < 0.75:
            goal = lines(self.arm) + self.rng.randint(1, max(1, self.like.lines // 2))
            seconds = self.rng.uniform(0, self.like.between)
        deadline = time.monotonic() + 120 + 10 * self.like.total
        while goal > lines(self.arm) and start.lives():
            time.sleep(0.005)
            if time.monotonic() > deadline:
                raise WrongError(f'hangs: nothing happens\n{start.output()[-3000:]}')
        time.sleep(seconds)
        return start.lives()

    def _damage(self) -> None:
        copy = self.folder / 'copy'
        shutil.rmtree(copy, ignore_errors=True)
        if not self.arm.is_dir():
            return
        shutil.copytree(self.run, copy)
        done = (self.arm / 'DONE').exists()  # then nobody reads its checkpoints any more
        name = self.rng.choice([name for name in DAMAGES if not (done and name in OF_CHECKPOINTS)])
        if what := DAMAGES[name](self.arm, self.rng):
            self._damaged = name
            self._note(name, what)

    def _note(self, name: str, what: str) -> None:
        print(f'    start {self._starts}: {name} ({what})', flush=True)
        self.done.append((name, False))
        self._left -= 1


def soak(folder: Path, *, minutes: float, seed: int, kinds: list[str], processes: int = 1) -> bool:
    """Histories for so many minutes, one of each kind at least; prints them and the table.

    Returns whether nothing was wrong. Folders of what went wrong are left.
    """
    began = time.monotonic()
    until = began + 60 * minutes
    like: dict[str, Undisturbed] = {}
    tally = Tally()
    try:
        while tally.histories < len(kinds) or time.monotonic() < until:
            number = tally.histories
            kind = kinds[number % len(kinds)]
            if kind not in like:
                place = folder / f'undisturbed-{kind}'
                like[kind] = Undisturbed(place, kind, folder / 'cache', processes)
                print(f'{kind}, undisturbed: {like[kind].total:.0f} s')
            minute = (time.monotonic() - began) / 60
            print(f'history {number}, {kind}, at {minute:.1f} min', flush=True)
            place, first = folder / f'history{number}-{kind}', time.monotonic()
            # Something is done to each kind, though its turn comes when the time is over.
            enough = max(until, first + 3 * like[kind].total) if number < len(kinds) else until
            history = History(place, like[kind], Random(f'{seed} {number}'), enough)
            try:
                history.go()
            except WrongError as fault:
                tally.add_wrong(history.done)
                print(f'    WRONG, {place} is left: {fault}', flush=True)
            else:
                training = seconds_of_training(history.arm)
                tally.add(history.done, training=training, seconds=time.monotonic() - first)
                shutil.rmtree(place)
    except KeyboardInterrupt:
        print('stopped')
    print(f'\n{tally.table()}\n\n{tally.sentence()}; seed {seed}')
    return not tally.bad


def main() -> int:
    words = argparse.ArgumentParser(prog='chaos', description=__doc__)
    words.add_argument('--minutes', type=float, default=10)
    words.add_argument('--seed', type=int, default=0)
    words.add_argument('--processes', type=int, default=1, help='of each run')
    words.add_argument('--kinds', nargs='+', choices=list(five.KINDS), default=list(five.KINDS))
    given = words.parse_args()
    # What a shell or nohup had it ignore, the runs would ignore too. A handler is not inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)
    folder = Path(tempfile.mkdtemp(prefix='jaxdl-chaos-'))
    fine = soak(
        folder,
        minutes=given.minutes,
        seed=given.seed,
        kinds=given.kinds,
        processes=given.processes,
    )
    if fine:
        shutil.rmtree(folder)
    return 0 if fine else 1


if __name__ == '__main__':
    sys.exit(main())
