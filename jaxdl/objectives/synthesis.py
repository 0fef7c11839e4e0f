"""Speech synthesis: frames of a spectrogram from text, and the speaking itself.

A batch has `text` int [B, S] with `text_lengths`, `frames` [B, T, mels] with `lengths`, and `voice`
int [B], the number of the speaker.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.decoding_ctc import best_path
from jaxdl.game import Nets, Player, Shadow, game
from jaxdl.keys import Key
from jaxdl.metrics import Mean
from jaxdl.metrics.edits import ErrorRate
from jaxdl.net import Net
from jaxdl.objectives.speech import Decode
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array
Hear = Callable[[Array, Array], tuple[Array, Array]]


def synthesis(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    stop_weight: float = 0.1,
    last_weight: float = 5.0,
    judges: Mapping[str, Player] = MappingProxyType({}),
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Frames after the true ones before: L = mean |e| + mean e^2 + a stop loss.

    e is the error of each value of the frames that a row has (Wang et al. 2017 take |e|, Shen et
    al. 2018 e^2). The stop loss is the binary cross-entropy of each group of frames being the last,
    up to the last, which weighs `last_weight` times as much as another; all times `stop_weight`.

    The network is called with (text, frames, text_lengths, voice) and returns
    `jaxdl.models.tacotron.Speech`. Measures 'l1', 'l2' and 'stop', with the true frames before.

    judges: players without a loss that evaluations see beside 'net', such as a recogniser of the
        phase before: see `intelligibility`, and ``graft(nets={'judge': 'net'})``.
    """

    def inputs(batch: Batch) -> tuple[Array, ...]:
        return batch['text'], batch['frames'], batch['text_lengths'], batch['voice']

    def loss(nets: Nets, batch: Batch, key: Key) -> tuple[Array, tuple[Nets, Metrics]]:
        speech, net = nets['net'](*inputs(batch), key=key, train=True)
        truth, inside, last, group = _targets(speech, batch)
        stop = losses.binary_cross_entropy(speech.stop, last, weights=group, pos_weight=last_weight)
        error = losses.mean_absolute_error(speech.frames, truth, weights=inside)
        square = losses.mean_squared_error(speech.frames, truth, weights=inside)
        return error + square + stop_weight * stop, ({'net': net}, {})

    def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
        net = nets['net']
        speech, _ = (net.shadow or net)(*inputs(batch))
        truth, inside, last, group = _targets(speech, batch)
        error = speech.frames - truth
        stop = optax.sigmoid_binary_cross_entropy(speech.stop, last)
        return {
            'l1': Mean.of(jnp.abs(error), inside, better='lower'),
            'l2': Mean.of(error**2, inside, better='lower'),
            'stop': Mean.of(stop, group, better='lower'),
        }

    player = Player(module, loss, opt, inputs, accumulate=accumulate, shadow=shadow)
    return game({'net': player, **judges}, measure)


def intelligibility(
    *,
    groups: int,
    judge: str = 'judge',
    hear: Hear = lambda frames, lengths: (frames, lengths),
    decode: Decode = best_path,
    copy: bool = False,
) -> Callable[[Nets, Batch, Key], Metrics]:
    """What a recogniser understands of what is spoken, for `Eval.measure`: its error rates.

    The recogniser is the player `judge`, trained on frames as these are; the batch has what it
    should say, y [B, N] with `y_lengths`. groups: the most that are spoken, see `speak`.

    hear(frames, lengths) -> what the recogniser gets: a wave made of the frames and the frames of
        that, which is what a listener has. By default it gets the frames themselves.
    copy: judge the true frames instead (copy synthesis), which bounds what can be expected.
    """

    def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
        if copy:
            frames, lengths = batch['frames'], batch['lengths']
        else:
            net = nets['net'].shadow or nets['net']
            text = batch['text'], batch['text_lengths'], batch['voice']
            frames, lengths = speak(net, *text, groups=groups)
        emissions, _ = nets[judge](*hear(frames, lengths))
        found = decode(*emissions)
        truth = batch['y'], batch['y_lengths'], batch['mask']
        return {'': ErrorRate.of(found.labels, found.lengths, *truth)}

    return measure


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
    mels = net.module.mels

    def step(carry: tuple[Any, Array], nothing: None) -> tuple[Any, tuple[Array, Array]]:
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
