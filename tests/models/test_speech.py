"""Networks for speech: padding changes nothing, and frames side by side."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.speech import Recogniser, WordCNN, WordRNN, stacked_frames
from jaxdl.nn.recurrent import GRU, LSTM, Bidirectional

LENGTHS = jnp.array([11, 6])
X = jax.random.normal(jax.random.key(0), (2, 11, 5))
BOTH = partial(Bidirectional, partial(LSTM, 4))
NETWORKS = {
    'recogniser': Recogniser(3, (BOTH(), BOTH()), stack=2),
    'one_direction': Recogniser(3, (GRU(4),), stack=3),
    'word_rnn': WordRNN(3, (BOTH(),), stack=2),
    'word_cnn': WordCNN(3, (4, 5)),
}


def logits(module, variables, x, lengths):
    y = module.apply(variables, x, lengths)
    return getattr(y, 'logits', y)


def test_frames_side_by_side():
    x, lengths = stacked_frames(X, LENGTHS, 3)
    assert x.shape == (2, 4, 15) and lengths.tolist() == [4, 2]
    np.testing.assert_array_equal(x[0, 1].reshape(3, 5), X[0, 3:6])
    np.testing.assert_array_equal(x[0, 3].reshape(3, 5)[:2], X[0, 9:])
    assert not x[1, 2:].any() and not x[0, 3, 10:].any()


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('length', [6, 7])
def test_padding_changes_nothing(name, length):
    module = NETWORKS[name]
    lengths = jnp.array([11, length])
    variables = module.init(jax.random.key(1), X, lengths)
    padded = X.at[1, length:].set(jnp.nan)
    found = logits(module, variables, padded, lengths)[1]
    alone = logits(module, variables, X[1:, :length], lengths[1:])[0]
    if found.ndim > 1:  # [steps, classes]
        found = found[: len(alone)]
    np.testing.assert_allclose(found, alone, atol=1e-5)


def test_a_recogniser_has_a_step_for_each_pair_of_frames():
    module = NETWORKS['recogniser']
    found = module.apply(module.init(jax.random.key(1), X, LENGTHS), X, LENGTHS)
    assert found.logits.shape == (2, 6, 3) and found.lengths.tolist() == [6, 3]


def test_one_direction_never_sees_what_comes():
    module = NETWORKS['one_direction']
    variables = module.init(jax.random.key(1), X, LENGTHS)
    gradient = jax.grad(lambda x: module.apply(variables, x, LENGTHS).logits[0, 1].sum())(X)
    assert gradient[0, :6].any(-1).all() and not gradient[0, 6:].any()
