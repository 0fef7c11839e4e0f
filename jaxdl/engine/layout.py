"""A layout: where arrays live and how seeds are mapped. Tasks never mention it.

A task speaks of one seed and one batch. A layout turns a function of one seed into a program for
all of them; the numbers are the same whichever is taken:

    vmap             all seeds in one program on one device
    loop             one program, seed after seed
    pmap             seeds over devices, the same program compiled by pmap
    seeds=4,data=2   one program over a mesh of devices (see `jaxdl.engine.axes`), seeds by vmap

On a mesh the mean over a batch, BatchNorm's included, is over the global batch by construction,
because the compiler partitions the program and not the mathematics.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxdl.engine.axes import Axes, check_even, check_layout, is_axes, read_axes
from jaxdl.engine.placement import RULES, specs
from jaxdl.errors import UsageError
from jaxdl.processes import arrays

# How XLA:CPU compiles what runs once or twice. Fully optimised, the sixty draws of a ResNet-20's
# first state take 48 s to compile and 0.04 s to run; so they take 9 s and 0.03 s, with equal bits.
LITTLE = {'xla_backend_optimization_level': 1}


Shapes = tuple[tuple[tuple[int, ...], Any], ...]


class Compiled(NamedTuple):
    """A program for all seeds: `call(*mine, *ours)`, its compile time and its memory in bytes.

    temporaries: the part of its memory that is neither an argument nor written over one.
    """

    call: Callable[..., Any]
    seconds: float
    bytes: int
    temporaries: int = 0


class Devices(NamedTuple):
    """Devices to compile for, here or not, and the platform whose rules are taken for them."""

    each: tuple[Any, ...]
    platform: str


def devices_here() -> Devices:
    """All devices that jax has."""
    return Devices(tuple(jax.devices()), jax.default_backend())


class Layout(Protocol):
    """How one-seed functions become programs. `mine` arguments have one value a seed.

    compile(fn, mine, ours, donate, once=): the program of `fn(*mine of one seed, *ours)` for all
        seeds. once: it runs a few times only, so compiling it is what takes time.
        `fn` returns a tuple, and so does the program, of values in this layout's form; `donate`
        are positions in `mine` whose buffers the program may reuse.
    compile_shared(fn, ours): the program of `fn(*ours)`, whose values all seeds use.
    stack(tree), unstack(tree): between this layout's form of one value a seed and arrays with a
        leading axis of seeds, which is what numbers use; of many processes each has all of them.
    gather(tree): as `stack`, for whole states: of many processes each has them on its host.
    share(tree): put what all seeds use where the program wants it.
    constrain(batch): inside the program, lay a batch over devices.
    parts: in how many parts the rows of a batch lie.
    """

    name: str
    parts: int

    def compile(
        self,
        fn: Callable[..., Any],
        mine: Sequence[Any],
        ours: Sequence[Any],
        donate: Sequence[int] = (),
        *,
        once: bool = False,
    ) -> Compiled:
        """The program of `fn` for all seeds."""
        ...

    def compile_shared(self, fn: Callable[..., Any], ours: Sequence[Any]) -> Compiled:
        """The program of `fn`, run once for all seeds."""
        ...

    def stack(self, tree: Any) -> Any:
        """One value a seed -> arrays with a leading axis of seeds."""
        ...

    def gather(self, tree: Any) -> Any:
        """One value a seed -> arrays with a leading axis of seeds, for a checkpoint."""
        ...

    def unstack(self, tree: Any) -> Any:
        """Arrays with a leading axis of seeds -> one value a seed, placed on the devices."""
        ...

    def share(self, tree: Any) -> Any:
        """Place what all seeds use."""
        ...

    def constrain(self, batch: Any) -> Any:
        """Inside a program: lay the rows of a batch over devices, if this layout does."""
        ...


class Mesh:
    """Seeds by vmap in one program, over a mesh of devices, which need not be here to compile."""

    def __init__(self, axes: Axes, devices: Sequence[Any]) -> None:
        self.name, self.axes, self.parts = str(axes), axes, axes.rows
        self._mesh = jax.make_mesh(
            tuple(axes),
            axes._fields,
            axis_types=(AxisType.Auto,) * len(axes),
            devices=devices[: axes.devices],
        )
        self._ours = NamedSharding(self._mesh, PartitionSpec())
        self._rows = NamedSharding(self._mesh, PartitionSpec(RULES['rows']))
        self._seeds = NamedSharding(self._mesh, PartitionSpec('seeds'))

    def compile(
        self,
        fn: Callable[..., Any],
        mine: Sequence[Any],
        ours: Sequence[Any],
        donate: Sequence[int] = (),
        *,
        once: bool = False,
    ) -> Compiled:
        """One program: vmap over seeds, partitioned over the mesh."""
        start = time.perf_counter()
        return _compile(self.lower(fn, mine, ours, donate), start, once=once)

    def lower(
        self,
        fn: Callable[..., Any],
        mine: Sequence[Any],
        ours: Sequence[Any],
        donate: Sequence[int] = (),
    ) -> Any:
        """The program before it is compiled; arguments may be shapes that say where they lie."""
        mapped = jax.vmap(fn, in_axes=(0,) * len(mine) + (None,) * len(ours))
        with self._named():
            outs = self._mine(jax.eval_shape(mapped, *mine, *ours))
            jitted = jax.jit(mapped, donate_argnums=tuple(donate), out_shardings=outs)
            return jitted.lower(*mine, *ours)

    def shapes(self, mine: Any, ours: Any) -> tuple[Any, Any]:
        """Shapes of what each seed has and of what all use, which say where they would lie."""

        def laid(leaf: Any, sharding: Any) -> Any:
            kind = getattr(leaf, 'dtype', None) or np.asarray(leaf).dtype
            return jax.ShapeDtypeStruct(np.shape(leaf), kind, sharding=sharding)

        placed = jax.tree.map(laid, mine, self._mine(mine))
        return placed, jax.tree.map(lambda leaf: laid(leaf, self._ours), ours)

    def compile_shared(self, fn: Callable[..., Any], ours: Sequence[Any]) -> Compiled:
        """One program, its values on every device."""
        return _lowered(jax.jit(fn, out_shardings=self._ours), ours)

    def stack(self, tree: Any) -> Any:
        """The same, whole on every device of many processes: seeds are a leading axis already."""
        return arrays.replicate(tree)

    def gather(self, tree: Any) -> Any:
        """The same, whole on the host of each of many processes."""
        return arrays.gather(tree)

    def unstack(self, tree: Any) -> Any:
        """Lay the leading axis over the devices, and parameters as the axes have it."""
        return arrays.place(tree, self._mine(tree))

    def share(self, tree: Any) -> Any:
        """A copy on every device."""
        return arrays.place(tree, self._ours)

    def seeds_here(self, seeds: int) -> range:
        """The places, of so many seeds, that lie on devices of this process."""
        here = arrays.needed((seeds,), self._seeds, axis=0)
        return range(here.start, here.stop)

    def rows_here(self, rows: int) -> slice:
        """From where to where the devices of this process have the rows of a batch of so many."""
        if rows % self.parts:
            return slice(0, rows)
        return arrays.needed((rows,), self._rows, axis=0)

    def send(self, tree: Any, rows: int, *, axis: int) -> Any:
        """Place columns of batches of so many rows, which lie along an axis.

        Each of many processes holds those of `rows_here`.
        """
        if rows % self.parts:
            return self.share(tree)
        first = self.rows_here(rows).start
        laid = NamedSharding(self._mesh, PartitionSpec(*[None] * axis, RULES['rows']))

        def lay(column: Any) -> Any:
            whole = (*column.shape[:axis], rows, *column.shape[axis + 1 :])
            return arrays.lay_part(column, whole, laid, axis=axis, first=first)

        return jax.tree.map(lay, tree)

    def constrain(self, batch: Any) -> Any:
        """Lay rows over the devices; leaves whose rows do not divide are left alone."""
        if self.parts == 1:
            return batch

        def lay(leaf: Any) -> Any:
            if leaf.ndim == 0 or leaf.shape[0] % self.parts:
                return leaf
            return jax.lax.with_sharding_constraint(leaf, self._rows)

        return jax.tree.map(lay, batch)

    def _mine(self, tree: Any) -> Any:
        """The sharding of every leaf [seeds, ...]."""
        return jax.tree.map(
            lambda spec: NamedSharding(self._mesh, spec),
            specs(tree, self.axes),
            is_leaf=lambda x: isinstance(x, PartitionSpec),
        )

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Where modules may say how their activations lie, in the names of `placement.RULES`."""
        if self.axes.fsdp == self.axes.tensor == 1:
            yield
            return
        with jax.set_mesh(self._mesh), nn.logical_axis_rules([*RULES.items()]):
            yield


