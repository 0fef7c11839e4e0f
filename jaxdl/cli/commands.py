"""The commands: what each reads from the command line, does, and prints.

Each reads its options before it imports what it works with: help and mistakes do not wait for jax.
"""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from annotated_types import Interval

from jaxdl.blame import blaming_own
from jaxdl.cli.options import Option, Parsed, flag, parse, signature_options
from jaxdl.engine.axes import check_layout
from jaxdl.errors import JaxdlError, UsageError, nearest
from jaxdl.study import Count, Natural, Rate, Study

if TYPE_CHECKING:
    from jaxdl.cli.ranks import Place

Share = Annotated[float, Interval(gt=0, le=1)]

DEBUG = Option('debug', bool, False, 'show the traceback of an error')
ARM = Option('arm', tuple[str, ...], (), 'which arms; all but tiny if none is named')
SEEDS = Option('seeds', Count | None, None, 'how many seeds; the study says if you do not')
LAYOUT = Option('layout', str, 'auto', 'over devices: vmap, loop, pmap, or seeds=2,data=4,fsdp=8')
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
RECORD_OPTIONS = [
    Option(
        'remark', str | None, None, 'what readers of a recorded result must know; records no run'
    ),
    Option('anyway', bool, False, 'record what is not the study as it stands; the table says so'),
]

CONVERT_OPTIONS = [
    Option('hf', str | None, None, 'instead of FILE: a model folder of transformers, or its name'),
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

SAMPLE_OPTIONS = [
    Option('arm', str | None, None, 'which arm; its first if you do not say'),
    Option('seed', Natural, 0, 'trained with which seed'),
    Option('tokenizer', Path | None, None, 'of a weights file: its tokenizer.json'),
    Option('prompt', str | None, None, 'text to go on with, or to answer to'),
    Option('length', Count, 200, 'tokens at most'),
    Option('count', Count, 1, 'how many texts'),
    Option('temperature', Rate, 1.0, 'below 1 likelier texts, above 1 stranger ones'),
    Option('top_k', Count | None, None, 'draw from so many likeliest tokens'),
    Option('top_p', Share, 1.0, 'draw from the likeliest tokens that have this probability'),
    Option('greedy', bool, False, 'take the likeliest token each time'),
    Option('beam', Count | None, None, 'search the likeliest text, so many at a time'),
    Option('key', Natural, 0, 'another draws other texts'),
]
DRAWS = ('temperature', 'top_k', 'top_p', 'count', 'key')  # what only drawing has a use for


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
    parsed = parse(prog, [*options, DEBUG], words, about=about)
    if LAYOUT in options:
        check_layout(parsed.values['layout'])
    return parsed


def _studied(
    command: str, words: list[str], extra: Sequence[Option]
) -> tuple[str, Study, Parsed, dict[str, Any]]:
    """A study by name, the parsed options, and those of its trial that were typed."""
    word, rest = _positional(command, words, extra, 'digits')

    from jaxdl.cli.library import PRECISION, load

    name, study = load(word)
    own = signature_options(study.trial, group='trial')
    if PRECISION.name not in {option.name for option in own}:
        own = [*own, PRECISION]
    if clash := {o.name for o in own} & {o.name for o in (*extra, DEBUG)}:
        raise UsageError(f'{name}: its trial has a parameter {clash.pop()!r}, which is an option')
    arms = '\n'.join(f'  {arm:<20}{_settings(study, arm)}' for arm in study.named())
    about = f'{study.question}\n\narms, and what they change of the trial:\n{arms}'
    parsed = _parse(f'{command} {word}', [*extra, *own], rest, about=about)
    overrides = {o.name: parsed.values[o.name] for o in own if o.name in parsed.given}
    return name, study, parsed, overrides


def _settings(study: Study, arm: str) -> str:
    if arm in study.baselines:
        return 'a baseline, not trained'
    return ', '.join(f'{name} {value}' for name, value in study.named()[arm].items()) or '-'


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
    from jaxdl.cli.ranks import joined  # before anything asks jax for its devices

    with joined(words) as place:
        _run_here(words, place)


@blaming_own()
def _run_here(words: list[str], place: 'Place | None') -> None:
    from jaxdl.cli.library import find

    here = Path.cwd()  # which an experiment may leave
    experiment = find(words[0]) if words and not words[0].startswith('-') else here
    name, study, parsed, overrides = _studied('run', words, RUN_OPTIONS)
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
        show=lambda result: _show(verdict_lines(result, workdir(plan))),
    )


