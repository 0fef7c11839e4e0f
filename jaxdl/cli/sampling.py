"""Text from the language model of a run or a weights file: what `jaxdl sample` prints."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.text import Tokenizer, load
from jaxdl.data.text.tables import known, marked
from jaxdl.decoding import Decoded, Step, beam, decode, sampler
from jaxdl.errors import UsageError
from jaxdl.interop import build
from jaxdl.interop.files import OWN, read_weights
from jaxdl.keys import Key
from jaxdl.net import Net
from jaxdl.objectives.language import started
from jaxdl.objectives.seq2seq import heard
from jaxdl.trained import load_outcome

Array = jax.Array
BLANK = '\n'  # what a text begins with if nobody says: the start of a line
NEVER = -1  # an end token that no vocabulary has


class Way(NamedTuple):
    """How tokens are chosen: by a beam of some width, or drawn, see `jaxdl.decoding`.

    length: tokens at most. key: of what is drawn.
    """

    length: int
    beam: int | None = None
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    key: int = 0


class Speaker(NamedTuple):
    """A network that writes text, and the tokenizers of what it writes and of what it reads."""

    net: Net
    tokenizer: Tokenizer
    source: Tokenizer


def of_run(arm: Path, seed: int) -> Speaker:
    """The language model of an arm.

    Raises UsageError where it has none, or its phase no tokenizer.
    """
    phase, nets = load_outcome(arm, seed)
    net = language_model(arm, nets)
    if phase.tokenizer is None:
        raise UsageError(
            f'{arm}: its phase does not say how text becomes tokens: Phase(..., tokenizer=...)'
        )
    return Speaker(net, phase.tokenizer, phase.source_tokenizer or phase.tokenizer)


def of_file(path: Path, tokenizer: Path) -> Speaker:
    """The language model of a weights file that `jaxdl convert` wrote.

    Raises UsageError where it holds no language model, or only a part of one, and where its words
    are not as many as the tokenizer's.
    """
    known = read_weights(path)
    if (known.arch, known.layout) == OWN or known.without:
        raise UsageError(f'{path} does not hold a whole network of another implementation')
    module = build(known.arch, known.layout, **known.config)
    net = Net(params=known.variables['params'], memory={}, module=module)
    net = language_model(path, {known.arch: net})
    read = load(tokenizer)
    words = getattr(module, 'vocabulary', read.vocabulary)
    if read.vocabulary > words:
        raise UsageError(
            f'--tokenizer: {tokenizer} has {read.vocabulary} tokens, and {path} {words}'
        )
    return Speaker(net, read, read)


def sample(
    speaker: Speaker, *, prompt: str | None, count: int, way: Way
) -> tuple[list[str], list[str]]:
    """Texts by a language model, and remarks on them.

    It goes on with the prompt, which is part of the text; None is the start of a line. An
    encoder-decoder answers it. Raises UsageError where the prompt or the length does not fit.
    """
    net, tokenizer, source = speaker
    if hasattr(net.module, 'encode'):
        if prompt is None:
            raise UsageError('--prompt: say what to answer to')
        read, remarks = _tokens(source, prompt)
        read = marked(read, source, start=False, end=True)
        return answers(net, read, tokenizer, count=count, way=way), remarks
    read, remarks = _tokens(tokenizer, BLANK if prompt is None else prompt)
    if not read:
        start = tokenizer.special.start
        if start is None:
            raise UsageError(f'--prompt: {prompt!r} has no token; say something to go on with')
        read = [start]
    return continuations(net, read, tokenizer, count=count, way=way), remarks


def language_model(place: Path, nets: dict[str, Net]) -> Net:
    """The one network of those in a place that writes text, its slow copy where it has one."""
    found = {
        name: net
        for name, net in nets.items()
        if hasattr(net.module, 'empty') and hasattr(net.module, 'extend')
    }
    if not found:
        kinds = ', '.join(type(net.module).__name__ for net in nets.values()) or 'no network'
        raise UsageError(
            f'{place}: {kinds}: no language model; one has the methods `empty` and `extend`'
        )
    if len(found) > 1:
        raise UsageError(f'{place} has several language models: {", ".join(found)}')
    net = next(iter(found.values()))
    return net.shadow or net


def continuations(
    net: Net, prompt: Sequence[int], tokenizer: Tokenizer, *, count: int, way: Way
) -> list[str]:
    """How a language model goes on with a prompt: `count` texts, which begin with it.

    A network that reads so many tokens at most, its `context`, reads the last half of that again
    whenever it is full.
    """
    end = NEVER if tokenizer.special.end is None else tokenizer.special.end
    context = getattr(net.module, 'context', None)
    rows = np.tile(np.array([prompt], np.int32), (count, 1))
    if way.beam is not None:
        if context is not None and len(prompt) + way.length > context:
            raise UsageError(
                f'--length: a beam of {way.length} tokens after {len(prompt)}; the network reads '
                f'{context} at most'
            )
        made = _continued(net, jnp.array(rows), jax.random.key(way.key), way=way, end=end)
        return _texts(tokenizer, np.asarray(made.tokens), end, prompt)
    done = 0
    while done < way.length:
        read = rows
        if context is not None and read.shape[1] >= context:
            read = read[:, -max(1, context // 2) :]
        steps = way.length - done
        if context is not None:
            steps = min(steps, context - read.shape[1])
        key = jax.random.fold_in(jax.random.key(way.key), done)
        part = _continued(net, jnp.array(read), key, way=way._replace(length=steps), end=end)
        rows = np.concatenate([rows, part.tokens], axis=1)
        done += steps
    return _texts(tokenizer, rows[:, len(prompt) :], end, prompt)


def answers(
    net: Net, source: Sequence[int], tokenizer: Tokenizer, *, count: int, way: Way
) -> list[str]:
    """What an encoder-decoder says to a source: `count` texts."""
    start, end = known(tokenizer, 'start'), known(tokenizer, 'end')
    rows = jnp.tile(jnp.array([source], jnp.int32), (count, 1))
    made = _answered(net, rows, jax.random.key(way.key), way=way, start=start, end=end)
    return _texts(tokenizer, np.asarray(made.tokens), end, ())


@partial(jax.jit, static_argnames=('way', 'end'))
def _continued(net: Net, prompts: Array, key: Key, *, way: Way, end: int) -> Decoded:
    step, state = started(net, prompts, room=way.length)
    return _decoded(step, state, prompts[:, -1], key, way, end)


@partial(jax.jit, static_argnames=('way', 'start', 'end'))
def _answered(net: Net, source: Array, key: Key, *, way: Way, start: int, end: int) -> Decoded:
    rows, read = source.shape
    lengths = jnp.full(rows, read, jnp.int32)
    step, state = heard(net, source, lengths, room=way.length)
    return _decoded(step, state, jnp.full(rows, start, jnp.int32), key, way, end)


def _decoded(step: Step, state: Any, first: Array, key: Key, way: Way, end: int) -> Decoded:
    if way.beam is not None:
        return beam(step, state, first, length=way.length, end=end, width=way.beam)
    choose = sampler(temperature=way.temperature, top_k=way.top_k, top_p=way.top_p)
    return decode(step, state, first, choose, key, length=way.length, end=end)


def _texts(tokenizer: Tokenizer, rows: np.ndarray, end: int, prompt: Sequence[int]) -> list[str]:
    """Each row as text, after the prompt, until the token that ends it."""
    ended = [np.flatnonzero(row == end) for row in rows]
    sizes = [where[0] if where.size else len(row) for where, row in zip(ended, rows, strict=True)]
    return [tokenizer.decode([*prompt, *row[:size]]) for row, size in zip(rows, sizes, strict=True)]


def _tokens(tokenizer: Tokenizer, prompt: str) -> tuple[list[int], list[str]]:
    """The tokens of a prompt, and a remark where the tokenizer does not know some."""
    tokens = tokenizer.encode(prompt)
    unknown = tokenizer.special.unknown
    strange = 0 if unknown is None else tokens.count(unknown)
    if not strange:
        return tokens, []
    return tokens, [f'{strange} of the {len(tokens)} tokens of the prompt are unknown to it']
