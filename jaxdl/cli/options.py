"""Typed command-line options: tyro reads them, and every mistake becomes one line."""

import contextlib
import dataclasses
import inspect
import io
import numbers
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import annotated_types as at

from jaxdl.errors import UsageError, nearest

# (in a type's `Annotated`, whether a value is in the range, the range in words)
RANGES: tuple[tuple[type, Callable[[Any, Any], bool], str], ...] = (
    (at.Ge, lambda value, edge: value >= edge, 'at least'),
    (at.Gt, lambda value, edge: value > edge, 'greater than'),
    (at.Le, lambda value, edge: value <= edge, 'at most'),
    (at.Lt, lambda value, edge: value < edge, 'less than'),
)
WORDS: Mapping[Any, str] = {
    int: 'a whole number',
    float: 'a number',
    str: 'a text',
    bool: 'True or False',
    Path: 'a path',
    type(None): 'None',
}


class Option(NamedTuple):
    """One option: `--name`, its type (`Annotated` with its range), its default, its help.

    A default of `inspect.Parameter.empty` is none: the option has no value unless it is typed.
    group: options of one group stand together in the help.
    """

    name: str
    type: Any
    default: Any
    help: str = ''
    group: str = ''

    @property
    def flag(self) -> str:
        """The option as it is typed, '--learning-rate'."""
        return flag(self.name)

    @property
    def switch(self) -> bool:
        """Whether it can only be switched on: what is a choice has `--no-name` too."""
        return self.type is bool and self.default is False and not self.group


class Parsed(NamedTuple):
    """The value of every option, and the names of those that were typed."""

    values: dict[str, Any]
    given: frozenset[str]


def flag(name: str) -> str:
    """An option as it is typed: '--learning-rate' for 'learning_rate'."""
    return '--' + name.replace('_', '-')