@blaming_own()
def _eval(words: list[str]) -> None:
    word, rest = _positional('eval', words, [ARM, LAYOUT], 'digits')
    values = _parse('eval', [ARM, LAYOUT], rest).values

    from rich.table import Table

    from jaxdl.cli.library import load, phases_of
    from jaxdl.cli.standing import arms_in, recall, tell_changes
    from jaxdl.run import machine
    from jaxdl.run.arm import evaluate_arm
    from jaxdl.run.config import groups_of, read_config
    from jaxdl.run.stage import Options

    folder, experiment = _run_folder(word)
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
            tell_changes(place, phases, config, experiment=experiment, say=_say)
            step, numbers = evaluate_arm(place, phases, config, options=options, say=_say)
            for metric, seeds in numbers.items():
                each = ' '.join(f'{x:.6g}' for x in seeds)
                mean = f'{sum(seeds) / len(seeds):.6g}'
                table.add_row(arm, str(step), metric, mean, each)
    _show(table)


@blaming_own()
def _report(words: list[str]) -> None:
    word, rest = _positional('report', words, [], 'digits')
    _parse('report', [], rest)

    from jaxdl.cli.library import load
    from jaxdl.cli.plan import write_answer
    from jaxdl.cli.standing import arms_in, check_arms
    from jaxdl.report.result import verdict_lines
    from jaxdl.run.config import read_config, read_starts

    folder, experiment = _run_folder(word)
    arm = folder / arms_in(folder)[0]
    _, study = load(experiment)
    check_arms(study, folder, experiment, say=_say)
    command = read_starts(arm)[-1]['command']
    result = write_answer(study, read_config(arm).study, folder, command=command)
    _show(verdict_lines(result, folder))


@blaming_own()
def _record(words: list[str]) -> None:
    word, rest = _positional('record', words, RECORD_OPTIONS, 'digits')
    values = _parse('record', RECORD_OPTIONS, rest).values

    from jaxdl.cli.grid import grid_of, tuning_seeds
    from jaxdl.cli.library import load, own_parameters
    from jaxdl.report.recorded import (
        Own,
        check_readme,
        make_readme,
        record_run,
        remark,
        write_table,
    )
    from jaxdl.run.config import as_json

    results, readme = Path('experiments', 'results'), Path('experiments', 'README.md')
    if values['remark'] is None:
        folder, experiment = _run_folder(word)
        _, study = load(experiment)
        arms = [*study.arms, *study.baselines]
        own = Own(
            {arm: as_json(own_parameters(study, arm)) for arm in arms},
            study.seeds,
            {arm: as_json(grid_of(study, arm, {})) for arm in arms},
            {'by': study.tuned_by, 'seeds': tuning_seeds(study)},
        )
        check_readme(readme)
        path = record_run(folder, results, own=own, anyway=values['anyway'])
        make_readme(readme)
    else:
        path = remark(results, word, values['remark'])
    write_table(results, readme)
    print(f'wrote {path} and the table in {readme}')


@blaming_own()
def _judge(words: list[str]) -> None:
    word, rest = _positional('judge', words, [], 'digits')
    _parse('judge', [], rest)

    from jaxdl.cli.library import load
    from jaxdl.cli.stale import changes_since
    from jaxdl.report.recorded import read_recorded, write_recorded, write_table
    from jaxdl.report.rejudged import changed_verdicts, rejudged
    from jaxdl.report.result import verdict_lines

    results, readme = Path('experiments', 'results'), Path('experiments', 'README.md')
    before = read_recorded(results, Path(word).stem)
    name, study = load(word)
    after = rejudged(before, study.claims) | {'stale': changes_since(study, before)}
    write_recorded(results, name, after)
    write_table(results, readme)
    _show(verdict_lines(after))
    for line in changed_verdicts(before, after):
        print(line)
    for line in after['stale']:
        print(f'stale: {line}')