class Loop:
    """One program for one seed, called seed after seed: each has all threads of the machine."""

    name, parts = 'loop', 1

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds

    def compile(
        self,
        fn: Callable[..., Any],
        mine: Sequence[Any],
        ours: Sequence[Any],
        donate: Sequence[int] = (),
        *,
        once: bool = False,
    ) -> Compiled:
        """The program of one seed, and a call that runs it for each."""
        jitted = jax.jit(fn, donate_argnums=tuple(donate))
        one = _lowered(jitted, (*(values[0] for values in mine), *ours), once=once)
        count = len(mine)

        def call(*args: Any) -> Any:
            outs = [one.call(*(a[i] for a in args[:count]), *args[count:]) for i in self.order]
            return tuple(list(column) for column in zip(*outs, strict=True))

        return one._replace(call=call)

    def compile_shared(self, fn: Callable[..., Any], ours: Sequence[Any]) -> Compiled:
        """One program."""
        return _lowered(jax.jit(fn), ours)

    @property
    def order(self) -> range:
        """The seeds, in the order in which they run."""
        return range(self._seeds)

    def stack(self, tree: Any) -> Any:
        """A list with one tree a seed -> one tree of stacked arrays."""
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *tree)

    def gather(self, tree: Any) -> Any:
        """As `stack`."""
        return self.stack(tree)

    def unstack(self, tree: Any) -> Any:
        """One tree of stacked arrays -> a list with one tree a seed."""
        return [jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), tree) for i in self.order]

    def share(self, tree: Any) -> Any:
        """On the one device."""
        return jax.device_put(tree)

    def constrain(self, batch: Any) -> Any:
        """Nothing to lay."""
        return batch


