"""What a step moves: which parts of a state come out of it as they went in, whatever they hold.

Frozen players, and parameters that an optimizer gives a change of zero (`jaxdl.optim.freeze`,
`optax.masked` with `optax.set_to_zero`), are the same after every step. That is read from the
step's jaxpr, in which values are followed that are known to be zero, or one of the inputs: nothing
is computed, and no optimizer has to be asked.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxdl.net import Net, named_nets

ZERO = 'zero'
Value = int | str | None  # the index of an input, ZERO, or not known

# Of one operand, without a change of its elements.
SAME = frozenset({'copy', 'copy_p', 'stop_gradient', 'sharding_constraint'})
# Of one operand, all zeros where it is.
LINEAR = frozenset(
    'broadcast_in_dim reshape transpose squeeze expand_dims rev slice neg reduce_sum cumsum '
    'convert_element_type sign abs sqrt square integer_pow real imag'.split()
)
CALLS = ('jaxpr', 'call_jaxpr', 'fun_jaxpr')


class Parameters(NamedTuple):
    """The parameters of a net: how many there are, and how many of them a step can change."""

    total: int
    moving: int


def parameters(step: Callable[..., Any], state: Any, batch: Any) -> dict[str, Parameters]:
    """How many parameters each net of a state has and a step moves, by player; no slow copies.

    step(key, state, batch) -> (state, ...). state, batch: shapes or arrays.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    leaves, tree = jax.tree.flatten(state)

    def after(key: Any, state: Any, batch: Any) -> Any:
        return step(key, state, batch)[0]

    still = unmoved(after, (key, state, batch), moved=1)
    numbered = jax.tree.unflatten(tree, list(range(len(leaves))))
    return {name: _count(net, leaves, still) for name, net in named_nets(numbered).items()}


def unmoved(fn: Callable[..., Any], args: tuple[Any, ...], *, moved: int) -> list[bool]:
    """Of each leaf of the argument at `moved`, whether fn(*args) returns it in its own place."""
    closed = jax.make_jaxpr(fn)(*args)
    first = len(jax.tree.leaves(args[:moved]))
    count = len(jax.tree.leaves(args[moved]))
    outs = _follow(closed.jaxpr, _constants(closed.consts), range(len(closed.jaxpr.invars)))
    return [out == first + i for i, out in enumerate(outs[:count])]


def _count(net: Net, leaves: Sequence[Any], still: Sequence[bool]) -> Parameters:
    places = jax.tree.leaves(net.params)
    total = sum(leaves[i].size for i in places)
    return Parameters(total, sum(leaves[i].size for i in places if not still[i]))


def _constants(consts: Sequence[Any]) -> list[Value]:
    return [ZERO if _is_zero(const) else None for const in consts]


def _is_zero(x: Any) -> bool:
    kind = getattr(x, 'dtype', None)
    if kind is not None and jnp.issubdtype(kind, jax.dtypes.extended):  # a key is no number
        return False
    return isinstance(x, bool | int | float | np.ndarray | np.generic | jax.Array) and not np.any(x)


def _follow(jaxpr: Jaxpr, consts: Sequence[Value], inputs: Sequence[Value]) -> list[Value]:
    """What is known of the outputs, given what is known of the constants and the inputs."""
    known: dict[Any, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= dict(zip(jaxpr.invars, inputs, strict=True))

    def look(atom: Any) -> Value:
        if isinstance(atom, Literal):
            return ZERO if _is_zero(atom.val) else None
        return known.get(atom)

    for eqn in jaxpr.eqns:
        outs = _equation(eqn, [look(atom) for atom in eqn.invars])
        known |= dict(zip(eqn.outvars, outs, strict=True))
    return [look(atom) for atom in jaxpr.outvars]


def _equation(eqn: Any, ins: list[Value]) -> list[Value]:
    """What is known of an equation's outputs."""
    name, params = eqn.primitive.name, eqn.params
    unknown: list[Value] = [None] * len(eqn.outvars)
    match name:
        case 'optimization_barrier':
            return ins
        case 'scan':
            return _scanned(eqn, ins)
        case 'cond':
            each = [_inner(branch, ins[1:]) for branch in params['branches']]
            return [outs[0] if len(set(outs)) == 1 else None for outs in zip(*each, strict=True)]
        case 'while':
            return unknown
    for inner in (params[key] for key in CALLS if key in params):
        if isinstance(inner, ClosedJaxpr | Jaxpr) and len(_open(inner).invars) == len(ins):
            return _inner(inner, ins)
        return unknown
    if len(eqn.outvars) == 1:
        return [_arithmetic(eqn, name, ins)]
    return unknown


def _arithmetic(eqn: Any, name: str, ins: list[Value]) -> Value:
    same_kind = all(
        getattr(atom.aval, 'shape', None) == eqn.outvars[0].aval.shape
        and getattr(atom.aval, 'dtype', None) == eqn.outvars[0].aval.dtype
        for atom in eqn.invars[:1]
    )
    match name:
        case _ if name in SAME:
            return ins[0]
        case _ if name in LINEAR:
            alike = same_kind and name in ('broadcast_in_dim', 'reshape', 'convert_element_type')
            return ins[0] if alike or ins[0] == ZERO else None
        case 'mul' | 'dot_general':  # of finite numbers, as those of a run are
            return ZERO if ZERO in ins else None
        case 'div':
            return ZERO if ins[0] == ZERO else None
        case 'add' | 'add_any':
            if ins[0] == ZERO:
                return _shaped(eqn, 1, ins)
            return _shaped(eqn, 0, ins) if ins[1] == ZERO else None
        case 'sub':
            return _shaped(eqn, 0, ins) if ins[1] == ZERO else None
        case 'select_n':
            return ins[1] if len(set(ins[1:])) == 1 else None
    return None


def _shaped(eqn: Any, at: int, ins: list[Value]) -> Value:
    """An operand that is the result, unless it was made larger to fit the other."""
    return ins[at] if eqn.invars[at].aval.shape == eqn.outvars[0].aval.shape else None


def _scanned(eqn: Any, ins: list[Value]) -> list[Value]:
    """A carry is what it was only if each pass hands it on."""
    fixed, carried = _fixed_and_carried(eqn.params)
    consts, carry = ins[:fixed], ins[fixed : fixed + carried]
    # A row of zeros is zeros; a row of an input is not that input.
    rows = [ZERO if x == ZERO else None for x in ins[fixed + carried :]]
    while True:
        outs = _inner(eqn.params['jaxpr'], [*consts, *carry, *rows])
        after = [old if old == new else None for old, new in zip(carry, outs, strict=False)]
        if after == carry:
            stacked = [ZERO if x == ZERO else None for x in outs[carried:]]
            return [*carry, *stacked]
        carry = after


def _fixed_and_carried(params: Any) -> tuple[int, int]:
    """How many operands of a scan are the same in each pass, and how many are handed on."""
    if 'ft_in' in params:  # jax 0.12
        fixed, carried, _ = params['ft_in'].unpack()
        return len(fixed), len(carried)
    return params['num_consts'], params['num_carry']


def _inner(inner: Any, ins: Sequence[Value]) -> list[Value]:
    consts = _constants(inner.consts) if isinstance(inner, ClosedJaxpr) else []
    return _follow(_open(inner), consts, ins)


def _open(inner: Any) -> Jaxpr:
    return inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
