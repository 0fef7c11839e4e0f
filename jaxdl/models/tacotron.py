"""Text to speech: frames of a mel spectrogram from characters (Wang et al. 2017), made small.

    characters -> embedding -> prenet -> bidirectional GRU -> memory
    frame before -> prenet -> GRU -> attention to the memory -> GRU, GRU -> r frames, and whether
    that was all

What is left out of the paper: the convolutions around both ends (CBHG), and the context as an input
of the first GRU, without which all steps of a true utterance are one pass in training. What is
added: the stop token (Shen et al. 2018, section 2.2) and voices (Arik et al. 2017, section 5).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.rnn import hidden
from jaxdl.models.seq2seq import Additive, Memory
from jaxdl.nn.recurrent import GRU, Bidirectional

Array = jax.Array


class Speech(NamedTuple):
    """Frames [B, T, mels], and logits [B, T / reduction] of each group of them being the last."""

    frames: Array
    stop: Array


class Prenet(nn.Module):
    """Dense layers with ReLU and dropout: a bottleneck, so that a decoder cannot just copy."""

    sizes: Sequence[int] = (128, 64)
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, T, n] -> [B, T, sizes[-1]]."""
        for i, size in enumerate(self.sizes):
            x = nn.relu(nn.Dense(size, name=f'fc{i}')(x))
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return x


class Tacotron(nn.Module):
    """Frames from characters, each group of them from the last frame before it.

    vocabulary: of characters. voices: of speakers. reduction: frames in a group. Frames should have
    mean 0 and deviation 1 or so: the one before the first is zero.
    attention(name=) -> `Additive` or another of `jaxdl.models.seq2seq`.
    """

    vocabulary: int
    mels: int = 40
    voices: int = 1
    embedding: int = 64
    units: int = 64
    decoder: int = 128
    reduction: int = 2
    dropout: float = 0.5
    attention: Callable[..., nn.Module] = partial(Additive, 64)

    def setup(self) -> None:
        """Encoder, decoder and what is between them."""
        self.embed = nn.Embed(self.vocabulary, self.embedding)
        self.voice = nn.Embed(self.voices, 2 * self.units)
        self.text_prenet = Prenet((self.embedding, self.units), self.dropout)
        self.encoder = Bidirectional(partial(GRU, self.units))
        self.frame_prenet = Prenet((self.decoder, self.decoder // 2), self.dropout)
        self.query = GRU(self.decoder)
        self.look = self.attention()
        self.join = nn.Dense(self.decoder)
        self.rnn = [GRU(self.decoder) for _ in range(2)]
        self.frames = nn.Dense(self.reduction * self.mels)
        self.stop = nn.Dense(1)

    def __call__(
        self, text: Array, frames: Array, lengths: Array, voice: Array, *, train: bool = False
    ) -> Speech:
        """What is said after each true frame before: text int [B, S], frames [B, T, mels].

        lengths: int [B], of the text. voice: int [B]. T is filled up to a multiple of `reduction`
        with zeros, and the answer is as long as that.
        """
        memory = self.encode(text, lengths, voice, train=train)
        frames = jnp.pad(frames, ((0, 0), (0, -frames.shape[1] % self.reduction), (0, 0)))
        last = frames[:, self.reduction - 1 :: self.reduction]
        before = jnp.pad(last[:, :-1], ((0, 0), (1, 0), (0, 0)))
        speech, _ = self._said(before, self.empty(memory), train=train)
        return speech

    def encode(self, text: Array, lengths: Array, voice: Array, *, train: bool = False) -> Memory:
        """What was read of text int [B, S], in a voice."""
        x = self.text_prenet(self.embed(text), train=train)
        outputs, states = self.encoder(x, lengths=lengths)
        tone = self.voice(voice)
        return Memory(outputs + tone[:, None], lengths, hidden(states) + tone)

    def empty(self, memory: Memory, lengths: Array | None = None, *, steps: int = 0) -> Any:
        """The state of a decoder that has said nothing; it has room for any number of steps."""
        silent = (jnp.zeros((memory.summary.shape[0], self.decoder)),)
        return silent, (silent, silent), memory

    def extend(self, before: Array, state: Any) -> tuple[Speech, Any]:
        """The next groups, after the frames [B, t, mels] before each, and the state after them."""
        return self._said(before, state, train=False)

    def _said(self, before: Array, state: Any, *, train: bool) -> tuple[Speech, Any]:
        queried, spoken, memory = state
        rows, steps, _ = before.shape
        x = self.frame_prenet(before, train=train)
        query, queried = self.query(x, initial=queried)
        context = self.look(query, memory)
        y = self.join(jnp.concatenate([query, context], axis=-1))
        after = []
        for layer, first in zip(self.rnn, spoken, strict=True):
            z, final = layer(y, initial=first)
            y = y + z
            after.append(final)
        frames = self.frames(y).reshape(rows, steps * self.reduction, self.mels)
        return Speech(frames, self.stop(y)[..., 0]), (queried, tuple(after), memory)
