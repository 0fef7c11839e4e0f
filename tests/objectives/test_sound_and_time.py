"""Forecasting, recognition and synthesis: they learn a batch, and measure what they say."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.game import Player
from jaxdl.metrics import add, finish
from jaxdl.models.forecast import DLinear, Linear
from jaxdl.models.speech import Emissions, Recogniser, WordRNN
from jaxdl.models.tacotron import Tacotron
from jaxdl.nn.recurrent import GRU
from jaxdl.objectives.classification import classifier
from jaxdl.objectives.forecasting import forecaster, show_forecasts
from jaxdl.objectives.speech import show_transcripts, speech_recognition
from jaxdl.objectives.synthesis import intelligibility, show_speech, speak, synthesis

KEY = jax.random.key(0)


def compiled(task):
    return task._replace(measure=jax.jit(task.measure))


def learned(task, batch, steps):
    """The state after so many steps on one batch, and its numbers before and after."""
    state = jax.jit(task.init)(KEY, batch)

    @jax.jit
    def many(state):
        def one(state, i):
            return task.step(jax.random.fold_in(KEY, i), state, batch)[0], None

        return jax.lax.scan(one, state, jnp.arange(steps))[0]

    before = finish(task.measure(KEY, state, batch))
    state = many(state)
    return state, before, finish(task.measure(KEY, state, batch))


def test_forecaster():
    time = np.arange(60)
    wave = np.stack([np.sin(time / 3), np.cos(time / 5)], axis=-1).astype(np.float32)
    at = np.arange(16)[:, None] + np.arange(20)
    mask = np.arange(16) < 14
    batch = {'x': wave[at[:, :16]], 'y': wave[at[:, 16:]], 'mask': jnp.asarray(mask)}
    task = forecaster(DLinear(4), optax.adam(1e-2))
    state, before, after = learned(task, jax.tree.map(jnp.asarray, batch), 300)
    assert after['mse'] < 0.02 * before['mse']
    y, _ = task.nets(state)['net'](jnp.asarray(batch['x']))
    error = (np.asarray(y) - batch['y'])[mask]
    assert after['mse'] == pytest.approx((error**2).mean(), rel=1e-4)
    assert after['mae'] == pytest.approx(np.abs(error).mean(), rel=1e-4)
    sample = show_forecasts(task.nets(state), batch, KEY, feature=0, count=3)['forecasts']
    assert sample.past.shape == (3, 16) and sample.predicted.shape == (3, 4)
    np.testing.assert_array_equal(sample.truth[-1], batch['y'][15, :, 0])
    with pytest.raises(UsageError, match=r'Linear forecasts \[16, 5, 2\], and the future is'):
        forecaster(Linear(5), optax.sgd(1.0)).step(
            KEY, forecaster(Linear(5), optax.sgd(1.0)).init(KEY, batch), batch
        )


def spoken():
    """Rows whose frames show one of three labels each, for some frames and nothing between."""
    rng = np.random.default_rng(0)
    rows, steps = 6, 24
    x, lengths = np.zeros((rows, steps, 4), np.float32), np.zeros(rows, int)
    y, counts = np.zeros((rows, 3), int), np.zeros(rows, int)
    for i in range(rows):
        n = counts[i] = rng.integers(1, 4)
        y[i, :n] = rng.integers(1, 4, n)
        t = 0
        for label in y[i, :n]:
            long = rng.integers(3, 5)
            x[i, t : t + long, label] = 1
            t += long + 2
        lengths[i] = t
    batch = {'x': x + 0.05 * rng.normal(size=x.shape), 'lengths': lengths}
    batch |= {'y': y, 'y_lengths': counts, 'mask': np.arange(rows) < 5}
    return {k: jnp.asarray(v, jnp.float32 if k == 'x' else None) for k, v in batch.items()}


def test_speech_recognition():
    batch = spoken()
    task = compiled(speech_recognition(Recogniser(4, (GRU(16),), stack=1), optax.adam(3e-2)))
    state, before, after = learned(task, batch, 150)
    assert after['loss'] < 0.05 * before['loss'] and before['wer'] > 0.5
    assert after['wer'] == 0 == after['ser']
    # The row that does not count may be anything, and batches add.
    spoilt = {**batch, 'y': batch['y'].at[5].set(3), 'x': batch['x'].at[5].set(jnp.nan)}
    spoilt = finish(task.measure(KEY, state, spoilt))
    assert spoilt == pytest.approx(after, rel=1e-5, abs=1e-6)
    parts = [jax.tree.map(lambda x, s=s: x[s], batch) for s in (slice(0, 4), slice(4, 6))]
    each = [task.measure(KEY, state, part) for part in parts]
    whole = finish({k: add([m[k] for m in each]) for k in each[0]})
    assert whole == pytest.approx(after, rel=1e-4, abs=1e-5)
    shown = show_transcripts(task.nets(state), batch, KEY, symbols='abc', count=5)['transcripts']
    for found, true in zip(np.asarray(shown.codes), np.asarray(shown.target), strict=True):
        assert found[found > 0].tolist() == true[true > 0].tolist()
    assert {chr(c) for c in np.asarray(shown.target).ravel() if c} <= set('abc')


def test_a_classifier_of_rows_of_different_lengths():
    batch = spoken()
    batch = {**batch, 'y': batch['y'][:, 0] - 1}
    task = classifier(
        WordRNN(3, (GRU(8),), stack=1),
        optax.adam(2e-2),
        classes=3,
        inputs=lambda batch: (batch['x'], batch['lengths']),
    )
    _, _, after = learned(task, batch, 100)
    assert after['accuracy'] == 1


class Parrot(nn.Module):
    """A recogniser that hears the label k where the first channel of a frame is k."""

    @nn.compact
    def __call__(self, x, lengths):
        self.param('none', nn.initializers.zeros, (1,))
        heard = jax.nn.one_hot(jnp.round(x[..., 0]).astype(int), 4)
        return Emissions(100 * heard, lengths)


@pytest.mark.slow
def test_a_judge_says_what_it_hears():
    spectrum = jnp.zeros((2, 4, 3)).at[:, :, 0].set(jnp.array([[1, 0, 2, 9], [3, 0, 0, 9]]))
    batch = {
        **{'text': jnp.ones((2, 2), int), 'text_lengths': jnp.array([2, 1])},
        **{'frames': spectrum, 'spectrum': spectrum},
        **{'lengths': jnp.array([3, 3]), 'voice': jnp.zeros(2, int)},
        **{'y': jnp.array([[1, 2], [2, 0]]), 'y_lengths': jnp.array([2, 1])},
        'mask': jnp.ones(2, bool),
    }
    judge = Player(Parrot(), None, None, lambda batch: (batch['spectrum'], batch['lengths']))
    module = Tacotron(4, 3, 3, embedding=2, units=2, decoder=4, banks=(1, 1))
    task = synthesis(module, optax.sgd(0.1), judges={'judge': judge})
    state = jax.jit(task.init)(KEY, batch)
    nets = task.nets(state)
    assert nets['judge'].frozen and set(nets) == {'net', 'judge'}

    def hear(spectrum, lengths):
        return jnp.abs(jnp.where(spectrum == jnp.round(spectrum), 1, 400) * spectrum), lengths

    measure = jax.jit(intelligibility(groups=3, hear=hear))
    measured = measure(nets, batch, KEY)
    found = finish(measured)
    assert found['copied/wer'] == pytest.approx(1 / 3) and found['copied/ser'] == 0.5
    assert found['lost'] == pytest.approx(found['ser'] - 0.5)
    # Spoken: what the recogniser is given is what `speak` says.
    text = batch['text'], batch['text_lengths'], batch['voice']
    said = jax.jit(lambda net: speak(net, *text, groups=3))(nets['net'])
    copied = {**batch, 'spectrum': said.spectrum, 'lengths': said.lengths}
    true = measure(nets, copied, KEY)['copied']
    np.testing.assert_array_equal(measured[''].lengths, true.lengths)
    # Whose rows are right is not lost, and what does not count has no part.
    assert 0 < true.lengths.max() <= 2
    right = {**batch, 'y': jnp.asarray(true.found)[:, :2], 'y_lengths': jnp.asarray(true.lengths)}
    again = finish(measure(nets, right, KEY))
    assert again['ser'] == 0 and again['lost'] == -again['copied/ser'] < 0
    half = finish(measure(nets, {**batch, 'mask': jnp.array([True, False])}, KEY))
    assert half['copied/wer'] == 0 and half['lost'] == half['ser']

    def wave(spectrum, lengths):
        return spectrum[..., 0], lengths

    show = jax.jit(lambda nets: show_speech(nets, batch, KEY, groups=3, wave=wave, rate=9, count=1))
    shown = show(nets)
    np.testing.assert_allclose(shown['speech'].waves, said.spectrum[:1, :, 0], atol=1e-6)
    assert shown['speech'].rate == 9 and shown['attention'].pixels.shape == (1, 2, 3, 1)


@pytest.mark.slow
def test_synthesis():
    rng = np.random.default_rng(0)
    frames = np.abs(rng.normal(size=(3, 9, 4))).astype(np.float32)
    lengths = np.array([9, 6, 3])
    frames[np.arange(9)[None] >= lengths[:, None]] = 0
    batch = {
        'text': np.array([[1, 2, 3], [3, 1, 0], [2, 0, 0]]),
        'text_lengths': np.array([3, 2, 1]),
        'frames': frames,
        'spectrum': np.concatenate([frames, frames[..., :2]], axis=-1),
        'lengths': lengths,
        'voice': np.array([0, 1, 0]),
        'mask': np.array([True, True, True]),
    }
    batch = jax.tree.map(jnp.asarray, batch)
    module = Tacotron(4, 4, 6, 2, 8, 8, 32, banks=(2, 1), dropout=0.0)
    task = compiled(synthesis(module, optax.adam(1e-2)))
    state, before, after = learned(task, batch, 200)
    assert all(after[name] < 0.3 * before[name] for name in ('frames', 'spectrum', 'stop'))
    # Of the mel frames alone, by hand: the last group of a row is silent where the row has ended.
    (speech, _), _ = task.nets(state)['net'](
        *(batch[name] for name in ('text', 'text_lengths', 'voice', 'frames', 'lengths'))
    )
    wanted = np.pad(frames, ((0, 0), (0, 1), (0, 0)))
    counts = np.arange(10)[None] < np.array([10, 6, 4])[:, None]
    error = np.abs(np.asarray(speech.frames) - wanted)[counts].mean()
    assert after['frames'] == pytest.approx(error, rel=1e-4)
    # Groups of two: the fifth, third and second are the last.
    stop, ends = np.asarray(speech.stop), np.array([4, 2, 1])[:, None]
    entropy = np.logaddexp(0, np.where(np.arange(5)[None] == ends, -stop, stop))
    assert after['stop'] == pytest.approx(entropy[np.arange(5)[None] <= ends].mean(), rel=1e-3)
    # Neither more padding nor what stands there changes a number.
    longer = {
        name: jnp.pad(batch[name], ((0, 0), (0, 4), (0, 0)), constant_values=5.0)
        for name in ('frames', 'spectrum')
    }
    padded = finish(task.measure(KEY, state, {**batch, **longer}))
    assert padded == pytest.approx(after, rel=1e-4, abs=1e-6)
    mask = jnp.array([True, False, True])
    one, other = (
        finish(task.measure(KEY, state, {**batch, 'mask': mask, 'frames': frames}))
        for frames in (batch['frames'], batch['frames'].at[1].set(7.0))
    )
    assert one == pytest.approx(other, rel=1e-5) and one != after
