"""The engine: the only training loop, and the only place that compiles a step.

    advance = jit(donated)( map over seeds ( scan over steps ( task.step ) ) )

The steps of one seed are `Engine._advance_one`; a layout makes them a program for all seeds;
`train` calls it and hands the host what it needs to log, measure, save or stop. The host never
waits for the device inside the loop: numbers of one chunk are read after the next was dispatched.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.accumulation import caution
from jaxdl.data.source import Source
from jaxdl.engine.choice import Choice, choose
from jaxdl.engine.feed import chunks, first_sent, prefetch, stacked
from jaxdl.engine.fitting import lacking
from jaxdl.engine.layout import (
    Devices,
    Layout,
    Mesh,
    Program,
    devices_here,
    layout,
    mesh,
)
from jaxdl.engine.memory import account, largest, limit
from jaxdl.engine.sending import Sender
from jaxdl.engine.traced import Traced
from jaxdl.errors import DivergedError, UsageError, closest
from jaxdl.keys import Key, key_at, key_for
from jaxdl.metrics import Metric, Number, classes_of, finish, total, widened
from jaxdl.samples import Sample, named
from jaxdl.study import Eval
from jaxdl.task import (
    Batch,
    Finished,
    Metrics,
    Standing,
    State,
    Task,
    never,
    unchanged,
    unreviewed,
    untold,
)

Look = Callable[[Key, State, Batch], Any]  # at the state of a seed and a batch

CHUNK_BYTES = 64 * 2**20  # of batches sent ahead of the device; bounds the chunk of streamed data
CHUNK_STEPS = 100  # a chunk is what one Ctrl-C waits for


class Tally(NamedTuple):
    """What a stretch of steps adds up to.

    totals: the sum of the steps' metrics.
    bad: the first step whose metrics were not finite, -1 if there is none. which: which of them,
        in the order of `suspects`.
    """

    totals: dict[str, Metric]
    bad: jax.Array
    which: jax.Array


def suspects(metrics: Metrics) -> list[str]:
    """The names of metrics, losses first: where they are not finite they are what to blame."""
    return sorted(metrics, key=lambda name: (not name.endswith('loss'), name))


@dataclass
class Tick:
    """The moment between two chunks: what the owner of the loop may look at and change.

    step: steps done. states: what the next chunk starts from; assign to change it, and keep no
    other reference, because its buffers are given to the next chunk. finished: the tallies read
    since the last tick, as (step, host metrics with a leading axis of seeds), one chunk late except
    where `boundary` is true: there everything up to `step` is in. drain() waits for the rest.
    """

    step: int
    states: Any
    boundary: bool
    drain: Callable[[], list[tuple[int, dict[str, Metric]]]]
    finished: list[tuple[int, dict[str, Metric]]] = field(default_factory=list)


class Engine(Traced):
    """A task and its training source, compiled for some seeds and one layout.

    seeds: their numbers; the seed of a run is the only thing that makes it differ from another.
    stage: a name folded into every key, so that two phases of a run draw differently.
    layout_name: see `jaxdl.engine.layout`; 'auto' takes the rule's choice.
    chunk: steps between two looks of the host; None takes the rule's choice.
    scan: whether the steps of a chunk are one program; None takes the rule's choice.
    evaluations: what may be measured and shown, by name; see `jaxdl.study.evaluations`.
    ahead: devices that the step is only lowered for, with `lower`; None takes those that are here.
    say, note: take lines for a person, and lines that are for the log alone if there is one.

    Raises UsageError as `Traced` does, and for a layout that does not fit the seeds or the batch.
    """

    def __init__(
        self,
        task: Task,
        train: Source,
        *,
        seeds: Sequence[int],
        stage: str = 'phase 0',
        layout_name: str = 'auto',
        chunk: int | None = None,
        scan: bool | None = None,
        evaluations: Mapping[str, Eval] = MappingProxyType({}),
        ahead: Devices | None = None,
        say: Callable[[str], None] = lambda text: None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(task, train, seeds=seeds, stage=stage, evaluations=evaluations)
        self._say, self._note = say, note or say
        self._data_key = key_for(jax.random.key(0), stage)
        self._seed_keys = jax.vmap(lambda s: key_for(jax.random.key(s), stage))(
            jnp.array(self.seeds)
        )
        devices = ahead or devices_here()
        self.choice = self._choose(layout_name, scan, devices)
        self.layout: Layout = (
            mesh(self.choice.name, len(self.seeds), devices.each)
            if ahead
            else layout(self.choice.name, len(self.seeds))
        )
        if self._rows_together % self.layout.parts:
            what = 'batch' if task.micro_batches == 1 else 'micro-batch'
            raise UsageError(
                f'--layout {self.layout.name}: {self.layout.parts} parts do not divide a {what} of '
                f'{self._rows_together} rows; {closest(self.layout.parts, self._rows_together)} do'
            )
        if line := caution(task, self.shapes[0], self.rows):
            say(line)
        self._sender = Sender(self.layout, self.seeds)
        self.chunk = chunk or self._chunk_rule()
        self._step = self._program(
            'step',
            self._advance_one,
            donate=(0,),
            work=self._work(),
            account=self._tell_memory,
        )
        self._init = self._program('init', self._init_one, once=True)
        self._seldom: dict[Callable[..., Any], Program] = {}
        self._looks: dict[tuple[Look, bool], Program] = {}
        self._placed: dict[str, tuple[Program, Any]] = {}

    # ---- the programs of one seed: pure, named after what they do -------------------------------

    def _batch(self, source: Source, name: str, key: Key, ours: Any, step: Any, sent: Any) -> Batch:
        """The batch of one step: drawn with a key all seeds share, unless the source is private."""
        data, resident = ours
        root = key if source.private else jax.random.wrap_key_data(data)
        made = source.make(key_at(key_for(root, name), step), resident, sent)
        return self.layout.constrain(made)

    def _init_one(self, key: Key, sent: Any, ours: Any) -> tuple[State]:
        batch = self._batch(self._source, 'train', key, ours, 0, sent)
        return (self._traced.init(key_for(key, 'init'), batch),)

    def _advance_one(
        self, state: State, tally: Tally, key: Key, mine: Any, first: Any, sent: Any, ours: Any
    ) -> tuple[State, Tally]:
        """The steps `first` [n] of one seed; `sent` (or `mine`, if private) has n leading rows."""
        private = self._source.private

        def one(carry: tuple[State, Tally], x: tuple[Any, Any]) -> tuple[tuple[State, Tally], None]:
            (state, tally), (step, sent) = carry, x
            batch = self._batch(self._source, 'train', key, ours, step, sent)
            state, metrics = self._traced.step(key_at(key_for(key, 'step'), step), state, batch)
            bad, which = tally.bad, tally.which
            for i, name in enumerate(suspects(metrics)):
                for leaf in jax.tree.leaves(metrics[name]):
                    if jnp.issubdtype(leaf.dtype, jnp.floating):
                        first = (bad < 0) & ~jnp.isfinite(leaf).all()
                        bad, which = jnp.where(first, step, bad), jnp.where(first, i, which)
            totals = {name: tally.totals[name] + metric for name, metric in metrics.items()}
            return (state, Tally(totals, bad, which)), None

        sent = mine if private else sent
        length = first.shape[0]
        if length == 1:
            carry, _ = one((state, tally), jax.tree.map(lambda x: x[0], (first, sent)))
            return carry
        carry, _ = jax.lax.scan(one, (state, tally), (first, sent))
        return carry

    # ---- what it costs, and what follows from that ----------------------------------------------

    def _work(self) -> str:
        return f', {self.flops() * len(self.seeds) / 1e9:.2g} GFLOP'

    def _choose(self, name: str, scan: bool | None, devices: Devices) -> Choice:
        choice = choose(
            seeds=len(self.seeds),
            flops=self.flops(),
            convolution=self._cost.convolutions > 0,
            rows=self._rows_together,
            scattered=self._cost.scattered,
            platform=devices.platform,
            devices=len(devices.each),
            all_of_them=jax.process_count() > 1,
        )
        if name != 'auto':
            choice = choice._replace(name=name, why='asked for')
        return choice if scan is None else choice._replace(scan=scan)

    def _chunk_rule(self) -> int:
        """As many steps as are worth a look of the host, bounded by the bytes sent ahead."""
        size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(self._sent))
        size *= len(self.seeds) if self._source.private else 1
        return max(1, min(CHUNK_STEPS, CHUNK_BYTES // max(size, 1)))

    # ---- programs for all seeds -----------------------------------------------------------------

    def _program(self, kind: str, fn: Callable[..., tuple[Any, ...]], **options: Any) -> Program:
        return Program(kind, fn, self.layout, self._say, note=self._note, **options)

    def _once(self, kind: str, fn: Callable[..., Any]) -> Program:
        """The program of a function of one seed's state and more, which runs now and then."""
        if fn not in self._seldom:
            self._seldom[fn] = self._program(kind, lambda *mine: (fn(*mine),), once=True)
        return self._seldom[fn]

    @cached_property
    def _keys(self) -> Any:
        """The key of every seed, placed."""
        return self.layout.unstack(self._seed_keys)

    @cached_property
    def _shared(self) -> Any:
        """The key that data are drawn with, placed."""
        return self.layout.share(jax.random.key_data(self._data_key))

    @cached_property
    def _ours(self) -> Any:
        """What all seeds share of training: the data key, and the source's arrays, placed once."""
        return self._shared, self._sender.share(self._source.resident)

    def init(self) -> Any:
        """The states before the first step."""
        if self._source.private:
            sent = self._sender.mine([first_sent(self._source, seed) for seed in self.seeds])
        else:
            sent = self._sender.mine([self._sent] * len(self.seeds))
        (states,) = self._init((self._keys, sent), (self._ours,))
        return states

    def lower(self) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
        """The program of one step of all seeds, not compiled, and shapes of its arguments.

        Returns (lowered, mine, ours): what each seed has, its state first, and what all use; the
        shapes say where they would lie. Nothing is placed, so the devices need not be here.
        Raises UsageError for a layout that is more than one program, or one of other devices.
        """
        if not isinstance(self.layout, Mesh):
            raise UsageError(f'--layout {self.layout.name}: it is no single program over devices')
        count, private = len(self.seeds), self._source.private
        flag: Any = jax.ShapeDtypeStruct((count,), jnp.int32)
        sent = stacked([self._sent])
        each = jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype), sent)
        keys = jax.eval_shape(lambda: self._seed_keys)
        tally: Any = Tally(self._zeros(), flag, flag)
        mine, ours = self.layout.shapes(
            (self.template(), tally, keys, each if private else keys),
            (
                np.zeros(1, np.int32),
                () if private else sent,
                (jax.random.key_data(self._data_key), self._source.resident),
            ),
        )
        return self.layout.lower(self._advance_one, mine, ours, (0,)), mine, ours

    def _tell_memory(self, mine: Sequence[Any], ours: Sequence[Any], temporaries: int) -> None:
        """Say what a device holds: to a person where its limit is known, else to the log."""
        most = limit(jax.local_devices()[0])
        memory = account(mine, ours, temporaries=temporaries)
        tell = self._note if most is None else self._say
        tell(f'memory per device: {memory.told(most)}')
        if most is not None and (over := sum(memory) - most) > 0:
            tensors = largest({'state': mine[0], 'data': (mine[1:], ours)})
            told = lacking(self, memory, room=most, over=over, tensors=tensors)
            self._say(f'this does not fit: {told}')

    def template(self) -> Any:
        """Shapes of `stack(states)`: what a checkpoint of this engine holds."""
        count = len(self.seeds)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), self.shapes[0]
        )

    def no_totals(self) -> Any:
        """Training totals of no steps at all: zeros with a leading axis of seeds, on the host.

        Their types are those of the host's sums, which is what a checkpoint holds.
        """
        return widened(self._zeros())

    def _zeros(self) -> Any:
        """What the totals of a chunk start from, in the types of the program."""
        count = len(self.seeds)
        return jax.tree.map(lambda s: np.zeros((count, *s.shape), s.dtype), self.shapes[1])

    def start(self, fn: Callable[[State, State], State], before: Any, fresh: Any) -> Any:
        """States that take from the outcome of the phase before: `fn(before, fresh)` per seed."""
        (states,) = self._once('start', fn)((before, fresh))
        return states

    def review(self, states: Any, numbers: Mapping[str, Sequence[float]]) -> Any:
        """What finished numbers of the validation split, one a seed, change in the states."""
        if self.task.review is unreviewed:
            return states
        known = self.about['valid']
        told = {
            name: Finished(np.asarray(values, np.float32), known[name].better)
            for name, values in numbers.items()
        }
        mine = (states, self.layout.unstack(told))
        (states,) = self._once('review', self.task.review)(mine)
        return states

    def outcome(self, states: Any) -> Any:
        """The states that count."""
        if self.task.outcome is unchanged:
            return states
        (states,) = self._once('outcome', self.task.outcome)((states,))
        return states

    def stopped(self, states: Any) -> list[bool]:
        """Of each seed whether it would not change any more (early stopping)."""
        if self.task.stopped is never:
            return [False] * len(self.seeds)
        (flags,) = self._once('stopped', self.task.stopped)((states,))
        return [bool(flag) for flag in jax.device_get(self.layout.stack(flags))]

    def all_stopped(self, states: Any) -> bool:
        """Whether no seed would change any more."""
        return all(self.stopped(states))

    def standing(self, states: Any) -> Standing | None:
        """The steps each seed has done and its best one, on the host; None where none is kept."""
        if self.task.standing is untold:
            return None
        (found,) = self._once('standing', self.task.standing)((states,))
        return jax.device_get(self.layout.stack(found))

    # ---- evaluations ----------------------------------------------------------------------------

    def _batches(self, name: str) -> Iterator[Any]:
        """The batches of an evaluation, made on the device: of each seed, or one for all."""
        source = self.evaluations[name].source
        if name not in self._placed:

            def make(key: Key, sent: Any, resident: Any, index: Any) -> tuple[Batch]:
                return (source.make(key_at(key_for(key, 'measure'), index), resident, sent),)

            def make_shared(data: Any, sent: Any, *rest: Any) -> tuple[Batch]:
                return make(jax.random.wrap_key_data(data), sent, *rest)

            program = self._program(f'{name} batch', make if source.private else make_shared)
            self._placed[name] = program, self._sender.share(source.resident)
        program, resident = self._placed[name]
        if not source.private:
            first = self._sample(source)[1] if jax.process_count() > 1 else ()
            for index, sent in enumerate(self._sender.open(source, 0, first)):
                if jax.process_count() > 1:
                    sent = self._sender.send(source, sent, first, axis=0)
                ours = (self._shared, sent, resident, np.int32(index))
                yield program((), ours, sent=sent)[0]
            return
        streams = [source.open(seed, 0) for seed in self.seeds]
        for index, sent in enumerate(zip(*streams, strict=True)):
            mine = self._sender.mine(sent)
            yield program((self._keys, mine), (resident, np.int32(index)), sent=mine)[0]

    def _look(self, kind: str, fn: Look, states: Any, batch: Any, *, index: int, name: str) -> Any:
        """`fn(key, state, batch)` of each seed: one program for all batches of one shape."""
        private = self.evaluations[name].source.private
        if (fn, private) not in self._looks:

            def one(state: State, key: Key, mine: Any, index: Any, ours: Any) -> tuple[Any]:
                batch = self.layout.constrain(mine if private else ours)
                return (fn(key_at(key_for(key, kind), index), state, batch),)

            self._looks[fn, private] = self._program(kind, one, once=kind == 'show')
        program = self._looks[fn, private]
        mine = (states, self._keys, batch if private else self._keys)
        ours = (np.int32(index), () if private else batch)
        return program(mine, ours, sent=batch, of=name)[0]

    def measure(self, states: Any, name: str) -> list[dict[str, Metric]]:
        """Exact totals over one pass of an evaluation, of each seed, on the host."""
        fn, parts = self._measure(self.evaluations[name]), []
        for index, batch in enumerate(self._batches(name)):
            part = self._look('measure', fn, states, batch, index=index, name=name)
            parts.append(self.layout.stack(part))
        host = jax.device_get(parts)
        seeds = range(len(self.seeds))
        return [total([jax.tree.map(lambda x, i=i: x[i], part) for part in host]) for i in seeds]

    def show(self, states: Any, name: str) -> Mapping[str, Sample]:
        """What an evaluation shows of its first batch and the first seed, on the host."""
        show = self.evaluations[name].show
        if show is None:
            return {}
        fn, batch = self._of_nets(show), next(self._batches(name))
        shown = self._look('show', fn, states, batch, index=0, name=name)
        found = jax.device_get(jax.tree.map(lambda x: x[0], self.layout.stack(shown)))
        return named(found, classes_of(self.about[name]))

    # ---- the loop -------------------------------------------------------------------------------

    def train(
        self, states: Any, *, start: int, stop: int, cadences: Collection[int]
    ) -> Generator[Tick, None, None]:
        """Steps start..stop as a generator that yields between chunks.

        Chunks end at multiples of each of the `cadences` and at `stop`: there `Tick.boundary` is
        true. Raises DivergedError, naming the step and the seed, when a metric is not finite.
        """
        none = jnp.full(len(self.seeds), -1, jnp.int32)
        zero: Any = Tally(self._zeros(), none, none)
        zero = self.layout.unstack(zero)
        pending: list[tuple[int, Any]] = []

        def read(late: int) -> list[tuple[int, dict[str, Metric]]]:
            """The pending tallies but for the last `late`, which the device may still work on."""
            ready = pending[: len(pending) - late]
            del pending[: len(ready)]
            return [self._read(*entry) for entry in ready]

        tick = Tick(start, states, False, lambda: read(0))
        for stretch in self._feed(start, stop, cadences):
            tally = zero
            for steps, mine, sent in stretch:
                tick.states, tally = self._step(
                    (tick.states, tally, self._keys, mine),
                    (steps, sent, self._ours),
                    sent=(steps, mine if self._source.private else (), sent),
                    of=len(steps),
                )
                tick.step = int(steps[-1]) + 1
            tick.boundary = tick.step == stop or any(tick.step % every == 0 for every in cadences)
            pending.append((tick.step, self.layout.stack(tally)))
            tick.finished = read(late=0 if tick.boundary else 1)
            yield tick

    def _read(self, step: int, tally: Any) -> tuple[int, dict[str, Metric]]:
        host: Tally = jax.device_get(tally)
        for seed, bad, which in zip(self.seeds, host.bad, host.which, strict=True):
            if bad >= 0:
                name = suspects(host.totals)[which]
                what = 'the loss' if name == 'loss' else f'train/{name}'
                raise DivergedError(f'{what} of seed {seed} is not finite at step {bad + 1}')
        return step, widened(host.totals)

    def _feed(
        self, start: int, stop: int, cadences: Collection[int]
    ) -> Iterator[list[tuple[Any, Any, Any]]]:
        """For each chunk the calls it takes, as (steps, mine, sent); made ahead on a thread."""
        stride = self.chunk if self.choice.scan else 1
        source, private = self._source, self._source.private

        def make() -> Iterator[list[tuple[Any, Any, Any]]]:
            streams = self._sender.streams(source, start, self._sent)
            for first, last in chunks(start, stop, cadences, self.chunk):
                stretch = []
                for low in range(first, last, stride):
                    steps = np.arange(low, min(low + stride, last), dtype=np.int32)
                    read = [
                        None if it is None else stacked([next(it) for _ in steps]) for it in streams
                    ]
                    some = next(each for each in read if each is not None)
                    sent = [some if each is None else each for each in read]  # of others' seeds
                    mine = self._sender.mine(sent) if private else self._keys
                    shared = (
                        () if private else self._sender.send(source, sent[0], self._sent, axis=1)
                    )
                    stretch.append((steps, mine, shared))
                yield stretch

        return prefetch(make())


def split_seeds(totals: dict[str, Metric], count: int) -> list[dict[str, Metric]]:
    """Host totals with a leading axis of seeds, one by one."""
    return [jax.tree.map(lambda x, i=i: x[i], totals) for i in range(count)]


def finish_each(totals: Sequence[Mapping[str, Metric]]) -> dict[str, list[Number]]:
    """The finished numbers of every seed: {name: [one a seed]}."""
    finished = [finish(each) for each in totals]
    return {name: [numbers[name] for numbers in finished] for name in finished[0]}
