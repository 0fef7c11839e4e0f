"""What the tasks of a job array do; submitit brings them to the nodes, pickled by their names."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from launch.local import supervise
from launch.ranks import noted
from launch.slurm.gather import gather
from launch.slurm.requeue import job_id, requeue


class Task(NamedTuple):
    """One command, which goes on in this task's next turn where it was stopped.

    watch: its run folder.
    """

    command: tuple[str, ...]
    watch: Path

    def __call__(self) -> int:
        """Run it; leaves the process with its exit code where that is not 0.

        What is lost is started again in place. The end of the time is a SIGUSR2, after which the
        task is requeued.
        """
        with noted() as received:
            code = supervise(self.command, processes=1, received=received, watch=self.watch)
        if code == 0:
            return code
        names = [signal.Signals(number).name for number in received]
        if received:
            requeue(code, job=job_id(), watch=self.watch, received=names, say=_say)
        # Not an exception: submitit would write down that the task is over.
        sys.stdout.flush()
        os._exit(code)


class Answer(NamedTuple):
    """What is left when all tasks have ended: to put their folders together, and the report."""

    parts: Path
    folder: Path

    def __call__(self) -> int:
        """Write the report of what is done; returns 0, or leaves with the code of `jaxdl`."""
        gather(self.parts, self.folder)
        done = subprocess.run([sys.executable, '-m', 'jaxdl.cli.main', 'report', str(self.folder)])
        return done.returncode or 0


def _say(text: str) -> None:
    print(f'launch: {text}', file=sys.stderr, flush=True)
