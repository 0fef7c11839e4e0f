"""The commands: all of them by name, and those of what is here, experiments, data and machine."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxdl.cli import answering, exchange, training
from jaxdl.cli.options import Option, Parsed
from jaxdl.cli.words import ABOUT, parse_words, positional, show
from jaxdl.errors import UsageError, nearest


def _list(words: list[str]) -> None:
    parse_words('list', [], words)

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
    show(table)


def _data(words: list[str]) -> None:
    actions = ('list', 'prepare', 'show')
    action, rest = (words[0], words[1:]) if words else ('', [])
    if action in ('-h', '--help'):
        parse_words('data', [], [action])
    match action:
        case 'list':
            about = 'The datasets that are here, and how to get others.'
            parse_words('data list', [], rest, about=about)
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
            show(catalogue.table())
        case 'prepare':
            show(catalogue.prepare(name))
        case 'show':
            show(catalogue.show(name, parsed.values['split']))


def _dataset(
    action: str, about: str, options: Sequence[Option], words: list[str]
) -> tuple[str, Parsed]:
    """The dataset that `data prepare` and `data show` are about, and the options."""
    if words and words[0] in ('-h', '--help'):
        parse_words(f'data {action} NAME', options, words[:1], about=about)
    name, rest = positional(f'data {action}', words, options, 'mnist')
    return name, parse_words(f'data {action} {name}', options, rest, about=about)


def _doctor(words: list[str]) -> None:
    parse_words('doctor', [], words)

    from jaxdl.run import machine

    show(machine.doctor())


class Command(NamedTuple):
    """A command: what it does with its words, what they are, and what it is for."""

    run: Callable[[list[str]], None]
    words: str
    about: str


RUNS = {
    'list': _list,
    'run': training.run,
    'eval': training.evaluate,
    'report': answering.report,
    'record': answering.record,
    'judge': answering.judge,
    'convert': exchange.convert,
    'sample': exchange.sample,
    'summary': training.summary,
    'bench': training.bench,
    'compile': training.compile_ahead,
    'data': _data,
    'doctor': _doctor,
}
COMMANDS = {name: Command(RUNS[name], *about) for name, about in ABOUT.items()}
