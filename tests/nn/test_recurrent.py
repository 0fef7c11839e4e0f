"""Recurrent layers against a loop written out, gradients included, and their laws."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn.recurrent import GRU, LSTM, Bidirectional, GRUBefore, SimpleRNN, Stacked, forget_ones

B, T, D, N = 3, 5, 4, 6
X = jax.random.normal(jax.random.key(0), (B, T, D))
LENGTHS = np.array([5, 2, 3])
LAYERS = [
    SimpleRNN(N),
    LSTM(N),
    LSTM(N, recurrent_bias=True),
    GRU(N),
    GRUBefore(N),
    GRU(N, reverse=True),
    Bidirectional(partial(LSTM, N)),
    Stacked([LSTM(N), GRU(N)]),
]
SINGLE = LAYERS[:6]


def name(layer):
    return type(layer).__name__ + ('-biased' if getattr(layer, 'recurrent_bias', 0) else '')


def drawn(layer):
    """Variables of which none is zero: initial biases would hide what is wrong with them."""
    like = jax.eval_shape(layer.init, jax.random.key(0), X)
    leaves, tree = jax.tree.flatten(like)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    draws = [0.5 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, draws)


def written_out(layer, variables, x, lengths):
    """The same row by row and step by step, from the papers' equations."""
    p = variables['params']
    w, u, b = p['kernel'], p['recurrent_kernel'], p['bias']
    c = p.get('recurrent_bias', jnp.zeros(u.shape[1]))
    s, tanh = jax.nn.sigmoid, jnp.tanh
    outputs, finals = [], []
    for row in range(B):
        h, cell = jnp.zeros(N), jnp.zeros(N)
        ys = [jnp.zeros(N)] * T
        steps = range(lengths[row])
        for t in reversed(steps) if layer.reverse else steps:
            a = x[row, t] @ w + b
            match layer:
                case SimpleRNN():
                    h = tanh(a + h @ u + c)
                case LSTM():
                    i, f, g, o = jnp.split(a + h @ u + c, 4)
                    cell = s(f) * cell + s(i) * tanh(g)
                    h = s(o) * tanh(cell)
                case GRU():
                    r, z = (s(a[k : k + N] + (h @ u + c)[k : k + N]) for k in (0, N))
                    n = tanh(a[2 * N :] + r * (h @ u + c)[2 * N :])
                    h = (1 - z) * n + z * h
                case GRUBefore():
                    r, z = (s(a[k : k + N] + (h @ u)[k : k + N]) for k in (0, N))
                    n = tanh(a[2 * N :] + (r * h) @ u[:, 2 * N :])
                    h = (1 - z) * n + z * h
            ys[t] = h
        outputs.append(jnp.stack(ys))
        finals.append(h)
    return jnp.stack(outputs), jnp.stack(finals)


@pytest.mark.parametrize('layer', SINGLE, ids=name)
def test_outputs_and_gradients_are_those_of_a_loop(layer):
    variables = drawn(layer)

    def of_ours(variables, x):
        ys, final = layer.apply(variables, x, lengths=jnp.array(LENGTHS))
        return jnp.sin(ys).sum() + jnp.cos(2 * final[0]).sum(), ys

    def of_loop(variables, x):
        ys, h = written_out(layer, variables, x, LENGTHS)
        return jnp.sin(ys).sum() + jnp.cos(2 * h).sum(), ys

    ours, theirs = (
        jax.jit(jax.value_and_grad(fn, argnums=(0, 1), has_aux=True))(variables, X)
        for fn in (of_ours, of_loop)
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-6), ours, theirs)


@pytest.mark.parametrize('layer', LAYERS, ids=name)
def test_padding_changes_nothing_and_outputs_beyond_a_row_are_zero(layer):
    variables = drawn(layer)
    run = jax.jit(lambda x: layer.apply(variables, x, lengths=jnp.array(LENGTHS)))
    beyond = jnp.arange(T)[None, :, None] >= LENGTHS[:, None, None]
    ys, final = run(X)
    other = run(jnp.where(beyond, 1e3, X))
    jax.tree.map(np.testing.assert_array_equal, (ys, final), other)
    assert not np.asarray(jnp.where(beyond, ys, 0)).any()


@pytest.mark.parametrize('layer', [*SINGLE[:5], Stacked([LSTM(N), GRU(N)])], ids=name)
def test_a_sequence_may_be_cut_and_gone_on_with(layer):
    variables = drawn(layer)
    run = jax.jit(lambda x, s: layer.apply(variables, x, initial=s))
    whole, end = layer.apply(variables, X)
    first, state = layer.apply(variables, X[:, :2])
    rest, last = run(X[:, 2:], state)
    np.testing.assert_allclose(jnp.concatenate([first, rest], 1), whole, rtol=1e-5, atol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), last, end)


def test_the_backward_half_is_a_layer_on_the_reversed_row():
    both = Bidirectional(partial(GRU, N))
    variables = drawn(both)
    ys, _ = both.apply(variables, X)
    alone, _ = GRU(N).apply({'params': variables['params']['backward']}, X[:, ::-1])
    np.testing.assert_allclose(ys[..., N:], alone[:, ::-1], rtol=1e-6, atol=1e-6)


def test_a_layer_sees_only_what_came_before():
    layer = Stacked([LSTM(N), GRU(N)])
    variables = drawn(layer)
    seen = jax.jacrev(lambda x: layer.apply(variables, x)[0][0, 2].sum())(X)
    assert not np.asarray(seen[:, 3:]).any() and np.asarray(seen[0, :3]).all()


@pytest.mark.parametrize(
    ('layer', 'count'),
    [
        (SimpleRNN(N), D * N + N * N + N),
        (LSTM(N), 4 * (D * N + N * N + N)),
        (LSTM(N, recurrent_bias=True), 4 * (D * N + N * N + 2 * N)),
        (GRU(N), 3 * (D * N + N * N + 2 * N)),
        (GRUBefore(N), 3 * (D * N + N * N + N)),
        (Bidirectional(partial(LSTM, N)), 8 * (D * N + N * N + N)),
    ],
    ids=lambda x: name(x) if hasattr(x, 'init') else '',
)
def test_parameters_are_as_many_as_the_formula_says(layer, count):
    shapes = jax.eval_shape(layer.init, jax.random.key(0), X)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == count


def test_initial_values_are_those_of_each_gate_alone():
    params = LSTM(N, bias_init=forget_ones).init(jax.random.key(0), X)['params']
    for gate in jnp.split(params['recurrent_kernel'], 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(N), atol=1e-5)
    bound = np.sqrt(6 / (D + N))
    assert bound * 0.8 < np.abs(params['kernel']).max() <= bound
    np.testing.assert_array_equal(params['bias'], np.repeat([0, 1, 0, 0], N))


def test_dropout_is_between_layers_and_in_training_alone():
    layer = Stacked([SimpleRNN(N), SimpleRNN(N)], dropout=0.5)
    variables = drawn(layer)
    rngs = {'dropout': jax.random.key(3)}
    calm, _ = layer.apply(variables, X)
    trained, states = layer.apply(variables, X, train=True, rngs=rngs)
    first, _ = SimpleRNN(N).apply({'params': variables['params']['layers_0']}, X)
    np.testing.assert_allclose(states[0][0], first[:, -1], rtol=1e-6)
    assert np.abs(trained - calm).max() > 0.01
