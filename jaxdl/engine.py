"""The engine: the only training loop, and the only place that compiles a step.

    advance = jit(donated)( map over seeds ( scan over steps ( task.step ) ) )

The steps of one seed are `Engine._advance_one`; a layout makes them a program for all seeds;
`train` calls it and hands the host what it needs to log, measure, save or stop. The host never
waits for the device inside the loop: numbers of one chunk are read after the next was dispatched.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import cost
from jaxdl.data.source import Source
from jaxdl.errors import DivergedError
from jaxdl.feed import chunks, first_sent, prefetch, stacked
from jaxdl.keys import Key, key_at, key_for
from jaxdl.layout import Choice, Compiled, Layout, choose, layout, program_bytes
from jaxdl.metrics import Metric, Number, finish, narrowed, widened
from jaxdl.net import trainable
from jaxdl.task import Batch, Metrics, State, Task, never, trained, unchanged

CHUNK_BYTES = 64 * 2**20  # of batches sent ahead of the device; bounds the chunk of streamed data
CHUNK_STEPS = 100  # a chunk is what one Ctrl-C waits for


class Tally(NamedTuple):
    """What a stretch of steps adds up to.

    totals: the sum of the steps' metrics.
    bad: the first step whose metrics were not finite, -1 if there is none.
    """

    totals: dict[str, Metric]
    bad: jax.Array


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


class Engine:
    """A task and its training source, compiled for some seeds and one layout.

    seeds: their numbers; the seed of a run is the only thing that makes it differ from another.
    stage: a name folded into every key, so that two phases of a run draw differently.
    layout_name: see `jaxdl.layout`; 'auto' takes the rule's choice.
    chunk: steps between two looks of the host; None takes the rule's choice.
    scan: whether the steps of a chunk are one program; None takes the rule's choice.
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
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.task, self.seeds, self._source, self._say = task, list(seeds), train, say
        self._data_key = key_for(jax.random.key(0), stage)
        seed_keys = jax.vmap(lambda s: key_for(jax.random.key(s), stage))(jnp.array(self.seeds))
        # Opened once: what is sent for step 0 gives the shapes, the chunk and the first states.
        self._sent = first_sent(train)
        self.shapes = self._trace(seed_keys[0])
        state, _, batch = self.shapes
        self._cost = cost.cost(task.step, jax.random.key(0), state, batch)
        self.choice = self._choose(layout_name, scan)
        self.layout: Layout = layout(self.choice.name, len(self.seeds))
        self.chunk = chunk or self._chunk_rule()
        self._keys = self.layout.unstack(seed_keys)
        self._shared = self.layout.share(jax.random.key_data(self._data_key))
        self._residents: dict[int, Any] = {}
        self._programs: dict[tuple[Any, ...], Compiled] = {}

    # ---- the programs of one seed: pure, named after what they do -------------------------------

    def _batch(self, source: Source, name: str, key: Key, ours: Any, step: Any, sent: Any) -> Batch:
        """The batch of one step: drawn with a key all seeds share, unless the source is private."""
        data, resident = ours
        root = key if source.private else jax.random.wrap_key_data(data)
        made = source.make(key_at(key_for(root, name), step), resident, sent)
        return self.layout.constrain(made)

    def _init_one(self, key: Key, sent: Any, ours: Any) -> tuple[State]:
        batch = self._batch(self._source, 'train', key, ours, 0, sent)
        return (self.task.init(key_for(key, 'init'), batch),)

    def _advance_one(
        self, state: State, tally: Tally, key: Key, mine: Any, first: Any, sent: Any, ours: Any
    ) -> tuple[State, Tally]:
        """The steps `first` [n] of one seed; `sent` (or `mine`, if private) has n leading rows."""
        private = self._source.private

        def one(carry: tuple[State, Tally], x: tuple[Any, Any]) -> tuple[tuple[State, Tally], None]:
            (state, tally), (step, sent) = carry, x
            batch = self._batch(self._source, 'train', key, ours, step, sent)
            state, metrics = self.task.step(key_at(key_for(key, 'step'), step), state, batch)
            finite = jnp.array(True)
            for leaf in jax.tree.leaves(metrics):
                if jnp.issubdtype(leaf.dtype, jnp.floating):
                    finite &= jnp.isfinite(leaf).all()
            bad = jnp.where((tally.bad < 0) & ~finite, step, tally.bad)
            totals = {name: tally.totals[name] + metric for name, metric in metrics.items()}
            return (state, Tally(totals, bad)), None

        sent = mine if private else sent
        length = first.shape[0]
        if length == 1:
            carry, _ = one((state, tally), jax.tree.map(lambda x: x[0], (first, sent)))
            return carry
        carry, _ = jax.lax.scan(one, (state, tally), (first, sent))
        return carry

    # ---- what it costs, and what follows from that ----------------------------------------------

    def _trace(self, key: Key) -> tuple[Any, Any, Any]:
        """Shapes of one seed's (state, metrics, batch), without computing anything."""

        def run(key: Key, resident: Any, sent: Any) -> tuple[State, Metrics, Batch]:
            batch = self._source.make(key, resident, sent)
            state = self.task.init(key, batch)
            return state, self.task.step(key, state, batch)[1], batch

        return jax.eval_shape(run, key, self._source.resident, self._sent)

    @property
    def rows(self) -> int:
        """Rows of a training batch; 0 for a task that makes its own data."""
        leaves = jax.tree.leaves(self.shapes[2])
        return leaves[0].shape[0] if leaves and leaves[0].shape else 0

    def flops(self) -> float:
        """Floating-point operations of one step of one seed."""
        return float(self._cost.products)

    def step_bytes(self) -> int:
        """Memory of the compiled step of one seed: arguments, results and temporaries."""
        state, _, batch = self.shapes
        compiled = jax.jit(self.task.step).lower(jax.random.key(0), state, batch).compile()
        return program_bytes(compiled)

    def parameters(self) -> int:
        """Trainable parameters of one seed: of every player's net."""
        return trainable(trained(self.shapes[0]))

    def _choose(self, name: str, scan: bool | None) -> Choice:
        choice = choose(
            seeds=len(self.seeds),
            flops=self.flops(),
            convolution=self._cost.convolutions > 0,
            platform=jax.default_backend(),
            devices=jax.device_count(),
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

    def _run(
        self,
        kind: str,
        fn: Callable[..., tuple[Any, ...]],
        mine: tuple[Any, ...],
        ours: tuple[Any, ...] = (),
        *,
        of: Any = None,
        sent: Any = (),
        donate: Sequence[int] = (),
        once: bool = False,
    ) -> tuple[Any, ...]:
        """Call `fn` for all seeds, compiling it the first time and for every new shape of `sent`.

        Only what comes from the host is watched: everything else was made by a program of ours.
        `of` tells programs of one kind apart.
        """
        shapes = tuple((np.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(sent))
        program = self._programs.get((kind, of, shapes))
        if program is None:
            known = [k[2] for k in self._programs if k[:2] == (kind, of)]
            if known:
                self._say(f'warning: {kind} recompiles: {_changes(sent, known[-1])}')
            program = self.layout.compile(fn, mine, ours, donate, once=once)
            self._programs[kind, of, shapes] = program
            work = f', {self.flops() * len(self.seeds) / 1e9:.2g} GFLOP' if donate else ''
            self._say(
                f'compiling {kind}: {program.seconds:.1f} s{work}, {program.bytes / 1e6:.0f} MB'
            )
        return tuple(program.call(*mine, *ours))

    def _ours(self, source: Source) -> Any:
        """What all seeds share: the data key, and the arrays of `source`, placed once."""
        if id(source) not in self._residents:
            # The source is kept beside its arrays: its id stays its own.
            self._residents[id(source)] = source, self.layout.share(source.resident)
        return self._shared, self._residents[id(source)][1]

    def _mine(self, per_seed: Sequence[Any]) -> Any:
        """One host value a seed, in the layout's form."""
        return self.layout.unstack(jax.tree.map(lambda *xs: np.stack(xs), *per_seed))

    def init(self) -> Any:
        """The states before the first step."""
        if self._source.private:
            sent = self._mine([first_sent(self._source, seed) for seed in self.seeds])
        else:
            sent = self._mine([self._sent] * len(self.seeds))
        ours = (self._ours(self._source),)
        (states,) = self._run('init', self._init_one, (self._keys, sent), ours, once=True)
        return states

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
        (states,) = self._run('start', lambda *both: (fn(*both),), (before, fresh), once=True)
        return states

    def review(self, states: Any, metrics: dict[str, Metric]) -> Any:
        """What the validation totals (leading axis of seeds) change in the states."""
        if self.task.review is unchanged:
            return states
        mine = (states, self.layout.unstack(narrowed(metrics)))
        (states,) = self._run('review', lambda *both: (self.task.review(*both),), mine, once=True)
        return states

    def outcome(self, states: Any) -> Any:
        """The states that count."""
        if self.task.outcome is unchanged:
            return states
        (states,) = self._run(
            'outcome', lambda state: (self.task.outcome(state),), (states,), once=True
        )
        return states

    def all_stopped(self, states: Any) -> bool:
        """Whether no seed would change any more (early stopping)."""
        if self.task.stopped is never:
            return False
        (flags,) = self._run(
            'stopped', lambda state: (self.task.stopped(state),), (states,), once=True
        )
        return bool(jax.device_get(self.layout.stack(flags)).all())

    def show(self, fn: Callable[..., Any], states: Any, source: Source) -> Any:
        """`fn(key, state, first batch of source)` for every seed, on the host."""

        def one(state: State, key: Key, sent: Any, ours: Any) -> tuple[Any]:
            batch = self._batch(source, 'show', key, ours, 0, sent)
            return (fn(key_for(key, 'show'), state, batch),)

        sent = first_sent(source)
        ours = (sent, self._ours(source))
        (shown,) = self._run('show', one, (states, self._keys), ours, of=id(source), once=True)
        return jax.device_get(self.layout.stack(shown))

    def measure(self, states: Any, source: Source) -> dict[str, Metric]:
        """Exact totals over one pass of `source`, on the host, with a leading axis of seeds."""

        def one(state: State, key: Key, index: Any, sent: Any, ours: Any) -> tuple[Metrics]:
            batch = self._batch(source, 'measure', key, ours, index, sent)
            return (self.task.measure(key_at(key_for(key, 'measure'), index), state, batch),)

        parts = []
        for index, sent in enumerate(source.open(0, 0)):
            ours = (np.int32(index), sent, self._ours(source))
            mine = (states, self._keys)
            (part,) = self._run('measure', one, mine, ours, of=id(source), sent=sent)
            parts.append(self.layout.stack(part))
        total, *rest = map(widened, jax.device_get(parts))
        for part in rest:
            total = {name: total[name] + metric for name, metric in part.items()}
        return total

    # ---- the loop -------------------------------------------------------------------------------

    def train(
        self, states: Any, *, start: int, stop: int, every: int
    ) -> Generator[Tick, None, None]:
        """Steps start..stop as a generator that yields between chunks.

        Chunks end at multiples of `every` and at `stop`: there `Tick.boundary` is true. Raises
        DivergedError, naming the step and the seed, when a metric is not finite.
        """
        zero: Any = Tally(self._zeros(), jnp.full(len(self.seeds), -1, jnp.int32))
        zero = self.layout.unstack(zero)
        ours = self._ours(self._source)
        pending: list[tuple[int, Any]] = []

        def read(late: int) -> list[tuple[int, dict[str, Metric]]]:
            """The pending tallies but for the last `late`, which the device may still work on."""
            ready = pending[: len(pending) - late]
            del pending[: len(ready)]
            return [self._read(*entry) for entry in ready]

        tick = Tick(start, states, False, lambda: read(0))
        for stretch in self._feed(start, stop, every):
            tally = zero
            for steps, mine, sent in stretch:
                tick.states, tally = self._run(
                    'step',
                    self._advance_one,
                    (tick.states, tally, self._keys, mine),
                    (steps, sent, ours),
                    of=len(steps),
                    sent=(mine if self._source.private else (), sent),
                    donate=(0,),
                )
                tick.step = int(steps[-1]) + 1
            tick.boundary = tick.step == stop or tick.step % every == 0
            pending.append((tick.step, self.layout.stack(tally)))
            tick.finished = read(late=0 if tick.boundary else 1)
            yield tick

    def _read(self, step: int, tally: Any) -> tuple[int, dict[str, Metric]]:
        host: Tally = jax.device_get(tally)
        for seed, bad in zip(self.seeds, host.bad, strict=True):
            if bad >= 0:
                raise DivergedError(f'the loss of seed {seed} is not finite at step {bad + 1}')
        return step, widened(host.totals)

    def _feed(self, start: int, stop: int, every: int) -> Iterator[list[tuple[Any, Any, Any]]]:
        """For each chunk the calls it takes, as (steps, mine, sent); made ahead on a thread."""
        stride = self.chunk if self.choice.scan else 1
        private = self._source.private
        roots = self.seeds if private else [0]

        def make() -> Iterator[list[tuple[Any, Any, Any]]]:
            streams = [self._source.open(root, start) for root in roots]
            for first, last in chunks(start, stop, every, self.chunk):
                stretch = []
                for low in range(first, last, stride):
                    steps = np.arange(low, min(low + stride, last), dtype=np.int32)
                    sent = [stacked([next(stream) for _ in steps]) for stream in streams]
                    mine = self._mine(sent) if private else self._keys
                    shared = () if private else self.layout.share(sent[0])
                    stretch.append((steps, mine, shared))
                yield stretch

        return prefetch(make())


def _changes(sent: Any, shapes: tuple[Any, ...]) -> str:
    """Which arguments from the host have other shapes or types than before, by name."""
    named = jax.tree_util.tree_leaves_with_path(sent)
    changed = [
        f'{jax.tree_util.keystr(path)} {old_type}{list(old)} -> {x.dtype}{list(np.shape(x))}'
        for (path, x), (old, old_type) in zip(named, shapes, strict=False)
        if (np.shape(x), x.dtype) != (old, old_type)
    ]
    return '; '.join(changed) or 'the structure of the batch changed'


def finish_each(metrics: dict[str, Metric], count: int) -> dict[str, list[Number]]:
    """Finished numbers: {name: [one a seed]} from host metrics with a leading axis of seeds."""
    finished = [finish(jax.tree.map(lambda x, i=i: x[i], metrics)) for i in range(count)]
    return {name: [numbers[name] for numbers in finished] for name in metrics}
