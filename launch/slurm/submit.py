"""A study given to SLURM: its arms and seeds as a job array, or one run over several nodes.

    python -m launch.slurm.submit digits --seeds-each 5 --gpus 1
    python -m launch.slurm.submit char_lm --nodes 4 --gpus 8 -- --layout fsdp=32

What stands behind `--` goes to `jaxdl run`. SLURM schedules, submitit writes and hands in the job
array (`pip install 'jaxdl[slurm]'`), job.sbatch is the job of several nodes.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdl.errors import JaxdlError, UsageError
from launch.slurm.gather import PARTS, part_of, seeds_done
from launch.slurm.tasks import Task, answer, run_task
from launch.words import Parser, natural, run_as_command

JOB = Path(__file__).with_name('job.sbatch')
JAXDL = (sys.executable, '-m', 'jaxdl.cli.main')


def plan_tasks(
    described: Mapping[str, Any],
    *,
    name: str,
    folder: Path,
    seeds_each: int | None = None,
    more: Sequence[str] = (),
) -> list[Task]:
    """A task for each arm and each lot of `seeds_each` of its seeds; all of them where it is None.

    described: what `jaxdl run NAME --print-config` prints. more: words for every `jaxdl run`.
    Seeds that `folder` has already are left out.
    Raises UsageError where an arm is tuned, and more than one task would do that.
    """
    tasks = []
    for arm, config in described['arms'].items():
        if seeds_each and 'chosen' in config:
            raise UsageError(
                f'--seeds-each {seeds_each}: {arm} is tuned, which each task would do again; leave '
                'it out, or say -- --no-tune'
            )
        there = seeds_done(folder / arm)
        seeds = [seed for seed in config['seeds'] if seed not in there]
        if 'chosen' in config and there and seeds:
            raise UsageError(
                f'{folder}: {arm} is tuned there, which a task for more seeds would do again; '
                f'`jaxdl run {name}` itself adds seeds'
            )
        for lot in _lots(seeds, seeds_each or len(seeds)):
            part = folder / PARTS / part_of(arm, lot)
            words = ['run', name, '--arm', arm, '--first-seed', str(lot[0])]
            words += ['--seeds', str(len(lot)), '--workdir', str(part), *more]
            tasks.append(Task((*JAXDL, *words), part))
    return tasks


def _lots(seeds: Sequence[int], size: int) -> list[list[int]]:
    """Seeds in lots of at most `size` that follow one another, as --first-seed and --seeds say."""
    lots: list[list[int]] = []
    for seed in seeds:
        if lots and len(lots[-1]) < size and lots[-1][-1] + 1 == seed:
            lots[-1].append(seed)
        else:
            lots.append([seed])
    return lots


def describe(words: Sequence[str]) -> dict[str, Any]:
    """What `jaxdl run WORDS --print-config` prints: a mistake is found before anything waits.

    Raises JaxdlError with its line and its exit code.
    """
    done = subprocess.run([*JAXDL, *words, '--print-config'], capture_output=True, text=True)
    if done.returncode:
        error = JaxdlError(done.stderr.strip().removeprefix('jaxdl: '))
        error.code = done.returncode
        raise error
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def submit_array(tasks: Sequence[Task], folder: Path, options: argparse.Namespace) -> list[str]:
    """Hand in the array, and the job that answers when all of it has ended; returns their ids.

    Raises UsageError where this is no machine of a cluster, JaxdlError where SLURM refuses them.
    """
    try:
        import submitit
    except ImportError:
        raise UsageError("submitit is not installed: pip install 'jaxdl[slurm]'") from None
    if shutil.which('srun') is None:
        raise UsageError('srun not found: this is no machine of a SLURM cluster')
    logs = folder / 'slurm'
    executor = submitit.SlurmExecutor(logs, max_num_timeout=sys.maxsize, python=sys.executable)
    executor.update_parameters(**array_parameters(options))
    with _refusals_in_a_line(), executor.batch():
        jobs: list[submitit.Job[int]] = [executor.submit(run_task, task) for task in tasks]
    last = submitit.SlurmExecutor(logs, python=sys.executable)
    array = jobs[0].job_id.partition('_')[0]
    few = {'job_name': f'{_title(options)}-answer', 'time': 60, 'dependency': f'afterany:{array}'}
    kept = ('partition', 'account', 'qos')
    few |= {name: getattr(options, name) for name in kept if getattr(options, name)}
    last.update_parameters(**few)
    with _refusals_in_a_line():
        final: submitit.Job[int] = last.submit(answer, folder / PARTS, folder)
    return [*(job.job_id for job in jobs), final.job_id]


@contextlib.contextmanager
def _refusals_in_a_line() -> Iterator[None]:
    """What SLURM says when it refuses a job, without what led to it. Raises JaxdlError."""
    from submitit.core.utils import FailedJobError

    try:
        yield
    except FailedJobError as error:
        said = [line for line in str(error).splitlines() if line.strip()]
        why = said[-1].strip() if said else 'it does not say why'
        raise JaxdlError(f'SLURM refuses the job: {why}') from error


def array_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """What submitit writes into the job file of the array."""
    found = {
        'job_name': _title(options),
        'time': options.time,
        'partition': options.partition,
        'account': options.account,
        'qos': options.qos,
        'gpus_per_node': options.gpus,
        'cpus_per_task': options.cpus,
        'mem': options.mem,
        'array_parallelism': options.at_once,
        'signal_delay_s': options.grace,
        'stderr_to_stdout': True,
        'additional_parameters': {'requeue': True},
    }
    return {name: value for name, value in found.items() if value is not None}


def node_command(options: argparse.Namespace, more: Sequence[str]) -> list[str]:
    """The sbatch command of one run over several nodes."""
    words = ['sbatch', '--parsable', f'--job-name={_title(options)}', f'--nodes={options.nodes}']
    said = {
        'time': options.time,
        'partition': options.partition,
        'account': options.account,
        'qos': options.qos,
        'gpus-per-node': options.gpus,
        'cpus-per-task': options.cpus,
        'mem': options.mem,
        'signal': f'B:USR1@{options.grace}',
    }
    words += [f'--{name}={value}' for name, value in said.items() if value is not None]
    return [*words, str(JOB), *JAXDL, *_run_words(options), '--distributed', *more]


def _run_words(options: argparse.Namespace) -> list[str]:
    """The words of one `jaxdl run` that does all that is asked for."""
    words = ['run', options.name]
    words += ['--arm', *options.arm] if options.arm else []
    words += ['--seeds', str(options.seeds)] if options.seeds else []
    words += ['--first-seed', str(options.first_seed)] if options.first_seed else []
    return [*words, '--workdir', str(_folder(options))]


def _title(options: argparse.Namespace) -> str:
    """The name of jobs, and so of their logs: that of the study."""
    return Path(options.name).stem


def _folder(options: argparse.Namespace) -> Path:
    return options.workdir or Path('runs') / _title(options)


def _parser() -> Parser:
    parser = Parser(
        prog='python -m launch.slurm.submit',
        description='Give a study to SLURM; words behind -- go to `jaxdl run`.',
    )
    add = parser.add_argument
    add('name', help='of the study, or its file')
    add('--arm', nargs='+', help='which arms; all but tiny if none is named')
    add('--seeds', type=natural, help='how many; the study says if you do not')
    add('--first-seed', type=int, default=0, help='the number of the first seed')
    add('--seeds-each', type=natural, help='seeds of one task; all of an arm if not said')
    add('--workdir', type=Path, help='where the run lives; runs/NAME if not said')
    add('--nodes', type=natural, default=1, help='2 and more: one run over so many nodes')
    add('--time', type=natural, default=24 * 60, help='minutes of one turn')
    add('--grace', type=natural, default=120, help='seconds from the warning to the end of a turn')
    add('--gpus', type=natural, help='of each node')
    add('--cpus', type=natural, help='of each task')
    add('--mem', help='of each node, as sbatch takes it: 32G')
    add('--partition', help='of the cluster')
    add('--account', help='who pays')
    add('--qos', help='quality of service')
    add('--at-once', type=natural, default=256, help='tasks of the array that run at a time')
    add('--dry-run', action='store_true', help='print what would be handed in')
    return parser


def main(words: list[str]) -> int:
    """The command line."""
    at = words.index('--') if '--' in words else len(words)
    options, more = _parser().parse_args(words[:at]), words[at + 1 :]
    folder = _folder(options)
    if options.nodes > 1 and options.seeds_each:
        raise UsageError('--seeds-each shares seeds among tasks; a run over --nodes has none')
    described = describe([*_run_words(options), *more])
    if options.nodes > 1:
        return _submit_nodes(options, more)
    tasks = plan_tasks(
        described, name=options.name, folder=folder, seeds_each=options.seeds_each, more=more
    )
    if not tasks:
        print(f'all seeds are done: jaxdl report {folder}')
        return 0
    for number, task in enumerate(tasks):
        print(f'task {number}: jaxdl {" ".join(task.command[len(JAXDL) :])}')
    if options.dry_run:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    *array, last = submit_array(tasks, folder, options)
    print(f'array {array[0].partition("_")[0]}, logs in {folder / "slurm"}; then {last} answers')
    return 0


def _submit_nodes(options: argparse.Namespace, more: Sequence[str]) -> int:
    command = node_command(options, more)
    print(' '.join(command))
    if not options.dry_run:
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise UsageError('sbatch not found: this is no machine of a SLURM cluster') from None
        if done.returncode:
            raise JaxdlError(done.stderr.strip())
        print(f'job {done.stdout.strip()}')
    return 0


if __name__ == '__main__':
    run_as_command('launch.slurm.submit', main)
