"""Objectives of language: numbers by hand, rows that do not count, and what a network says."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.data.text import Words, answer_table, packed, pair_table, tag_table
from jaxdl.errors import UsageError
from jaxdl.metrics import finish
from jaxdl.metrics.text import TRANSCRIPTION
from jaxdl.models.bert import Predictions, Span
from jaxdl.objectives.answering import best_span, span_answers
from jaxdl.objectives.classification import classifier, read_tokens, show_misread
from jaxdl.objectives.language import (
    continued,
    language_model,
    masked_language_model,
    show_continued,
)
from jaxdl.objectives.seq2seq import decoded, say, seq2seq, show_said
from jaxdl.objectives.tagging import tagger
from jaxdl.samples.drawing import read_texts
from jaxdl.task import Labels

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


class Bigrams(nn.Module):
    """Logits of each token alone, [B, T, words]."""

    words: int = 7

    def setup(self):
        self.table = nn.Embed(self.words, self.words)

    def __call__(self, tokens, lengths=None):
        return self.table(tokens)

    def empty(self, batch, steps):
        return jnp.zeros((batch, 0))

    def extend(self, tokens, state):
        return self(tokens), state


class Phrasebook(nn.Module):
    """What comes next, of the words of the source, the last word said, and its place."""

    source_words: int
    words: int
    steps: int = 5

    def setup(self):
        self.hidden, self.out = nn.Dense(16), nn.Dense(self.words)

    def __call__(self, source, target, lengths):
        memory = self.encode(source, lengths)
        return self.extend(target, self.empty(memory, lengths, self.steps))[0]

    def encode(self, source, lengths):
        there = jnp.arange(source.shape[1])[None] < lengths[:, None]
        return (jax.nn.one_hot(source, self.source_words) * there[..., None]).sum(1)

    def empty(self, memory, lengths, steps):
        return memory, jnp.zeros(len(memory), jnp.int32)

    def extend(self, tokens, state):
        memory, used = state
        batch, steps = tokens.shape
        place = jax.nn.one_hot(used[:, None] + jnp.arange(steps)[None], self.steps)
        read = jnp.broadcast_to(memory[:, None], (batch, steps, self.source_words))
        x = jnp.concatenate([read, place, jax.nn.one_hot(tokens, self.words)], axis=-1)
        return self.out(nn.tanh(self.hidden(x))), (memory, used + steps)


class Hidden(nn.Module):
    """Logits of words and of the next sentence."""

    @nn.compact
    def __call__(self, tokens, lengths, sentences):
        words = nn.Embed(7, 7)(tokens)
        return Predictions(words, words[:, 0, :2] + sentences.sum(-1, keepdims=True))


class Asked(nn.Module):
    """Logits of the words at some places."""

    @nn.compact
    def __call__(self, tokens, lengths, sentences, places):
        return nn.Embed(7, 7)(jnp.take_along_axis(tokens + sentences, places, axis=1))


class Marks(nn.Module):
    """Logits of a start and an end."""

    @nn.compact
    def __call__(self, tokens, lengths, sentences):
        x = nn.Embed(40, 2)(tokens)
        x = jnp.where((jnp.arange(x.shape[1])[None] < lengths[:, None])[..., None], x, -jnp.inf)
        return Span(x[..., 0], x[..., 1])


class Summed(nn.Module):
    """A linear classifier of the words that are there."""

    @nn.compact
    def __call__(self, tokens, lengths):
        there = jnp.arange(tokens.shape[1])[None] < lengths[:, None]
        return (nn.Embed(7, 2)(tokens) * there[..., None]).sum(1)


def tokens(rows=4, steps=6):
    return RNG.integers(0, 7, (rows, steps)).astype(np.int32)


def nats(logits, targets):
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -np.take_along_axis(logs, np.asarray(targets)[..., None], -1)[..., 0]


def table_of(state):
    (table,) = jax.tree.leaves(state['net'].net.params)
    return np.asarray(table, np.float64)


def with_padding(batch, value=1):
    """The same rows and two more that do not count, full of a number."""
    more = jax.tree.map(lambda x: np.full_like(x[:2], value), batch) | {'mask': np.zeros(2, bool)}
    return {name: np.concatenate([batch[name], more[name]]) for name in batch}


def checked(task, batch):
    """The state, the loss of a step, and the numbers of a batch with rows that do not count.

    Whatever these rows hold.
    """
    state = task.init(KEY, batch)
    step, measure = jax.jit(task.step), jax.jit(task.measure)
    padded = [with_padding(batch, value) for value in (0, 3)]
    (a, metrics), (b, _) = (step(KEY, state, each) for each in padded)
    jax.tree.map(np.testing.assert_array_equal, a, b)
    numbers = [finish(measure(KEY, state, each)) for each in padded]
    np.testing.assert_equal(*numbers)
    return state, float(metrics['loss'].value()), numbers[0]


def learned(task, batch, steps=80):
    state, step = task.init(KEY, batch), jax.jit(task.step)
    for i in range(steps):
        state, _ = step(jax.random.key(i), state, batch)
    return state


class TestLanguageModel:
    def test_numbers_are_of_the_next_token(self):
        batch = {'tokens': tokens(), 'mask': np.ones(4, bool)}
        task = language_model(Bigrams(), optax.sgd(1.0), characters=2)
        state, loss, got = checked(task, batch)
        logits, targets = table_of(state)[batch['tokens'][:, :-1]], batch['tokens'][:, 1:]
        want = nats(logits, targets).mean()
        assert got == pytest.approx(
            {
                'loss': want,
                'perplexity': np.exp(want),
                'accuracy': (logits.argmax(-1) == targets).mean(),
                'bits_per_character': want / np.log(2) / 2,
            },
            rel=1e-5,
        )
        assert loss == pytest.approx(want, rel=1e-5)

    def test_rows_that_are_filled_up(self):
        batch = {
            'tokens': tokens(),
            'lengths': np.array([6, 3, 1, 0], np.int32),
            'mask': np.ones(4, bool),
        }
        task = language_model(Bigrams(), optax.sgd(1.0))
        state, loss, got = checked(task, batch)
        each = nats(table_of(state)[batch['tokens'][:, :-1]], batch['tokens'][:, 1:])
        assert got['loss'] == pytest.approx((each[0].sum() + each[1, :2].sum()) / 7, rel=1e-5)
        assert got['loss'] == pytest.approx(loss, rel=1e-5)

    def test_no_text_is_predicted_from_another(self):
        rows = [tokens(1, n)[0].tolist() for n in (3, 2, 4)]
        table = packed(rows, length=6).arrays
        batch = {**table, 'mask': np.ones(len(table['tokens']), bool)}
        task = language_model(Bigrams(), optax.sgd(1.0))
        state = task.init(KEY, batch)
        got = finish(task.measure(KEY, state, batch))['loss']
        each = [nats(table_of(state)[row[:-1]], row[1:]) for row in map(np.array, rows)]
        assert got == pytest.approx(np.concatenate(each).mean(), rel=1e-5)

    def test_it_continues_as_it_has_learned(self):
        text = np.tile(np.arange(1, 5), 4)[None].astype(np.int32)
        batch = {'tokens': np.concatenate([text, text]), 'mask': np.ones(2, bool)}
        state = learned(language_model(Bigrams(5), optax.adam(0.2)), batch)
        nets = {'net': state['net'].net}
        tokens = continued(nets['net'], text[:, :3], KEY, length=6, temperature=0)
        np.testing.assert_array_equal(tokens, [[1, 2, 3, 4, 1, 2, 3, 4, 1]])
        ended = continued(nets['net'], text[:, :1], KEY, length=6, temperature=0, end=4)
        np.testing.assert_array_equal(ended, [[1, 2, 3, 4, 4, 4, 4]])
        shown = show_continued(nets, batch, KEY, decode=str, length=5, count=1, temperature=1e-3)
        assert read_texts(shown['text']) == ['[1, 2, 3, 4, 1, 2]']


class TestMaskedLanguageModel:
    def batch(self):
        return {
            'tokens': tokens(),
            'lengths': np.full(4, 6, np.int32),
            'sentences': tokens() % 2,
            'targets': tokens(),
            'chosen': RNG.uniform(size=(4, 6)) < 0.5,
            'follows': np.array([0, 1, 1, 0], np.int32),
            'mask': np.ones(4, bool),
        }

    def test_numbers_are_of_hidden_tokens(self):
        batch = self.batch()
        task = masked_language_model(Hidden(), optax.sgd(1.0), next_sentence=True)
        state, loss, got = checked(task, batch)
        logits, chosen = table_of(state)[batch['tokens']], batch['chosen']
        hidden = nats(logits, batch['targets'])[chosen].mean()
        both = logits[:, 0, :2] + batch['sentences'].sum(-1, keepdims=True)
        follows = nats(both, batch['follows']).mean()
        assert got == pytest.approx(
            {
                'loss': hidden,
                'perplexity': np.exp(hidden),
                'accuracy': (logits.argmax(-1) == batch['targets'])[chosen].mean(),
                'next_sentence_loss': follows,
                'next_sentence_accuracy': (both.argmax(-1) == batch['follows']).mean(),
            },
            rel=1e-5,
        )
        assert loss == pytest.approx(hidden + follows, rel=1e-5)

    def test_some_places_are_asked_for(self):
        batch = {k: v for k, v in self.batch().items() if k != 'follows'}
        places = np.array([[4, 1], [0, 3], [2, 2], [5, 0]], np.int32)
        batch |= {
            'places': places,
            'targets': batch['targets'][:, :2],
            'chosen': np.array([[True, False], [True, True], [False, True], [False, False]]),
            'sentences': np.zeros_like(batch['tokens']),
        }
        task = masked_language_model(Asked(), optax.sgd(1.0))
        state, loss, got = checked(task, batch)
        logits = table_of(state)[np.take_along_axis(batch['tokens'], places, 1)]
        hidden = nats(logits, batch['targets'])[batch['chosen']].mean()
        assert loss == pytest.approx(hidden, rel=1e-5) == got['loss']
        del batch['sentences']  # of one text all is the first
        numbers = finish(jax.jit(task.measure)(KEY, state, batch))
        assert numbers['loss'] == pytest.approx(hidden, rel=1e-5)

    def test_words_alone(self):
        batch = {k: v for k, v in self.batch().items() if k not in ('sentences', 'follows')}
        task = masked_language_model(Bigrams(), optax.sgd(1.0))
        state = task.init(KEY, batch)
        hidden = nats(table_of(state)[batch['tokens']], batch['targets'])[batch['chosen']].mean()
        got = finish(jax.jit(task.measure)(KEY, state, batch))
        assert got['loss'] == pytest.approx(hidden, rel=1e-5) and len(got) == 3
        wrong = masked_language_model(Bigrams(), optax.sgd(1.0), next_sentence=True)
        with pytest.raises(UsageError, match='Bigrams: next_sentence needs a network that returns'):
            wrong.measure(KEY, state, batch)


@pytest.fixture(scope='module')
def translator():
    """A network that has learned four sentences, their table, and the target's tokenizer."""
    source = ['run', 'run twice', 'walk', 'walk twice']
    target = ['RUN', 'RUN RUN', 'WALK', 'WALK WALK']
    words = Words.learn(source), Words.learn(target)
    table = pair_table(source, target, tokenizers=words, length=(4, 5)).arrays
    batch = {**table, 'mask': np.ones(4, bool)}
    net = Phrasebook(words[0].vocabulary, words[1].vocabulary)
    task = seq2seq(net, optax.adam(0.1))
    return task, learned(task, batch), batch, words