class Pmap:
    """Seeds over devices by `jax.pmap`; several seeds on a device are mapped by vmap.

    It is the seeds and not the batch that pmap divides: a step that sees a part of the batch
    would have to average gradients, statistics and masked means itself, inside the science, and
    would draw other noise than one device does. `batch` divides the batch without either.
    """

    name, parts = 'pmap', 1

    def __init__(self, seeds: int) -> None:
        self._devices = math.gcd(seeds, jax.local_device_count())
        self._shape = (self._devices, seeds // self._devices)

    def compile(
        self,
        fn: Callable[..., Any],
        mine: Sequence[Any],
        ours: Sequence[Any],
        donate: Sequence[int] = (),
        *,
        once: bool = False,
    ) -> Compiled:
        """The program of one device, replicated by pmap."""
        # An axis a leaf: jax 0.10 miscounts an axis an argument where an argument is empty.
        axes = (*jax.tree.map(lambda _: 0, tuple(mine)), *[None] * len(ours))
        devices = jax.local_devices()[: self._devices]
        mapped = jax.pmap(
            jax.vmap(fn, in_axes=axes), in_axes=axes, devices=devices, donate_argnums=tuple(donate)
        )
        return _lowered(mapped, (*mine, *ours), once=once)

    def compile_shared(self, fn: Callable[..., Any], ours: Sequence[Any]) -> Compiled:
        """One program, on the first device; pmap broadcasts its values."""
        return _lowered(jax.jit(fn), ours)

    def stack(self, tree: Any) -> Any:
        """[devices, seeds per device, ...] -> [seeds, ...]."""
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)

    def gather(self, tree: Any) -> Any:
        """As `stack`."""
        return self.stack(tree)

    def unstack(self, tree: Any) -> Any:
        """[seeds, ...] -> [devices, seeds per device, ...], one slice on each device."""
        devices = jax.local_devices()[: self._devices]
        mesh = jax.make_mesh((self._devices,), ('seed',), (AxisType.Auto,), devices=devices)
        mine = NamedSharding(mesh, PartitionSpec('seed'))
        return jax.tree.map(
            lambda x: jax.device_put(jnp.asarray(x).reshape(*self._shape, *x.shape[1:]), mine), tree
        )

    def share(self, tree: Any) -> Any:
        """Left to pmap, which broadcasts what is not mapped."""
        return tree

    def constrain(self, batch: Any) -> Any:
        """Nothing to lay."""
        return batch


