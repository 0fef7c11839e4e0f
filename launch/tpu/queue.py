"""A run on a TPU pod that is waited for, and asked for again when it is taken away.

    python -m launch.tpu.queue NAME --zone us-central1-a --type v5litepod-16 --spot \\
        --share 10.0.0.2:/runs -- jaxdl run digits --distributed

Google Cloud schedules, by queued resources. This waits, installs, runs, and fetches the report.
"""

import shlex
import subprocess
import time
from collections.abc import Sequence

from jaxdl.errors import UsageError
from launch.policy import DONE, History, Kind, Progress, decide, kind_of
from launch.tpu import gcloud
from launch.tpu.gcloud import Pod
from launch.tpu.pod import do, folder_of, parser_of, run_on_all
from launch.words import run_as_command, split_command

# States of a queued resource from which it does not come back.
GONE = ('', 'FAILED', 'SUSPENDING', 'SUSPENDED', 'DELETING')
LOOK = 30.0  # seconds between two looks at the queue


def run_queued(pod: Pod, command: Sequence[str], *, to: str, look: float = LOOK) -> int:
    """Run `command` to its end on pods one after another; returns its exit code.

    A pod that was taken away is asked for again, as often as it takes. On one that stands the
    policy decides, which sees no progress from here: three restarts for each pod.
    """
    while True:
        do([gcloud.enqueue(pod)])
        while (now := _state(pod)) not in ('ACTIVE', *GONE):
            print(f'{pod.name}: {now}', flush=True)
            time.sleep(look)
        if now != 'ACTIVE':
            raise UsageError(
                f'{pod.name}: {now or "not there"}, and never active; see {_show(pod)}'
            )
        do(gcloud.install(pod))
        history, again = History(), True
        while again:
            code = run_on_all(gcloud.run(pod, command))
            decision = decide(code, Progress(), history)
            history, again = decision.history, decision.again and _state(pod) not in GONE
            print(f'{pod.name}: {decision.why}', flush=True)
            if again:
                time.sleep(decision.wait)
        taken = kind_of(code) in (Kind.PREEMPTED, Kind.LOST) and _state(pod) in GONE
        if code == DONE:
            do(gcloud.fetch(pod, folder_of(command), to))
        do([gcloud.dequeue(pod)])
        if not taken:
            return code
        print(f'{pod.name}: taken away, asked for again', flush=True)


def _state(pod: Pod) -> str:
    """The state of what was asked for; '' where there is none."""
    done = subprocess.run(gcloud.state(pod), capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ''


def _show(pod: Pod) -> str:
    return shlex.join(gcloud.state(pod)[:-1])


def main(words: list[str]) -> int:
    """The command line; returns the exit code of the run."""
    own, command = split_command(words)
    parser = parser_of('python -m launch.tpu.queue', 'A run on a TPU pod that is waited for.')
    options = parser.parse_args(own)
    pod = Pod(
        options.name, options.zone, options.type, options.project, options.spot, options.share
    )
    folder = folder_of(command)
    if not options.share:
        raise UsageError('--share: without a folder that outlives the pod, no run can go on')
    if options.dry_run:
        before = [gcloud.enqueue(pod), gcloud.state(pod), *gcloud.install(pod)]
        after = [*gcloud.fetch(pod, folder, options.to), gcloud.dequeue(pod)]
        do([*before, gcloud.run(pod, command), *after], dry=True)
        return DONE
    return run_queued(pod, command, to=options.to)


if __name__ == '__main__':
    run_as_command('launch.tpu.queue', main)
