"""Text to speech: Tacotron (Wang et al. 2017), spectrograms from characters.

    characters -> embedding -> prenet -> CBHG -> memory
    frame before -> prenet -> GRU -> attention to the memory -> GRU, GRU -> r mel frames
    mel frames -> CBHG -> frames of a spectrum, for a vocoder

The defaults are the sizes of the paper's table 1. Two things are added: whether a group of frames
is the last is said by a number of its own (the stop token of Shen et al. 2018, section 2.2), and
what has been read is said in a voice, a vector added to the memory (Arik et al. 2017, section 5).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.lengths import within
from jaxdl.models.rnn import hidden
from jaxdl.models.seq2seq import Additive, Memory
from jaxdl.nn.attention import LOWEST
from jaxdl.nn.layers import BatchNorm
from jaxdl.nn.recurrent import GRU, Bidirectional

Array = jax.Array

OVER_TIME = ('NWC', 'WIO', 'NWC')


class Speech(NamedTuple):
    """What a decoder says in T / reduction groups of frames.

    frames: mel, [B, T, mels]. stop: logits of each group being the last, [B, T / reduction].
    weights: how much of each character was looked at, [B, T / reduction, S].
    """

    frames: Array
    stop: Array
    weights: Array


class Prenet(nn.Module):
    """Dense layers with ReLU and dropout: a bottleneck, so that a decoder cannot just copy."""

    sizes: Sequence[int] = (256, 128)
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, T, n] -> [B, T, sizes[-1]]."""
        for i, size in enumerate(self.sizes):
            x = nn.relu(nn.Dense(size, name=f'fc{i}')(x))
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return x


class Filters(nn.Module):
    """Convolutions over the steps of each row, ReLU unless `linear`, and BatchNorm.

    widths: of the convolutions, whose `features` channels each stand side by side. What stands
    beyond a row's length is taken for zeros, and has no part in the statistics.
    """

    features: int
    widths: Sequence[int]
    linear: bool = False

    @nn.compact
    def __call__(self, x: Array, lengths: Array, *, train: bool = False) -> Array:
        """[B, T, n] -> [B, T, len(widths) features]."""
        inside = within(lengths, x.shape[1])[..., None]
        x = jnp.where(inside, x, 0)
        # All as one, the narrower with zeros around them: a bank compiles in a third of the time.
        kernels, longest = [], max(self.widths)
        for k in self.widths:
            shape = (k, x.shape[-1], self.features)
            kernel = self.param(f'kernel{k}', nn.initializers.lecun_normal(), shape)
            before = (longest - 1) // 2 - (k - 1) // 2
            kernels.append(jnp.pad(kernel, ((before, longest - k - before), (0, 0), (0, 0))))
        y = lax.conv_general_dilated(
            x, jnp.concatenate(kernels, axis=-1), (1,), 'SAME', dimension_numbers=OVER_TIME
        )
        if not self.linear:
            bias = self.param('bias', nn.initializers.zeros, (y.shape[-1],))
            y = nn.relu(y + bias[None, None])
        return BatchNorm(use_running_average=not train, name='norm')(y, mask=inside)


class Highway(nn.Module):
    """y = t h + (1 - t) x with t = sigmoid(W x + b) and h = ReLU(V x + c) (Srivastava et al. 2015).

    b begins at -1: most of x goes by.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., n] -> [..., n]."""
        width = x.shape[-1]
        h = nn.relu(nn.Dense(width, name='change')(x))
        t = nn.sigmoid(nn.Dense(width, bias_init=nn.initializers.constant(-1.0), name='gate')(x))
        return t * h + (1 - t) * x


class CBHG(nn.Module):
    """A bank of convolutions, a highway network and a bidirectional GRU (section 3.1).

    bank: widths of the convolutions, 1 .. bank, each of `units` channels. projection: channels of
    the first of the two convolutions after it. Its input has a dense layer where it is not `units`
    wide.
    """

    bank: int = 16
    projection: int = 128
    units: int = 128
    highways: int = 4

    @nn.compact
    def __call__(self, x: Array, lengths: Array, *, train: bool = False) -> tuple[Array, Any]:
        """[B, T, n] -> [B, T, 2 units], zero beyond each row's length, and the GRU's states."""
        widths = range(1, self.bank + 1)
        y = Filters(self.units, widths, name='bank')(x, lengths, train=train)
        y = _louder(y, lengths)
        y = Filters(self.projection, (3,), name='projection1')(y, lengths, train=train)
        y = Filters(x.shape[-1], (3,), linear=True, name='projection2')(y, lengths, train=train)
        y = x + y
        if y.shape[-1] != self.units:
            y = nn.Dense(self.units, name='widen')(y)
        for i in range(self.highways):
            y = Highway(name=f'highway{i}')(y)
        rnn = Bidirectional(partial(GRU, self.units), name='rnn')
        ys, states = rnn(y, lengths=lengths)
        return ys, states


def _louder(x: Array, lengths: Array) -> Array:
    """The larger of each step and the next of its row: max pooling of width 2 and stride 1."""
    x = jnp.where(within(lengths, x.shape[1])[..., None], x, LOWEST)
    ahead = jnp.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0)), constant_values=LOWEST)
    return jnp.maximum(x, ahead)


