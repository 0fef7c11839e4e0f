"""Additive numbers. Adding is the same over steps, batches and devices; `finish` divides once.

A metric is a pytree of arrays with `+` and `value()`. Totals over a padded last batch are exact
because padding is a mask of weight zero: never a mean of batch means, never a dropped remainder.
What cannot be summed (a ranking of all detections, rows of tokens) is *joined*, row after row.
Programs add in 32 bits, a batch or a chunk of steps at a time; the host adds those in 64, because
float32 does not count beyond 2^24 and int32 not beyond 2^31.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from numbers import Integral
from typing import Any, Literal, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdl.errors import UsageError
from jaxdl.micro_batches import joined_again

Array = jax.Array
Number = float | np.ndarray
Better = Literal['higher', 'lower']  # which values of a number are the better ones

M = TypeVar('M', bound='Metric')

JOINED = {'adds': 'joined'}


def joined(**options: Any) -> Any:
    """A field of a metric whose arrays [rows, ...] adding joins, row after row; others are summed.

    It must hold one array at least, with as many rows as the other joined fields.
    """
    return struct.field(metadata=JOINED, **options)


class Metric(struct.PyTreeNode):
    """A number under construction, or several: leaves add, `value` finishes on the host.

    How a field adds is said where it stands: it is summed, or `joined()`; what does not add (a
    threshold, names) is `struct.field(pytree_node=False)`. Raises TypeError for a class that says
    so of none of the three and yet has a number at hand before anything was measured.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)  # type: ignore[no-untyped-call]
        for field in _adding(cls):
            if field.default is not MISSING and field.default is not None:
                raise TypeError(
                    f'{cls.__name__}.{field.name}: adding would sum its default '
                    f'{field.default!r}; if it is no array that adds, it is '
                    'struct.field(pytree_node=False, default=...)'
                )

    def __add__(self, other: Self) -> Self:
        return add([self, other])

    def collapse(self, rows: int = 0) -> Self:
        """The sum over a leading axis of equal metrics, as `lax.scan` stacks them.

        What is joined stands part after part; where they are those of micro-batches of so many
        `rows` each, in the order of the rows that were cut (see `jaxdl.micro_batches.cut`).
        """

        def merge(x: Any) -> Any:
            return joined_again(x, rows)

        return self._each(lambda x: x.sum(0, dtype=x.dtype), merge)

    def widened(self) -> Self:
        """The same on the host, as it adds there: float sums in float64, whole ones in int64."""
        return self._each(_wide, np.asarray)

    def value(self) -> Number | Mapping[str, Number]:
        """The finished number, or several by name, from host arrays.

        It must stand an empty total (all zeros, or no rows), whose value may be NaN: so the names
        of the numbers are known before the first step.
        """
        raise NotImplementedError

    def directions(self) -> Mapping[str, Better]:
        """Which values are better, by the names in `value`; '' where it is one number."""
        return {}

    def labels(self) -> Mapping[str, Sequence[str]]:
        """What the axes of a value that is an array stand for (classes), by name as above."""
        return {}

    def joins(self) -> bool:
        """Whether adding makes it larger: then it cannot be the total of a chunk of steps."""
        return any(joins for _, joins in self._fields())

    def _fields(self) -> Iterator[tuple[str, bool]]:
        """The names of the fields that hold arrays, and whether they join."""
        for field in _adding(type(self)):
            yield field.name, field.metadata.get('adds') == 'joined'

    def _each(self, summed: Callable[[Any], Any], joined: Callable[[Any], Any]) -> Self:
        return self.replace(
            **{
                name: jax.tree.map(joined if joins else summed, getattr(self, name))
                for name, joins in self._fields()
            }
        )


def _adding(kind: type[Metric]) -> list[Field[Any]]:
    """The fields of a metric that hold arrays, which are those that add."""
    return [field for field in fields(kind) if field.metadata.get('pytree_node', True)]


def add(metrics: Sequence[M]) -> M:
    """The sum of one or more metrics of one kind, at once: joining two by two copies again."""
    first = metrics[0]

    def total(name: str, joins: bool) -> Any:
        trees = [getattr(metric, name) for metric in metrics]
        return jax.tree.map(_join if joins else _sum, *trees)

    return first.replace(**{name: total(name, joins) for name, joins in first._fields()})


