"""The words of a command: what it is about, its options, and how it shows what it found."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxdl.cli.options import Option, Parsed, parse
from jaxdl.engine.axes import check_layout
from jaxdl.errors import UsageError, nearest
from jaxdl.study import Count, Study

# Of each command: what its words are, and what it is for.
ABOUT = {
    'list': ('', 'the experiments that are here, and their questions'),
    'run': ('NAME|FILE.py', 'train every arm with every seed, resume, answer, report'),
    'eval': ('NAME|FOLDER', 'measure the newest valid checkpoint of every arm again'),
    'report': ('NAME|FOLDER', 'judge the claims and write the report again'),
    'record': ('NAME|FOLDER', "copy a finished run's result to experiments/results"),
    'judge': (
        'NAME|FILE.py',
        'judge a recorded result again, and say whether its code has changed',
    ),
    'convert': ('FILE|ARM_FOLDER|--hf NAME', "another implementation's weights to ours, and back"),
    'sample': (
        'NAME|FOLDER|FILE.npz',
        'text by a trained language model: --prompt, --greedy, --beam',
    ),
    'summary': ('NAME|FILE.py', 'parameters, FLOPs, memory, and a table of layers'),
    'bench': (
        'NAME|FILE.py',
        "compile time, ms per step, examples/s, share of this machine's peak, memory",
    ),
    'compile': (
        'NAME|FILE.py',
        'a step compiled for devices that are not here: memory, collectives, predicted time',
    ),
    'data': ('list|prepare|show', 'the datasets: which there are, get one, see one'),
    'doctor': ('', 'versions, devices, data, and what is missing'),
}

DEBUG = Option('debug', bool, False, 'show the traceback of an error')
ARM = Option('arm', tuple[str, ...], (), 'which arms; all but tiny if none is named')
SEEDS = Option('seeds', Count | None, None, 'how many seeds; the study says if you do not')
LAYOUT = Option('layout', str, 'auto', 'over devices: vmap, loop, pmap, or seeds=2,data=4,fsdp=8')
CHUNK = Option('chunk', Count | None, None, 'steps between two looks of the host')


def positional(
    command: str, words: list[str], options: Sequence[Option], example: str
) -> tuple[str, list[str]]:
    """The first word of a command, which names what it is about, and the rest."""
    if words and not words[0].startswith('-'):
        return words[0], words[1:]
    if words and words[0] in ('-h', '--help'):
        parse_words(command, options, words[:1])
    raise UsageError(f'jaxdl {command}: say what first, as in: jaxdl {command} {example}')


def parse_words(
    command: str, options: Sequence[Option], words: list[str], *, about: str | None = None
) -> Parsed:
    """The options of a command; its help where that was asked for."""
    name = command.split()[0]
    prog = f'jaxdl {command}'
    if about is None:
        about, prog = ABOUT[name][1], f'{prog} {ABOUT[name][0]}'.rstrip()
        if options and options[0] is ARM and name != 'eval':
            about += f'\n\nA study has parameters of its own: jaxdl {command} digits --help'
    parsed = parse(prog, [*options, DEBUG], words, about=about)
    if LAYOUT in options:
        check_layout(parsed.values['layout'])
    return parsed


def studied(
    command: str, words: list[str], extra: Sequence[Option]
) -> tuple[str, Study, Parsed, dict[str, Any]]:
    """A study by name, the parsed options, and those of its trial that were typed."""
    word, rest = positional(command, words, extra, 'digits')

    from jaxdl.cli.library import load, options_of

    name, study = load(word)
    own = options_of(study)
    if clash := {o.name for o in own} & {o.name for o in (*extra, DEBUG)}:
        raise UsageError(f'{name}: its trial has a parameter {clash.pop()!r}, which is an option')
    arms = '\n'.join(f'  {arm:<20}{_settings(study, arm)}' for arm in study.named())
    about = f'{study.question}\n\narms, and what they change of the trial:\n{arms}'
    parsed = parse_words(f'{command} {word}', [*extra, *own], rest, about=about)
    overrides = {o.name: parsed.values[o.name] for o in own if o.name in parsed.given}
    return name, study, parsed, overrides


def _settings(study: Study, arm: str) -> str:
    if arm in study.baselines:
        return 'a baseline, not trained'
    return ', '.join(f'{name} {value}' for name, value in study.named()[arm].items()) or '-'


def show(*parts: Any) -> None:
    """Print tables and texts; where nobody looks they need not fit a screen."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 120))
    for part in parts:
        console.print(part)


def say(text: str) -> None:
    """Print a line for a person, beside what a command puts out."""
    print(text, file=sys.stderr, flush=True)


def run_folder(word: str) -> tuple[Path, Path]:
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
