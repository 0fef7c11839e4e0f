"""The commands: what each reads from the command line, does, and prints."""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jaxdl.errors import UsageError, nearest
from jaxdl.interruption import preemptible
from jaxdl.options import Option, Parsed, parse, signature_options
from jaxdl.study import Count, Rate, Study

LayoutName = Literal['auto', 'vmap', 'loop', 'seeds', 'batch', 'seeds+batch', 'pmap']

DEBUG = Option('debug', bool, False, 'show the traceback of an error')
ARM = Option('arm', tuple[str, ...], (), 'which arms; all but tiny if none is named')
SEEDS = Option('seeds', Count | None, None, 'how many seeds; the study says if you do not')
LAYOUT = Option('layout', LayoutName, 'auto', 'how seeds and batches lie over devices')
CHUNK = Option('chunk', Count | None, None, 'steps between two looks of the host')
RUN_OPTIONS = [
    ARM,
    SEEDS,
    Option('workdir', Path | None, None, 'where the run lives; runs/NAME if you do not say'),
    LAYOUT,
    CHUNK,
    Option('init_from', Path | None, None, "weights to start from: another run's arm, or a file"),
    Option('tensorboard', bool, True, 'write TensorBoard files'),
    Option('print_config', bool, False, 'print what would run, and run nothing'),
    Option('smoke', bool, False, 'a few steps of everything, in a folder of its own'),
]
BENCH_OPTIONS = [
    ARM,
    SEEDS,
    LAYOUT,
    CHUNK,
    Option('seconds', Rate, 3.0, 'how long each measurement takes'),
]
RECORD_OPTIONS = [
    Option(
        'remark', str | None, None, 'what readers of a recorded result must know; records no run'
    )
]

CONVERT_OPTIONS = [
    Option('arch', str | None, None, 'which network it is, by the names of --list'),
    Option('layout', str | None, None, 'whose names its tensors have there'),
    Option('config', tuple[str, ...], (), 'options of the network: classes=10'),
    Option('out', Path | None, None, 'the file to write; FILE.jaxdl.npz for weights that come in'),
    Option('without', tuple[str, ...], (), "arrays to leave out: 'params/fc/*', a head"),
    Option('strict', bool, True, 'refuse tensors that the network has no place for'),
    Option('seed', int | None, None, 'which seed of an arm; its first if you do not say'),
    Option('net', str | None, None, 'which net of an arm, where several fit'),
    Option('list', bool, False, 'show the networks and whose weights they take'),
]


def _positional(
    command: str, words: list[str], options: Sequence[Option], example: str
) -> tuple[str, list[str]]:
    """The first word of a command, which names what it is about, and the rest."""
    if words and not words[0].startswith('-'):
        return words[0], words[1:]
    if words and words[0] in ('-h', '--help'):
        _parse(command, options, words[:1])
    raise UsageError(f'jaxdl {command}: say what first, as in: jaxdl {command} {example}')


def _parse(
    command: str, options: Sequence[Option], words: list[str], *, about: str | None = None
) -> Parsed:
    """The options of a command; its help where that was asked for."""
    name = command.split()[0]
    prog = f'jaxdl {command}'
    if about is None:
        about, prog = COMMANDS[name].about, f'{prog} {COMMANDS[name].words}'.rstrip()
        if options and options[0] is ARM and name != 'eval':
            about += f'\n\nA study has parameters of its own: jaxdl {command} digits --help'
    return parse(prog, [*options, DEBUG], words, about=about)


def _studied(
    command: str, words: list[str], extra: Sequence[Option]
) -> tuple[str, Study, Parsed, dict[str, Any]]:
    """A study by name, the parsed options, and those of its trial that were typed."""
    from jaxdl.library import load

    word, rest = _positional(command, words, extra, 'digits')
    name, study = load(word)
    own = signature_options(study.trial, group='trial')
    if clash := {o.name for o in own} & {o.name for o in (*extra, DEBUG)}:
        raise UsageError(f'{name}: its trial has a parameter {clash.pop()!r}, which is an option')
    arms = '\n'.join(f'  {arm:<20}{_settings(study, arm)}' for arm in study.arms)
    about = f'{study.question}\n\narms, and what they change of the trial:\n{arms}'
    parsed = _parse(f'{command} {word}', [*extra, *own], rest, about=about)
    overrides = {o.name: parsed.values[o.name] for o in own if o.name in parsed.given}
    return name, study, parsed, overrides


def _settings(study: Study, arm: str) -> str:
    return ', '.join(f'{name} {value}' for name, value in study.arms[arm].items()) or '-'


