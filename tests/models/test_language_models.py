"""Networks of language: sizes, causality by a zero gradient, padding, caches, heads."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models import bert, gpt
from jaxdl.models.bert import (
    BERT,
    PreTraining,
    SequenceClassifier,
    SpanAnswers,
    TokenClassifier,
)
from jaxdl.models.gpt import GPT
from jaxdl.models.rnn import Generator, LanguageModel, RNNClassifier, Tagger, TextCNN
from jaxdl.models.seq2seq import Additive, Memory, Multiplicative, NoAttention, Seq2Seq
from jaxdl.models.transformer import Transformer, pre_norm, transformer_base, transformer_big
from jaxdl.net import unboxed
from jaxdl.nn.attention import rotary
from jaxdl.nn.recurrent import GRU, LSTM

B, T, WORDS = 3, 7, 11
TOKENS = jax.random.randint(jax.random.key(0), (B, T), 0, WORDS)
LENGTHS = jnp.array([7, 3, 5])
SMALL = {'vocabulary': WORDS, 'width': 8, 'depth': 2, 'heads': 2}
TINY_BERT = BERT(**SMALL, context=8, mlp=16)
MODELS = {
    'gpt': GPT(**SMALL, context=8),
    'rotary': GPT(**SMALL, groups=1, rotate=rotary),
    'lstm': LanguageModel(WORDS, (6, 6), 5),
    'gru': LanguageModel(WORDS, (6,), 5, layer=GRU),
}


def drawn(module, *inputs):
    """Variables of which none is as it begins: zeros and small numbers hide what is wrong."""
    like = unboxed(jax.eval_shape(module.init, jax.random.key(0), *inputs))
    leaves, tree = jax.tree.flatten(like)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    draws = [0.5 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, draws)


def count(module, *inputs):
    shapes = unboxed(jax.eval_shape(module.init, jax.random.key(0), *inputs))
    return sum(x.size for x in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ('make', 'published'),
    [
        (gpt.gpt2, 124_439_808),
        (gpt.gpt2_medium, 354_823_168),
        (gpt.gpt2_large, 774_030_080),
        (gpt.gpt2_xl, 1_557_611_200),
        (bert.bert_base, 109_482_240),
        (bert.bert_large, 335_141_888),
    ],
)
def test_published_sizes(make, published):
    assert count(make(), TOKENS[:1, :2]) == published


def test_sizes_of_the_transformer_by_formula():
    for make, d, h in ((transformer_base, 512, 2048), (transformer_big, 1024, 4096)):
        attention, mlp = 4 * (d * d + d), 2 * d * h + h + d
        blocks = 6 * (attention + mlp + 4 * d) + 6 * (2 * attention + mlp + 6 * d)
        assert count(make(37_000), TOKENS[:1], TOKENS[:1]) == blocks + 37_000 * d


@pytest.mark.parametrize('name', MODELS)
def test_no_token_sees_what_comes_after_it(name):
    module = MODELS[name]
    variables = drawn(module, TOKENS)
    table = 'wte' if 'wte' in variables['params'] else 'embed'
    rest = {k: v for k, v in variables['params'].items() if k != table}
    embedded = variables['params'][table]['embedding'][TOKENS[:1]]

    def logits(rows):  # each place has a row of the table of its own
        own = {**rest, table: {'embedding': rows}}
        return module.apply({'params': own}, jnp.arange(T)[None])[0, 3]

    module = module.clone(vocabulary=T)
    if table == 'embed':
        rest['out'] = {k: v[..., :T] for k, v in rest['out'].items()}
    seen = jax.jacrev(lambda rows: logits(rows)[: 3 + 1].sum() if table == 'wte' else logits(rows))
    slopes = np.asarray(seen(embedded[0])).reshape(-1, T, embedded.shape[-1])
    before, after = slopes[:, :4], slopes[:, 4:]
    assert not after.any() and np.abs(before).sum((0, 2)).all()


@pytest.mark.parametrize('name', MODELS)
def test_with_a_state_it_is_the_same_text(name):
    module = MODELS[name]
    variables = drawn(module, TOKENS)
    whole = module.apply(variables, TOKENS)
    extend = jax.jit(partial(module.apply, variables, method='extend'))
    close = partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)
    # Prompts of unlike lengths at once, and then a token at a time.
    state = module.apply(variables, B, 8, method='empty')
    prompt = jnp.array([4, 2, 3])
    got, state = extend(TOKENS[:, :4], state, prompt)
    for row, n in enumerate(prompt):
        close(got[row, :n], whole[row, :n])
    rows = jnp.arange(B)
    for step in range(2):
        got, state = extend(TOKENS[rows, prompt + step][:, None], state)
        close(got[:, 0], whole[rows, prompt + step])


def test_memory_for_time_changes_no_number():
    variables = drawn(MODELS['gpt'], TOKENS)

    def loss(module, variables):
        return jnp.sin(module.apply(variables, TOKENS)).sum()

    plain, saving = (
        jax.jit(jax.value_and_grad(partial(loss, GPT(**SMALL, context=8, remat=remat))))(variables)
        for remat in (False, True)
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), plain, saving)


HEADS = {
    'pre-training': PreTraining(TINY_BERT),
    'sequence': SequenceClassifier(3, TINY_BERT),
    'token': TokenClassifier(3, TINY_BERT),
    'span': SpanAnswers(TINY_BERT),
    'tagger': Tagger(WORDS, 3, 5),
    'ahead': Tagger(WORDS, 3, 5, make=partial(LSTM, 6), ahead=1),
    'rnn': RNNClassifier(WORDS, 3),
    'generator': Generator(WORDS, 6),
    'cnn': TextCNN(WORDS, 3, 5, (2, 4), 6),
}


@pytest.mark.parametrize('name', HEADS)
def test_padding_changes_nothing(name):
    module = HEADS[name]
    variables = drawn(module, TOKENS, LENGTHS)
    run = jax.jit(module.apply)
    beyond = jnp.arange(T)[None] >= LENGTHS[:, None]
    other = jnp.where(beyond, (TOKENS + 1) % WORDS, TOKENS)
    both = (jax.tree.leaves(run(variables, x, LENGTHS)) for x in (TOKENS, other))
    for got, want in zip(*both, strict=True):
        if got.ndim > 1 and got.shape[1] == T:  # what is said of padding does not matter
            shape = beyond.shape + (1,) * (got.ndim - 2)
            got, want = (jnp.where(beyond.reshape(shape), 0, y) for y in (got, want))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize('name', [*HEADS])
def test_rows_do_not_see_each_other(name):
    module = HEADS[name]
    variables = drawn(module, TOKENS, LENGTHS)
    run = jax.jit(module.apply)
    order = jnp.array([2, 0, 1])
    got, want = run(variables, TOKENS[order], LENGTHS[order]), run(variables, TOKENS, LENGTHS)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y[order], rtol=1e-5, atol=1e-5), got, want
    )


def test_words_are_said_of_the_places_that_are_asked_for():
    module = HEADS['pre-training']
    variables = drawn(module, TOKENS, LENGTHS)
    places = jnp.array([[3, 0], [1, 1], [0, 2]])
    run = jax.jit(module.apply)
    whole, some = run(variables, TOKENS, LENGTHS), run(variables, TOKENS, LENGTHS, None, places)
    want = jnp.take_along_axis(whole.words, places[..., None], axis=1)
    np.testing.assert_allclose(some.words, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(some.follows, whole.follows, rtol=1e-5, atol=1e-5)


def test_a_text_shorter_than_a_window_is_seen():
    module = HEADS['cnn']
    variables = drawn(module, TOKENS, LENGTHS)
    ones = jnp.array([1, 1, 1])
    first = module.apply(variables, TOKENS[:, :1], ones)
    np.testing.assert_allclose(module.apply(variables, TOKENS, ones), first, rtol=1e-5, atol=1e-5)


PAIRS = {
    'published': Transformer(WORDS, width=8, depth=1, heads=2, mlp=16),
    'pre-norm': Transformer(
        WORDS, width=8, depth=1, heads=2, mlp=16, residual=pre_norm, norm_last=True
    ),
    'additive': Seq2Seq(WORDS, WORDS, 5, 6, attention=Additive),
    'multiplicative': Seq2Seq(WORDS, WORDS, 5, 6, attention=Multiplicative),
    'no attention': Seq2Seq(WORDS, WORDS, 5, 6, attention=NoAttention, layer=LSTM),
}


@pytest.mark.parametrize('name', PAIRS)
def test_a_decoder_says_step_by_step_what_it_says_at_once(name):
    module = PAIRS[name]
    source, lengths = TOKENS[:, :5], jnp.array([5, 3, 4])
    variables = drawn(module, source, TOKENS, lengths)
    whole = module.apply(variables, source, TOKENS, lengths)
    beyond = jnp.arange(5)[None] >= lengths[:, None]
    other = jnp.where(beyond, (source + 1) % WORDS, source)
    np.testing.assert_allclose(
        module.apply(variables, other, TOKENS, lengths), whole, rtol=1e-5, atol=1e-5
    )
    memory = module.apply(variables, source, lengths, method='encode')
    state = module.apply(variables, memory, lengths, steps=T, method='empty')
    extend = jax.jit(partial(module.apply, variables, method='extend'))
    for step in range(T):
        got, state = extend(TOKENS[:, step : step + 1], state)
        np.testing.assert_allclose(got[:, 0], whole[:, step], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize('name', ['additive', 'multiplicative'])
def test_attention_of_a_decoder_is_a_mean_of_what_was_read(name):
    module = PAIRS[name].attention()
    memory = jax.random.normal(jax.random.key(0), (2, 4, 5))
    read = Memory(memory, jnp.array([4, 2]), memory[:, 0])
    query = jax.random.normal(jax.random.key(1), (2, 3, 6))
    context, _ = module.init_with_output(jax.random.key(2), query, read)
    low, high = memory[1, :2].min(0), memory[1, :2].max(0)
    assert ((context[1] >= low[None] - 1e-6) & (context[1] <= high[None] + 1e-6)).all()


def test_too_many_tokens_are_named():
    with pytest.raises(ValueError, match='7 tokens, and a context of 4'):
        jax.eval_shape(GPT(**SMALL, context=4).init, jax.random.key(0), TOKENS)
    with pytest.raises(ValueError, match='9 tokens, and a context of 8'):
        MODELS['gpt'].apply({}, B, 9, method='empty')
    with pytest.raises(ValueError, match='7 tokens, and a context of 4'):
        jax.eval_shape(BERT(**SMALL, context=4).init, jax.random.key(0), TOKENS)
