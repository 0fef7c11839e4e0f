"""What is written of images, and what is written of nothing: learned by heart and said again."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.data.text import Characters
from jaxdl.metrics import finish
from jaxdl.models.captioning import Captioner, ConvMaps
from jaxdl.models.rnn import LanguageModel
from jaxdl.objectives.invention import invented, show_molecules
from jaxdl.objectives.language import language_model
from jaxdl.objectives.seq2seq import decoded, seq2seq, show_captions
from jaxdl.samples.drawing import draw, read_texts

KEY = jax.random.key(0)
LETTERS = Characters.learn('CO')


def learned(task, batch, steps):
    def trained(state):
        return jax.lax.scan(lambda s, i: task.step(jax.random.fold_in(KEY, i), s, batch), state,
                            jnp.arange(steps))  # fmt: skip

    return jax.jit(trained)(task.init(KEY, batch))[0]


@pytest.mark.slow
def test_images_are_described_as_they_were_learned():
    words = jnp.array([[2, 4, 5, 3, 0], [2, 5, 3, 0, 0], [2, 5, 4, 4, 3]])
    batch = {
        'source': jax.random.normal(KEY, (3, 4, 8, 1)),
        'target': words,
        'target_lengths': jnp.array([4, 3, 5]),
        'mask': jnp.ones(3, bool),
    }
    module = Captioner(6, partial(ConvMaps, (4,)), width=16, depth=1, heads=2, mlp=16)
    task = seq2seq(module, optax.adam(1e-2))
    nets = task.nets(learned(task, batch, 60))
    measure = decoded(length=4)
    found = finish(jax.jit(lambda nets, batch: measure(nets, batch, KEY))(nets, batch))
    assert found['sequence_accuracy'] == 1
    other = {**batch, 'source': jnp.roll(batch['source'], 1, axis=0)}
    wrong = finish(jax.jit(lambda nets, batch: measure(nets, batch, KEY))(nets, other))
    assert wrong['sequence_accuracy'] < 1
    show = partial(show_captions, decode=LETTERS.decode, length=4)
    shown = jax.device_get(jax.jit(lambda nets, batch: show(nets, batch, KEY))(nets, batch))
    assert shown['images'].pixels.shape == (3, 4, 8, 1)
    assert read_texts(shown['captions']) == ['CO  (right)', 'O  (right)', 'OCC  (right)']


@pytest.fixture(scope='module')
def chemist():
    """A language model that has learned to write CO, and OCC, which is CCO."""
    rows = jnp.array([[2, 4, 5, 3, 0], [2, 5, 4, 4, 3]])
    batch = {'tokens': rows, 'lengths': jnp.array([4, 5]), 'mask': jnp.ones(2, bool)}
    task = language_model(LanguageModel(6, (16,), 8), optax.adam(3e-2))
    return task.nets(learned(task, batch, 80))


def test_texts_of_its_own_are_counted(chemist):
    how = {'length': 6, 'decode': LETTERS.decode, 'canonical': lambda text: ''.join(sorted(text))}
    measure = jax.jit(invented(**how, known=['CO']))
    found = finish(measure(chemist, {'mask': jnp.arange(40) < 30}, KEY))
    assert found['valid'] == 1 and found['unique'] < 0.2 and 0.3 < found['novel'] < 1
    again = finish(measure(chemist, {'mask': jnp.arange(40) < 30}, KEY))
    assert again == found


def test_molecules_of_its_own_are_drawn(chemist):
    pytest.importorskip('rdkit')
    show = partial(show_molecules, decode=LETTERS.decode, length=6, count=7)
    shown = jax.device_get(jax.jit(lambda nets: show(nets, {}, KEY))(chemist))
    kind, content = draw(shown['molecules'])
    assert kind == 'png' and content[:4] == b'\x89PNG'
    written = {LETTERS.decode(row) for row in np.asarray(shown['molecules'].codes).tolist()}
    assert 'CO' in written and 'OCC' in written
