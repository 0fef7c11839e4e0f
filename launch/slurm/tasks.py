"""What the tasks of a job array do; submitit brings them to the nodes, pickled by their names."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

from launch.local import supervise
from launch.ranks import noted
from launch.slurm.gather import gather
from launch.slurm.requeue import job_id, requeue


class Task(NamedTuple):
    """One command of an array, and its run folder, in which progress is seen."""

    command: tuple[str, ...]
    watch: Path


def run_task(task: Task) -> int:
    """Run a task; leaves the process with its exit code where that is not 0.

    It goes on where its last turn was stopped. What is lost is started again in place; the end of
    its time is a SIGUSR2, after which it is requeued.
    """
    with noted() as received:
        code = supervise(task.command, processes=1, received=received, watch=task.watch)
    if code == 0:
        return code
    names = [signal.Signals(number).name for number in received]
    if received:
        requeue(code, job=job_id(), watch=task.watch, received=names, say=_say)
    _leave(code)


def answer(parts: Path, folder: Path) -> int:
    """What is left when all tasks have ended: their folders put together, and the report.

    The report tells what is not done. Leaves the process with its exit code where that is not 0.
    """
    for left in gather(parts, folder):
        _say(f'not done: {left}')
    report = [sys.executable, '-m', 'jaxdl.cli.main', 'report', str(folder)]
    code = subprocess.run(report).returncode
    return code if code == 0 else _leave(code)


def _leave(code: int) -> NoReturn:
    """Leave at once, by no exception: submitit would write down that the task is over."""
    sys.stdout.flush()
    os._exit(code)


def _say(text: str) -> None:
    print(f'launch: {text}', file=sys.stderr, flush=True)
