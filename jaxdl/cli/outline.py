"""What a study is about, read from the text of its file: a list of studies need not load jax."""

import ast
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl.cli.library import load
from jaxdl.study import Study


class Outline(NamedTuple):
    """A study as it is listed; arms are None where the text computes them."""

    question: str
    arms: tuple[str, ...] | None
    seeds: int


def outline(path: Path) -> Outline:
    """The outline of the study in a file.

    Where the text does not say it the study is loaded, and jax with it; then this raises UsageError
    as `load` does. What is wrong in the rest of the file is not looked for.
    """
    try:
        found = read_outline(path)
    except SyntaxError:
        found = None
    if found is None:
        _, study = load(str(path))
        found = Outline(study.question, tuple(study.named()), study.seeds)
    return found


def read_outline(path: Path) -> Outline | None:
    """The outline as the text of a file says it, if it does. Raises SyntaxError."""
    values: dict[str, ast.expr] = {}
    for statement in ast.parse(path.read_bytes(), str(path)).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values[name] = value
    study = values.get('study')
    if not isinstance(study, ast.Call) or ast.unparse(study.func) != 'Study':
        return None
    given: dict[str, ast.expr] = dict(zip(Study._fields, study.args, strict=False))
    given |= {each.arg: each.value for each in study.keywords if each.arg}
    question = _constant(given.get('question'), values)
    seeds = (
        _constant(given['seeds'], values) if 'seeds' in given else Study._field_defaults['seeds']
    )
    arms = _arms(given.get('arms'), values)
    more = _arms(given['baselines'], values) if 'baselines' in given else ()
    arms = None if arms is None or more is None else (*arms, *more)
    if arms is not None and 'tiny' in given:
        arms += ('tiny',)
    if not isinstance(question, str) or not isinstance(seeds, int):
        return None
    return Outline(question, arms, seeds)


def _arms(node: ast.expr | None, values: Mapping[str, ast.expr]) -> tuple[str, ...] | None:
    """The names of arms: the keys of a dict that is written out, or what `each` makes of values."""
    match _value(node, values):
        case ast.Call(func=ast.Name(id='each'), args=[], keywords=choices):
            lists = [_items(choice.value, values) for choice in choices if choice.arg]
            known = [items for items in lists if items is not None]
            if len(known) == len(choices):
                return tuple('_'.join(map(str, each)) for each in product(*known))
            return None
        case ast.Dict() as written:
            return _items(written, values)
    return None


def _items(node: ast.expr | None, values: Mapping[str, ast.expr]) -> tuple[Any, ...] | None:
    """The constants in a tuple, a list or the keys of a dict, if there is nothing else."""
    match _value(node, values):
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Dict(keys=parts):
            found = [_constant(part, values) for part in parts]
            return None if None in found else tuple(found)
    return None


def _constant(node: ast.expr | None, values: Mapping[str, ast.expr]) -> Any:
    value = _value(node, values)
    return value.value if isinstance(value, ast.Constant) else None


def _value(node: ast.expr | None, values: Mapping[str, ast.expr]) -> ast.expr | None:
    """What a name stands for, or the expression itself."""
    return values.get(node.id) if isinstance(node, ast.Name) else node
