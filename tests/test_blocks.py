"""Blocks that are scanned are the same network: outputs, gradients, caches; how they are stored."""

from functools import cache, partial
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pace import mostly_slow

from jaxdl.blocks import in_turn, split_blocks, stack_blocks, stored_as
from jaxdl.checkpoint.reading import Saved
from jaxdl.cli import convert
from jaxdl.engine import cost
from jaxdl.errors import UsageError
from jaxdl.files import read_arrays
from jaxdl.interop import from_state_dict, to_state_dict
from jaxdl.models.bert import BERT, SequenceClassifier
from jaxdl.models.gpt import GPT
from jaxdl.models.transformer import Transformer, pre_norm
from jaxdl.models.vit import ViT
from jaxdl.net import Net, unboxed
from jaxdl.nn.regularise import StochasticDepth
from jaxdl.transfer import with_variables, with_weights

WORDS = 11
TOKENS = jax.random.randint(jax.random.key(0), (3, 7), 0, WORDS)
LENGTHS = jnp.array([7, 3, 5])
SIZE = {'width': 8, 'depth': 3, 'heads': 2, 'mlp': 16}
TEXT = {'vocabulary': WORDS, **SIZE}
close = partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)


def classifier(**options):
    return SequenceClassifier(3, BERT(**TEXT, context=8, **options))


NETWORKS = {
    'gpt': (partial(GPT, **TEXT, context=8), (TOKENS,), ['h']),
    'bert': (classifier, (TOKENS, LENGTHS), ['layer']),
    'transformer': (
        partial(Transformer, **TEXT, residual=pre_norm, norm_last=True),
        (TOKENS[:, :5], TOKENS, jnp.array([5, 3, 4])),
        ['encoder', 'decoder'],
    ),
    'vit': (
        partial(ViT, **SIZE, patch=4, classes=5),
        (jax.random.normal(jax.random.key(1), (2, 8, 8, 3)),),
        ['encoder_layer'],
    ),
}


def shapes(module, *inputs):
    return unboxed(jax.eval_shape(module.init, jax.random.key(0), *inputs))


def drawn(module, *inputs):
    """Variables of which none is as it begins, as NumPy."""
    rng = np.random.default_rng(0)
    like = shapes(module, *inputs)
    return jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), like)


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@cache
def of(name):
    make, inputs, names = NETWORKS[name]
    return make, inputs, names, drawn(make(), *inputs)


@pytest.fixture(params=mostly_slow(NETWORKS))
def network(request):
    return of(request.param)


def at(tree, i):
    return jax.tree.map(lambda x: np.asarray(x[i]), tree)


def test_scanned_it_is_the_same_function_and_has_the_same_gradient(network):
    make, inputs, _, variables = network
    like = shapes(make(scan=True), *inputs)
    stacked = stored_as(variables, like)
    assert jax.tree.map(jnp.shape, stacked) == jax.tree.map(jnp.shape, like)

    def loss(module, variables):
        y = module.apply(variables, *inputs)
        return jnp.sin(y).sum(), y

    def step(module, variables):
        (_, y), slopes = jax.jit(jax.value_and_grad(partial(loss, module), has_aux=True))(variables)
        return y, slopes

    y, slopes = step(make(), variables)
    for remat in (True,) if make is classifier else (False, True):
        found, gradient = step(make(scan=True, remat=remat), stacked)
        close(found, y)
        jax.tree.map(close, stored_as(gradient, variables), slopes)


def test_a_program_holds_the_body_once(network):
    make, inputs, _, _ = network
    counted = []

    def products(depth, scan):
        module = make(scan=scan)
        inner = getattr(module, 'bert', None)
        if inner is not None:
            module = module.clone(bert=inner.clone(depth=depth))
        else:
            module = module.clone(depth=depth)
        like = shapes(module, *inputs)
        counted.append((cost.flops(module.apply, like, *inputs), cost.parameters(like)))
        return str(jax.make_jaxpr(module.apply)(like, *inputs)).count('dot_general')

    assert products(6, True) == products(2, True)
    assert products(6, False) > 2 * products(2, False)
    assert counted[0] == counted[2] and counted[1] == counted[3]  # scanned or not


def test_how_it_is_stored_goes_both_ways(network):
    make, inputs, names, variables = network
    stacked = stack_blocks(variables, *names)
    equal(stacked, stored_as(variables, shapes(make(scan=True), *inputs)))
    equal(stored_as(stacked, variables), variables)
    equal(stored_as(variables, variables), variables)
    equal(split_blocks(stacked, *names), variables)
    # Of two seeds: each is stored as it is alone.
    two = jax.tree.map(lambda x: np.stack([x, 2 * x]), variables)
    both = stored_as(two, stacked, axis=1)
    equal(at(both, 0), stacked)
    equal(stored_as(both, variables, axis=1), two)