def _join(*parts: Any) -> Any:
    return (np if isinstance(parts[0], np.ndarray) else jnp).concatenate(parts)


def _sum(*parts: Any) -> Any:
    return sum(parts[1:], parts[0])


def _wide(x: Any) -> np.ndarray:
    x = np.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(np.float64)
    return x.astype(np.int64) if jnp.issubdtype(x.dtype, jnp.integer) else x


class Mean(Metric):
    """A weighted mean: total / weight. NaN where nothing was weighed."""

    total: Array
    weight: Array
    better: Better | None = struct.field(pytree_node=False, default=None)

    @classmethod
    def of(cls, values: Any, mask: Any = None, *, better: Better | None = None) -> 'Mean':
        """The mean of `values` where `mask` (same shape or a prefix of it) is true or weighs.

        better: 'higher' or 'lower', if either is: what is claimed, starred or kept as best needs
        to know.
        """
        values = jnp.asarray(values, jnp.float32)
        if mask is None:
            return cls(total=values.sum(), weight=jnp.float32(values.size), better=better)
        mask = jnp.asarray(mask, jnp.float32)
        mask = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
        weight = jnp.broadcast_to(mask, values.shape)
        # where, not a product: padding may hold anything, NaN included.
        total = jnp.where(weight > 0, values * weight, 0.0).sum()
        return cls(total=total, weight=weight.sum(), better=better)

    def ratio(self) -> Array:
        """Total / weight, inside a program."""
        return jnp.where(self.weight > 0, self.total / jnp.maximum(self.weight, 1e-30), jnp.nan)

    def value(self) -> float:
        """Total / weight, on the host."""
        total, weight = float(self.total), float(self.weight)
        return total / weight if weight else float('nan')

    def directions(self) -> Mapping[str, Better]:
        """As said."""
        return {'': self.better} if self.better else {}


class Each(Metric):
    """The values of single examples, [n], in the order of the rows; they are joined, not summed.

    What is measured of one test varies with its examples as well: from their values the report
    takes an interval over both. It takes those called 'NAME/each' for the values behind NAME.
    """

    values: Array = joined()
    mask: Array = joined()

    @classmethod
    def of(cls, values: Any, mask: Any = None) -> 'Each':
        """Values [rows], of the rows where `mask` [rows] is true."""
        values = jnp.asarray(values, jnp.float32)
        if values.ndim != 1:
            raise UsageError(f'Each.of: values {list(values.shape)}; they are one a row, [rows]')
        mask = jnp.ones(values.shape, bool) if mask is None else jnp.asarray(mask, bool)
        return cls(values=values, mask=mask)

    def value(self) -> np.ndarray:
        """The values that count, float32 [n]."""
        return np.asarray(self.values)[np.asarray(self.mask)]


class Profile(Metric):
    """Weighted means along an axis that has a meaning: a gradient over lags, a BLEU over lengths.

    Its value is an array [n], NaN where nothing was weighed; the report draws it over its entries.
    """

    total: Array
    weight: Array
    entries: tuple[str, ...] = struct.field(pytree_node=False, default=())

    @classmethod
    def of(cls, values: Any, mask: Any = None, *, entries: Sequence[Any]) -> 'Profile':
        """The means over rows of values [B, n], where `mask` [B] or [B, n] is true or weighs.

        entries: what each of the n stands for: numbers, or names.
        """
        values = jnp.asarray(values, jnp.float32)
        if values.ndim != 2 or values.shape[1] != len(entries):
            raise UsageError(
                f'Profile: values are {list(values.shape)}, and there are {len(entries)} entries; '
                'they must be [rows, entries]'
            )
        weight = jnp.ones_like(values) if mask is None else jnp.asarray(mask, jnp.float32)
        weight = jnp.broadcast_to(weight[:, None] if weight.ndim == 1 else weight, values.shape)
        total = jnp.where(weight > 0, values * weight, 0.0).sum(0)
        return cls(total=total, weight=weight.sum(0), entries=tuple(map(str, entries)))

    def value(self) -> np.ndarray:
        """Total / weight, on the host, [n]."""
        total, weight = np.asarray(self.total, np.float64), np.asarray(self.weight, np.float64)
        return np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)

    def labels(self) -> Mapping[str, Sequence[str]]:
        """What the entries stand for."""
        return {'': self.entries}