class Look(nn.Module):
    """A step of the attention's GRU, which reads what it looked at before (Vinyals et al. 2015)."""

    units: int
    attention: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, carry: Any, x: Array, memory: Memory) -> tuple[Any, Any]:
        """(GRU's state, context [B, m]), x [B, n] -> those after it, and (query, context, weights).

        weights: [B, S].
        """
        state, context = carry
        x = jnp.concatenate([x, context], axis=-1)[:, None]
        query, state = GRU(self.units, name='rnn')(x, initial=state)
        weights = self.attention(name='attention').weights(query, memory)
        context = (weights @ memory.outputs)[:, 0]
        return (state, context), (query[:, 0], context, weights[:, 0])


class Tacotron(nn.Module):
    """Mel frames from characters, each group of them from the last one before it, and a spectrum.

    vocabulary: of characters. mels, bins: numbers in a frame of mel and of the spectrum. Zero
    should be silence: it is the frame before the first. voices: of speakers. reduction: frames in a
    group. attention(name=) -> `Additive` or `Multiplicative` of `jaxdl.models.seq2seq`.
    """

    vocabulary: int
    mels: int = 80
    bins: int = 1025
    voices: int = 1
    embedding: int = 256
    units: int = 128
    decoder: int = 256
    reduction: int = 2
    banks: tuple[int, int] = (16, 8)
    dropout: float = 0.5
    attention: Callable[..., nn.Module] = partial(Additive, 256)

    def setup(self) -> None:
        """Encoder, decoder, and the net after it."""
        units, (before, after) = self.units, self.banks
        self.embed = nn.Embed(self.vocabulary, self.embedding)
        self.voice = nn.Embed(self.voices, 2 * units)
        self.text_prenet = Prenet((2 * units, units), self.dropout)
        self.encoder = CBHG(before, units, units)
        self.frame_prenet = Prenet((2 * units, units), self.dropout)
        scan = partial(nn.scan, variable_broadcast='params', split_rngs={'params': False})
        self.look = scan(Look, in_axes=(1, nn.broadcast), out_axes=1)(self.decoder, self.attention)
        self.join = nn.Dense(self.decoder)
        self.rnn = [GRU(self.decoder) for _ in range(2)]
        self.frames = nn.Dense(self.reduction * self.mels)
        self.stop = nn.Dense(1)
        self.postnet = CBHG(after, 2 * units, units)
        self.out = nn.Dense(self.bins)

    def __call__(
        self,
        text: Array,
        lengths: Array,
        voice: Array,
        frames: Array,
        frame_lengths: Array,
        *,
        train: bool = False,
    ) -> tuple[Speech, Array]:
        """What is said after each true frame before, and its spectrum [B, T, bins].

        text int [B, S] of `lengths` [B]; voice int [B]; frames [B, T, mels] of `frame_lengths` [B].
        T is filled up to a multiple of `reduction` with zeros, and the answer is as long as that.
        """
        memory = self.encode(text, lengths, voice, train=train)
        frames = jnp.pad(frames, ((0, 0), (0, -frames.shape[1] % self.reduction), (0, 0)))
        last = frames[:, self.reduction - 1 :: self.reduction]
        before = jnp.pad(last[:, :-1], ((0, 0), (1, 0), (0, 0)))
        speech, _ = self._said(before, self.empty(memory), train=train)
        groups = -(-frame_lengths // self.reduction)
        return speech, self.spectrum(speech.frames, groups * self.reduction, train=train)

    def encode(self, text: Array, lengths: Array, voice: Array, *, train: bool = False) -> Memory:
        """What was read of text int [B, S], in a voice."""
        x = self.text_prenet(self.embed(text), train=train)
        outputs, states = self.encoder(x, lengths, train=train)
        return Memory(outputs + self.voice(voice)[:, None], lengths, hidden(states))

    def empty(self, memory: Memory, lengths: Array | None = None, *, steps: int = 0) -> Any:
        """The state of a decoder that has said nothing; it has room for any number of steps."""
        rows, _, width = memory.outputs.shape
        silent = (jnp.zeros((rows, self.decoder)),)
        return (silent, jnp.zeros((rows, width))), (silent, silent), memory

    def extend(self, before: Array, state: Any) -> tuple[Speech, Any]:
        """The next groups, after the frames [B, t, mels] before each, and the state after them."""
        return self._said(before, state, train=False)

    def spectrum(self, frames: Array, lengths: Array, *, train: bool = False) -> Array:
        """The spectrum [B, T, bins] of mel frames [B, T, mels], of which `lengths` [B] count."""
        y, _ = self.postnet(frames, lengths, train=train)
        return self.out(y)

    def _said(self, before: Array, state: Any, *, train: bool) -> tuple[Speech, Any]:
        looked, spoken, memory = state
        rows, steps, _ = before.shape
        x = self.frame_prenet(before, train=train)
        looked, (query, context, weights) = self.look(looked, x, memory)
        y = self.join(jnp.concatenate([query, context], axis=-1))
        after = []
        for layer, first in zip(self.rnn, spoken, strict=True):
            z, final = layer(y, initial=first)
            y = y + z
            after.append(final)
        frames = self.frames(y).reshape(rows, steps * self.reduction, self.mels)
        return Speech(frames, self.stop(y)[..., 0], weights), (looked, tuple(after), memory)