def _convert(words: list[str]) -> None:
    if words == ['--list']:
        _show(_architectures())
        return
    if words and words[0].split('=')[0] == '--hf':
        word, rest = '', words
    else:
        word, rest = _positional(
            'convert', words, CONVERT_OPTIONS, 'resnet50.safetensors --arch resnet50 --layout ...'
        )
    values = _parse('convert', CONVERT_OPTIONS, rest).values
    if values.pop('list'):
        raise UsageError('--list: it stands alone, as in: jaxdl convert --list')
    values.pop('debug')
    name = values.pop('hf')
    if name is not None and word:
        raise UsageError(f'--hf: it stands instead of {word!r}, as in: jaxdl convert --hf FOLDER')

    from jaxdl.cli.convert import convert, convert_hub

    if name is None:
        print(convert(Path(word), **values))
        return
    for option in ('layout', 'config', 'seed', 'net'):
        if values.pop(option) not in (None, ()):
            raise UsageError(f'--{option}: it does not go with --hf, which says it itself')
    print(convert_hub(name, **values))


def _architectures() -> Any:
    """The networks whose weights are converted, as a table."""
    from rich.table import Table

    from jaxdl import interop

    layouts: dict[str, list[str]] = {}
    for arch, layout in interop.list_references():
        layouts.setdefault(arch, []).append(layout)
    table = Table('arch', 'layouts', 'options')
    for arch, names in layouts.items():
        table.add_row(arch, ', '.join(names), ', '.join(interop.options(arch, names[0])))
    return table


@blaming_own()
def _sample(words: list[str]) -> None:
    word, rest = _positional('sample', words, SAMPLE_OPTIONS, 'char_lm --prompt "To be"')
    values, given = _parse('sample', SAMPLE_OPTIONS, rest)
    searching = [name for name in ('greedy', 'beam') if name in given]
    for name in (*searching[1:], *(name for name in DRAWS if searching and name in given)):
        raise UsageError(f'{flag(name)}: it has no use with {flag(searching[0])}')

    of_file = Path(word).suffix == '.npz'
    for name in ('arm', 'seed') if of_file else ('tokenizer',):
        if name in given:
            raise UsageError(f'{flag(name)}: a {"file" if of_file else "run"} has its own')
    if of_file and 'tokenizer' not in given:
        raise UsageError('--tokenizer: say which, as in --tokenizer FOLDER/tokenizer.json')

    from jaxdl.cli import sampling

    if of_file:
        speaker, place = sampling.of_file(Path(word), values['tokenizer']), word
    else:
        arm = _trained_arm(_run_folder(word)[0], values['arm'])
        speaker, place = sampling.of_run(arm, values['seed']), f'{arm}, seed {values["seed"]}'
    way = sampling.Way(
        values['length'],
        values['beam'],
        0.0 if values['greedy'] else values['temperature'],
        values['top_k'],
        values['top_p'],
        values['key'],
    )
    texts, remarks = sampling.sample(
        speaker, prompt=values['prompt'], count=values['count'], way=way
    )
    for remark in (place, *remarks):
        _say(remark)
    print('\n---\n'.join(texts))


def _trained_arm(folder: Path, asked: str | None) -> Path:
    """An arm of a run that is no baseline, the first if none is asked for."""
    from jaxdl.cli.standing import arms_in
    from jaxdl.run.config import read_config

    arms = [arm for arm in arms_in(folder) if read_config(folder / arm).phases]
    arm = asked or next(iter(arms), '')
    if arm not in arms:
        raise UsageError(f'--arm: no trained arm {arm!r} in {folder}{nearest(arm, arms)}')
    return folder / arm


@blaming_own()
def _summary(words: list[str]) -> None:
    _, study, parsed, overrides = _studied('summary', words, [ARM])

    from jaxdl.cli.bench import summarise

    _show(*summarise(study, parsed.values['arm'], overrides))


@blaming_own()
def _bench(words: list[str]) -> None:
    name, study, parsed, overrides = _studied('bench', words, BENCH_OPTIONS)

    from jaxdl.cli.bench import bench
    from jaxdl.run import machine

    machine.tune_memory()
    options = {option.name: parsed.values[option.name] for option in BENCH_OPTIONS}
    _show(bench(name, study, overrides, **options))


@blaming_own()
def _compile(words: list[str]) -> None:
    from jaxdl.cli import ahead

    code = ahead.in_own_process(words)
    if code is not None:
        if code < 0:
            raise JaxdlError(f'compiling died of signal {-code}; was there memory enough?')
        raise SystemExit(code)
    _, study, parsed, overrides = _studied('compile', words, COMPILE_OPTIONS)
    options = {option.name: parsed.values[option.name] for option in COMPILE_OPTIONS}
    if options['topology'] is None:
        raise UsageError('--topology: say for which devices, as in --topology v5e:4x4')
    for part in ahead.compiled_ahead(study, overrides, **options):
        _show(part)


