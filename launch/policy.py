"""What the exit codes of a run mean to who started it: again at once, again later, or not at all.

Pure functions: local processes and SLURM use them as they are, Kubernetes gets them as rules.
"""

import signal
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

DONE = 0
PREEMPTED = 75  # stopped by a signal and saved: the same command goes on
PEER_LOST = 76  # another rank is gone or hangs
# What the system, or a machine that goes down, kills with. Not SIGINT: that is a person's Ctrl-C.
KILLING = (
    signal.SIGHUP,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGKILL,
    signal.SIGSEGV,
    signal.SIGTERM,
)
FRUITLESS = 3  # restarts without progress, and no more
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds


class Kind(Enum):
    """What an exit code says. In this order they decide for several ranks: the last one wins."""

    DONE = 0
    PREEMPTED = 1
    LOST = 2  # a rank was killed, or lost one that was
    FINAL = 3  # an error: the same command would end in the same way


class Progress(NamedTuple):
    """How far a run folder is: arms that are done, then steps that are saved, of all arms."""

    done: int = 0
    saved: int = 0


class History(NamedTuple):
    """What the starts so far have come to.

    best: the furthest progress seen. fruitless: restarts since then, those of now included.
    """

    best: Progress = Progress()
    fruitless: int = 0


class Decision(NamedTuple):
    """Whether to start again, after how many seconds, why, and what is known from now on."""

    again: bool
    wait: float
    why: str
    history: History


def kind_of(code: int) -> Kind:
    """What one exit code says; a signal is either its negative number or 128 more than it."""
    if code == DONE:
        return Kind.DONE
    if code == PREEMPTED:
        return Kind.PREEMPTED
    killed = {-number for number in KILLING} | {128 + number for number in KILLING}
    return Kind.LOST if code == PEER_LOST or code in killed else Kind.FINAL


def exit_code(codes: Iterable[int]) -> int:
    """The one exit code of several ranks: of the kind that decides, and in it of the first cause.

    A rank that was killed is the cause of the others' 76, and an error in one rank that of all.
    Negative codes come out as a shell says them, 128 and the signal.
    """
    found = sorted(codes, key=lambda code: (kind_of(code).value, code != PEER_LOST))
    code = found[-1] if found else DONE
    return 128 - code if code < 0 else code


def restartable(codes: Sequence[int] = (PREEMPTED, PEER_LOST)) -> tuple[int, ...]:
    """Every exit code after which the same command may go on, as a container shows them."""
    return tuple(sorted({*codes, *(128 + number for number in KILLING)}))


def decide(code: int, now: Progress, history: History) -> Decision:
    """What to do after a run left with `code`, its folder being `now`.

    75: at once. 76 and a kill: after 1, 2, 4, ... 60 s. Others: no. And no after three restarts
    none of which got further than the furthest before it, whatever the codes.
    """
    kind = kind_of(code)
    if kind is Kind.DONE:
        return Decision(False, 0.0, 'done', history)
    if kind is Kind.FINAL:
        return Decision(False, 0.0, f'exit code {code}: not started again', history)
    further = now > history.best
    if not further and history.fruitless >= FRUITLESS:
        why = f'exit code {code}, and {FRUITLESS} restarts made no progress: not started again'
        return Decision(False, 0.0, why, history)
    after = History(max(now, history.best), 1 if further else history.fruitless + 1)
    wait = 0.0
    if kind is Kind.LOST:
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (after.fruitless - 1))
    when = f'in {wait:g} s' if wait else 'at once'
    what = 'preempted and saved' if kind is Kind.PREEMPTED else 'a process was lost'
    return Decision(True, wait, f'exit code {code}, {what}: started again {when}', after)
