"""Our networks against the goldens."""

import fnmatch
from functools import partial
from inspect import signature
from typing import Any

import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
from as_users import AS_USERS
from cases.decoding import Decoding
from golden import Case
from gradients import rounded

from jaxdl import interop
from jaxdl.decoding import beam, greedy
from jaxdl.net import takes_train

# What a detector draws its examples from; where it takes all of them nothing depends on it.
STREAMS = {'sampling': jax.random.key(0)}


def check(case: Case, *, training: bool = True) -> None:
    """Assert that names, shapes and outputs are theirs; in `training` also what a step changes."""
    want = golden.load(case)
    shapes = interop.tensors(case.arch, case.layout, **case.config)
    assert shapes == want['shapes']
    state_dict = golden.drawn(case, shapes)
    variables = interop.from_state_dict(case.arch, case.layout, state_dict, **case.config)
    back = interop.to_state_dict(case.arch, case.layout, variables, **case.config)
    assert back.keys() == state_dict.keys()
    for name, tensor in state_dict.items():
        np.testing.assert_array_equal(back[name], tensor, err_msg=name)
    module = interop.build(case.arch, case.layout, **case.config)
    xs = [jnp.asarray(x) for x in golden.inputs(case)]
    ys = jax.jit(partial(module.apply, rngs=STREAMS, **_call(case)))(variables, *xs)
    outputs = [np.asarray(y) for y in jax.tree.leaves(ys)]
    assert [y.shape for y in outputs] == want['output shapes']
    for i, y in enumerate(outputs):
        found = golden.error(golden.kept(y), want[f'output {i}'])
        assert found <= case.tolerance, f'output {i} differs by {found:.1e}'
    if case.train and training:
        for number, again in enumerate((False, True)[: 1 + bool(case.again)]):
            xs = [jnp.asarray(x) for x in golden.inputs(case, again=again)]
            _check_training(case, module, variables, xs, want, f'training {number}')


def check_decoding(it: Decoding) -> None:
    """Assert that our model goes on with the same tokens, row by row."""
    case = it.case
    drawn = golden.drawn(case, interop.tensors(case.arch, case.layout, **case.config))
    variables = interop.from_state_dict(case.arch, case.layout, drawn, **case.config)
    model = interop.build(case.arch, case.layout, **case.config).bind(variables)
    tokens, *lengths = [jnp.asarray(x) for x in golden.inputs(case)]
    room = tokens.shape[1] + it.length
    if lengths:
        state = model.empty(model.encode(tokens, *lengths), *lengths, steps=room)
        first = jnp.zeros(len(tokens), jnp.int32)  # its decoder begins with padding
    else:
        _, state = model.extend(tokens[:, :-1], model.empty(len(tokens), room))
        first = tokens[:, -1]

    def step(state: Any, token: Any) -> Any:
        logits, state = model.extend(token[:, None], state)
        return logits[:, 0], state

    options: dict[str, Any] = {'length': it.length, 'end': it.end}
    if it.width > 1:
        options |= {'width': it.width, 'penalty': lambda length: length**it.penalty}
    search = partial(beam if it.width > 1 else greedy, step, **options)
    found = jax.jit(search)(state, first)
    rows = [row[:n].tolist() for row, n in zip(found.tokens, found.lengths, strict=True)]
    assert rows == golden.decoded(it.name)


def _call(case: Case) -> dict[str, Any]:
    """How a network is called: a detector that is told the truth gives its losses."""
    if case.call:
        return {'method': case.call}
    return {'method': 'losses', 'train': False} if case.also else {}


def _check_training(case: Case, module: Any, variables: Any, xs: Any, want: Any, kind: str) -> None:
    """Gradients and running statistics of one step, compiled as users get it, without dropout."""
    params, memory = variables['params'], {k: v for k, v in variables.items() if k != 'params'}
    # Without norms training differs in dropout and auxiliary heads only, which not all sizes fit.
    options = _call(case)
    called = options.get('method')
    of_case = callable(called) and 'train' in signature(called).parameters
    if memory and (of_case if callable(called) else takes_train(module, called)):
        options['train'] = True

    # Everything is an argument: XLA would compute a network of constants while it compiles.
    def loss(params: Any, memory: Any, xs: Any) -> Any:
        ys, after = module.apply(
            {'params': params, **memory}, *xs, rngs=STREAMS, mutable=list(memory), **options
        )
        outputs = jax.tree.leaves(ys)[: want[f'{kind} outputs']]
        return sum((y * golden.cotangent(i, y.shape)).sum() for i, y in enumerate(outputs)), after

    def as_theirs(params: Any, memory: Any) -> dict[str, Any]:
        return interop.to_state_dict(
            case.arch, case.layout, {'params': params, **memory}, **case.config
        )

    def keep(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        return args[0] if isinstance(context.module, nn.Dropout) else call(*args, **kwargs)

    with nn.intercept_methods(keep):
        lowered = jax.jit(jax.grad(loss, has_aux=True)).lower(params, memory, xs)
    program = lowered.compile(AS_USERS)
    gradients, after = program(params, memory, xs)
    before = as_theirs(params, memory)
    moved = changed(before, as_theirs(params, after))  # constants among the buffers do not move
    if f'{kind} statistics' in want:
        differs = differing(case, as_theirs(params, after), moved, want[f'{kind} statistics'])
        assert not differs, differs
    else:
        assert not moved

    learned = changed(before, as_theirs(jax.tree.map(lambda x: x + 1, params), memory))

    def wrong(gradients: Any) -> str:
        return differing(case, as_theirs(gradients, memory), learned, want[f'{kind} gradients'])

    # Of a million ReLUs one lies within rounding of its kink and may have the other slope: then
    # the gradient is theirs at parameters that are the same to a few units in their last place.
    if differs := wrong(gradients):
        near = (rounded(params, draw) for draw in range(8))
        assert any(not wrong(program(each, memory, xs)[0]) for each in near), differs


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names of the tensors that differ, in order."""
    return [name for name in sorted(before) if not np.array_equal(before[name], after[name])]


def differing(case: Case, arrays: dict[str, Any], names: list[str], want: np.ndarray) -> str:
    """What is wrong with the projections of each array, or nothing.

    Their error is relative to the array's norm, or to 1e-4 of the largest norm: a bias before a
    norm has no gradient but rounding.
    """
    assert len(names) == len(want)
    most = want[:, 0].max()
    for name, theirs in zip(names, want, strict=True):
        ours = golden.projection(name, arrays[name])
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in case.zeros):
            assert theirs[0] < 1e-10 * most and ours[0] < case.tolerance * most, name
            continue
        found = np.abs(ours - theirs).max() / max(theirs[0], 1e-4 * most)
        if not found <= 5 * case.tolerance:
            return f'{name} differs by {found:.1e}'
    return ''
