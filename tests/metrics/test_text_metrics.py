"""Numbers of text: by hand, and as the libraries that others use have them."""

import builtins
import math
import random

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.text import Words
from jaxdl.errors import UsageError
from jaxdl.metrics import describe, finish, total
from jaxdl.metrics.answers import Answered, exact, f1, normalised
from jaxdl.metrics.edits import edit_distance
from jaxdl.metrics.entities import Entities, Entity, entities
from jaxdl.metrics.text import (
    TRANSCRIPTION,
    TRANSLATION,
    Perplexity,
    Written,
    bleu,
    character_error_rate,
    chrf,
    from_utf8,
    sequence_accuracy,
    utf8,
    word_error_rate,
)

SAID = ['the cat sat on the mat', 'a dog !', 'hello there , world']
TRUE = ['the cat sat on a mat', 'a dog barks !', 'hello world']


def test_bytes_are_texts():
    rows = utf8(['é', 'abc', ''])
    assert rows.shape == (3, 3) and rows.dtype == np.uint8
    assert [from_utf8(row) for row in rows] == ['é', 'abc', '']


class TestTokens:
    def test_perplexity_is_of_the_mean_over_all(self):
        parts = [Perplexity.of(np.log(values)) for values in ([2.0], [8.0, 4.0])]
        assert finish({'p': parts[0] + parts[1]})['p'] == pytest.approx(4.0, rel=1e-6)
        assert Perplexity.of([1e4]).value() == math.inf and math.isnan(Perplexity.of([]).value())
        assert describe({'p': parts[0]})['p'].better == 'lower'
        # A fair die has perplexity 6; rows that do not count have no part.
        die = Perplexity.of(np.full((2, 3), np.log(6)), np.array([1, 0]))
        assert die.value() == pytest.approx(6) and die.weight == 3

    def test_a_sequence_is_right_from_end_to_end(self):
        truth, lengths = jnp.array([[5, 6, 3], [5, 3, 0], [5, 3, 0], [5, 3, 0]]), [3, 2, 2, 2]
        said = jnp.array([[5, 6, 3, 3], [5, 3, 3, 3], [5, 6, 3, 3], [5, 3, 3, 3]])
        of = jnp.array([3, 2, 3, 2])
        mask = jnp.array([True, True, True, False])
        assert sequence_accuracy(said, of, truth, jnp.array(lengths), mask).value() == (
            pytest.approx(2 / 3)
        )
        # What goes on after the truth has ended is wrong; and so is what has not ended.
        longer = sequence_accuracy(said[1:2], jnp.array([4]), truth[1:2], jnp.array([2]), mask[:1])
        assert longer.value() == 0


class TestTexts:
    def test_bleu_by_hand(self):
        pytest.importorskip('sacrebleu')
        # n-grams that are right: 5 of 6, 3 of 5, 2 of 4, 1 of 3; as long as the truth.
        by_hand = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)
        assert bleu(SAID[:1], TRUE[:1]) == pytest.approx(by_hand, rel=1e-9)
        # Too short by one of seven: a penalty of exp(1 - 7 / 6).
        short = 100 * math.exp(1 - 7 / 6)
        assert bleu(['a b c d e f'], ['a b c d e f g']) == pytest.approx(short, rel=1e-9)

    def test_those_of_sacrebleu(self):
        library = pytest.importorskip('sacrebleu')
        want = library.corpus_bleu(SAID, [TRUE]).score, library.corpus_chrf(SAID, [TRUE]).score
        assert (bleu(SAID, TRUE), chrf(SAID, TRUE)) == want and 0 < min(want) < max(want) < 100
        assert chrf(TRUE, TRUE) == pytest.approx(100)

    def test_edits_by_hand(self):
        assert edit_distance('kitten', 'sitting') == 3 and edit_distance('', 'abc') == 3
        assert edit_distance('abc', '') == 3 and edit_distance('', '') == 0
        assert edit_distance('intention', 'execution') == 5
        # One word of six, one of four is missing, two too many of two.
        assert word_error_rate(SAID, TRUE) == pytest.approx((1 + 1 + 2) / 12)
        assert math.isnan(word_error_rate([''], ['']))

    def test_edits_are_those_of_the_recursion(self):
        def slow(a, b):
            if not a or not b:
                return len(a) + len(b)
            best = min(slow(a[1:], b), slow(a, b[1:])) + 1
            return min(best, slow(a[1:], b[1:]) + (a[0] != b[0]))

        rng = random.Random(0)
        for _ in range(60):
            a, b = (''.join(rng.choices('ab', k=rng.randint(0, 5))) for _ in 'ab')
            assert edit_distance(a, b) == slow(a, b), (a, b)

    def test_those_of_jiwer(self):
        jiwer = pytest.importorskip('jiwer')
        rng = random.Random(1)
        said, true = ([' '.join(rng.choices('ab cd e'.split(), k=rng.randint(1, 9)))
                       for _ in range(40)] for _ in range(2))  # fmt: skip
        assert word_error_rate(said, true) == pytest.approx(jiwer.wer(true, said))
        assert character_error_rate(said, true) == pytest.approx(jiwer.cer(true, said))

    def test_rows_become_texts_once_however_they_were_batched(self):
        pytest.importorskip('sacrebleu')
        tokenizer = Words.learn(SAID)
        rows = np.zeros((4, 8), np.int32)
        for row, text in zip(rows, SAID, strict=False):
            ids = [*tokenizer.encode(text), 3]
            row[: len(ids)] = ids
        truth, mask = utf8([*TRUE, 'padding']), np.array([True, True, True, False])
        scores = {**TRANSLATION, **TRANSCRIPTION}

        def of(part):
            return {
                '': Written.of(
                    jnp.asarray(rows[part]), jnp.asarray(truth[part]), jnp.asarray(mask[part]),
                    decode=tokenizer.decode, scores=scores,
                )
            }  # fmt: skip

        whole = finish(of(slice(4)))
        assert finish(total([of(slice(1)), of(slice(1, 4))])) == whole
        assert whole == {
            'bleu': bleu(SAID, TRUE),
            'chrf': chrf(SAID, TRUE),
            'wer': word_error_rate(SAID, TRUE),
            'cer': character_error_rate(SAID, TRUE),
            'exact': 0,
        }
        known = describe(of(slice(4)))
        assert known['bleu'].better == 'higher' and known['wer'].better == 'lower'

    def test_a_missing_library_is_named_before_there_are_texts(self, monkeypatch):
        real = builtins.__import__

        def missing(name, *args, **more):
            if name == 'sacrebleu':
                raise ImportError(name)
            return real(name, *args, **more)

        monkeypatch.setattr(builtins, '__import__', missing)
        empty = Written.of(
            jnp.zeros((2, 3), jnp.int32), jnp.zeros((2, 3), jnp.uint8), jnp.ones(2, bool),
            decode=from_utf8, scores=TRANSLATION,
        )  # fmt: skip
        with pytest.raises(UsageError, match=r"sacrebleu: pip install 'jaxdl\[text\]'"):
            describe({'': empty})