class TestSeq2seq:
    def test_numbers_are_of_target_tokens(self, translator):
        task, _, batch, _ = translator
        task = seq2seq(task.nets(translator[1])['net'].module, optax.sgd(0.1), label_smoothing=0.2)
        state, loss, got = checked(task, batch)
        net = state['net'].net
        logits, _ = net(batch['source'], batch['target'][:, :-1], batch['source_lengths'])
        logits, targets = np.asarray(logits, np.float64), batch['target'][:, 1:]
        real = np.arange(4)[None] < batch['target_lengths'][:, None] - 1
        assert real.sum() == 2 * (2 + 3)
        each = nats(logits, targets)
        assert got['loss'] == pytest.approx(each[real].mean(), rel=1e-5)
        assert got['perplexity'] == pytest.approx(np.exp(got['loss']), rel=1e-6)
        assert got['accuracy'] == pytest.approx((logits.argmax(-1) == targets)[real].mean())
        # Smoothing is descended, and not measured.
        every = np.mean([nats(logits, np.full_like(targets, word)) for word in range(6)], axis=0)
        assert loss == pytest.approx((0.8 * each + 0.2 * every)[real].mean(), rel=1e-5)

    @pytest.mark.parametrize('width', [1, 3])
    def test_it_says_what_it_has_learned(self, translator, width):
        _, state, batch, (_, target) = translator
        measure = decoded(length=4, decode=target.decode, scores=TRANSCRIPTION, width=width)
        wrong = batch | {'reference': batch['reference'][[1, 1, 2, 3]]}
        got = finish(jax.jit(measure)({'net': state['net'].net}, with_padding(wrong), KEY))
        assert got == {'sequence_accuracy': 1, 'wer': 1 / 7, 'cer': 4 / 27, 'exact': 3 / 4}

    def test_greedy_is_the_likeliest_after_what_was_said(self, translator):
        _, state, batch, _ = translator
        net = state['net'].net
        source, lengths = batch['source'], batch['source_lengths']
        said = np.asarray(say(net, source, lengths, length=3).tokens)
        before = np.concatenate([np.full((4, 1), 2), said[:, :-1]], axis=1)
        logits, _ = net(source, before, lengths)
        ended = np.cumsum(said == 3, 1) - (said == 3) > 0
        np.testing.assert_array_equal(said, np.where(ended, 3, logits.argmax(-1)))

    def test_what_is_shown(self, translator):
        _, state, batch, (source, target) = translator
        shown = show_said(
            {'net': state['net'].net}, batch, KEY,
            decode=target.decode, decode_source=source.decode, length=4, count=2,
        )['said']  # fmt: skip
        assert read_texts(shown) == [
            'run\n    said: RUN  (right)',
            'run twice\n    said: RUN RUN  (right)',
        ]
        wrong = shown.replace(target=shown.target[::-1])
        assert read_texts(wrong)[0] == 'run\n    said: RUN\n    truth: RUN RUN'

    def test_scores_need_a_decoder(self):
        with pytest.raises(ValueError, match='scores of texts need decode='):
            decoded(length=3, scores=TRANSCRIPTION)


