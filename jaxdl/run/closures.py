"""What a function was made with: its name, and the values it closes over, in words.

Optimizers, transforms and losses are functions that other functions made of arguments. Nothing is
called here; whatever has no words has a name.
"""

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

LONGEST = 8  # entries of an array or a list that are told

Function = Callable[..., Any]


def closed_over(fn: Any) -> dict[str, Any]:
    """The variables of other functions that a function sees, by name; those of a partial's too."""
    if isinstance(fn, functools.partial):
        return {**closed_over(fn.func), **fn.keywords}
    code, cells = getattr(fn, '__code__', None), getattr(fn, '__closure__', None)
    found = {}
    for name, cell in zip(code.co_freevars, cells, strict=True) if code and cells else ():
        try:
            found[name] = cell.cell_contents
        except ValueError:  # a variable that was never set
            continue
    return found


def origin(fn: Any) -> str:
    """The function that made a function, 'adamw' of 'adamw.<locals>.update'; else its own name."""
    return _qualified(fn).partition('.<locals>')[0]


def _qualified(fn: Any) -> str:
    if isinstance(fn, functools.partial):
        return _qualified(fn.func)
    name = getattr(fn, '__qualname__', None) or getattr(fn, '__name__', None)
    return name if isinstance(name, str) else type(fn).__qualname__


def custom(fn: Any) -> str:
    """The words for what is a person's own: 'custom (trial.double)'."""
    return f'custom ({_qualified(fn).replace(".<locals>", "")})'


def maker(fn: Any) -> Any:
    """What made a function, as its module has it, or None."""
    inner = fn.func if isinstance(fn, functools.partial) else fn
    found: Any = sys.modules.get(getattr(inner, '__module__', None) or '')
    for part in origin(fn).split('.'):
        found = getattr(found, part, None)
    return found


def arguments(fn: Any, *, numbers: bool = False) -> dict[str, Any]:
    """The arguments that a function was made with and still sees, but for Nones and defaults.

    numbers: whether numbers are told where they are the defaults, too.
    """
    made = maker(fn)
    if made is None or made is fn:
        return {}
    try:
        known = inspect.signature(made).parameters
    except (TypeError, ValueError):
        return {}
    return {
        name: value
        for name, value in closed_over(fn).items()
        if name in known
        and value is not None
        and (numbers and _is_numeric(value) or not _same(value, known[name].default))
    }


def _is_numeric(value: Any) -> bool:
    if isinstance(value, tuple) and not hasattr(value, '_fields'):
        return all(map(_is_numeric, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, np.ndarray) or hasattr(value, '__array__'):
        return False
    return type(value) is type(other) and bool(value == other)


def made_with(fn: Any) -> str:
    """A function as what made it and its arguments: 'crop(padding 4)'."""
    return f'{origin(fn)}({listed(arguments(fn, numbers=True))})'


def listed(values: Mapping[str, Any]) -> str:
    """Values by their names, 'padding 4, size (32, 32)'."""
    return ', '.join(f'{name} {in_words(value)}' for name, value in values.items())


def number(value: Any) -> str:
    """A number to four digits, '0.003', '1,500'."""
    if isinstance(value, bool | np.bool_):
        return 'yes' if value else 'no'
    whole = float(value) == int(value) if np.isfinite(value) else False
    return f'{int(value):,}' if whole and abs(value) < 1e12 else f'{float(value):.4g}'


def in_words(value: Any) -> str:
    """A value for a person: numbers, texts, networks with their fields, functions by name."""
    match value:
        case None:
            return 'none'
        case bool() | int() | float() | np.generic():
            return number(value) if not isinstance(value, np.str_) else str(value)
        case str():
            return value
        case nn.Module():
            return network(value)
        case functools.partial():
            inner = [*map(in_words, value.args), listed(value.keywords)]
            return f'{_qualified(value.func)}({", ".join(filter(None, inner))})'
        case Mapping():
            return '{' + _cut([f'{key}: {in_words(item)}' for key, item in value.items()]) + '}'
        case tuple() if hasattr(value, '_fields'):
            named: Any = value
            usual = getattr(value, '_field_defaults', {})
            told = {n: x for n, x in named._asdict().items() if not _same(x, usual.get(n))}
            return f'{type(value).__name__}({listed(told)})'
        case tuple() | list():
            return f'({_cut([in_words(item) for item in value])})'
    if hasattr(value, '__array__') and hasattr(value, 'shape'):
        array = np.asarray(value)
        if array.size > LONGEST or array.dtype.kind not in 'biuf':
            return f'{array.dtype}{list(array.shape)}'
        words = [number(item) for item in array.ravel()]
        return words[0] if array.size == 1 else f'({", ".join(words)})'
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return f'{type(value).__name__}({listed(fields)})'
    return _qualified(value).replace('.<locals>', '') if callable(value) else type(value).__name__


def network(module: nn.Module) -> str:
    """A module's class and its fields: 'LeNet(features (16, 32), dense (64))'; no Nones."""
    return f'{type(module).__name__}({listed(fields_of(module))})'


def fields_of(module: nn.Module) -> dict[str, Any]:
    """The fields of a module that it was made with, but for those that are None."""
    values = {
        each.name: getattr(module, each.name, None)
        for each in dataclasses.fields(module)
        if each.init and each.name not in ('parent', 'name')
    }
    return {name: value for name, value in values.items() if value is not None}


def _cut(words: list[str]) -> str:
    return ', '.join(words[:LONGEST] + (['...'] if len(words) > LONGEST else []))
