"""What a computation costs: floating-point operations, parameters and bytes, from shapes alone.

Operations are counted on the jaxpr, where a scan's length is known (XLA's own analysis counts the
body of a loop once). Nothing is computed or compiled.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from jaxdl.game import ONE_IN
from jaxdl.net import Net

if TYPE_CHECKING:
    from rich.table import Table

Scope = tuple[str, ...]

REMAT = 'rematted_computation'  # the name scope that `jax.checkpoint` gives what it computes again

# One operation for each output element.
ELEMENTWISE = frozenset(
    'add sub mul div rem max min neg abs sign floor ceil round exp exp2 expm1 log log1p pow '
    'integer_pow square sqrt rsqrt cbrt tanh logistic erf erfc erf_inv sin cos tan asin acos atan '
    'atan2 sinh cosh asinh acosh atanh lgamma digamma cumsum cumprod cummax cummin add_any'.split()
)
# One operation for each input element.
REDUCTIONS = frozenset('reduce_sum reduce_max reduce_min reduce_prod argmax argmin'.split())


class Cost(NamedTuple):
    """Floating-point operations of a function, by kind.

    products: of matrix products and convolutions, two for each multiply-add.
    again: of those that are computed a second time, because `remat` did not keep the first; they
        are not among `products`, for the model needs them once.
    convolutions: what convolutions have of both.
    elementwise: of sums, non-linearities, reductions: one for each element.
    scattered: elements that a scatter writes one after another, as of segment sums.
    loops: bodies counted once because their number of passes is not in the program (`while`).
    scopes: `products` by name scope, which Linen sets to the modules' names.
    """

    products: int = 0
    again: int = 0
    convolutions: int = 0
    elementwise: int = 0
    scattered: int = 0
    loops: int = 0
    scopes: Counter[Scope] = Counter()

    def plus(self, other: 'Cost', times: int = 1) -> 'Cost':
        """This and `times` the other."""
        return Cost(
            self.products + times * other.products,
            self.again + times * other.again,
            self.convolutions + times * other.convolutions,
            self.elementwise + times * other.elementwise,
            self.scattered + times * other.scattered,
            self.loops + other.loops,
            self.scopes + Counter({name: times * n for name, n in other.scopes.items()}),
        )

    def shared(self, n: int) -> 'Cost':
        """An nth of this."""
        return Cost(
            self.products // n,
            self.again // n,
            self.convolutions // n,
            self.elementwise // n,
            self.scattered // n,
            self.loops,
            Counter({name: count // n for name, count in self.scopes.items()}),
        )


def cost(fn: Callable[..., Any], *args: Any) -> Cost:
    """The cost of fn(*args). `args` are arrays or `jax.ShapeDtypeStruct`s; nothing is computed.

    A scan's body counts `length` times; a cond as its dearest branch, and as a sixteenth of that
    where a game makes a move in one of 16 steps; a `shard_map` body once for each device. A
    transposed convolution counts as the convolution it transposes, so a backward pass costs twice
    its forward pass, as in the literature; and a convolution that saves multiplications
    (`jaxdl.nn.cpu.winograd`) as the direct one.
    """
    with jax.default_matmul_precision('highest'):  # which has the direct one, and is traced apart
        return _walk(jax.make_jaxpr(fn)(*args).jaxpr, ())


def flops(fn: Callable[..., Any], *args: Any, elementwise: bool = False) -> int:
    """Floating-point operations of fn(*args): those of products and convolutions, or all.

    What `remat` computes again is not among them.
    """
    total = cost(fn, *args)
    return total.products + (total.elementwise if elementwise else 0)


def parameters(tree: Any) -> int:
    """The number of array elements in a pytree (of arrays or shapes)."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def nbytes(tree: Any) -> int:
    """The bytes of a pytree of arrays or shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


class Layer(NamedTuple):
    """One row of a summary: a module, what it puts out, and what it holds and costs."""

    path: Scope
    kind: str
    output: Any
    parameters: int
    flops: int


def layers(module: nn.Module, *inputs: Any) -> list[Layer]:
    """Every module in `module`, in the order of the first calls, itself first with the totals."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    net = jax.eval_shape(lambda key, *xs: Net.init(module, key, *xs), key, *inputs)
    calls: dict[Scope, tuple[str, Any]] = {}

    def record(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        path = context.module.path
        first = path not in calls and context.method_name != 'setup'
        if first:
            calls[path] = ('', None)  # holds the place before its children
        output = call(*args, **kwargs)
        if first:
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), output)
            calls[path] = (type(context.module).__name__, shapes)
        return output

    with nn.intercept_methods(record):
        total = cost(lambda net, key, *xs: net(*xs, key=key)[0], net, key, *inputs)
    own: Counter[Scope] = Counter()
    for scope, n in total.scopes.items():
        own[_owner(scope, calls)] += n
    held = {
        tuple(str(entry.key) for entry in path): leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(net.params)
    }
    return [
        Layer(path, kind, output, _under(path, held), _under(path, own))
        for path, (kind, output) in calls.items()
    ]


def summary(module: nn.Module, *inputs: Any) -> 'Table':
    """A table of the layers of `module` called on `inputs`; the last row is the whole forward pass.

    `inputs` are arrays or `jax.ShapeDtypeStruct`s.
    """
    from rich.table import Table

    rows = layers(module, *inputs)
    whole, rest = rows[0], rows[1:]
    seen = _shapes(inputs)
    table = Table(title=f'{whole.kind} on {seen}', show_footer=True)
    table.add_column('layer', footer='total', overflow='fold')
    table.add_column('type', footer='forward pass')
    table.add_column('output', footer=_shapes(whole.output))
    table.add_column('parameters', footer=f'{whole.parameters:,}', justify='right')
    table.add_column('FLOP', footer=quantity(whole.flops), justify='right')
    for row in rest:
        table.add_row(
            '/'.join(row.path),
            row.kind,
            _shapes(row.output),
            f'{row.parameters:,}' if row.parameters else '',
            quantity(row.flops) if row.flops else '',
        )
    return table


