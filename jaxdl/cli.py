"""The command line: `jaxdl COMMAND ...`. Every mistake is one line and exit code 2."""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from jaxdl import __version__
from jaxdl.errors import JaxdlError, UsageError, nearest
from jaxdl.options import Option, Parsed, parse, signature_options
from jaxdl.study import Count, Study

USAGE = """\
usage: jaxdl COMMAND ...

  list                  the experiments that are here, and their questions
  run NAME|FILE.py      train every arm with every seed, resume, answer, report
  eval NAME|FOLDER      measure the newest valid checkpoint of every arm again
  report NAME|FOLDER    judge the claims and write the report again
  record NAME|FOLDER    copy a finished run's result to experiments/results
  summary NAME          parameters, FLOPs, memory and a table of layers
  bench NAME            compile time, ms per step, examples/s, share of this machine's peak
  data list|prepare NAME|show NAME
  doctor                versions, devices, data, and what is missing

Every command has --help, and --debug to show the traceback of an error."""

LayoutName = Literal['auto', 'vmap', 'loop', 'seeds', 'batch', 'seeds+batch', 'pmap']

RUN_OPTIONS = [
    Option('arm', tuple[str, ...], (), 'arms to run; all but tiny if none is named'),
    Option('seeds', Count | None, None, 'how many seeds; the study says if you do not'),
    Option('workdir', Path | None, None, 'where the run lives; runs/NAME if you do not say'),
    Option('layout', LayoutName, 'auto', 'how seeds and batches lie over devices'),
    Option('chunk', Count | None, None, 'steps between two looks of the host'),
    Option('init_from', Path | None, None, "start from another run's weights: a folder of an arm"),
    Option('tensorboard', bool, True, 'write TensorBoard files'),
    Option('print_config', bool, False, 'print what would run, and run nothing'),
    Option('smoke', bool, False, 'a few steps of everything, in a folder of its own'),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code of the process."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = '--debug' in words
    words = [word for word in words if word != '--debug']
    try:
        return _dispatch(words)
    except JaxdlError as error:
        if debug:
            raise
        print(f'jaxdl: {error}', file=sys.stderr)
        return error.code
    except OSError as error:
        if debug:
            raise
        where = f'{error.filename}: ' if error.filename else ''
        print(f'jaxdl: {where}{error.strerror or error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('jaxdl: interrupted', file=sys.stderr)
        return 130


def run_study(study: Study) -> None:
    """`python -m experiments.NAME ...` is `jaxdl run NAME ...`."""
    path = Path(sys.argv[0])
    known = Path('experiments') / path.name
    sys.exit(main(['run', path.stem if known.is_file() else str(path), *sys.argv[1:]]))


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ('-h', '--help', 'help'):
        print(USAGE)
        return 0 if words else 2
    if words[0] == '--version':
        print(f'jaxdl {__version__}')
        return 0
    command, rest = words[0], words[1:]
    if command not in COMMANDS:
        raise UsageError(f'unknown command {command!r}{nearest(command, COMMANDS)}')
    try:
        COMMANDS[command](rest)
    except SystemExit as stop:  # --help was printed
        return int(stop.code or 0)
    return 0


def _named(command: str, words: list[str], what: str) -> tuple[str, list[str]]:
    """The one positional word of a command, and the rest."""
    if words and not words[0].startswith('-'):
        return words[0], words[1:]
    if words and words[0] in ('-h', '--help'):
        print(USAGE)
        raise SystemExit(0)
    raise UsageError(f'jaxdl {command}: name {what}, as in: jaxdl {command} digits')


def _studied(
    command: str, words: list[str], extra: Sequence[Option]
) -> tuple[str, Study, Parsed, dict[str, Any]]:
    """A study by name, the parsed options, and those of its trial that were typed."""
    from jaxdl.library import load

    word, rest = _named(command, words, 'an experiment')
    name, study = load(word)
    own = signature_options(study.trial)
    if clash := {o.name for o in own} & {o.name for o in extra}:
        raise UsageError(f'{name}: its trial has a parameter {clash.pop()!r}, which is an option')
    parsed = parse(f'jaxdl {command} {name}', [*extra, *own], rest, about=study.question)
    overrides = {o.name: parsed.values[o.name] for o in own if o.name in parsed.given}
    return name, study, parsed, overrides


def _run(words: list[str]) -> None:
    from rich.console import Console

    from jaxdl import answer, machine
    from jaxdl.report import verdict_lines
    from jaxdl.run import Options

    machine.tune_memory()
    name, study, parsed, overrides = _studied('run', words, RUN_OPTIONS)
    values = parsed.values
    plan = answer.Plan(
        name=name,
        arms=values['arm'],
        seeds=values['seeds'],
        overrides=overrides,
        workdir=values['workdir'],
        init_from=values['init_from'],
        smoke=values['smoke'],
    )
    if values['print_config']:
        configs = {arm: c._asdict() for arm, c in answer.plan_arms(study, plan).items()}
        print(json.dumps(configs, indent=2, default=str))
        return
    options = Options(values['layout'], values['chunk'], values['tensorboard'])
    result = answer.run_study(
        study, plan, command=shlex.join(['jaxdl', 'run', *words]), options=options
    )
    Console().print(verdict_lines(result, answer.workdir(plan)))


def _eval(words: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from jaxdl import answer, machine
    from jaxdl.library import load, phases_of
    from jaxdl.record import read_json
    from jaxdl.run import Config, Options, evaluate_arm

    machine.tune_memory()
    word, rest = _named('eval', words, 'a run')
    parsed = parse('jaxdl eval', [o for o in RUN_OPTIONS if o.name in ('arm', 'layout')], rest)
    folder = _run_folder(word)
    table = Table('arm', 'step', 'metric', 'mean', 'per seed')
    for arm in parsed.values['arm'] or answer.arms_in(folder):
        if not (folder / arm / 'config.json').exists():
            raise UsageError(f'--arm: no arm {arm!r}{nearest(arm, answer.arms_in(folder))}')
        config = Config(**read_json(folder / arm / 'config.json'))
        _, study = load(config.study)
        phases = phases_of(study, config.params)
        options = Options(layout=parsed.values['layout'])
        step, numbers = evaluate_arm(folder / arm, phases, config, options=options)
        for metric, seeds in numbers.items():
            each = ' '.join(f'{x:.4g}' for x in seeds)
            table.add_row(arm, str(step), metric, f'{sum(seeds) / len(seeds):.4g}', each)
    Console().print(table)


def _report(words: list[str]) -> None:
    from rich.console import Console

    from jaxdl import answer
    from jaxdl.library import load
    from jaxdl.record import read_json
    from jaxdl.report import verdict_lines

    word, rest = _named('report', words, 'a run')
    parse('jaxdl report', [], rest)
    folder = _run_folder(word)
    arm = folder / answer.arms_in(folder)[0]
    name = read_json(arm / 'config.json')['study']
    _, study = load(name)
    command = read_json(arm / 'env.json')['command']
    result = answer.report(study, name, folder, command=command)
    Console().print(verdict_lines(result, folder))


def _record(words: list[str]) -> None:
    from jaxdl.results import record_run, write_table

    word, rest = _named('record', words, 'a run')
    parse('jaxdl record', [], rest)
    experiments = Path('experiments')
    if not experiments.is_dir():
        raise UsageError('jaxdl record: there is no folder experiments here')
    path = record_run(_run_folder(word), experiments / 'results')
    write_table(experiments / 'results', experiments / 'README.md')
    print(f'wrote {path} and the table in {experiments / "README.md"}')


def _summary(words: list[str]) -> None:
    from rich.console import Console

    from jaxdl.bench import summarise

    extra = [o for o in RUN_OPTIONS if o.name == 'arm']
    _, study, parsed, overrides = _studied('summary', words, extra)
    for part in summarise(study, parsed.values['arm'], overrides):
        Console().print(part)


def _bench(words: list[str]) -> None:
    from rich.console import Console

    from jaxdl import machine
    from jaxdl.bench import bench

    machine.tune_memory()
    extra = [o for o in RUN_OPTIONS if o.name in ('arm', 'seeds', 'layout', 'chunk')]
    extra.append(Option('seconds', float, 3.0, 'how long each measurement takes'))
    name, study, parsed, overrides = _studied('bench', words, extra)
    Console().print(bench(name, study, overrides, **{o.name: parsed.values[o.name] for o in extra}))


def _list(words: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from jaxdl.library import load, names

    parse('jaxdl list', [], words)
    table = Table('experiment', 'question', 'arms', 'seeds')
    for name in names():
        _, study = load(name)
        table.add_row(name, study.question, ', '.join(study.arms), str(study.seeds))
    Console().print(table)


def _data(words: list[str]) -> None:
    from rich.console import Console

    import jaxdl.data.catalogue as catalogue

    action, rest = (words[0], words[1:]) if words else ('', [])
    if action == 'list':
        parse('jaxdl data list', [], rest)
        Console().print(catalogue.table())
    elif action in ('prepare', 'show'):
        name, rest = _named(f'data {action}', rest, 'a dataset')
        parse(f'jaxdl data {action}', [], rest)
        Console().print(getattr(catalogue, action)(name))
    else:
        raise UsageError(f'jaxdl data: {action!r}{nearest(action, ["list", "prepare", "show"])}')


def _doctor(words: list[str]) -> None:
    from rich.console import Console

    from jaxdl import machine

    parse('jaxdl doctor', [], words)
    Console().print(machine.doctor())


def _run_folder(word: str) -> Path:
    """A run by its study's name or its folder. Raises UsageError where there is none."""
    for folder in (Path(word), Path('runs') / word):
        if folder.is_dir() and any(folder.glob('*/config.json')):
            return folder
    there = [path.name for path in sorted(Path('runs').glob('*')) if path.is_dir()]
    raise UsageError(f'no run {word!r} here or in runs/{nearest(word, there)}')


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    'list': _list,
    'run': _run,
    'eval': _eval,
    'report': _report,
    'record': _record,
    'summary': _summary,
    'bench': _bench,
    'data': _data,
    'doctor': _doctor,
}

if __name__ == '__main__':
    sys.exit(main())