class TestTagger:
    NAMES = ('O', 'B-x', 'I-x')

    def batch(self):
        words = Words.learn(['a b c'])
        sentences, tags = [['b', 'c', 'a'], ['a', 'b'], ['c']], [[1, 2, 0], [0, 1], [2]]
        table = tag_table(sentences, tags, words, length=4, classes=self.NAMES).arrays
        return {**table, 'tags': table['tags'].copy(), 'mask': np.ones(3, bool)}

    def test_numbers_are_of_tokens_with_a_tag(self):
        batch = self.batch()
        batch['tags'][0, 1] = -1  # a further part of a word
        task = tagger(Bigrams(), optax.adam(0.1), classes=7)
        state, loss, got = checked(task, batch)
        real = batch['tags'] >= 0
        assert real.sum() == 5 and batch['lengths'].sum() == 6
        logits, truth = table_of(state)[batch['tokens'][real]], batch['tags'][real]
        assert got['loss'] == pytest.approx(nats(logits, truth).mean(), rel=1e-5)
        assert got['loss'] == pytest.approx(loss, rel=1e-5)
        assert got['accuracy'] == pytest.approx((logits.argmax(-1) == truth).mean())
        assert got['confusion'].sum() == 5 and 'macro_f1' in got and 'entity/f1' not in got
        assert task.labels == {'tags': Labels(7, axes=1, ignore=-1)}

    def test_entities_are_learned(self):
        batch = self.batch()
        task = tagger(Bigrams(3), optax.adam(0.1), classes=self.NAMES, entities=True)
        batch['tokens'] = np.where(batch['tags'] >= 0, batch['tokens'] - 4, 0)
        state = learned(task, batch, 60)
        got = finish(jax.jit(task.measure)(KEY, state, with_padding(batch)))
        assert got['entity/f1'] == got['macro_f1'] == got['entity/recall'] == 1

    def test_what_cannot_be_is_said(self):
        with pytest.raises(UsageError, match='entities need the names of the classes, not 3'):
            tagger(Bigrams(), optax.sgd(1.0), classes=3, entities=True)
        task = tagger(Bigrams(), optax.sgd(1.0), classes=3)
        with pytest.raises(UsageError, match='Bigrams has 7 outputs, and there are 3 classes'):
            task.step(KEY, task.init(KEY, self.batch()), self.batch())