def quantity(n: float) -> str:
    """A number to three digits with its SI prefix: ``quantity(1.23e9) + 'FLOP'``, '1.23 GFLOP'."""
    if not n:
        return '0 '
    power = min(max(int(math.log10(abs(n)) // 3), 0), 6)
    scaled = n / 1000**power
    digits = max(0, 2 - int(math.log10(max(abs(scaled), 1))))
    return f'{scaled:.{digits if power else 0}f} {"kMGTPE"[power - 1] if power else ""}'


def _walk(jaxpr: Jaxpr, outer: Scope) -> Cost:
    total = Cost(scopes=Counter())
    for eqn in jaxpr.eqns:
        scope = (*outer, *re.findall(r'[^/()]+', str(eqn.source_info.name_stack)))
        total = total.plus(*_equation(eqn, scope))
    return total


def _equation(eqn: JaxprEqn, scope: Scope) -> tuple[Cost, int]:
    """The cost of one equation and how many times it runs."""
    name, params = eqn.primitive.name, eqn.params
    if name.startswith('scatter'):  # whose addition is a jaxpr, of two numbers
        updates: Any = eqn.invars[2].aval
        return Cost(scattered=updates.size), 1
    inner = [_walk(jaxpr, scope) for value in params.values() for jaxpr in _jaxprs(value)]
    if inner:
        if name == 'cond':
            dearest = max(inner, key=lambda c: (c.products, c.elementwise))
            rare = scope[-1:] and re.fullmatch(rf'{ONE_IN}(\d+)', scope[-1])
            return dearest.shared(int(rare[1])) if rare else dearest, 1
        body = Cost(scopes=Counter())
        for each in inner:
            body = body.plus(each)
        if name == 'scan':
            return body, params['length']
        if name == 'shard_map':
            return body, math.prod(params['mesh'].shape[a] for a in params['newly_manual_axes'])
        unknown = name in ('while', 'pallas_call')
        return body._replace(loops=body.loops + unknown), 1
    out = eqn.outvars[0].aval if eqn.outvars else None
    if name in ('dot_general', 'ragged_dot_general', 'ragged_dot'):
        return _products(2 * _macs_of_dot(eqn), scope), 1
    if name == 'conv_general_dilated':
        n = 2 * _macs_of_convolution(eqn)
        return _products(n, scope)._replace(convolutions=n), 1
    if out is None or not jnp.issubdtype(getattr(out, 'dtype', jnp.bool_), jnp.floating):
        return Cost(), 1
    if name in ELEMENTWISE:
        return Cost(elementwise=out.size), 1  # type: ignore[attr-defined]
    if name in REDUCTIONS:
        return Cost(elementwise=eqn.invars[0].aval.size), 1  # type: ignore[attr-defined]
    if name.startswith('reduce_window'):
        window = math.prod(params['window_dimensions'])
        return Cost(elementwise=out.size * window), 1  # type: ignore[attr-defined]
    return Cost(), 1


def _products(n: int, scope: Scope) -> Cost:
    """So many operations of products in a name scope."""
    return Cost(again=n) if REMAT in scope else Cost(n, scopes=Counter({scope: n}))


def _jaxprs(value: Any) -> list[Jaxpr]:
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, Jaxpr):
        return [value]
    if isinstance(value, tuple | list):
        return [jaxpr for item in value for jaxpr in _jaxprs(item)]
    return []


def _macs_of_dot(eqn: JaxprEqn) -> int:
    left: Any = eqn.invars[0].aval
    out: Any = eqn.outvars[0].aval
    if eqn.primitive.name != 'dot_general':  # rows [m, k] times one of several [k, n] each
        return int(out.size * left.shape[-1])
    (contracted, _), _ = eqn.params['dimension_numbers']
    return int(out.size * math.prod(left.shape[i] for i in contracted))


def _macs_of_convolution(eqn: JaxprEqn) -> int:
    left: Any = eqn.invars[0].aval
    kernel: Any = eqn.invars[1].aval
    out: Any = eqn.outvars[0].aval
    features, depth, *spatial = eqn.params['dimension_numbers'].rhs_spec
    taps = math.prod(kernel.shape[i] for i in spatial)
    groups = eqn.params['feature_group_count'] * eqn.params['batch_group_count']
    # Counted from the output, every output element reads all taps; counted from the input, every
    # input element is read by all taps. What exceeds the smaller number are zeros between and
    # around the elements: a transposed convolution is full of them.
    from_output = out.size * taps * kernel.shape[depth]
    from_input = left.size * taps * kernel.shape[features] // groups
    return int(min(from_output, from_input))


def _owner(scope: Scope, calls: dict[Scope, Any]) -> Scope:
    """The innermost module of a name scope: parts that are no module's name are skipped."""
    path: Scope = ()
    for part in scope:
        name = part.split('.')[0]  # 'decoder.attend' is a method
        if (*path, name) in calls:
            path = (*path, name)
    return path


def _under(path: Scope, numbers: dict[Scope, int] | Counter[Scope]) -> int:
    return sum(n for name, n in numbers.items() if name[: len(path)] == path)


def _shapes(tree: Any) -> str:
    return ', '.join('x'.join(map(str, x.shape)) or 'scalar' for x in jax.tree.leaves(tree))
