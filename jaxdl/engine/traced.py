"""What tracing alone tells of a phase: shapes, costs, numbers and identity. Nothing is compiled.

Here a task is asked all it can be asked before the first step, so that what is wrong with it is
said then, and on the user's own line. The engine compiles what is traced here, and runs it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.blame import at, blaming
from jaxdl.data.source import Source
from jaxdl.engine import cost
from jaxdl.engine.checks import refuse_another_state, with_checks
from jaxdl.engine.feed import first_sent
from jaxdl.engine.identity import identity
from jaxdl.engine.layout import program_bytes
from jaxdl.errors import UsageError
from jaxdl.keys import Key
from jaxdl.metrics import About, check_metrics, describe
from jaxdl.net import named_nets, trainable
from jaxdl.samples import check_samples
from jaxdl.study import Eval
from jaxdl.task import Batch, Finished, Task, unchanged, unreviewed

TRACED = ('init', 'step', 'measure')  # of a task: what is dear to trace


class Traced:
    """A task, its training source and its evaluations, as one seed sees them.

    task, seeds, evaluations: as given, the sources of the evaluations with their labels checked.
    stage: a name folded into every key, so that two phases of a run draw differently.
    shapes: of one seed's (state, metrics of a step, batch).

    Raises UsageError where a class that there is not is in the data of training or of a test, and
    where the step does not return what a step returns.
    """

    def __init__(
        self,
        task: Task,
        train: Source,
        *,
        seeds: Sequence[int],
        stage: str,
        evaluations: Mapping[str, Eval],
    ) -> None:
        self.task, self.seeds = task, list(seeds)
        # Traced once, for shapes, identity and programs; `inline` leaves no mark in the programs.
        traced: Any = {name: jax.jit(getattr(task, name), inline=True) for name in TRACED}
        self._traced: Any = task._replace(**traced)
        self._adapted: dict[Callable[..., Any], Any] = {}
        self._stage = stage
        self._source, self.evaluations = with_checks(stage, task, train, evaluations)
        # Opened once: what is sent for step 0 gives the shapes, the chunk and the first states.
        with self._blaming('what is sent for train'):
            self._sent = first_sent(train)
        self.shapes = self._trace(jax.random.key(0))
        state, _, batch = self.shapes
        with self._blaming('the step', batch):
            self._cost = cost.cost(task.step, jax.random.key(0), state, batch)

    def _blaming(self, what: str, batch: Batch = None) -> AbstractContextManager[None]:
        """Blame what is raised in here on the code of the task that raises it."""
        columns = batch if isinstance(batch, Mapping) else None
        return blaming(f'{self._stage}, {what}', columns)

    def _trace(self, key: Key) -> tuple[Any, Any, Any]:
        """Shapes of one seed's (state, metrics, batch), without computing anything.

        Raises UsageError where the step does not return a state as it gets it, and metrics.
        """
        batch = self._batch_shapes('train', self._source, key, self._sent)
        with self._blaming('init', batch):
            state = jax.eval_shape(self._traced.init, key, batch)
        with self._blaming('the step', batch):
            returned = jax.eval_shape(self._traced.step, key, state, batch)
        what = at(f'{self._stage}, the step', self.task.step)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise UsageError(
                f'{what}: it must return (state, metrics), not a {type(returned).__name__}'
            )
        refuse_another_state(what, returned[0], state)
        return state, check_metrics(what, returned[1]), batch

    def _batch_shapes(self, split: str, source: Source, key: Key, sent: Any) -> Any:
        """Shapes of a batch. Raises UsageError where there are none in it that could be one."""
        with self._blaming(f'the batches of {split}'):
            batch = jax.eval_shape(source.make, key, source.resident, sent)
        if not isinstance(batch, Mapping):
            raise UsageError(
                f'{self._stage}, the batches of {split}: a batch is a mapping of columns, and a '
                f'transform or function made {type(batch).__name__} of it'
            )
        return batch

    @property
    def rows(self) -> int:
        """Rows of a training batch; 0 for a task that makes its own data."""
        leaves = jax.tree.leaves(self.shapes[2])
        return leaves[0].shape[0] if leaves and leaves[0].shape else 0

    @property
    def _rows_together(self) -> int:
        """Rows that are computed with at one time, of a micro-batch where there are several."""
        return self.rows // self.task.micro_batches

    def flops(self) -> float:
        """Floating-point operations of products that one step of one seed needs."""
        return float(self._cost.products)

    def flops_done(self) -> float:
        """The same, and those that `remat` does again."""
        return float(self._cost.products + self._cost.again)

    def step_bytes(self) -> int:
        """Memory of the compiled step of one seed: arguments, results and temporaries."""
        state, _, batch = self.shapes
        compiled = self._traced.step.lower(jax.random.key(0), state, batch).compile()
        return program_bytes(compiled)

    def parameters(self) -> int:
        """Trainable parameters of one seed: of every player's net."""
        return trainable(named_nets(self.shapes[0]))

    # ---- what is measured ------------------------------------------------------------------------

    @cached_property
    def kept_by(self) -> str | None:
        """The number of the validation split by which the task keeps its best state, if any."""
        standing = jax.eval_shape(self.task.standing, self.shapes[0])
        return None if standing is None else str(standing.metric)

    @cached_property
    def about(self) -> dict[str, dict[str, About]]:
        """What each split's numbers are, before any is measured: {'test': {'accuracy': ...}}.

        Raises UsageError where two numbers have one name, where training metrics cannot be summed,
        and where the task's review does not get what it needs.
        """
        state, metrics, _ = self.shapes
        for name, metric in metrics.items():
            if metric.joins():
                raise UsageError(
                    f'train/{name}: a {type(metric).__name__} joins rows, and what is measured in '
                    'training is summed; measure it in an evaluation'
                )
        key = jax.random.key(0)
        with self._blaming('the metrics of training'):
            found = {'train': _drawn(describe(metrics), self._source.drawn is not None)}
        for name, test in self.evaluations.items():
            with self._blaming(f'what is sent for {name}'):
                sent = first_sent(test.source)
            batch = self._batch_shapes(name, test.source, key, sent)
            what = at(f'the measure of {name}', test.measure or self.task.measure)
            with self._blaming(what, batch):
                try:
                    measured = jax.eval_shape(self._measure(test), key, state, batch)
                except UsageError as error:  # right in training, so it is of this split
                    raise UsageError(f'{name}: {error}') from error
                numbers = describe(check_metrics(f'{self._stage}, {what}', measured))
                found[name] = _drawn(numbers, test.source.private)
        if self.task.review is not unreviewed:
            if 'valid' not in found:
                raise UsageError(
                    f'{self._stage}: the task keeps its best state, and its phase has no split '
                    '`valid` to choose it by: valid=in_order(table, batch=...)'
                )
            with self._blaming('the review'):
                reviewed = jax.eval_shape(self.task.review, state, _told(found['valid']))
            refuse_another_state(f'{self._stage}, the review', reviewed, state)
        with self._blaming('the outcome'):
            refuse_another_state(
                f'{self._stage}, the outcome', jax.eval_shape(self.task.outcome, state), state
            )
        return found

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What is computed, for JSON: see `jaxdl.engine.identity`. Nothing is compiled."""
        sources = {name: test.source for name, test in self.evaluations.items()}
        sources = {'train': self._source, **sources}
        return identity(self._trace_all(), self.shapes[0], sources, self.seeds)

    def _trace_all(self) -> dict[str, Any]:
        """Every function of one seed that makes its numbers or pictures, by name; none compiled."""
        key, (state, _, batch) = jax.random.key(0), self.shapes
        found = {
            'batches': jax.jit(self._source.make).trace(key, self._source.resident, self._sent),
            'init': self._traced.init.trace(key, batch),
            'step': self._traced.step.trace(key, state, batch),
        }
        if self.task.outcome is not unchanged:
            found['outcome'] = jax.jit(self.task.outcome).trace(state)
        if self.task.review is not unreviewed:
            told = _told(self.about['valid'])
            found['review'] = jax.jit(self.task.review).trace(state, told)
        for name, test in self.evaluations.items():
            make = jax.jit(test.source.make).trace(key, *self._sample(test.source))
            found[f'batches of {name}'] = make
            with self._blaming(f'the measure of {name}', make.out_info):
                found[f'measure of {name}'] = self._measure(test).trace(key, state, make.out_info)
            if test.show is not None:
                what = at(f'show of {name}', test.show)
                with self._blaming(what, make.out_info):
                    show = self._of_nets(test.show).trace(key, state, make.out_info)
                check_samples(f'{self._stage}, {what}', show.out_info)
                found[f'show {name}'] = show
        return found

    def _sample(self, source: Source) -> tuple[Any, Any]:
        """What an evaluation's batches are made of."""
        return source.resident, first_sent(source)

    def _measure(self, test: Eval) -> Any:
        """The measure of an evaluation, one function for all that share it."""
        if test.measure is None:
            return self._traced.measure
        return self._of_nets(test.measure)

    def _of_nets(self, fn: Callable[[Any, Batch, Key], Any]) -> Any:
        """A function of (nets, batch, key) as one of (key, state, batch), traced once."""
        if fn not in self._adapted:
            self._adapted[fn] = jax.jit(
                lambda key, state, batch: fn(self.task.nets(state), batch, key), inline=True
            )
        return self._adapted[fn]


def _drawn(numbers: Mapping[str, About], drawn: bool) -> dict[str, About]:
    """The same numbers, of which is said whether each seed has them of examples of its own."""
    return {name: it._replace(drawn=drawn) for name, it in numbers.items()}


def _told(valid: Mapping[str, About]) -> dict[str, Finished]:
    """Shapes of what a review is told of the validation split."""
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    return {name: Finished(scalar, it.better) for name, it in valid.items() if not it.shape}
