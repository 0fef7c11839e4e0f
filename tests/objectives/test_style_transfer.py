"""Style transfer: its losses by hand, its gradient by differences, and an image that is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.models.vgg import VGGFeatures, VGGLayers
from jaxdl.nn.layers import average_pool
from jaxdl.objectives.style_transfer import (
    content_loss,
    from_noise,
    gram,
    show_images,
    style_loss,
    style_transfer,
    total_variation,
)

KEY = jax.random.key(2)
RNG = np.random.default_rng(0)
CONTENT, STYLE = (RNG.normal(size=(2, n, n, 3)).astype(np.float32) for n in (12, 8))
BATCH = {
    'content': jnp.asarray(CONTENT),
    'style': jnp.asarray(STYLE),
    'mask': jnp.ones(2, bool),
}
JUDGE = VGGLayers((1, 2), (4, 5), layers=('conv1_1', 'conv2_1', 'conv2_2'), pool=average_pool)


def grams(maps):
    flat = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
    return sum(np.outer(place, place) for place in flat)


def test_losses_are_the_papers():
    f, p = (RNG.normal(size=(2, 3, 4, 5)).astype(np.float32) for _ in range(2))
    for i in range(2):
        assert gram(f)[i] == pytest.approx(grams(f[i]), rel=1e-4, abs=1e-4)
        want = ((f[i] - p[i]) ** 2).sum() / 2
        assert content_loss(f, p)[i] == pytest.approx(want, rel=1e-5)
        want = ((grams(f[i]) - grams(p[i])) ** 2).sum() / (4 * 5**2 * 12**2)
        assert style_loss(f, p)[i] == pytest.approx(want, rel=1e-4)
    twice = np.concatenate((p, p), 1)  # as much style on twice as many places
    assert style_loss(p, twice) == pytest.approx(0, abs=1e-6)
    ramp = np.broadcast_to(np.arange(4.0)[None, :, None, None], (1, 4, 3, 2))
    assert total_variation(jnp.asarray(ramp))[0] == 3 * 3 * 2
    assert total_variation(jnp.asarray(ramp.swapaxes(1, 2)))[0] == 3 * 3 * 2


def test_the_image_alone_moves_against_the_whole_loss():
    weights = {'content_weight': 0.5, 'style_weight': 20.0, 'smoothness': 0.1}
    layers = {'content': ('conv2_2',), 'style': ('conv1_1', 'conv2_1')}
    task = style_transfer(JUDGE, optax.sgd(1e-3), **layers, **weights, start=from_noise)
    state = task.init(KEY, BATCH)
    image, judge = state['image'].net.params['pixels'], state['judge'].net

    @jax.jit
    def loss(x):
        seen, kept, wanted = (judge(z)[0] for z in (x, CONTENT, STYLE))
        value = 0.5 * ((seen['conv2_2'] - kept['conv2_2']) ** 2).sum() / 2
        for name in layers['style']:
            a, b = (jnp.einsum('bhwi,bhwj->bij', z, z) for z in (seen[name], wanted[name]))
            n = seen[name].shape[-1]
            m, k = (z.shape[1] * z.shape[2] for z in (seen[name], wanted[name]))
            value += 20 * ((a / m - b / k) ** 2).sum() / (4 * n**2) / 2
        steps = ((x[:, 1:] - x[:, :-1]) ** 2).sum() + ((x[:, :, 1:] - x[:, :, :-1]) ** 2).sum()
        return value + 0.1 * steps

    after, metrics = jax.jit(task.step)(KEY, state, BATCH)
    assert metrics['loss'].value() == pytest.approx(float(loss(image)), rel=1e-5)
    moved = (image - after['image'].net.params['pixels']) / 1e-3
    assert np.asarray(moved) == pytest.approx(np.asarray(jax.grad(loss)(image)), rel=2e-2, abs=2e-2)
    same = jax.tree.map(np.array_equal, judge.params, after['judge'].net.params)
    assert jax.tree.all(same)


@pytest.mark.slow
def test_training_gives_the_style_and_keeps_some_content():
    task = style_transfer(
        *(JUDGE, optax.adam(0.05)), content=('conv2_2',), style=('conv1_1',), style_weight=100.0
    )
    state, step = task.init(KEY, BATCH), jax.jit(task.step)
    np.testing.assert_array_equal(state['image'].net.params['pixels'], CONTENT)
    first = task.measure(KEY, state, BATCH)
    for i in range(60):
        state, _ = step(jax.random.fold_in(KEY, i), state, BATCH)
    last = task.measure(KEY, state, BATCH)
    assert first['content'].value() == 0 and last['content'].value() > 0
    assert last['style'].value() < 0.1 * first['style'].value()
    assert last['loss'].value() < 0.5 * first['loss'].value()
    shown = show_images(task.nets(state), BATCH, KEY)['images']
    assert shown.pixels.shape == (4, 12, 12, 3) and shown.columns == 2


def test_layers_are_those_of_vgg_and_a_wrong_name_is_told():
    whole = VGGFeatures((1, 2), (4, 5))
    variables = whole.init(KEY, CONTENT)
    tap = JUDGE.clone(pool=VGGLayers.pool)
    found = tap.apply(variables, CONTENT)
    assert list(found) == ['conv1_1', 'conv2_1', 'conv2_2']
    np.testing.assert_allclose(found['conv2_2'], whole.apply(variables, CONTENT), rtol=1e-5)
    # Nothing above the last layer that is asked for is computed.
    assert tap.clone(layers=('conv1_1',)).init(KEY, CONTENT)['params'].keys() == {'block1_conv1'}
    with pytest.raises(UsageError, match="no layer 'conv2_3'; did you mean 'conv2_2'"):
        tap.clone(layers=('conv2_3',)).init(KEY, CONTENT)
    with pytest.raises(UsageError, match='no layers of content and none of style'):
        style_transfer(JUDGE, optax.sgd(1.0), content=(), style=())