def _show(*parts: Any) -> None:
    """Print tables and texts; where nobody looks they need not fit a screen."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 120))
    for part in parts:
        console.print(part)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(words: list[str]) -> None:
    from jaxdl import answer
    from jaxdl.report import verdict_lines
    from jaxdl.run import Options

    name, study, parsed, overrides = _studied('run', words, RUN_OPTIONS)
    values = parsed.values
    plan = answer.Plan(
        name=name,
        word=words[0],
        arms=values['arm'],
        seeds=values['seeds'],
        overrides=overrides,
        workdir=values['workdir'],
        init_from=values['init_from'],
        smoke=values['smoke'],
    )
    if values['print_config']:
        arms = {
            arm: {'seeds': config.seeds, 'params': config.params, 'init_from': config.init_from}
            for arm, config in answer.plan_arms(study, plan).items()
        }
        what = {'study': name, 'workdir': str(answer.workdir(plan)), 'arms': arms}
        print(json.dumps(what, indent=2, default=str))
        return
    options = Options(values['layout'], values['chunk'], values['tensorboard'])
    command = shlex.join(['jaxdl', 'run', *words])
    with preemptible():
        result = answer.run_study(study, plan, command=command, options=options)
        _show(verdict_lines(result, answer.workdir(plan)))


def _eval(words: list[str]) -> None:
    from rich.table import Table

    from jaxdl import answer, machine
    from jaxdl.config import read_config
    from jaxdl.library import load, phases_of
    from jaxdl.run import Options, evaluate_arm

    word, rest = _positional('eval', words, [ARM, LAYOUT], 'digits')
    values = _parse('eval', [ARM, LAYOUT], rest).values
    folder, experiment = _run_folder(word)
    arms = answer.arms_in(folder)
    for arm in values['arm']:
        if arm not in arms:
            raise UsageError(f'--arm: no arm {arm!r} in {folder}{nearest(arm, arms)}')
    _, study = load(experiment)
    machine.tune_memory()
    table = Table('arm', 'step', 'metric', 'mean', 'per seed')
    for arm in values['arm'] or arms:
        config = read_config(folder / arm)
        phases = phases_of(study, answer.recall(study, config))
        options = Options(layout=values['layout'])
        step, numbers = evaluate_arm(folder / arm, phases, config, options=options, say=_say)
        for metric, seeds in numbers.items():
            each = ' '.join(f'{x:.6g}' for x in seeds)
            table.add_row(arm, str(step), metric, f'{sum(seeds) / len(seeds):.6g}', each)
    _show(table)


def _report(words: list[str]) -> None:
    from jaxdl import answer
    from jaxdl.config import read_config
    from jaxdl.library import load
    from jaxdl.record import read_json
    from jaxdl.report import verdict_lines

    word, rest = _positional('report', words, [], 'digits')
    _parse('report', [], rest)
    folder, experiment = _run_folder(word)
    arm = folder / answer.arms_in(folder)[0]
    _, study = load(experiment)
    command = read_json(arm / 'env.json')['command']
    result = answer.report(study, read_config(arm).study, folder, command=command)
    _show(verdict_lines(result, folder))


def _record(words: list[str]) -> None:
    from jaxdl.results import record_run, remark, write_table

    word, rest = _positional('record', words, RECORD_OPTIONS, 'digits')
    text = _parse('record', RECORD_OPTIONS, rest).values['remark']
    experiments = Path('experiments')
    if not experiments.is_dir():
        raise UsageError('jaxdl record: there is no folder experiments here')
    if text is None:
        path = record_run(_run_folder(word)[0], experiments / 'results')
    else:
        path = remark(experiments / 'results', word, text)
    write_table(experiments / 'results', experiments / 'README.md')
    print(f'wrote {path} and the table in {experiments / "README.md"}')


def _convert(words: list[str]) -> None:
    from rich.table import Table

    from jaxdl import interop
    from jaxdl.interop.convert import convert

    if words == ['--list']:
        layouts: dict[str, list[str]] = {}
        for arch, layout in interop.list_references():
            layouts.setdefault(arch, []).append(layout)
        table = Table('arch', 'layouts', 'options')
        for arch, names in layouts.items():
            table.add_row(arch, ', '.join(names), ', '.join(interop.options(arch, names[0])))
        _show(table)
        return
    word, rest = _positional(
        'convert', words, CONVERT_OPTIONS, 'resnet50.safetensors --arch resnet50 --layout ...'
    )
    values = _parse('convert', CONVERT_OPTIONS, rest).values
    if values.pop('list'):
        raise UsageError('--list: it stands alone, as in: jaxdl convert --list')
    values.pop('debug')
    print(convert(Path(word), **values))


def _summary(words: list[str]) -> None:
    from jaxdl.bench import summarise

    _, study, parsed, overrides = _studied('summary', words, [ARM])
    _show(*summarise(study, parsed.values['arm'], overrides))


def _bench(words: list[str]) -> None:
    from jaxdl import machine
    from jaxdl.bench import bench

    name, study, parsed, overrides = _studied('bench', words, BENCH_OPTIONS)
    machine.tune_memory()
    options = {option.name: parsed.values[option.name] for option in BENCH_OPTIONS}
    _show(bench(name, study, overrides, **options))


def _list(words: list[str]) -> None:
    from rich.table import Table

    from jaxdl.library import load, names

    _parse('list', [], words)
    table = Table('experiment', 'question', 'arms', 'seeds')
    for name in names():
        try:
            _, study = load(name)
        except UsageError as broken:
            table.add_row(name, f'broken: {broken}', '', '')
        else:
            table.add_row(name, study.question, ', '.join(study.arms), str(study.seeds))
    _show(table)


def _data(words: list[str]) -> None:
    from jaxdl.data import catalogue

    actions = ('list', 'prepare', 'show')
    action, rest = (words[0], words[1:]) if words else ('', [])
    if action in ('-h', '--help'):
        _parse('data', [], [action])
    if action == 'list':
        _parse('data list', [], rest, about='The datasets that are here, and how to get others.')
        _show(catalogue.table())
    elif action == 'prepare':
        about = 'Download a dataset and prepare it for reading.'
        name = _dataset(action, about, [], rest)[0]
        _show(catalogue.prepare(name))
    elif action == 'show':
        about = 'What a dataset looks like: splits, columns, classes, a few examples.'
        options = [Option('split', str | None, None, 'which split; the first if you do not say')]
        name, parsed = _dataset(action, about, options, rest)
        _show(catalogue.show(name, parsed.values['split']))
    elif not action:
        raise UsageError('jaxdl data: say what: list, prepare NAME, or show NAME')
    else:
        raise UsageError(f'jaxdl data: unknown action {action!r}{nearest(action, actions)}')


def _dataset(
    action: str, about: str, options: Sequence[Option], words: list[str]
) -> tuple[str, Parsed]:
    """The dataset that `data prepare` and `data show` are about, and the options."""
    if words and words[0] in ('-h', '--help'):
        _parse(f'data {action} NAME', options, words[:1], about=about)
    name, rest = _positional(f'data {action}', words, options, 'mnist')
    return name, _parse(f'data {action} {name}', options, rest, about=about)


def _doctor(words: list[str]) -> None:
    from jaxdl import machine

    _parse('doctor', [], words)
    _show(machine.doctor())


def _run_folder(word: str) -> tuple[Path, str]:
    """A run by its study's name or file, or by its folder; and what its study is loaded by.

    Raises UsageError where there is none.
    """
    from jaxdl.record import read_json

    file = Path(word).suffix == '.py'
    if not file and (Path(word) / 'config.json').is_file():
        arm = Path(word).resolve()
        raise UsageError(f'{word} is an arm: say {Path(word).parent} --arm {arm.name}')
    places = [Path(word), Path('runs') / word]
    for folder in [Path('runs') / Path(word).stem] if file else places:
        if arms := sorted(folder.glob('*/config.json')):
            env = arms[0].with_name('env.json')
            known = read_json(env).get('experiment') if env.is_file() else None
            return folder, word if file else known or read_json(arms[0])['study']
    there = [path.name for path in sorted(Path('runs').glob('*')) if path.is_dir()]
    raise UsageError(f'no run {word!r} here or in runs/{nearest(word, there)}')


class Command(NamedTuple):
    """A command: what it does with its words, what they are, and what it is for."""

    run: Callable[[list[str]], None]
    words: str
    about: str


COMMANDS = {
    'list': Command(_list, '', 'the experiments that are here, and their questions'),
    'run': Command(_run, 'NAME|FILE.py', 'train every arm with every seed, resume, answer, report'),
    'eval': Command(_eval, 'NAME|FOLDER', 'measure the newest valid checkpoint of every arm again'),
    'report': Command(_report, 'NAME|FOLDER', 'judge the claims and write the report again'),
    'record': Command(
        _record, 'NAME|FOLDER', "copy a finished run's result to experiments/results"
    ),
    'convert': Command(
        _convert, 'FILE|ARM_FOLDER', "another implementation's weights to ours, and back"
    ),
    'summary': Command(
        _summary, 'NAME|FILE.py', 'parameters, FLOPs, memory, and a table of layers'
    ),
    'bench': Command(
        _bench,
        'NAME|FILE.py',
        "compile time, ms per step, examples/s, share of this machine's peak, memory",
    ),
    'data': Command(_data, 'list|prepare|show', 'the datasets: which there are, get one, see one'),
    'doctor': Command(_doctor, '', 'versions, devices, data, and what is missing'),
}
