"""Typed command-line options: tyro reads them, and every mistake becomes one line."""

import contextlib
import dataclasses
import inspect
import io
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import annotated_types as at

from jaxdl.errors import UsageError, nearest


class Option(NamedTuple):
    """One option: `--name`, its type (`Annotated` with its range), its default, its help."""

    name: str
    type: Any
    default: Any
    help: str = ''

    @property
    def flag(self) -> str:
        """The option as it is typed, '--learning-rate'."""
        return '--' + self.name.replace('_', '-')


class Parsed(NamedTuple):
    """The value of every option, and the names of those that were typed."""

    values: dict[str, Any]
    given: frozenset[str]


def signature_options(function: Callable[..., Any]) -> list[Option]:
    """The parameters of a function as options, with help from its docstring's Args section."""
    hints = typing.get_type_hints(function, include_extras=True)
    notes = _args_section(inspect.getdoc(function) or '')
    return [
        Option(p.name, hints[p.name], p.default, notes.get(p.name, ''))
        for p in inspect.signature(function).parameters.values()
    ]


def parse(prog: str, options: Sequence[Option], argv: Sequence[str], *, about: str = '') -> Parsed:
    """Read options from `argv`.

    Raises UsageError, in one line, for an unknown option (with the nearest), a value of the wrong
    type, and a value out of its range. `--help` prints the help and raises SystemExit(0).
    """
    import tyro

    fields = [(o.name, typing.Annotated[o.type, _argument(o)], _field(o.default)) for o in options]
    config = dataclasses.make_dataclass('Options', fields, frozen=True)
    groups = _grouped(prog, options, argv)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            values: Any = tyro.cli(config, args=list(argv), prog=prog, description=about)
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise UsageError(_first_mistake(groups) or _plain(errors.getvalue())) from None
    found = {o.name: getattr(values, o.name) for o in options}
    given = frozenset(option.name for option, _ in groups)
    for option in options:
        if option.name in given:
            check_range(option.flag, found[option.name], option.type)
    return Parsed(found, given)


def check_range(label: str, value: Any, kind: Any) -> None:
    """Compare a value with the range in its `Annotated` type. Raises UsageError."""
    for limit in getattr(kind, '__metadata__', ()):
        for part in limit if isinstance(limit, at.GroupedMetadata) else (limit,):
            for bound, holds, words in (
                (at.Ge, lambda a, b: a >= b, 'at least'),
                (at.Gt, lambda a, b: a > b, 'greater than'),
                (at.Le, lambda a, b: a <= b, 'at most'),
                (at.Lt, lambda a, b: a < b, 'less than'),
            ):
                if isinstance(part, bound):
                    edge = getattr(part, type(part).__name__.lower())
                    if value is not None and not holds(value, edge):
                        raise UsageError(f'{label}: {value} is not allowed, only {words} {edge}')


def _argument(option: Option) -> Any:
    import tyro

    kinds = [kind for kind in typing.get_args(option.type) if kind is not type(None)]
    if len(kinds) == len(typing.get_args(option.type)):
        return tyro.conf.arg(help=option.help)
    # An optional value is shown as what it is; None is only how "not said" is written here.
    return tyro.conf.arg(help=option.help, metavar=_base(kinds[0]).__name__.upper())


def _base(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind


def _field(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return dataclasses.field()
    return dataclasses.field(default_factory=lambda: default)


def _grouped(
    prog: str, options: Sequence[Option], argv: Sequence[str]
) -> list[tuple[Option, list[str]]]:
    """Each typed option with its value words. Raises UsageError for one that does not exist."""
    known = {o.flag: o for o in options}
    known |= {'--no-' + o.flag[2:]: o for o in options if o.type is bool}
    groups: list[tuple[Option, list[str]]] = []
    for word in argv:
        if re.match(r'--[A-Za-z]', word):
            flag = word.split('=')[0].replace('_', '-')
            if flag == '--help':
                continue
            if flag not in known:
                flags = [o.flag for o in options]
                raise UsageError(f'{prog}: unknown option {flag!r}{nearest(flag, flags)}')
            groups.append((known[flag], [word]))
        elif word != '-h':
            if not groups:
                raise UsageError(f'{prog}: unexpected argument {word!r}; options start with --')
            groups[-1][1].append(word)
    return groups


def _first_mistake(groups: Sequence[tuple[Option, list[str]]]) -> str:
    """The line for the first option that cannot be read on its own."""
    import tyro

    for option, words in groups:
        one = dataclasses.make_dataclass(
            'One', [(option.name, option.type, _field(option.default))]
        )
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                tyro.cli(one, args=words)
        except SystemExit:
            value = ' '.join([*words[0].split('=')[1:], *words[1:]])
            said = repr(value) if value else 'nothing'
            return f'{option.flag}: {said} is not {_describe(option.type)}'
    return ''


def _describe(kind: Any) -> str:
    """A type in words: 'a number', 'a whole number, at least 1', 'one of a, b'."""
    if typing.get_origin(kind) is typing.Annotated:
        base, *_ = typing.get_args(kind)
        return _describe(base)
    if typing.get_origin(kind) is Literal:
        return 'one of ' + ', '.join(map(str, typing.get_args(kind)))
    names: Mapping[Any, str] = {
        int: 'a whole number',
        float: 'a number',
        str: 'a text',
        bool: 'a switch, which takes no value',
    }
    parts = [part for part in typing.get_args(kind) if part not in (type(None), Ellipsis)]
    if kind not in names and parts:
        return ' or '.join(dict.fromkeys(_describe(part) for part in parts))
    return names.get(kind, f'a {getattr(kind, "__name__", kind)}')


def _plain(box: str) -> str:
    """The words of tyro's error box, on one line."""
    words = re.sub(r'[│╭╮╰╯─]+', ' ', box)
    return ' '.join(words.split())


def _args_section(doc: str) -> dict[str, str]:
    """{parameter: help} of a Google-style Args section."""
    match = re.search(r'^(?:Args|Arguments):\n((?:[ \t]+.*\n?|\n)*)', doc + '\n', re.MULTILINE)
    notes: dict[str, str] = {}
    name = ''
    for line in inspect.cleandoc(match[1]).splitlines() if match else []:
        start = re.match(r'(\w+)(?:\s*\(.*?\))?:\s*(.*)', line)
        if start:
            name, notes[start[1]] = start[1], start[2]
        elif name and line.strip():
            notes[name] += ' ' + line.strip()
    return notes
