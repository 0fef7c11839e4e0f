"""Language models: the next token from those before it, or hidden ones from those around them."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.decoding import Step, by_token, decode, sampler
from jaxdl.errors import UsageError
from jaxdl.game import Nets, Shadow, supervised
from jaxdl.keys import Key
from jaxdl.lengths import within
from jaxdl.metrics import Mean
from jaxdl.metrics.text import Perplexity, token_accuracy
from jaxdl.net import Net
from jaxdl.samples import Decode, Texts
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array


def language_model(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    characters: float | None = None,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """The next token, by cross-entropy: L = mean over tokens of -log p(x_t | x_1 .. x_(t-1)).

    module(tokens int [B, T], lengths [B]) -> logits [B, T, V] of the token after each. A batch has
    `tokens` int [B, T + 1]; `lengths` [B], of the real ones, if rows are filled up; `segments`
    [B, T + 1], if texts are packed side by side: then none is predicted from another text's last
    token (the network still sees what stands before).

    Measures 'loss' in nats a token, 'perplexity', and the 'accuracy' of the likeliest token. With a
    `shadow` (an EMA) it is the shadow that is measured.

    characters: how many of them a token stands for in the mean (1 where each is one): then
        'bits_per_character' is measured too, which compares tokenizers.
    """

    def loss(net: Net, batch: Batch, key: Key) -> tuple[Array, tuple[Net, Metrics]]:
        targets, weights = _targets(batch)
        logits, net = net(*_inputs(batch), key=key, train=True)
        return losses.cross_entropy(logits, targets, weights=weights), (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        targets, weights = _targets(batch)
        logits, _ = (net.shadow or net)(*_inputs(batch))
        numbers = _numbers(logits, targets, weights)
        if characters is not None:
            nats = numbers['loss']
            bits = Mean(nats.total / math.log(2), nats.weight * characters, 'lower')
            numbers['bits_per_character'] = bits
        return numbers

    return supervised(
        module, loss, opt, measure, inputs=_inputs, accumulate=accumulate, shadow=shadow
    )


def masked_language_model(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    next_sentence: bool = False,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """BERT's pre-training (Devlin et al. 2019, section 3.1): hidden tokens from those around them.

    module(tokens, lengths, sentences) -> `Predictions`, logits `words` [B, T, V] and `follows`
    [B, 2]; or the logits of words alone. A batch has `tokens` int [B, T] with some hidden,
    `lengths` [B], `targets` int [B, T] and where they are asked for, `chosen` bool [B, T] (see
    `masked`); `sentences` int [B, T], of which each token is, where there are two. With `places`
    int [B, P] the module is given them last, and words, targets and chosen are [B, P] of these.

    next_sentence: whether `follows` int [B] (see `sentence_pairs`) is learned too; both losses are
        added.

    Measures 'loss', in nats a hidden token, 'perplexity' and 'accuracy' of these, and of the next
    sentence 'next_sentence_loss' and 'next_sentence_accuracy'.
    """

    def loss(net: Net, batch: Batch, key: Key) -> tuple[Array, tuple[Net, Metrics]]:
        output, net = net(*_around(batch), key=key, train=True)
        weights = batch['chosen'] & batch['mask'][:, None]
        words = getattr(output, 'words', output)
        value = losses.cross_entropy(words, batch['targets'], weights=weights)
        if next_sentence:
            follows = _follows(module, output)
            value += losses.cross_entropy(follows, batch['follows'], weights=batch['mask'])
        return value, (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        output, _ = (net.shadow or net)(*_around(batch))
        words = getattr(output, 'words', output)
        numbers = _numbers(words, batch['targets'], batch['chosen'] & batch['mask'][:, None])
        if next_sentence:
            logits, truth, mask = _follows(module, output), batch['follows'], batch['mask']
            each = optax.softmax_cross_entropy_with_integer_labels(logits, truth)
            numbers['next_sentence_loss'] = Mean.of(each, mask, better='lower')
            numbers['next_sentence_accuracy'] = token_accuracy(logits, truth, mask)
        return numbers

    return supervised(
        module, loss, opt, measure, inputs=_around, accumulate=accumulate, shadow=shadow
    )


def started(net: Net, prompts: Array, *, room: int) -> tuple[Step, Any]:
    """How a language model goes on from prompts int [B, P], as `jaxdl.decoding` wants it.

    Returns step(state, tokens), whose first tokens are the prompts' last, and the state before
    them, which has room for so many tokens more.
    """
    rows, read = prompts.shape
    state, _ = net(rows, read + room, method='empty')
    if read > 1:
        (_, state), _ = net(prompts[:, :-1], state, method='extend')
    return by_token(net), state


def continued(
    net: Net,
    prompts: Array,
    key: Key,
    *,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    end: int = -1,
) -> Array:
    """Prompts int [B, P] and how a language model goes on, int [B, P + length].

    temperature, top_k, top_p: as in `jaxdl.decoding.sampler`. end: the token that ends a text, -1
    where none does.
    """
    step, state = started(net, prompts, room=length)
    choose = sampler(temperature=temperature, top_k=top_k, top_p=top_p)
    made = decode(step, state, prompts[:, -1], choose, key, length=length, end=end)
    return jnp.concatenate([prompts, made.tokens.astype(prompts.dtype)], axis=1)


def show_continued(
    nets: Nets,
    batch: Batch,
    key: Key,
    *,
    decode: Decode,
    prompt: int = 1,
    length: int = 200,
    temperature: float = 1.0,
    count: int = 3,
) -> dict[str, Any]:
    """For `Eval.show`: what a language model writes after the first tokens of a batch's rows.

    decode: `Tokenizer.decode`. prompt: how many tokens it is given. length: how many it writes.
    """
    net = nets['net']
    prompts = batch['tokens'][:count, :prompt]
    tokens = continued(net.shadow or net, prompts, key, length=length, temperature=temperature)
    return {'text': Texts(tokens, decode=decode)}


def _inputs(batch: Batch) -> tuple[Any, ...]:
    """All tokens but the last, and how many are real, if that is said."""
    tokens = batch['tokens'][:, :-1]
    if 'lengths' not in batch:
        return (tokens,)
    return tokens, jnp.clip(batch['lengths'] - 1, 0, tokens.shape[1])


def _targets(batch: Batch) -> tuple[Array, Array]:
    """All tokens but the first [B, T], and which of them are to be predicted."""
    tokens = batch['tokens']
    if tokens.shape[1] < 2:
        raise UsageError(f'language_model: tokens {list(tokens.shape)}; 2 a row at least')
    weights = jnp.broadcast_to(batch['mask'][:, None], tokens[:, 1:].shape)
    if 'lengths' in batch:
        weights &= within(batch['lengths'] - 1, tokens.shape[1] - 1)
    if 'segments' in batch:
        weights &= batch['segments'][:, 1:] == batch['segments'][:, :-1]
    return tokens[:, 1:], weights


def _around(batch: Batch) -> tuple[Any, ...]:
    """Tokens, their lengths, of which sentence they are, and the places asked for, as is said."""
    read = (batch['tokens'], batch['lengths'])
    if 'places' in batch:
        one = jnp.zeros_like(batch['tokens'])
        return (*read, batch.get('sentences', one), batch['places'])
    return (*read, batch['sentences']) if 'sentences' in batch else read


def _numbers(logits: Array, targets: Array, weights: Array) -> dict[str, Any]:
    each = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return {
        'loss': Mean.of(each, weights, better='lower'),
        'perplexity': Perplexity.of(each, weights),
        'accuracy': token_accuracy(logits, targets, weights),
    }


def _follows(module: nn.Module, output: Any) -> Array:
    if not hasattr(output, 'follows'):
        raise UsageError(
            f'{type(module).__name__}: next_sentence needs a network that returns `follows`, '
            'such as jaxdl.models.bert.PreTraining'
        )
    return output.follows