def _list(words: list[str]) -> None:
    _parse('list', [], words)

    from rich.table import Table

    from jaxdl.cli.library import names
    from jaxdl.cli.outline import outline

    table = Table('experiment', 'question', 'arms', 'seeds')
    for name, path in names().items():
        try:
            found = outline(path)
        except UsageError as broken:
            table.add_row(name, f'broken: {broken}', '', '')
        else:
            arms = '...' if found.arms is None else ', '.join(found.arms)
            table.add_row(name, found.question, arms, str(found.seeds))
    _show(table)


def _data(words: list[str]) -> None:
    actions = ('list', 'prepare', 'show')
    action, rest = (words[0], words[1:]) if words else ('', [])
    if action in ('-h', '--help'):
        _parse('data', [], [action])
    match action:
        case 'list':
            about = 'The datasets that are here, and how to get others.'
            _parse('data list', [], rest, about=about)
        case 'prepare':
            about = 'Download a dataset and prepare it for reading.'
            name, parsed = _dataset(action, about, [], rest)
        case 'show':
            about = 'What a dataset looks like: splits, columns, classes, a few examples.'
            split = Option('split', str | None, None, 'which split; the first if you do not say')
            name, parsed = _dataset(action, about, [split], rest)
        case '':
            raise UsageError('jaxdl data: say what: list, prepare NAME, or show NAME')
        case _:
            raise UsageError(f'jaxdl data: unknown action {action!r}{nearest(action, actions)}')

    from jaxdl.data import catalogue

    match action:
        case 'list':
            _show(catalogue.table())
        case 'prepare':
            _show(catalogue.prepare(name))
        case 'show':
            _show(catalogue.show(name, parsed.values['split']))


def _dataset(
    action: str, about: str, options: Sequence[Option], words: list[str]
) -> tuple[str, Parsed]:
    """The dataset that `data prepare` and `data show` are about, and the options."""
    if words and words[0] in ('-h', '--help'):
        _parse(f'data {action} NAME', options, words[:1], about=about)
    name, rest = _positional(f'data {action}', words, options, 'mnist')
    return name, _parse(f'data {action} {name}', options, rest, about=about)


def _doctor(words: list[str]) -> None:
    _parse('doctor', [], words)

    from jaxdl.run import machine

    _show(machine.doctor())


def _run_folder(word: str) -> tuple[Path, Path]:
    """A run by its study's name or file, or by its folder; and the file of its study.

    Raises UsageError where there is none.
    """
    from jaxdl.cli.library import find, find_of

    file = Path(word).suffix == '.py'
    if not file and (Path(word) / 'config.json').is_file():
        arm = Path(word).resolve()
        raise UsageError(f'{word} is an arm: say {Path(word).parent} --arm {arm.name}')
    places = [Path(word), Path('runs') / word]
    for folder in [Path('runs') / Path(word).stem] if file else places:
        if arms := sorted(folder.glob('*/config.json')):
            return folder, find(word) if file else find_of(arms[0].parent)
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
    'judge': Command(
        _judge,
        'NAME|FILE.py',
        'judge a recorded result again, and say whether its code has changed',
    ),
    'convert': Command(
        _convert, 'FILE|ARM_FOLDER|--hf NAME', "another implementation's weights to ours, and back"
    ),
    'sample': Command(
        _sample,
        'NAME|FOLDER|FILE.npz',
        'text by a trained language model: --prompt, --greedy, --beam',
    ),
    'summary': Command(
        _summary, 'NAME|FILE.py', 'parameters, FLOPs, memory, and a table of layers'
    ),
    'bench': Command(
        _bench,
        'NAME|FILE.py',
        "compile time, ms per step, examples/s, share of this machine's peak, memory",
    ),
    'compile': Command(
        _compile,
        'NAME|FILE.py',
        'a step compiled for devices that are not here: memory, collectives, predicted time',
    ),
    'data': Command(_data, 'list|prepare|show', 'the datasets: which there are, get one, see one'),
    'doctor': Command(_doctor, '', 'versions, devices, data, and what is missing'),
}
