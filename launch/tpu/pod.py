"""A TPU pod of Google Cloud: make it, run on all of its hosts, fetch the report, remove it.

    python -m launch.tpu.pod create NAME --zone us-central1-a --type v5litepod-16 --spot
    python -m launch.tpu.pod run NAME --zone us-central1-a -- jaxdl run digits --distributed
    python -m launch.tpu.pod fetch NAME --zone us-central1-a -- jaxdl run digits
    python -m launch.tpu.pod delete NAME --zone us-central1-a

Each is a few commands of gcloud, which `--dry-run` prints.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence

from jaxdl.errors import JaxdlError, UsageError, nearest
from launch.policy import DONE, PEER_LOST, exit_code
from launch.progress import watched_folder
from launch.tpu import gcloud
from launch.tpu.gcloud import LEFT, Pod, Words
from launch.words import Parser, run_as_command, split_command

STEPS = ('create', 'run', 'fetch', 'delete')


def do(commands: Sequence[Words], *, dry: bool = False) -> None:
    """Run commands one after another, or print them. Raises JaxdlError where one fails."""
    for words in commands:
        if dry:
            print(shlex.join(words))
            continue
        try:
            code = subprocess.run(words).returncode
        except FileNotFoundError:
            raise UsageError(f'{words[0]} not found: cloud.google.com/sdk has gcloud') from None
        if code:
            raise JaxdlError(f'{shlex.join(words)} failed with {code}')


def run_on_all(words: Words, *, dry: bool = False) -> int:
    """Run a command of `gcloud.run` and show what it prints; the exit code of all hosts as one.

    Where the connection is lost before a host says its code, that is 76: it may have gone.
    """
    if dry:
        print(shlex.join(words))
        return DONE
    codes = []
    try:
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                if found := re.search(rf'{LEFT} (\d+)\s*$', line):
                    codes.append(int(found[1]))
                sys.stdout.write(line)
                sys.stdout.flush()
    except FileNotFoundError:
        raise UsageError(f'{words[0]} not found: cloud.google.com/sdk has gcloud') from None
    return exit_code([*codes, PEER_LOST] if process.returncode or not codes else codes)


def folder_of(command: Sequence[str]) -> str:
    """The run folder of a command on the hosts. Raises UsageError where it has none."""
    folder = watched_folder(command)
    if folder is None:
        raise UsageError(f'{shlex.join(command)}: no run folder; it is that of a `jaxdl run`')
    return str(folder)


def parser_of(program: str, description: str) -> Parser:
    """The options that say which pod."""
    parser = Parser(prog=program, description=description)
    add = parser.add_argument
    add('name', help='of the pod')
    add('--zone', required=True, help='where it is, us-central1-a')
    add('--project', help='who pays; that of gcloud if not said')
    add('--type', default='', help='what it is, v5litepod-16; to create it')
    add('--spot', action='store_true', help='it may be taken away, and costs less')
    add('--share', help='NFS folder HOST:/PATH for runs, which outlives the pod')
    add('--to', default='.', help='where fetched reports go')
    add('--dry-run', action='store_true', help='print the commands, and run none')
    return parser


def main(words: list[str]) -> int:
    """The command line; returns the exit code of the hosts."""
    step, rest = (words[0], words[1:]) if words else ('', [])
    if step not in STEPS and step not in ('-h', '--help'):
        raise UsageError(f'unknown step {step!r}{nearest(step, STEPS)}')
    needs = step in ('run', 'fetch')
    own, command = split_command(rest) if needs else (rest, [])
    program = f'python -m launch.tpu.pod {step if step in STEPS else "|".join(STEPS)}'
    options = parser_of(program, 'A TPU pod of Google Cloud.').parse_args(own or ['--help'])
    dry = options.dry_run
    pod = Pod(
        options.name, options.zone, options.type, options.project, options.spot, options.share
    )
    if step == 'create':
        do([gcloud.create(pod), *gcloud.install(pod)], dry=dry)
    elif step == 'run':
        return run_on_all(gcloud.run(pod, command), dry=dry)
    elif step == 'fetch':
        do(gcloud.fetch(pod, folder_of(command), options.to), dry=dry)
    else:
        do([gcloud.delete(pod)], dry=dry)
    return 0


if __name__ == '__main__':
    run_as_command('launch.tpu.pod', main)
