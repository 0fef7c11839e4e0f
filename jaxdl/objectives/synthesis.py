"""Speech synthesis: spectrograms from text, the speaking itself, and who understands it.

A batch has `text` int [B, S] with `text_lengths`, `frames` [B, T, mels] and `spectrum` [B, T, bins]
with `lengths`, both zero in silence, and `voice` int [B], the number of the speaker.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.decoding_ctc import Labelling, best_path
from jaxdl.game import Nets, Player, Shadow, game
from jaxdl.keys import Key
from jaxdl.lengths import within
from jaxdl.metrics import Mean, Metric
from jaxdl.metrics.edits import ErrorRate
from jaxdl.net import Net
from jaxdl.objectives.speech import Decode
from jaxdl.samples import Audio, Images
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array
Hear = Callable[[Array, Array], tuple[Array, Array]]


class Spoken(NamedTuple):
    """What a network says by itself: frames [B, T, mels], their spectrum [B, T, bins], lengths [B].

    Both are zero beyond the length. weights: [B, groups, S], what each group of frames looked at.
    """

    frames: Array
    spectrum: Array
    lengths: Array
    weights: Array


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
    """Frames after the true ones before: L = mean |e| + mean |d| + a stop loss (Wang et al. 2017).

    e is the error of the mel frames, d that of the spectrum; the frames that fill up the last group
    are to be silent. The stop loss is the binary cross-entropy of each group being the last, up to
    the last, which weighs `last_weight` times as much as another; all times `stop_weight`.

    The network is called as a `jaxdl.models.tacotron.Tacotron`. Measures 'frames', 'spectrum' (the
    mean errors) and 'stop', with the true frames before.

    judges: players without a loss that evaluations see beside 'net', such as a recogniser of the
        phase before: see `intelligibility`, and ``graft(nets={'judge': 'net'})``.
    """

    def inputs(batch: Batch) -> tuple[Array, ...]:
        return *_text(batch), batch['frames'], batch['lengths']

    def loss(nets: Nets, batch: Batch, key: Key) -> tuple[Array, tuple[Nets, Metrics]]:
        (speech, spectrum), net = nets['net'](*inputs(batch), key=key, train=True)
        inside, last, group = _ends(speech, batch)
        stop = losses.binary_cross_entropy(speech.stop, last, weights=group, pos_weight=last_weight)
        total = stop_weight * stop
        for found, name in ((speech.frames, 'frames'), (spectrum, 'spectrum')):
            truth = _true(batch, name, steps=found.shape[1])
            total = total + losses.mean_absolute_error(found, truth, weights=inside)
        return total, ({'net': net}, {})

    def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
        net = nets['net']
        (speech, spectrum), _ = (net.shadow or net)(*inputs(batch))
        inside, last, group = _ends(speech, batch)
        stop = optax.sigmoid_binary_cross_entropy(speech.stop, last)
        measured = {'stop': Mean.of(stop, group, better='lower')}
        for found, name in ((speech.frames, 'frames'), (spectrum, 'spectrum')):
            error = jnp.abs(found - _true(batch, name, steps=found.shape[1]))
            measured[name] = Mean.of(error, inside, better='lower')
        return measured

    player = Player(module, loss, opt, inputs, accumulate=accumulate, shadow=shadow)
    return game({'net': player, **judges}, measure)


def intelligibility(
    *,
    groups: int,
    judge: str = 'judge',
    hear: Hear = lambda spectrum, lengths: (spectrum, lengths),
    decode: Decode = best_path,
) -> Callable[[Nets, Batch, Key], Metrics]:
    """What a recogniser understands of what is spoken, for `Eval.measure`: its error rates.

    The recogniser is the player `judge`; the batch has what it should hear, y [B, N] with
    `y_lengths`. Beside it stand those of the true spectrum, made heard in the same way ('copied/',
    copy synthesis), which bound what can be expected; 'lost' is the part of rows in which it
    mistakes what is spoken, less the part in which it mistakes the copy.

    groups: the most that are spoken, see `speak`. hear(spectrum, lengths) -> what the recogniser
    gets: features of a wave that is made of the spectrum, as a listener has them. By default it
    gets the spectrum itself.
    """

    def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
        said = speak(nets['net'].shadow or nets['net'], *_text(batch), groups=groups)
        truth = batch['y'], batch['y_lengths']
        rates: dict[str, Metric] = {}
        wrong = []
        both = (said.spectrum, said.lengths), (batch['spectrum'], batch['lengths'])
        for name, (spectrum, lengths) in zip(('', 'copied'), both, strict=True):
            emissions, _ = nets[judge](*hear(spectrum, lengths))
            found = decode(*emissions)
            rates[name] = ErrorRate.of(found.labels, found.lengths, *truth, batch['mask'])
            wrong.append(~_equal(found, truth))
        lost = wrong[0].astype(jnp.float32) - wrong[1]
        return {**rates, 'lost': Mean.of(lost, batch['mask'], better='lower')}

    return measure


def show_speech(
    nets: Nets,
    batch: Batch,
    key: Key,
    *,
    groups: int,
    wave: Hear,
    rate: int,
    count: int = 10,
) -> dict[str, Any]:
    """The first rows spoken, and what was looked at meanwhile, for `Eval.show`.

    wave(spectrum, lengths) -> waves [B, N] and their lengths in samples, at `rate` Hz. Each picture
    has a row for each character and a column for each group of frames.
    """
    net = nets['net'].shadow or nets['net']
    said = speak(net, *(column[:count] for column in _text(batch)), groups=groups)
    waves, lengths = wave(said.spectrum, said.lengths)
    looks = said.weights.swapaxes(1, 2)[..., None]
    return {'speech': Audio(waves, lengths, rate=rate), 'attention': Images(looks)}


def speak(net: Net, text: Array, lengths: Array, voice: Array, *, groups: int) -> Spoken:
    """Text int [B, S] said in a voice [B], with T = groups * reduction.

    Each group follows from the last frame of the group before. A row ends with the first group that
    is likelier than not the last; what does not end within `groups` is cut off there.
    """
    memory, _ = net(text, lengths, voice, method='encode')
    state, _ = net(memory, method='empty')
    mels = net.module.mels

    def step(carry: tuple[Any, Array], nothing: None) -> tuple[Any, Any]:
        state, before = carry
        (speech, state), _ = net(before, state, method='extend')
        return (state, speech.frames[:, -1:]), speech

    first = jnp.zeros((text.shape[0], 1, mels))
    _, (frames, stop, weights) = jax.lax.scan(step, (state, first), None, length=groups)
    ended = stop[..., 0].T > 0
    count = jnp.where(ended.any(1), ended.argmax(1) + 1, groups)
    size = count * frames.shape[2]
    frames = frames.swapaxes(0, 1).reshape(text.shape[0], -1, mels)
    inside = within(size, frames.shape[1])[..., None]
    frames = jnp.where(inside, frames, 0)
    spectrum, _ = net(frames, size, method='spectrum')
    weights = jnp.where(within(count, groups)[..., None], weights[:, :, 0].swapaxes(0, 1), 0)
    return Spoken(frames, jnp.where(inside, spectrum, 0), size, weights)


def _text(batch: Batch) -> tuple[Array, Array, Array]:
    return batch['text'], batch['text_lengths'], batch['voice']


def _equal(found: Labelling, truth: tuple[Array, Array]) -> Array:
    """Which rows [B] of labels are the true ones."""
    labels, lengths = truth
    steps = max(found.labels.shape[1], labels.shape[1])
    one, other = (
        jnp.where(within(n, steps), jnp.pad(x, ((0, 0), (0, steps - x.shape[1]))), -1)
        for x, n in ((found.labels, found.lengths), (labels, lengths))
    )
    return (one == other).all(1)


def _true(batch: Batch, name: str, *, steps: int) -> Array:
    """True frames as long as those said, silent beyond each row's length."""
    truth = batch[name]
    truth = jnp.where(within(batch['lengths'], truth.shape[1])[..., None], truth, 0)
    return jnp.pad(truth, ((0, 0), (0, steps - truth.shape[1]), (0, 0)))


def _ends(speech: Any, batch: Batch) -> tuple[Array, Array, Array]:
    """Which frames count [B, T], which group is the last, and which groups count [B, G]."""
    total, groups = speech.frames.shape[1], speech.stop.shape[1]
    mask = batch['mask'][:, None]
    count = -(-batch['lengths'] // (total // groups))
    last = jnp.arange(groups)[None] == count[:, None] - 1
    inside = within(count * (total // groups), total) & mask
    return inside, last.astype(jnp.float32), within(count, groups) & mask
