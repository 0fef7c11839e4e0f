"""The commands of a study: training, measuring again, and saying what it costs.

Each reads its options before it imports what it works with: help and mistakes do not wait for jax.
"""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from jaxdl.blame import blaming_own
from jaxdl.cli.options import Option
from jaxdl.cli.words import (
    ARM,
    CHUNK,
    LAYOUT,
    SEEDS,
    parse_words,
    positional,
    run_folder,
    say,
    show,
    studied,
)
from jaxdl.errors import JaxdlError, UsageError, nearest
from jaxdl.study import Natural, Rate

if TYPE_CHECKING:
    from jaxdl.cli.ranks import Place

RUN_OPTIONS = [
    ARM,
    SEEDS,
    Option('workdir', Path | None, None, 'where the run lives; runs/NAME if you do not say'),
    LAYOUT,
    CHUNK,
    Option('init_from', Path | None, None, "weights to start from: another run's arm, or a file"),
    Option('tensorboard', bool, True, 'write TensorBoard files'),
    Option('print_config', bool, False, 'print what would run, and run nothing'),
    Option('tune', bool, True, 'choose what the study tunes first; without, take the defaults'),
    Option('smoke', bool, False, 'a few steps of everything, in a folder of its own'),
    Option('first_seed', Natural, 0, 'the number of the first seed: others than before are fresh'),
    Option(
        'accept_changes',
        bool,
        False,
        'go on with a run that would compute something else now; the report says so',
    ),
    Option('distributed', bool, False, 'one of many processes: SLURM, Open MPI, TPU, Kubernetes'),
]
BENCH_OPTIONS = [
    ARM,
    SEEDS,
    LAYOUT,
    CHUNK,
    Option('seconds', Rate, 3.0, 'how long each measurement takes'),
]
COMPILE_OPTIONS = [
    ARM,
    SEEDS,
    LAYOUT,
    Option(
        'topology',
        str | None,
        None,
        'for which devices: TPUs as v5e:16x16, GPUs of one machine as h100x8',
    ),
]


def run(words: list[str]) -> None:
    """Train every arm of a study with every seed, resume, answer, report."""
    from jaxdl.cli.ranks import joined  # before anything asks jax for its devices

    with joined(words) as place:
        _run_here(words, place)


@blaming_own()
def _run_here(words: list[str], place: 'Place | None') -> None:
    from jaxdl.cli.library import find

    here = Path.cwd()  # which an experiment may leave
    experiment = find(words[0]) if words and not words[0].startswith('-') else here
    name, study, parsed, overrides = studied('run', words, RUN_OPTIONS)
    values = parsed.values

    from jaxdl.cli.plan import Plan, described, run_study, workdir
    from jaxdl.report.result import verdict_lines
    from jaxdl.run.stage import Options

    plan = Plan(
        name=name,
        word=words[0],
        arms=values['arm'],
        seeds=values['seeds'],
        overrides=overrides,
        workdir=values['workdir'],
        init_from=values['init_from'],
        smoke=values['smoke'],
        first_seed=values['first_seed'],
        accept=values['accept_changes'],
        tune=values['tune'],
    )
    if Path.cwd() != here:
        first = plan.init_from and here / plan.init_from
        plan = plan._replace(workdir=here / workdir(plan), init_from=first)
        experiment = here / experiment
    if values['print_config']:
        print(json.dumps(described(study, plan), indent=2, default=str))
        return
    if place is not None:
        plan = plan._replace(workdir=place.folder(workdir(plan)))
    options = Options(values['layout'], values['chunk'], values['tensorboard'])
    command = shlex.join(['jaxdl', 'run', *words])
    run_study(
        study,
        plan,
        experiment=experiment,
        command=command,
        options=options,
        show=lambda result: show(verdict_lines(result, workdir(plan))),
    )


@blaming_own()
def evaluate(words: list[str]) -> None:
    """Measure the newest valid checkpoint of every arm of a run again."""
    word, rest = positional('eval', words, [ARM, LAYOUT], 'digits')
    values = parse_words('eval', [ARM, LAYOUT], rest).values

    from rich.table import Table

    from jaxdl.cli.library import load, phases_of
    from jaxdl.cli.standing import arms_in, recall, tell_changes
    from jaxdl.run import machine
    from jaxdl.run.arm import evaluate_arm
    from jaxdl.run.config import groups_of, read_config
    from jaxdl.run.stage import Options

    folder, experiment = run_folder(word)
    arms = arms_in(folder)
    for arm in values['arm']:
        if arm not in arms:
            raise UsageError(f'--arm: no arm {arm!r} in {folder}{nearest(arm, arms)}')
    _, study = load(experiment)
    machine.tune_memory()
    table = Table('arm', 'step', 'metric', 'mean', 'per seed')
    options = Options(layout=values['layout'])
    for arm in values['arm'] or arms:
        for place in groups_of(folder / arm):
            config = read_config(place)
            if not config.phases:
                if values['arm']:
                    raise UsageError(f'--arm: {arm!r} is a baseline: it has no checkpoint')
                continue
            phases = phases_of(study, recall(study, config))
            tell_changes(place, phases, config, experiment=experiment, say=say)
            step, numbers = evaluate_arm(place, phases, config, options=options, say=say)
            for metric, seeds in numbers.items():
                each = ' '.join(f'{x:.6g}' for x in seeds)
                mean = f'{sum(seeds) / len(seeds):.6g}'
                table.add_row(arm, str(step), metric, mean, each)
    show(table)


@blaming_own()
def summary(words: list[str]) -> None:
    """Show what the networks of a study hold and cost."""
    _, study, parsed, overrides = studied('summary', words, [ARM])

    from jaxdl.cli.bench import summarise

    show(*summarise(study, parsed.values['arm'], overrides))


@blaming_own()
def bench(words: list[str]) -> None:
    """Time the steps of a study."""
    name, study, parsed, overrides = studied('bench', words, BENCH_OPTIONS)

    from jaxdl.cli.bench import bench
    from jaxdl.run import machine

    machine.tune_memory()
    options = {option.name: parsed.values[option.name] for option in BENCH_OPTIONS}
    show(bench(name, study, overrides, **options))


@blaming_own()
def compile_ahead(words: list[str]) -> None:
    """Compile a step of a study for devices that are not here, and show what it would take."""
    from jaxdl.cli import ahead

    code = ahead.in_own_process(words)
    if code is not None:
        if code < 0:
            raise JaxdlError(f'compiling died of signal {-code}; was there memory enough?')
        raise SystemExit(code)
    _, study, parsed, overrides = studied('compile', words, COMPILE_OPTIONS)
    options = {option.name: parsed.values[option.name] for option in COMPILE_OPTIONS}
    if options['topology'] is None:
        raise UsageError('--topology: say for which devices, as in --topology v5e:4x4')
    for part in ahead.compiled_ahead(study, overrides, **options):
        show(part)
