"""Text to speech: teacher forcing is speaking step by step; padding; what each frame may see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.tacotron import Tacotron
from jaxdl.net import Net
from jaxdl.objectives.synthesis import speak

MODULE = Tacotron(7, mels=3, voices=2, embedding=4, units=4, decoder=6, reduction=2)
TEXT = jnp.array([[1, 2, 3, 4, 5], [6, 5, 4, 0, 0]])
LENGTHS, VOICE = jnp.array([5, 3]), jnp.array([0, 1])
FRAMES = jax.random.normal(jax.random.key(0), (2, 7, 3))


@pytest.fixture(scope='module')
def net():
    net = Net.init(MODULE, jax.random.key(1), TEXT, FRAMES, LENGTHS, VOICE)
    # Biases too: zero ones hide what is wrong with them.
    leaves, tree = jax.tree.flatten(net.params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    drawn = [0.5 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return net.replace(params=jax.tree.unflatten(tree, drawn))


def test_step_by_step_is_all_at_once(net):
    whole, _ = net(TEXT, FRAMES, LENGTHS, VOICE)
    assert whole.frames.shape == (2, 8, 3) and whole.stop.shape == (2, 4)
    memory, _ = net(TEXT, LENGTHS, VOICE, method='encode')
    state, _ = net(memory, method='empty')
    before = jnp.concatenate([jnp.zeros((2, 1, 3)), FRAMES[:, 1:-1:2]], axis=1)
    for t in range(4):
        (speech, state), _ = net(before[:, t : t + 1], state, method='extend')
        np.testing.assert_allclose(speech.frames, whole.frames[:, 2 * t : 2 * t + 2], atol=1e-5)
        np.testing.assert_allclose(speech.stop[:, 0], whole.stop[:, t], atol=1e-5)


def test_the_padding_of_the_text_changes_nothing(net):
    whole, _ = net(TEXT.at[1, 3:].set(2), FRAMES, LENGTHS, VOICE)
    alone, _ = net(TEXT[1:, :3], FRAMES[1:], LENGTHS[1:], VOICE[1:])
    np.testing.assert_allclose(whole.frames[1], alone.frames[0], atol=1e-5)
    np.testing.assert_allclose(whole.stop[1], alone.stop[0], atol=1e-5)


def test_a_frame_sees_the_last_of_each_group_before(net):
    gradient = jax.grad(lambda frames: net(TEXT, frames, LENGTHS, VOICE)[0].frames[0, 4:6].sum())(
        FRAMES
    )
    assert gradient[0].any(-1).tolist() == [False, True, False, True, False, False, False]
    assert not gradient[1].any()


def test_voices_differ(net):
    one, other = (net(TEXT, FRAMES, LENGTHS, jnp.full(2, v))[0].frames for v in (0, 1))
    assert jnp.abs(one - other).max() > 1e-2


def test_speaking_goes_on_from_its_own_frames_and_ends(net):
    frames, lengths = speak(net, TEXT, LENGTHS, VOICE, groups=5)
    assert frames.shape == (2, 10, 3)
    # What it said, given as the truth, is said again.
    whole, _ = net(TEXT, frames, LENGTHS, VOICE)
    for i, n in enumerate(lengths.tolist()):
        np.testing.assert_allclose(frames[i, :n], whole.frames[i, :n], atol=1e-4)
        assert not frames[i, n:].any()
        groups = n // 2
        assert groups == 5 or whole.stop[i, groups - 1] > 0
        assert (whole.stop[i, : groups - 1] <= 0).all()

    def with_stop(bias):
        stop = {**net.params['stop'], 'bias': jnp.full(1, bias)}
        return net.replace(params={**net.params, 'stop': stop})

    assert speak(with_stop(99.0), TEXT, LENGTHS, VOICE, groups=5)[1].tolist() == [2, 2]
    assert speak(with_stop(-99.0), TEXT, LENGTHS, VOICE, groups=5)[1].tolist() == [10, 10]
