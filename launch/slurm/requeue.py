"""Whether a job of SLURM goes back into the queue once its command has left, and doing so.

A job may be sent away for two reasons that look alike to its command. With SIGUSR1 or SIGUSR2
SLURM warns that the time is up (`--signal`): the job asks for another turn itself. With SIGTERM
SLURM ends it, because it was cancelled, or preempted, and then SLURM requeues it where the cluster
is set up so: the job does not ask.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from launch.policy import History, Progress, decide
from launch.progress import progress_of, watched_folder
from launch.words import Parser, run_as_command, split_command


def requeue(
    code: int,
    *,
    job: str,
    watch: Path | None,
    received: Iterable[str] = (),
    say: Callable[[str], None],
    again: Callable[[str], bool] | None = None,
) -> bool:
    """Put the job back into the queue if the policy says so after `code`; returns whether it is.

    job: its id, of a task of an array `ID_TASK`. watch: the run folder, which shows progress and
    keeps what is known of earlier starts; without one no start makes progress, and three are all.
    received: names of the signals that the job was sent. again: what asks SLURM.
    """
    if 'SIGTERM' in received:
        say('SLURM ends this job; whether it comes back is for SLURM to say')
        return False
    kept = (watch or Path()) / f'.requeued-{job}.json'
    decision = decide(code, progress_of(watch) if watch else Progress(), _read(kept))
    if code:
        say(decision.why)
    if not decision.again:
        kept.unlink(missing_ok=True)
        return False
    kept.parent.mkdir(parents=True, exist_ok=True)
    best, fruitless = decision.history
    kept.write_text(json.dumps({'done': best.done, 'saved': best.saved, 'fruitless': fruitless}))
    time.sleep(decision.wait)
    return (again or _ask)(job)


def _read(path: Path) -> History:
    """What earlier starts of the job have come to; nothing is known where the file is broken."""
    try:
        told = json.loads(path.read_text())
        return History(Progress(told['done'], told['saved']), told['fruitless'])
    except (OSError, ValueError, KeyError, TypeError):
        return History()


def _ask(job: str) -> bool:
    """Ask SLURM; it refuses a job that it ends already, which is said and no error here."""
    done = subprocess.run(['scontrol', 'requeue', job], capture_output=True, text=True)
    if done.returncode:
        print(f'launch: not requeued: {done.stderr.strip()}', file=sys.stderr, flush=True)
    return done.returncode == 0


def job_id() -> str:
    """The id of the job that this process is of, as scontrol takes it."""
    array = os.environ.get('SLURM_ARRAY_JOB_ID')
    return f'{array}_{os.environ["SLURM_ARRAY_TASK_ID"]}' if array else os.environ['SLURM_JOB_ID']


def main(words: list[str]) -> int:
    """The end of job.sbatch; returns the exit code of the job."""
    own, command = split_command(words)
    parser = Parser(
        prog='python -m launch.slurm.requeue',
        description='Requeue this job if its command says so: OPTIONS -- COMMAND',
    )
    parser.add_argument('--code', type=int, required=True, help='what the command left with')
    parser.add_argument('--received', default='', help='a signal that the job was sent, SIGUSR1')
    options = parser.parse_args(own)
    requeue(
        options.code,
        job=job_id(),
        watch=watched_folder(command),
        received=options.received.split(),
        say=lambda text: print(f'launch: {text}', file=sys.stderr, flush=True),
    )
    return int(options.code)


if __name__ == '__main__':
    run_as_command('launch.slurm.requeue', main)
