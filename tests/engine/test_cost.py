"""Costs against hand counts, and the table of layers."""

import io

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from rich.console import Console

from jaxdl.engine import cost
from jaxdl.models.gpt import GPT
from jaxdl.models.lenet import LeNet, LeNet5
from jaxdl.models.mlp import MLP
from jaxdl.nn.layers import Conv

NHWC = ('NHWC', 'HWIO', 'NHWC')


def shape(*dims, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype)


def conv(x, kernel, stride=1, padding='VALID', **options):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=NHWC, **options
    )


def square(x):
    return x @ x


A = shape(4, 4)
ONE = 2 * 4**3  # a product of two 4x4 matrices


@pytest.mark.parametrize(
    ('fn', 'args', 'expected'),
    [
        (jnp.matmul, (shape(3, 5), shape(5, 7)), 2 * 3 * 5 * 7),
        (jnp.matmul, (shape(2, 3, 5), shape(2, 5, 7)), 2 * 2 * 3 * 5 * 7),
        (lambda x, w: jnp.einsum('bhqd,bhkd->bhqk', x, w), (shape(2, 3, 4, 5), shape(2, 3, 6, 5)),
         2 * 2 * 3 * 4 * 6 * 5),
        (jnp.dot, (shape(9), shape(9)), 18),
        (lambda x: x + jnp.sin(x), (A,), 0),
        (jax.jit(square), (A,), ONE),
        (jax.checkpoint(square), (A,), ONE),
        (lambda x: jax.lax.scan(lambda c, _: (square(c), None), x, None, length=5)[0],
         (A,), 5 * ONE),
        (lambda x: jax.lax.fori_loop(0, 7, lambda _, c: square(c), x), (A,), 7 * ONE),
        (lambda x: jax.lax.cond(x.sum() > 0, lambda x: square(square(x)), square, x),
         (A,), 2 * ONE),
        (lambda x: jax.lax.switch(1, [jnp.sin, square, jnp.cos], x), (A,), ONE),
        (lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, square, x), (A,), ONE),
        (jax.vmap(square), (shape(6, 4, 4),), 6 * ONE),
        (jax.grad(lambda x, w: (x @ w).sum()), (A, A), 2 * ONE),
        # Strides and padding count as in the literature: all taps of each output position.
        (conv, (shape(2, 8, 8, 3), shape(3, 3, 3, 5)), 2 * 2 * 6 * 6 * 5 * 27),
        (lambda x, k: conv(x, k, 2, 'SAME'), (shape(2, 8, 8, 3), shape(3, 3, 3, 5)),
         2 * 2 * 4 * 4 * 5 * 27),
        (lambda x, k: conv(x, k, 1, [(1, 1), (0, 1)]), (shape(1, 8, 8, 3), shape(3, 3, 3, 5)),
         2 * 8 * 7 * 5 * 27),
        (lambda x, k: conv(x, k, feature_group_count=3), (shape(1, 8, 8, 6), shape(3, 3, 2, 9)),
         2 * 6 * 6 * 9 * 18),
        (lambda x, k: conv(x, k, rhs_dilation=(2, 2)), (shape(1, 9, 9, 1), shape(3, 3, 1, 1)),
         2 * 5 * 5 * 9),
        # A transposed convolution costs what the convolution it transposes costs.
        (lambda x, k: conv(x, k, 1, [(2, 2)] * 2, lhs_dilation=(2, 2)),
         (shape(1, 5, 5, 3), shape(3, 3, 3, 4)), 2 * 5 * 5 * 9 * 3 * 4),
    ],
)  # fmt: skip
def test_known_counts(fn, args, expected):
    assert cost.flops(fn, *args) == expected


@jax.custom_vjp
def doubled(x):
    return square(x)


doubled.defvjp(lambda x: (square(x), x), lambda x, g: (g @ x @ x @ x,))


@jax.custom_jvp
def tripled(x):
    return square(x)


@tripled.defjvp
def _(primals, tangents):
    (x,), (t,) = primals, tangents
    return square(x), t @ x @ x