def known_mean(values: np.ndarray) -> float:
    """The mean of what is not NaN, on the host; NaN where nothing is known."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float('nan')


def total(parts: Sequence[Mapping[str, Metric]]) -> dict[str, Metric]:
    """The sum of what was measured batch by batch, on the host: `finish` makes numbers of it."""
    host = jax.device_get([dict(part) for part in parts])
    return {name: add([part[name].widened() for part in host]) for name in host[0]}


def widened(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Metrics that were read from the device, ready to be added on the host."""
    return {name: metric.widened() for name, metric in metrics.items()}


def finish(metrics: Mapping[str, Metric]) -> dict[str, Number]:
    """The finished numbers by name. Reads the device, so it runs once, after all adding.

    Of a metric of several numbers each is called 'metric/number', and by its own name alone where
    the metric's is ''. Raises UsageError where two numbers have one name.
    """
    return flatten({name: m.value() for name, m in jax.device_get(dict(metrics)).items()})


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """{'a': {'b': 1}} as {'a/b': 1}; the name '' adds nothing. Raises UsageError on a clash."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = value if isinstance(value, Mapping) else {'': value}
        for part, number in inner.items():
            whole = '/'.join(filter(None, (name, part)))
            if whole in flat:
                raise UsageError(f'two numbers are called {whole!r}')
            flat[whole] = number
    return flat


def check_metrics(what: str, metrics: Any) -> dict[str, Metric]:
    """The metrics that `what` returned. Raises UsageError where they are none by name."""
    if not isinstance(metrics, Mapping):
        raise UsageError(
            f'{what}: it must return metrics by name, not {_kind(metrics)}: '
            "{'loss': Mean.of(...)}"
        )
    for name, metric in metrics.items():
        if not isinstance(name, str):
            raise UsageError(f'{what}: {name!r} is no name of a metric')
        if not isinstance(metric, Metric):
            raise UsageError(
                f'{what}: {name!r} is {_kind(metric)} and no metric; Mean.of(x, mask) makes one'
            )
    return dict(metrics)


def _kind(value: Any) -> str:
    if value is None:
        return 'None'
    return 'an array' if hasattr(value, 'dtype') else f'a {type(value).__name__}'


class About(NamedTuple):
    """What is known of a number before it is measured.

    shape: () or that of an array. better: which values are, if that was said. labels: what the
    entries of an axis stand for, if that was said. drawn: whether each seed has it of examples of
    its own, not all of the same.
    """

    shape: tuple[int, ...]
    better: Better | None = None
    labels: tuple[str, ...] = ()
    drawn: bool = False


def describe(metrics: Mapping[str, Metric]) -> dict[str, About]:
    """The numbers that metrics finish into, from their shapes alone (`jax.eval_shape`)."""
    empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), dict(metrics))
    with np.errstate(all='ignore'):
        numbers = finish(empty)
    better = flatten({name: metric.directions() for name, metric in metrics.items()})
    labels = flatten({name: metric.labels() for name, metric in metrics.items()})
    return {
        name: About(np.shape(number), better.get(name), tuple(labels.get(name, ())))
        for name, number in numbers.items()
    }


def read_classes(classes: int | Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """How many classes there are, and their names where they have some.

    Raises UsageError where that is no number of one or more, and no names.
    """
    given: Any = classes  # numpy's numbers are numbers too
    if given is not True and isinstance(given, Integral) and int(given) >= 1:
        return int(given), ()
    names = () if isinstance(given, str | Integral) else tuple(given)
    if not names or len(set(names)) < len(names):
        raise UsageError(f'classes: {classes!r}; it is how many, or a name for each')
    return len(names), names


def classes_of(numbers: Mapping[str, About]) -> tuple[str, ...]:
    """The names of the classes that numbers are of, () where none of them says so."""
    return next((it.labels for it in numbers.values() if it.labels), ())
