"""Networks for videos: what each of them can see of the order of frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.video import FrameCNN, FrameMean, FrameRNN, OneFrame
from jaxdl.nn.recurrent import GRU

X = jax.random.uniform(jax.random.key(0), (2, 5, 8, 8, 1))
TRUNK = FrameCNN(features=(2, 3), width=6)
NETWORKS = {
    'rnn': FrameRNN(TRUNK, 3, GRU(4)),
    'mean': FrameMean(TRUNK, 3),
    'one': OneFrame(TRUNK, 3, index=1),
}


@pytest.fixture(scope='module', params=NETWORKS)
def network(request):
    module = NETWORKS[request.param]
    return request.param, module, module.init(jax.random.key(1), X)


def test_what_the_order_of_frames_is_to_it(network):
    name, module, variables = network
    logits = module.apply(variables, X)
    assert logits.shape == (2, 3)
    order = jnp.array([3, 1, 0, 4, 2])  # the frame 1 stays
    change = jnp.abs(module.apply(variables, X[:, order]) - logits).max()
    assert change > 1e-4 if name == 'rnn' else change < 1e-6


def test_which_frames_it_sees(network):
    name, module, variables = network
    gradient = jax.grad(lambda x: (module.apply(variables, x) ** 2).sum())(X)
    seen = np.asarray(jnp.abs(gradient).sum((0, 2, 3, 4)) > 0)
    assert seen.tolist() == ([False, True, False, False, False] if name == 'one' else [True] * 5)


def test_the_trunk_is_the_same_in_all():
    shapes = [
        jax.tree.map(jnp.shape, jax.eval_shape(m.init, jax.random.key(0), X)['params']['trunk'])
        for m in NETWORKS.values()
    ]
    assert shapes[0] == shapes[1] == shapes[2]


def test_frames_beyond_the_length_change_nothing():
    module = NETWORKS['rnn']
    variables = module.init(jax.random.key(1), X)
    lengths = jnp.array([5, 3])
    found = module.apply(variables, X.at[1, 3:].set(9.0), lengths)
    np.testing.assert_allclose(found[1], module.apply(variables, X[1:, :3])[0], atol=1e-6)