def test_blocks_begin_apart_and_drop_apart():
    module = GPT(**TEXT, context=8, dropout=0.5, scan=True)
    block = unboxed(module.init(jax.random.key(0), TOKENS))['params']['h']
    kernel = block['feed_forward']['fc1']['kernel']
    assert kernel.shape == (3, 8, 16) and np.unique(kernel).size == kernel.size
    # As wide as without: its variance is of one block's inputs, not of all blocks' at once.
    assert 0.015 < kernel.std() < 0.025

    class Halves(nn.Module):
        @nn.compact
        def __call__(self, x):
            block = nn.Dropout(0.5, name='h')
            ones = jnp.ones(64)
            call = lambda block, x, row: (x, block(ones, deterministic=False))  # noqa: E731
            return jnp.stack(in_turn(block, call, x, [None] * 3)[1])

    masks = Halves().apply({}, 0.0, rngs={'dropout': jax.random.key(0)})
    assert masks.shape == (3, 64) and len({tuple(row.tolist()) for row in masks}) == 3


@pytest.mark.slow
def test_memory_for_time_drops_the_same():
    variables = drawn(GPT(**TEXT, context=8), TOKENS)
    for scan in (False, True):
        module = partial(GPT, **TEXT, context=8, dropout=0.5, scan=scan)
        own = stored_as(variables, shapes(module(), TOKENS))
        rngs = {'dropout': jax.random.key(3)}
        saving, plain = (
            jax.jit(partial(module(remat=remat).apply, train=True))(own, TOKENS, rngs=rngs)
            for remat in (True, False)
        )
        close(saving, plain)


@pytest.mark.parametrize('name', mostly_slow(['gpt', 'transformer']))
def test_it_goes_on_with_the_same_state(name):
    make, inputs, _, variables = of(name)
    module = make(scan=True)
    stacked = stored_as(variables, shapes(module, *inputs))
    whole = make().apply(variables, *inputs)

    def begun(module, variables):
        if name == 'gpt':
            return module.apply(variables, 3, 8, method='empty')
        source, _, lengths = inputs
        memory = module.apply(variables, source, lengths, method='encode')
        return module.apply(variables, memory, lengths, steps=8, method='empty')

    state, theirs = begun(module, stacked), begun(make(), variables)
    assert jax.tree.structure(state) == jax.tree.structure(theirs)
    jax.tree.map(close, state, theirs)
    extend = jax.jit(partial(module.apply, stacked, method='extend'))
    got, state = extend(TOKENS[:, :4], state)
    close(got, whole[:, :4])
    got, state = extend(TOKENS[:, 4:], state)
    close(got, whole[:, 4:])


def test_weights_fit_however_they_are_stored():
    make, inputs, names, variables = of('gpt')
    stacked = stack_blocks(variables, *names)
    forms = {False: variables, True: stacked}
    for scan, other in ((True, variables), (False, stacked)):
        net = Net.init(make(scan=scan), jax.random.key(0), *inputs)
        state = {'net': jax.tree.map(lambda x: jnp.stack([x, x]), net)}
        # From a file, and from another run of two seeds.
        of_file = with_variables(state, other, 'w.npz')['net'].params
        saved = {'net': jax.tree.map(lambda x: np.stack([x, x + 1]), other)}
        of_run = with_weights(state, saved, 'runs/x')['net'].params
        for i in range(2):
            equal(at(of_file, i), forms[scan]['params'])
            equal(at(of_run, i), jax.tree.map(lambda x, i=i: x + i, forms[scan]['params']))


def test_published_weights_come_in_and_go_out(tmp_path, monkeypatch):
    config = {**TEXT, 'context': 8}
    make, inputs, names, variables = of('gpt')
    stacked = stack_blocks(variables, *names)
    theirs = to_state_dict('gpt2', 'hf', variables, **config)
    equal(to_state_dict('gpt2', 'hf', stacked, **config), theirs)
    again = stack_blocks(from_state_dict('gpt2', 'hf', theirs, **config), *names)
    np.testing.assert_array_equal(
        make(scan=True).apply(again, *inputs), make(scan=True).apply(stacked, *inputs)
    )
    # Of an arm that was trained so.
    net = {**jax.tree.map(lambda x: x[None], stacked), 'memory': {}}
    saved = Saved(3, 0, {'states': {'net': {'net': net, 'opt': {}}}})
    monkeypatch.setattr(convert, 'load_weights', lambda folder: saved)
    monkeypatch.setattr(convert, 'read_config', lambda folder: SimpleNamespace(seeds=[0]))
    (tmp_path / 'config.json').touch()
    words = [f'{name}={value}' for name, value in config.items()]
    out = tmp_path / 'out.npz'
    convert.convert(tmp_path, arch='gpt2', layout='hf', config=words, out=out)
    equal(read_arrays(out), theirs)


def test_what_is_not_equal_is_not_stacked():
    variables = {'params': {'h_0': {'kernel': np.ones(2)}, 'h_2': {'kernel': np.ones(2)}}}
    with pytest.raises(ValueError, match=r'params/h/kernel of the blocks \[0, 2\] cannot be stack'):
        stack_blocks(variables, 'h')
    variables['params']['h_1'] = {'kernel': np.ones(3)}
    with pytest.raises(ValueError, match=r'\[0, 1, 2\] cannot be stacked'):
        stack_blocks(variables, 'h')
    equal(stored_as(variables, {'params': {'h': {'kernel': 0}}}), variables)
    deep = ViT(**SIZE, patch=4, classes=5, scan=True, drop=lambda depth: StochasticDepth(depth))
    with pytest.raises(UsageError, match='scan: blocks of unlike stochastic depth'):
        shapes(deep, *NETWORKS['vit'][1])
