"""Tacotron: teacher forcing is speaking step by step; padding; what each frame may see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.tacotron import CBHG, Tacotron
from jaxdl.net import Net
from jaxdl.objectives.synthesis import speak

MODULE = Tacotron(7, 3, 5, 2, embedding=4, units=4, decoder=6, reduction=2, banks=(3, 2))
TEXT = jnp.array([[1, 2, 3, 4, 5], [6, 5, 4, 0, 0]])
LENGTHS, VOICE = jnp.array([5, 3]), jnp.array([0, 1])
FRAMES = jax.random.normal(jax.random.key(0), (2, 7, 3))
SPOKEN = jnp.array([7, 4])


@pytest.fixture(scope='module')
def net():
    """Drawn, biases and statistics too: zero ones hide what is wrong with them."""
    inputs = TEXT, LENGTHS, VOICE, FRAMES, SPOKEN
    shapes = jax.eval_shape(lambda: Net.init(MODULE, jax.random.key(1), *inputs))
    rng = np.random.default_rng(0)

    def draw(x):
        return jnp.asarray(rng.normal(size=x.shape), jnp.float32) / 2

    params, memory = (jax.tree.map(draw, x) for x in (shapes.params, shapes.memory))
    return shapes.replace(params=params, memory=jax.tree.map(lambda x: jnp.abs(x) + 0.5, memory))


@pytest.fixture(scope='module')
def said(net):
    """A function that says what a batch of frames goes on with, compiled once."""
    call = jax.jit(lambda *batch: net(*batch)[0])
    return lambda **changed: call(
        *{
            **{'text': TEXT, 'lengths': LENGTHS, 'voice': VOICE},
            **{'frames': FRAMES, 'frame_lengths': SPOKEN},
            **changed,
        }.values()
    )


def test_step_by_step_is_all_at_once(net, said):
    whole, spectrum = said()
    assert whole.frames.shape == (2, 8, 3) and whole.stop.shape == (2, 4)
    assert spectrum.shape == (2, 8, 5) and whole.weights.shape == (2, 4, 5)
    encode = jax.jit(lambda *text: net(*text, method='encode')[0])
    state, _ = net(encode(TEXT, LENGTHS, VOICE), method='empty')
    before = jnp.concatenate([jnp.zeros((2, 1, 3)), FRAMES[:, 1:-1:2]], axis=1)
    extend = jax.jit(lambda before, state: net(before, state, method='extend')[0])
    for t in range(4):
        speech, state = extend(before[:, t : t + 1], state)
        np.testing.assert_allclose(speech.frames, whole.frames[:, 2 * t : 2 * t + 2], atol=1e-5)
        np.testing.assert_allclose(speech.stop[:, 0], whole.stop[:, t], atol=1e-5)
        np.testing.assert_allclose(speech.weights[:, 0], whole.weights[:, t], atol=1e-5)


def test_what_fills_up_rows_changes_nothing(said):
    """In memory neither: the statistics of a batch are those of what counts."""
    (whole, spectrum), (other, changed) = (
        said(text=TEXT.at[1, 3:].set(x), frames=FRAMES.at[1, 4:].set(y))
        for x, y in [(2, 9), (5, 0)]
    )
    np.testing.assert_allclose(whole.frames[1, :4], other.frames[1, :4], atol=1e-5)
    np.testing.assert_allclose(spectrum[1, :4], changed[1, :4], atol=1e-5)
    assert not whole.weights[1, :, 3:].any()
    np.testing.assert_allclose(whole.weights.sum(-1), 1, atol=1e-5)


def test_statistics_are_of_what_counts():
    module, x = CBHG(2, 3, 4, 1), jax.random.normal(jax.random.key(3), (2, 6, 4))
    lengths = jnp.array([6, 2])
    variables = jax.jit(module.init)(jax.random.key(4), x, lengths)

    @jax.jit
    def trained(x):
        return module.apply(variables, x, lengths, train=True, mutable=['batch_stats'])

    ((ys, _), one), ((longer, _), other) = (
        trained(x) for x in (x, jnp.pad(x.at[1, 2:].set(9), ((0, 0), (0, 3), (0, 0))))
    )
    np.testing.assert_allclose(ys, longer[:, :6], atol=1e-5)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_frame_sees_the_last_of_each_group_before(said):
    gradient = jax.grad(lambda frames: said(frames=frames)[0].frames[0, 4:6].sum())(FRAMES)
    assert gradient[0].any(-1).tolist() == [False, True, False, True, False, False, False]
    assert not gradient[1].any()


def test_the_spectrum_sees_all_frames_of_its_row(said):
    gradient = jax.grad(lambda frames: said(frames=frames)[1][0, 1].sum())(FRAMES)
    assert gradient[0].any(-1).tolist() == [False, True, False, True, False, True, False]
    assert not gradient[1].any()


def test_voices_differ(said):
    one, other = (said(voice=jnp.full(2, v))[0].frames for v in (0, 1))
    assert jnp.abs(one - other).max() > 1e-2


def test_speaking_goes_on_from_its_own_frames_and_ends(net, said):
    talk = jax.jit(lambda net: speak(net, TEXT, LENGTHS, VOICE, groups=4))
    spoken = talk(net)
    assert spoken.frames.shape == (2, 8, 3) and spoken.spectrum.shape == (2, 8, 5)
    # What it said, given as the truth, is said again.
    whole, spectrum = said(frames=spoken.frames, frame_lengths=spoken.lengths)
    for i, n in enumerate(spoken.lengths.tolist()):
        np.testing.assert_allclose(spoken.frames[i, :n], whole.frames[i, :n], atol=1e-4)
        np.testing.assert_allclose(spoken.spectrum[i, :n], spectrum[i, :n], atol=1e-4)
        assert not spoken.frames[i, n:].any() and not spoken.spectrum[i, n:].any()
        groups = n // 2
        np.testing.assert_allclose(spoken.weights[i, :groups], whole.weights[i, :groups], atol=1e-4)
        assert not spoken.weights[i, groups:].any()
        assert groups == 4 or whole.stop[i, groups - 1] > 0
        assert (whole.stop[i, : groups - 1] <= 0).all()

    def with_stop(bias):
        stop = {**net.params['stop'], 'bias': jnp.full(1, bias)}
        return net.replace(params={**net.params, 'stop': stop})

    cut = talk(with_stop(99.0))
    assert cut.lengths.tolist() == [2, 2]
    assert (
        not cut.spectrum[:, 2:].any() and cut.spectrum[:, :2].all() and not cut.weights[:, 1:].any()
    )
    assert talk(with_stop(-99.0)).lengths.tolist() == [8, 8]
