"""Speech synthesis: frames of a spectrogram from text, and the speaking itself.

A batch has `text` int [B, S] with `text_lengths`, `frames` [B, T, mels] with `lengths`, and `voice`
int [B], the number of the speaker.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.game import Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Mean
from jaxdl.net import Net
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array


def synthesis(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    stop_weight: float = 0.1,
    last_weight: float = 5.0,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Frames after the true ones before: L = mean |e| + mean e^2 + a stop loss.

    e is the error of each value of the frames that a row has (Wang et al. 2017 take |e|, Shen et
    al. 2018 e^2). The stop loss is the binary cross-entropy of each group of frames being the last,
    up to the last, which weighs `last_weight` times as much as another; all times `stop_weight`.

    The network is called with (text, frames, text_lengths, voice) and returns
    `jaxdl.models.tacotron.Speech`. Measures 'l1', 'l2' and 'stop', with the true frames before.
    """

    def inputs(batch: Batch) -> tuple[Array, ...]:
        return batch['text'], batch['frames'], batch['text_lengths'], batch['voice']

    def loss(net: Net, batch: Batch, key: Key) -> tuple[Array, tuple[Net, Metrics]]:
        speech, net = net(*inputs(batch), key=key, train=True)
        truth, inside, last, group = _targets(speech, batch)
        stop = losses.binary_cross_entropy(speech.stop, last, weights=group, pos_weight=last_weight)
        error = losses.mean_absolute_error(speech.frames, truth, weights=inside)
        square = losses.mean_squared_error(speech.frames, truth, weights=inside)
        return error + square + stop_weight * stop, (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        speech, _ = (net.shadow or net)(*inputs(batch))
        truth, inside, last, group = _targets(speech, batch)
        error = speech.frames - truth
        stop = optax.sigmoid_binary_cross_entropy(speech.stop, last)
        return {
            'l1': Mean.of(jnp.abs(error), inside, better='lower'),
            'l2': Mean.of(error**2, inside, better='lower'),
            'stop': Mean.of(stop, group, better='lower'),
        }

    return supervised(
        module, loss, opt, measure, inputs=inputs, accumulate=accumulate, shadow=shadow
    )


def speak(
    net: Net, text: Array, lengths: Array, voice: Array, *, groups: int
) -> tuple[Array, Array]:
    """Frames [B, groups * reduction, mels] of text int [B, S] in a voice [B], and how many, [B].

    Each group follows from the last frame of the group before. A row ends with the first group that
    is likelier than not the last; what does not end within `groups` is cut off there. Frames beyond
    the end are zero.
    """
    memory, _ = net(text, lengths, voice, method='encode')
    state, _ = net(memory, method='empty')
    mels = net.module.mels  # type: ignore[attr-defined]

    def step(carry: tuple[Any, Array], _: None) -> tuple[Any, tuple[Array, Array]]:
        state, before = carry
        (speech, state), _ = net(before, state, method='extend')
        return (state, speech.frames[:, -1:]), (speech.frames, speech.stop[:, 0])

    first = jnp.zeros((text.shape[0], 1, mels))
    _, (frames, stop) = jax.lax.scan(step, (state, first), None, length=groups)
    ended = stop.T > 0
    size = jnp.where(ended.any(1), ended.argmax(1) + 1, groups) * frames.shape[2]
    frames = frames.swapaxes(0, 1).reshape(text.shape[0], -1, mels)
    inside = jnp.arange(frames.shape[1])[None] < size[:, None]
    return jnp.where(inside[..., None], frames, 0), size


def _targets(speech: Any, batch: Batch) -> tuple[Array, Array, Array, Array]:
    """True frames as long as those said, which count [B, T]; which group is last, which count."""
    total, groups = speech.frames.shape[1], speech.stop.shape[1]
    reduction = total // groups
    truth = batch['frames']
    truth = jnp.pad(truth, ((0, 0), (0, total - truth.shape[1]), (0, 0)))
    mask = batch['mask'][:, None]
    inside = (jnp.arange(total)[None] < batch['lengths'][:, None]) & mask
    end = -(-batch['lengths'] // reduction)[:, None] - 1
    group = jnp.arange(groups)[None]
    return truth, inside, (group == end).astype(jnp.float32), (group <= end) & mask