def mesh(name: str, seeds: int, devices: Sequence[Any]) -> Mesh:
    """The layout called `name` of one program over devices, which need not be here.

    Raises UsageError for a name of no such layout, or where the devices cannot be divided so.
    """
    if is_axes(name):
        return Mesh(read_axes(name, seeds=seeds, devices=len(devices)), devices)
    if name == 'vmap':
        return Mesh(Axes(), devices)
    raise UsageError(
        f'--layout: {check_layout(name)!r} is no single program over devices; take vmap, '
        'or axes such as data=8 or fsdp=8'
    )


def layout(name: str, seeds: int) -> Layout:
    """The layout called `name` for this many seeds on the devices that are here.

    Raises UsageError for an unknown name, or where the devices cannot be divided so.
    """
    devices = jax.device_count()
    if jax.process_count() > 1:
        return _of_many(name, seeds)
    if is_axes(name) or name == 'vmap':
        return mesh(name, seeds, jax.devices())
    if name == 'loop':
        return Loop(seeds)
    if name == 'pmap':
        check_even('--layout pmap', seeds=seeds, devices=devices)
        return Pmap(seeds)
    raise UsageError(f'--layout {check_layout(name)}: it stands for a choice; name a layout itself')


def _of_many(name: str, seeds: int) -> Mesh:
    """The layout of many processes, each of whose devices must have a part.

    Raises UsageError for one that leaves devices out, with one that does not.
    """
    devices, several = jax.device_count(), f'the {jax.process_count()} processes of this run'
    ways = f'data={devices}, seeds={devices}, fsdp={devices}, or several of these axes'
    if not is_axes(name):
        what = {'vmap': 'has one device', 'loop': 'has one device', 'pmap': 'has one process'}
        raise UsageError(
            f'--layout {name}: it {what.get(check_layout(name), "is a choice of one")}, and '
            f'{several} have {devices}; take {ways}'
        )
    found = mesh(name, seeds, jax.devices())
    if found.axes.devices < devices:
        raise UsageError(
            f'--layout {name}: it takes {found.axes.devices} of the {devices} devices that '
            f'{several} have, and each must have a part; take {ways}'
        )
    return found


def _lowered(jitted: Any, args: Sequence[Any], *, once: bool = False) -> Compiled:
    start = time.perf_counter()
    return _compile(jitted.lower(*args), start, once=once)


def _compile(lowered: Any, start: float, *, once: bool) -> Compiled:
    compiled = lowered.compile(LITTLE) if once and _may_hurry() else lowered.compile()
    seconds = time.perf_counter() - start
    return Compiled(compiled, seconds, program_bytes(compiled), temporary_bytes(compiled))


