"""Our networks against the goldens."""

from functools import partial
from typing import Any

import golden
import jax
import jax.numpy as jnp
import numpy as np
from golden import Case

from jaxdl import interop

# What a detector draws its examples from; where it takes all of them nothing depends on it.
STREAMS = {'sampling': jax.random.key(0)}


def check(case: Case) -> None:
    """Assert that names, shapes, outputs, gradients and running statistics are theirs."""
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
    ys = jax.jit(partial(module.apply, rngs=STREAMS))(variables, *xs)
    outputs = [np.asarray(y) for y in jax.tree.leaves(ys)]
    assert [y.shape for y in outputs] == want['output shapes']
    for i, y in enumerate(outputs):
        found = golden.error(golden.kept(y), want[f'output {i}'])
        assert found <= case.tolerance, f'output {i} differs by {found:.1e}'
    if case.train:
        _check_training(case, module, variables, xs, want)


def _check_training(case: Case, module: Any, variables: Any, xs: Any, want: Any) -> None:
    params, memory = variables['params'], {k: v for k, v in variables.items() if k != 'params'}

    # Everything is an argument: XLA would compute a network of constants while it compiles.
    def loss(params: Any, memory: Any, xs: Any) -> Any:
        ys = jax.tree.leaves(module.apply({'params': params, **memory}, *xs, rngs=STREAMS))
        return sum((y * golden.cotangent(i, y.shape)).sum() for i, y in enumerate(ys))

    def as_theirs(params: Any, memory: Any) -> dict[str, Any]:
        return interop.to_state_dict(
            case.arch, case.layout, {'params': params, **memory}, **case.config
        )

    gradients = as_theirs(jax.jit(jax.grad(loss))(params, memory, xs), memory)
    names = [name for name in want['shapes'] if not name.endswith(('_mean', '_var'))]
    close(case, gradients, sorted(names), want['gradients'])
    if 'statistics' not in want:
        assert not memory
        return

    @jax.jit
    def train(variables: Any, xs: Any) -> Any:
        rngs = {'dropout': jax.random.key(0), **STREAMS}
        return module.apply(variables, *xs, train=True, mutable=['batch_stats'], rngs=rngs)[1]

    statistics = as_theirs(params, train(variables, xs))
    names = [name for name in want['shapes'] if name.endswith(('_mean', '_var'))]
    close(case, statistics, sorted(names), want['statistics'])


def close(case: Case, arrays: dict[str, Any], names: list[str], want: np.ndarray) -> None:
    """Compare projections of each array: relative to its norm."""
    assert len(names) == len(want)
    for name, theirs in zip(names, want, strict=True):
        ours = golden.projection(name, arrays[name])
        found = np.abs(ours - theirs).max() / max(theirs[0], 1e-12)
        assert found <= 5 * case.tolerance, f'{name} differs by {found:.1e}'