TAGS = ('O', 'B-a', 'I-a', 'B-b', 'I-b')


class TestEntities:
    def test_spans_by_hand(self):
        assert entities('O B-a I-a B-a O I-b I-b I-a'.split()) == [
            Entity('a', 1, 2), Entity('a', 3, 3), Entity('b', 5, 6), Entity('a', 7, 7)
        ]  # fmt: skip
        assert entities([]) == [] and entities(['O']) == []
        for tag in ('a', 'X-a', 'B-', 'E-a'):
            with pytest.raises(UsageError, match=f"the tag '{tag}'"):
                entities(['O', tag])

    def test_numbers_by_hand(self):
        truth = jnp.array([[1, 2, 0, 3, -1], [1, 0, 0, -1, -1], [3, 0, 0, 0, 0]])
        said = jnp.array([[1, 2, 0, 1, 1], [1, 2, 0, 3, 3], [3, 0, 0, 0, 0]])
        mask = jnp.array([True, True, False])
        # Of three one is found; three are said: one of another kind, one too long; -1 is no token.
        got = Entities.of(said, truth, mask, tags=TAGS).value()
        assert got == pytest.approx({'precision': 1 / 3, 'recall': 1 / 3, 'f1': 1 / 3})
        none = Entities.of(said, truth, mask & False, tags=TAGS).value()
        assert all(math.isnan(number) for number in none.values())
        silent = Entities.of(jnp.zeros_like(said), truth, mask, tags=TAGS).value()
        assert silent == {'precision': 0, 'recall': 0, 'f1': 0}

    def test_those_of_seqeval_in_its_default_mode(self):
        library = pytest.importorskip('seqeval.metrics')
        rng = np.random.default_rng(0)
        truth = rng.integers(0, 5, (50, 9))
        said = np.where(rng.uniform(size=truth.shape) < 0.7, truth, rng.integers(0, 5, truth.shape))
        rows = [[[TAGS[tag] for tag in row] for row in x] for x in (truth, said)]
        got = Entities.of(jnp.asarray(said), jnp.asarray(truth), jnp.ones(50, bool), tags=TAGS)
        assert got.value() == pytest.approx(
            {
                'precision': library.precision_score(*rows),
                'recall': library.recall_score(*rows),
                'f1': library.f1_score(*rows),
            }
        )
        # It is another number in the strict mode, in which an I- begins nothing.
        from seqeval.scheme import IOB2

        strict = library.f1_score(*rows, mode='strict', scheme=IOB2)
        assert abs(got.value()['f1'] - strict) > 0.01


class TestAnswers:
    def test_answers_are_compared_without_articles_and_signs(self):
        assert normalised(' The  U.S. Army, an a-team!') == 'us army ateam'
        assert normalised('theatre') == 'theatre'
        assert exact('the Broncos.', ['Denver Broncos', 'Broncos']) == 1
        assert exact('Denver', ['Denver Broncos']) == 0

    def test_f1_by_hand(self):
        # Two words are shared of two said and three true.
        assert f1('Denver the Broncos', ['Denver Broncos team']) == pytest.approx(2 * 2 / (2 + 3))
        assert f1('gold', ['silver', 'gold medal']) == pytest.approx(2 / 3)
        # A word counts as often as it is in both.
        assert f1('a b b', ['b b b c']) == pytest.approx(2 * 2 / (2 + 4))
        assert f1('x', ['y']) == 0 and f1('the', ['a']) == 1

    def test_the_metric_reads_bytes(self):
        context, answers = ['Über 40 Männer.', 'ja nein', 'x'], ['40 Männer\0Männer', 'ja', 'x']
        places = jnp.array([[[0, 5], [6, 8], [9, 16]], [[0, 2], [3, 7], [0, 0]], [[0, 1]] * 3])
        of = [jnp.array(x) for x in ([1, 0, 0], [2, 1, 0])]
        got = Answered.of(*of, places, utf8(context), utf8(answers), jnp.array([True, True, False]))
        assert got.texts() == (['40 Männer', 'ja nein'], [['40 Männer', 'Männer'], ['ja']])
        assert got.value() == pytest.approx({'exact_match': 50, 'f1': (100 + 200 / 3) / 2})
        assert math.isnan(got.replace(mask=np.zeros(3, bool)).value()['f1'])