@pytest.mark.parametrize(('fn', 'backward'), [(doubled, 3), (tripled, 2)])
def test_custom_derivatives_count_their_own_rules(fn, backward):
    assert cost.flops(fn, A) == ONE
    assert cost.flops(jax.grad(lambda x: fn(x).sum()), A) == (1 + backward) * ONE


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('padding', ['VALID', 'SAME'])
@pytest.mark.parametrize('groups', [1, 2])
def test_a_backward_pass_costs_two_forward_passes(stride, padding, groups):
    """The gradients' own convolutions are dilated and padded with zeros that are not work."""
    args = shape(4, 12, 12, 4), shape(3, 3, 4 // groups, 6)

    def loss(x, k):
        return conv(x, k, stride, padding, feature_group_count=groups).sum()

    forward = cost.flops(loss, *args)
    assert cost.flops(jax.grad(loss, argnums=(0, 1)), *args) == 3 * forward
    assert cost.cost(jax.grad(loss, argnums=(0, 1)), *args).convolutions == 3 * forward


def test_a_convolution_that_saves_multiplications_counts_as_the_direct_one():
    module = Conv(64, (3, 3))
    x = jnp.zeros((32, 16, 16, 32))
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    forward = jax.jit(lambda variables, x: module.apply(variables, x).sum())
    forward.eval_shape(variables, x)  # traced before, as it runs
    direct = 2 * 32 * 16 * 16 * 9 * 32 * 64
    assert cost.flops(forward, variables, x) == direct
    assert cost.flops(jax.grad(forward, (0, 1)), variables, x) == 3 * direct


def test_an_unbounded_loop_is_flagged():
    loop = cost.cost(lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, square, x), A)
    assert loop.loops == 1
    assert cost.cost(square, A).loops == 0


def test_elementwise_operations_are_counted_apart():
    def fn(x):
        return (jnp.tanh(x @ x) + x).sum()

    total = cost.cost(fn, A)
    assert (total.products, total.elementwise) == (ONE, 16 + 16 + 16)
    assert cost.flops(fn, A, elementwise=True) == ONE + 48
    assert cost.flops(lambda i: i * i + 1, shape(4, dtype=jnp.int32), elementwise=True) == 0


def test_every_device_of_a_shard_map_counts():
    mesh = jax.make_mesh((4,), ('data',), axis_types=(AxisType.Auto,))
    rows = P('data')
    fn = jax.shard_map(jnp.matmul, mesh=mesh, in_specs=(rows, P()), out_specs=rows)
    assert cost.flops(fn, shape(8, 4), A) == cost.flops(jnp.matmul, shape(8, 4), A) == 2 * ONE
    assert cost.flops(jax.pmap(square), shape(4, 4, 4)) == 4 * ONE


def test_convolutions_are_found_wherever_they_are():
    x, k = shape(1, 8, 8, 1), shape(3, 3, 1, 1)
    assert cost.cost(jax.jit(jax.grad(lambda k, x: conv(x, k).sum())), k, x).convolutions
    assert not cost.cost(square, A).convolutions


def test_counting_computes_nothing():
    huge = shape(10**6, 10**6)
    assert cost.flops(square, huge) == 2 * 10**18
    key = jax.eval_shape(lambda: jax.random.key(0))
    assert cost.flops(lambda key: square(jax.random.normal(key, (4, 4))), key) == ONE


def test_sizes_of_trees():
    tree = {'a': shape(2, 3), 'b': (shape(4, dtype=jnp.bfloat16), jnp.ones((), jnp.int8))}
    assert cost.parameters(tree) == 11
    assert cost.nbytes(tree) == 24 + 8 + 1
    assert cost.nbytes(jax.random.key(0)) == 8


def test_lenet_by_hand():
    macs = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 25 * 6 + 400 * 120 + 120 * 84 + 84 * 10
    assert cost.layers(LeNet(), shape(1, 28, 28, 1))[0].flops == 2 * macs
    assert cost.layers(LeNet(), shape(5, 28, 28, 1))[0].flops == 5 * 2 * macs


class Tied(nn.Module):
    """Sharing, a method that is no call, memory and dropout: what makes layer tables wrong."""

    def setup(self):
        self.embed = nn.Embed(11, 6)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm()

    def __call__(self, x, *, train=False):
        h = self.norm(self.embed(x), use_running_average=not train)
        h = self.drop(h, deterministic=not train)
        return self.embed.attend(h)


class Recurrent(nn.Module):
    """A layer that a lifted scan calls three times."""

    @nn.compact
    def __call__(self, x):
        def body(cell, carry, _):
            return cell(carry), None

        options = {'variable_broadcast': 'params', 'split_rngs': {'params': False}, 'length': 3}
        return nn.scan(body, **options)(nn.remat(nn.Dense)(4, name='cell'), x, None)[0]