def signature_options(function: Callable[..., Any], *, group: str = '') -> list[Option]:
    """The parameters of a function as options, with help from its docstring's Args section.

    Where that says nothing the help is a text in the `Annotated` of the type.
    Raises UsageError for a parameter without a type, or one that stands for several.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    notes = _args_section(inspect.getdoc(function) or '')
    options = []
    for p in inspect.signature(function).parameters.values():
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise UsageError(f'{function.__name__}: *{p.name} cannot be an option; name each')
        if p.name not in hints:
            raise UsageError(f'{function.__name__}: {p.name!r} needs a type, as in {p.name}: int')
        note = notes.get(p.name) or _note(hints[p.name])
        default = p.default.item() if _is_numpy_scalar(p.default) else p.default
        options.append(Option(p.name, hints[p.name], default, note, group))
    return options


def _is_numpy_scalar(value: Any) -> bool:
    numpy = sys.modules.get('numpy')  # not imported: then nothing is of it
    return numpy is not None and isinstance(value, numpy.generic)


def _note(kind: Any) -> str:
    """The text in an `Annotated`, if there is one."""
    texts = [part for part in getattr(kind, '__metadata__', ()) if isinstance(part, str)]
    return texts[0] if texts else ''


def parse(prog: str, options: Sequence[Option], argv: Sequence[str], *, about: str = '') -> Parsed:
    """Read options from `argv`.

    Raises UsageError, in one line, for an unknown option (with the nearest), one typed twice, a
    value of the wrong type, and a value out of its range. `--help` prints the help and raises
    SystemExit(0). An option whose type no words can express keeps its default, and the help is
    silent about it.
    """
    typed = _typed(prog, options, argv)
    listed = [option for option in options if _is_typeable(option.type)]
    for option, words in typed:
        if option not in listed:
            kind = getattr(option.type, '__name__', option.type)
            raise UsageError(f'{words[0]}: a {kind} cannot be typed; set it in an arm of the study')
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # tyro says a mistake in many lines
            values = _read(prog, listed, argv, about)
    except SystemExit as stop:
        if stop.code == 0:
            raise
        mistake = _mistake(typed) or f'{prog}: cannot read {" ".join(argv)!r}'
        raise UsageError(mistake) from None
    values |= {o.name: o.default for o in options if o not in listed}
    given = frozenset(option.name for option, _ in typed)
    for option in options:
        if option.name in given:
            values[option.name] = _expanded(option.flag, values[option.name])
            check(option.flag, values[option.name], option.type)
    return Parsed(values, given)


def check(label: str, value: Any, kind: Any) -> None:
    """Compare a value with a type, ranges in `Annotated` included. Raises UsageError.

    Types that no command line can express are not looked into.
    """
    if not _fits(value, kind):
        raise UsageError(f'{label}: {_complaint(value, kind)}')


def _fits(value: Any, kind: Any) -> bool:
    parts = typing.get_args(kind)
    match typing.get_origin(kind):
        case typing.Annotated:
            return _fits(value, parts[0]) and all(
                holds(value, edge) for holds, edge, _ in _ranges(parts[1:])
            )
        case typing.Union | types.UnionType:
            return any(_fits(value, part) for part in parts)
        case typing.Literal:
            return value in parts
        case origin if origin in (tuple, list):
            if not isinstance(value, origin):
                return False
            if origin is tuple and Ellipsis not in parts:
                return len(value) == len(parts) and all(map(_fits, value, parts))
            return all(_fits(item, parts[0]) for item in value)
    if kind in (int, float):  # numpy's too
        allowed = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, allowed) and not isinstance(value, bool)
    if kind is bool and _is_numpy_scalar(value):
        return value.dtype == bool
    return isinstance(value, kind) if kind in WORDS else True


def _ranges(metadata: Sequence[Any]) -> Iterator[tuple[Callable[[Any, Any], bool], Any, str]]:
    """The ranges in the metadata of an `Annotated`: (comparison, its edge, words)."""
    for each in metadata:
        for part in each if isinstance(each, at.GroupedMetadata) else (each,):
            for bound, holds, words in RANGES:
                if isinstance(part, bound):
                    edge = getattr(part, bound.__name__.lower())
                    yield holds, edge, f'{words} {edge}'


def _complaint(value: Any, kind: Any) -> str:
    """What is wrong with a value, and what is allowed."""
    choices = _choices(kind)
    if choices:
        return f'unknown {value!r}{nearest(str(value), map(str, choices))}'
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        return f'{value!r} is not allowed; it must be a tuple, {describe(kind)}'
    return f'{value!r} is not allowed; it must be {describe(kind)}'


def _choices(kind: Any) -> tuple[Any, ...]:
    """The members of a `Literal`, optional or in a tuple too."""
    if typing.get_origin(kind) is Literal:
        return typing.get_args(kind)
    parts = [part for part in typing.get_args(kind) if part not in (type(None), Ellipsis)]
    return _choices(parts[0]) if len(parts) == 1 else ()


def describe(kind: Any) -> str:
    """A type in words: 'a number', 'a whole number, at least 1', 'one of a, b'."""
    parts = typing.get_args(kind)
    match typing.get_origin(kind):
        case typing.Annotated:
            limits = ' and '.join(words for *_, words in _ranges(parts[1:]))
            return describe(parts[0]) + (f', {limits}' if limits else '')
        case typing.Union | types.UnionType:
            return ' or '.join(describe(part) for part in parts if part is not type(None))
        case typing.Literal:
            return 'one of ' + ', '.join(map(str, parts))
        case origin if origin in (tuple, list):
            items = [describe(part) for part in parts if part is not Ellipsis]
            if Ellipsis in parts or origin is list:
                return f'any number of: {items[0]}'
            return f'{len(items)} values: ' + '; '.join(items)
    return WORDS.get(kind, f'a {getattr(kind, "__name__", kind)}')


def _read(
    prog: str, options: Sequence[Option], argv: Sequence[str], about: str = ''
) -> dict[str, Any]:
    """The values that tyro reads. Raises SystemExit for a mistake and for help."""
    import tyro

    command = (prog.split() or ['command'])[-1 if len(prog.split()) < 2 else 1]
    groups: dict[str, list[Option]] = {}
    for option in options:
        groups.setdefault(option.group or command, []).append(option)
    kinds = {
        group: dataclasses.make_dataclass('Options', [_field(o) for o in members], frozen=True)
        for group, members in groups.items()
    }
    config = dataclasses.make_dataclass(
        'Options',
        [(group, Annotated[kind, tyro.conf.arg(help='')]) for group, kind in kinds.items()],
    )
    read: Any = tyro.cli(
        config, args=list(argv), prog=prog, description=about, config=(tyro.conf.OmitArgPrefixes,)
    )
    return {
        option.name: getattr(getattr(read, group), option.name)
        for group, members in groups.items()
        for option in members
    }


def _field(option: Option) -> tuple[str, Any, Any]:
    """A dataclass field that tyro reads, and shows in its help, as this option."""
    import tyro

    kind, default, hint = option.type, option.default, None
    if default is inspect.Parameter.empty:
        kind, default, hint = kind | None, None, '(the arms say)'
    metavar = None
    if default is None:
        # None is how "not said" is written here: it is shown neither as a value nor as a default.
        parts = [part for part in typing.get_args(kind) if part is not type(None)]
        if len(parts) == 1:
            metavar = _metavar(parts[0])
        hint = hint or ''
    elif default == ():
        hint = ''
    marks = [tyro.conf.arg(help=option.help, metavar=metavar, help_behavior_hint=hint)]
    if option.switch:
        marks.append(tyro.conf.FlagCreatePairsOff)
    field: Any = dataclasses.field(default_factory=lambda: default)
    return option.name, Annotated[kind, *marks], field


def _metavar(kind: Any) -> str | None:
    base = typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind
    return base.__name__.upper() if isinstance(base, type) else None


def _typed(
    prog: str, options: Sequence[Option], argv: Sequence[str]
) -> list[tuple[Option, list[str]]]:
    """Each typed option with its words. Raises UsageError for one that is unknown or repeated."""
    known = {o.flag: o for o in options}
    known |= {'--no-' + o.flag[2:]: o for o in options if o.type is bool and not o.switch}
    typed: list[tuple[Option, list[str]]] = []
    for word in argv:
        if re.match(r'--[A-Za-z]', word):
            name = word.split('=')[0].replace('_', '-')
            if name == '--help':
                continue
            if name not in known:
                flags = [o.flag for o in options]
                raise UsageError(f'{prog}: unknown option {name!r}{nearest(name, flags)}')
            if known[name] in [option for option, _ in typed]:
                raise UsageError(f'{name} is there twice; several values follow one {name}')
            typed.append((known[name], [word]))
        elif word != '-h':
            if not typed:
                raise UsageError(f'{prog}: unexpected argument {word!r}; options start with --')
            typed[-1][1].append(word)
    for option, words in typed:
        if typing.get_origin(option.type) in (tuple, list) and words == [option.flag]:
            raise UsageError(f'{option.flag} needs at least one value')
        said = words[0].split('=', 1)[1:] + words[1:]
        if _holds_paths(option.type) and '' in said:  # an empty path would be this folder
            raise UsageError(f'{option.flag} is empty; it needs a value: {describe(option.type)}')
    return typed


def _holds_paths(kind: Any) -> bool:
    return kind is Path or any(map(_holds_paths, typing.get_args(kind)))


def _expanded(label: str, value: Any) -> Any:
    """A value in whose paths ~ is the home folder, where a shell has left that as it was."""
    match value:
        case Path():
            try:
                return value.expanduser()
            except RuntimeError as error:
                raise UsageError(f'{label}: {value}: {error}') from error
        case tuple() | list():
            return type(value)(_expanded(label, each) for each in value)
    return value


def _mistake(typed: Sequence[tuple[Option, list[str]]]) -> str:
    """The line for the first option whose words are no value of its type; '' if there is none."""
    for option, words in typed:
        name, *said = words[0].split('=', 1)
        said += words[1:]
        if option.type is bool and said:
            return f'{name}: it is a switch and takes no value, not {" ".join(said)!r}'
        if option.type is not bool and not _reads(said, option.type):
            if not any(said):
                return f'{option.flag} needs a value: {describe(option.type)}'
            return f'{option.flag}: {_complaint(" ".join(said), option.type)}'
    return ''


def _is_typeable(kind: Any) -> bool:
    """Whether words can express a value of a type: a dataclass or a function they cannot."""
    return kind not in (dict, list, tuple, set) and _reader(kind) is not None


def _reader(kind: Any) -> Any:
    """How tyro reads words as a value of a type; None where it cannot."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    reader = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, set()))
    return reader if isinstance(reader, PrimitiveConstructorSpec) else None


def _reads(words: list[str], kind: Any) -> bool:
    """Whether tyro reads words as a value of a type."""
    reader = _reader(kind)
    if reader is None:
        return False
    counts = reader.nargs if isinstance(reader.nargs, tuple) else (reader.nargs,)
    if '*' not in counts and len(words) not in counts:
        return False
    if reader.choices is not None and not {*words} <= {*reader.choices}:
        return False
    try:
        reader.instance_from_str(words)
    except (ValueError, TypeError):
        return False
    return True


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
