"""What is checked of a phase before anything is compiled: its sources, and the states it makes."""

from collections.abc import Mapping
from typing import Any

import jax

from jaxdl.blame import blaming
from jaxdl.data.labels import check_names, checked
from jaxdl.data.source import Source
from jaxdl.errors import UsageError
from jaxdl.paths import path_name
from jaxdl.study import Eval
from jaxdl.task import State, Task


def with_checks(
    stage: str, task: Task, train: Source, evaluations: Mapping[str, Eval]
) -> tuple[Source, dict[str, Eval]]:
    """The sources of a phase, whose class numbers are right: looked at now, or as they are read.

    stage: what errors call the phase.
    Raises UsageError where training would end or an evaluation would not, and where a class that
    there is not is in the data of either.
    """

    def sound(source: Source, split: str) -> Source:
        with blaming(f'{stage}, the batches of {split}'):
            return checked(source, task.labels)

    _check_lengths(train, evaluations)
    # An evaluation with a measure of its own may mean something else by a name.
    alike = {name: test.source for name, test in evaluations.items() if not test.measure}
    check_names(train, alike, task.labels)
    tests = {
        name: test._replace(source=sound(test.source, name)) if name in alike else test
        for name, test in evaluations.items()
    }
    return sound(train, 'train'), tests


def refuse_another_state(what: str, made: State, state: State) -> None:
    """Raise UsageError where the state that `what` made is not of the shapes of `state`."""

    def shapes(tree: State) -> dict[str, str]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {path_name(path): f'{x.dtype}{list(x.shape)}' for path, x in leaves}

    was, now = shapes(state), shapes(made)
    for name in [*was, *(name for name in now if name not in was)]:
        if was.get(name) != now.get(name):
            one, other = (found.get(name, 'nothing') for found in (was, now))
            raise UsageError(
                f'{what}: the state that it makes is another one: {name or "it"} is {other}, and '
                f'was {one}'
            )
    made_of: Any = jax.tree.structure(made)
    if made_of != jax.tree.structure(state):
        raise UsageError(f'{what}: the state that it makes is of another structure')


def _check_lengths(train: Source, evaluations: Mapping[str, Eval]) -> None:
    """Raise UsageError where training would end, or an evaluation would not."""
    if train.batches is not None:
        raise UsageError(
            f'train: {train.name!r} ends after {train.batches} batches, and training is endless; '
            'take shuffled(table, batch=...), or synthetic(fn) without batches='
        )
    for name, test in evaluations.items():
        if test.source.batches is None:
            raise UsageError(
                f'{name}: {test.source.name!r} never ends, and an evaluation is one pass; '
                'take in_order(table, batch=...), or synthetic(fn, batches=...)'
            )