def _may_hurry() -> bool:
    """Whether XLA may be told to optimise little: on CPU, where XLA_FLAGS do not say how much."""
    asked = any(option in os.environ.get('XLA_FLAGS', '') for option in LITTLE)
    return jax.default_backend() == 'cpu' and not asked


def program_bytes(compiled: Any) -> int:
    """Memory of a compiled program: arguments, results and temporaries; 0 where unknown."""
    memory = compiled.memory_analysis()
    if memory is None:
        return 0
    return int(
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


def temporary_bytes(compiled: Any) -> int:
    """Memory of a compiled program beside its arguments; 0 where unknown."""
    memory = compiled.memory_analysis()
    return program_bytes(compiled) - int(memory.argument_size_in_bytes) if memory else 0


class Program:
    """`fn(*mine of one seed, *ours)`, which returns a tuple, for all seeds of a layout.

    It is compiled again for every new shape of what is `sent`, the arguments that do not come from
    a program of ours, and says so: a recompilation that nobody notices is a slow run.

    kind: what it does, for the log. say, note: take warnings, and what a compilation took.
    donate: positions in `mine` whose buffers it may reuse.
    once: it runs a few times only. work: for the log, what one call computes.
    account: is told once of the first arguments and the bytes of temporaries of its program.
    """

    def __init__(
        self,
        kind: str,
        fn: Callable[..., tuple[Any, ...]],
        layout: Layout,
        say: Callable[[str], None],
        *,
        note: Callable[[str], None],
        donate: Sequence[int] = (),
        once: bool = False,
        work: str = '',
        account: Callable[[Sequence[Any], Sequence[Any], int], None] | None = None,
    ) -> None:
        self._account = account
        self._kind, self._fn, self._layout = kind, fn, layout
        self._say, self._note = say, note
        self._donate, self._once, self._work = donate, once, work
        self._compiled: dict[Shapes, Compiled] = {}
        self._latest: dict[Any, Shapes] = {}

    def __call__(
        self, mine: Sequence[Any], ours: Sequence[Any] = (), *, sent: Any = (), of: Any = None
    ) -> tuple[Any, ...]:
        """The values for all seeds, in the layout's form; without `mine`, one for all of them.

        of: what has one shape as a rule; another one's may differ (how many steps are scanned).
        """
        shapes = tuple((np.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(sent))
        compiled = self._compiled.get(shapes)
        if compiled is None:
            if of in self._latest:
                changes = _changes(sent, self._latest[of])
                self._say(f'warning: {self._kind} recompiles: {changes}')
            compiled = self._compiled[shapes] = self._compile(mine, ours)
            self._note(
                f'compiling {self._kind}: {compiled.seconds:.1f} s{self._work}, '
                f'{compiled.bytes / 1e6:.0f} MB'
            )
            if self._account is not None:
                self._account(mine, ours, compiled.temporaries)
                self._account = None
        self._latest[of] = shapes
        return tuple(compiled.call(*mine, *ours))

    def _compile(self, mine: Sequence[Any], ours: Sequence[Any]) -> Compiled:
        if not mine:
            return self._layout.compile_shared(self._fn, ours)
        return self._layout.compile(self._fn, mine, ours, self._donate, once=self._once)


COMPILES = frozenset({Program._compile.__code__})  # what the loop may stand in for minutes


def _changes(sent: Any, shapes: Shapes) -> str:
    """Which arguments have other shapes or types than before, by name."""
    named = jax.tree_util.tree_leaves_with_path(sent)
    changed = [
        f'{jax.tree_util.keystr(path)} {old_type}{list(old)} -> {x.dtype}{list(np.shape(x))}'
        for (path, x), (old, old_type) in zip(named, shapes, strict=False)
        if (np.shape(x), x.dtype) != (old, old_type)
    ]
    return '; '.join(changed) or 'the structure of the batch changed'