@pytest.mark.parametrize('scan', [False, True])
def test_what_is_computed_again_is_counted_apart(scan):
    x = shape(2, 5, dtype=jnp.int32)

    def found(remat):
        gpt = GPT(7, 5, width=8, depth=2, heads=2, scan=scan, remat=remat)
        params = jax.eval_shape(gpt.init, jax.random.key(0), x)
        return cost.cost(jax.grad(lambda p, x: gpt.apply(p, x).sum()), params, x)

    kept, again = found(False), found(True)
    assert kept.again == 0 and again.products == kept.products
    # The blocks' products forwards, of which there are as many again in each of two gradients, but
    # for the last one of each block: nothing that follows needs what it gives.
    width, tokens = 8, 10
    block = 2 * tokens * width**2 * (4 + 4) + 2 * 2 * tokens * 5 * width
    assert again.again == 2 * block


def test_layers_of_a_perceptron():
    rows = cost.layers(MLP((7, 3)), shape(2, 5))
    assert [(row.path, row.kind, row.parameters, row.flops) for row in rows] == [
        ((), 'MLP', 42 + 24, 2 * 2 * (35 + 21)),
        (('Dense_0',), 'Dense', 42, 2 * 2 * 35),
        (('Dense_1',), 'Dense', 24, 2 * 2 * 21),
    ]
    assert rows[1].output.shape == (2, 7)


def test_layers_of_a_model_with_sharing_and_memory():
    rows = {row.path: row for row in cost.layers(Tied(), shape(2, 4, dtype=jnp.int32))}
    assert rows[()].parameters == 66 + 12 and rows[()].flops == 2 * 8 * 6 * 11
    assert rows[('embed',)].parameters == 66
    assert rows[('embed',)].flops == rows[()].flops  # its second use, as the output matrix
    assert rows[('norm',)].parameters == 12 and rows[('norm',)].output.shape == (2, 4, 6)


def test_layers_of_a_recurrent_model():
    rows = {row.path: row for row in cost.layers(Recurrent(), shape(2, 4))}
    assert rows[()].flops == rows[('cell',)].flops == 3 * 2 * 2 * 16
    assert rows[('cell',)].parameters == 20


def test_layers_add_up():
    class Pair(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = jax.vmap(lambda row: row * 2)(x)
            for name in ('left', 'right'):
                x = nn.jit(nn.Dense)(4, name=name)(x)
            return x @ jnp.ones((4, 2))

    rows = {row.path: row for row in cost.layers(Pair(), shape(3, 4))}
    assert rows[('left',)].flops == rows[('right',)].flops == 2 * 3 * 16
    assert rows[()].flops == 2 * (2 * 3 * 16) + 2 * 3 * 8  # its own product too


def test_summary_shows_layers_and_totals():
    console = Console(width=120, file=io.StringIO())
    console.print(cost.summary(LeNet5(), shape(1, 28, 28, 1)))
    text = console.file.getvalue()
    for word in ('LeNet5 on 1x28x28x1', 'C3', 'TableConv', '1,516', '60,000', '1x10x10x16'):
        assert word in text, word
    assert text.index('C1') < text.index('S2') < text.index('F6') < text.index('total')


@pytest.mark.parametrize(
    ('n', 'text'),
    [(0, '0 '), (7, '7 '), (999, '999 '), (1000, '1.00 k'), (12_345, '12.3 k'), (123_456, '123 k'),
     (1.5e9, '1.50 G'), (2e22, '20000 E')],
)  # fmt: skip
def test_quantities(n, text):
    assert cost.quantity(n) == text


def test_a_training_step_of_a_network():
    """The step of a network is three times its forward pass, less the input's gradient."""
    module, x = LeNet(), shape(2, 28, 28, 1)
    params = jax.eval_shape(module.init, jax.random.key(0), x)
    forward = cost.flops(lambda p, x: module.apply(p, x), params, x)
    step = cost.flops(jax.grad(lambda p, x: module.apply(p, x).sum()), params, x)
    assert step == 3 * forward - 2 * 2 * 28 * 28 * 6 * 25
    np.testing.assert_equal(cost.nbytes(params), 4 * 61_706)


def test_what_is_scattered_is_counted_apart():
    def sums(x, at):
        return jax.ops.segment_sum(x, at, 3)

    found = cost.cost(sums, shape(10, 4), shape(10, dtype=jnp.int32))
    assert (found.scattered, found.products) == (40, 0)