class TestAnswers:
    def test_the_best_span_is_allowed(self):
        start = np.array([[9.0, 1, 5, 0, 2], [0, 0, 4, 0, 0]])
        end = np.array([[9.0, 3, 0, 4, 8], [0, 9, 0, 0, 3]])
        allowed = np.array([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]], bool)
        for longest, want in ((5, [(2, 4), (0, 1)]), (2, [(4, 4), (0, 1)]), (1, [(4, 4), (1, 1)])):
            first, last = best_span(start, end, allowed, longest=longest)
            assert list(zip(first.tolist(), last.tolist(), strict=True)) == want

    def test_answers_are_learned_and_read_from_the_text(self):
        contexts = ['one two three four', 'five six seven', 'eight nine']
        answers, starts = [['two three'], ['seven'], ['nine']], [[4], [9], [6]]
        words = Words.learn([*contexts, '? why'])
        table = answer_table(['why ?'] * 3, contexts, answers, starts, words, length=8).arrays
        batch = {**table, 'mask': np.ones(3, bool)}
        assert table['there'].all()
        batch['there'] = np.array([True, True, False])
        task = span_answers(Marks(), optax.adam(0.1))
        state, loss, before = checked(task, batch)
        net = state['net'].net
        span, _ = net(batch['tokens'], batch['lengths'], batch['sentences'])
        both = [
            nats(np.asarray(x, np.float64), batch[n])
            for x, n in zip(span, ('start', 'end'), strict=True)
        ]
        assert before['loss'] == pytest.approx(np.mean(both, 0)[:2].mean(), rel=1e-5)
        assert before['loss'] == pytest.approx(loss, rel=1e-5)
        got = finish(jax.jit(task.measure)(KEY, learned(task, batch), batch))
        # The third is measured, although it was not learned.
        assert got['loss'] < 0.1 and 200 / 3 <= got['f1'] + 1e-9 and got['exact_match'] >= 66


class TestTextClassifier:
    def test_a_classifier_may_read_tokens(self):
        batch = {
            'tokens': tokens(),
            'lengths': np.array([6, 4, 2, 1], np.int32),
            'y': np.array([0, 1, 1, 0], np.int32),
            'mask': np.ones(4, bool),
        }
        task = classifier(Summed(), optax.adam(0.1), classes=2, inputs=read_tokens)
        state, _, got = checked(task, batch)
        there = np.arange(6)[None] < batch['lengths'][:, None]
        logits = (table_of(state)[batch['tokens']] * there[..., None]).sum(1)
        assert got['loss'] == pytest.approx(nats(logits, batch['y']).mean(), rel=1e-5)
        shown = show_misread(task.nets(state), with_padding(batch), KEY, decode=str, count=2)
        worst = np.argsort(-nats(logits, batch['y']))[:2]
        np.testing.assert_array_equal(shown['misread'].codes, batch['tokens'][worst])
        assert read_texts(shown['misread'])[0].startswith(str(batch['tokens'][worst[0]].tolist()))
