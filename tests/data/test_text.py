"""Tokenizers, tables of tokens and windows: known values, and that text comes back as it was."""

import builtins
import json

import jax
import numpy as np
import pytest

from jaxdl.data.card import Card
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import csv
from jaxdl.data.text import (
    WORDS_AND_SIGNS,
    Bytes,
    Characters,
    Pieces,
    Words,
    answer_table,
    load,
    next_token,
    packed,
    pair_table,
    random_windows,
    tag_table,
    token_table,
    windows,
)
from jaxdl.errors import JaxdlError, UsageError
from jaxdl.keys import key_at, key_for
from jaxdl.metrics.text import from_utf8

LINES = ['the cat sat on the mat .', 'the dog saw the cat', 'Zwei Männer, 2 Hüte: 😀!']
TEXT = '\n'.join(LINES)
VOCAB = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'deep', 'learn', '##ing', 'is', '!', 'ma']


def bpe():
    pytest.importorskip('tokenizers')
    return Pieces.bpe(LINES * 3, vocabulary=300, marks=['<mask>'])


def wordpiece(folder):
    pytest.importorskip('tokenizers')
    (folder / 'vocab.txt').write_text('\n'.join(VOCAB) + '\n')
    return Pieces.wordpiece(folder / 'vocab.txt')


MAKE = {
    'bytes': Bytes,
    'characters': lambda: Characters.learn(TEXT),
    'words': lambda: Words.learn(LINES, pattern=WORDS_AND_SIGNS),
    'bpe': bpe,
}


class TestTokenizers:
    @pytest.mark.parametrize('kind', MAKE)
    def test_text_comes_back_from_a_saved_one_too(self, kind, tmp_path):
        tokenizer = MAKE[kind]()
        tokenizer.save(tmp_path / 'tokens.json')
        again = load(tmp_path / 'tokens.json')
        assert again == tokenizer and hash(again) == hash(tokenizer)
        for text in LINES:
            ids = again.encode(text)
            want = ' '.join(text.replace(',', ' ,').replace(':', ' :').replace('!', ' !').split())
            assert tokenizer.decode(ids) == (want if kind == 'words' else text)
            assert 4 <= min(ids) and max(ids) < again.vocabulary
            # Marks are no text.
            assert tokenizer.decode([2, *ids, 3, 3, 0]) == tokenizer.decode(ids)
        assert again.special == (0, 1, 2, 3)
        assert [again.id(mark) for mark in ('<pad>', '<unk>', '<s>', '</s>')] == [0, 1, 2, 3]

    @pytest.mark.parametrize('kind', MAKE)
    def test_places_are_where_the_tokens_stand(self, kind):
        tokenizer = MAKE[kind]()
        for text in LINES:
            ids, places = tokenizer.spans(text)
            assert ids == tokenizer.encode(text) and len(places) == len(ids)
            covered = {i for first, last in places for i in range(first, last)}
            assert covered >= {i for i, char in enumerate(text) if not char.isspace()}
            assert not kind == 'words' or {text[a:b] for a, b in places} <= set(tokenizer.pieces)

    def test_characters_are_in_the_order_of_their_codes(self):
        tokenizer = Characters.learn('banana', 'cab', marks=['<mask>'])
        assert tokenizer.pieces == ('<pad>', '<unk>', '<s>', '</s>', '<mask>', 'a', 'b', 'c', 'n')
        assert tokenizer.encode('bax') == [6, 5, 1] and tokenizer.decode([6, 4, 1]) == 'b\ufffd'

    def test_words_are_the_most_frequent(self):
        texts = ['b a b', 'c A b']
        assert Words.learn(texts).pieces[4:] == ('b', 'A', 'a', 'c')
        assert Words.learn(texts, lower=True).pieces[4:] == ('b', 'a', 'c')
        assert Words.learn(texts, most=2).pieces[4:] == ('b', 'A')
        assert Words.learn(texts, least=2).pieces[4:] == ('b',)
        lower = Words.learn(texts, lower=True, most=1)
        assert lower.encode('B x') == [4, 1] and lower.decode([4, 1]) == 'b <unk>'

    def test_bytes_know_every_text(self):
        assert Bytes().encode('é') == [0xC3 + 4, 0xA9 + 4] and Bytes().vocabulary == 260
        assert Bytes().spans('aé')[1] == [(0, 1), (1, 2), (1, 2)]
        assert Bytes().decode([0xC3 + 4]) == '\ufffd'

    def test_bpe_joins_the_most_frequent_pairs(self):
        pytest.importorskip('tokenizers')
        # 'ab' thrice and 'abc' twice: first a b, then the blank before it, then c.
        tokenizer = Pieces.bpe(['ab ab ab abc abc'], vocabulary=263)
        assert tokenizer.vocabulary == 263
        assert [tokenizer.id(piece) for piece in ('ab', 'Ġab', 'Ġabc')] == [260, 261, 262]
        assert tokenizer.encode('abc ab') == [262, 261]
        assert tokenizer.encode(' abc') == tokenizer.encode('abc')

    def test_bpe_learns_the_same_again(self):
        assert bpe() == bpe() and bpe().id('<mask>') == 4

    def test_wordpiece_takes_the_longest_pieces(self, tmp_path):
        tokenizer = wordpiece(tmp_path)
        ids = tokenizer.encode('Déep learning is amazing!')
        assert ids == [5, 6, 7, 8, 1, 9]  # as BERT: of a word that has no end none is known
        assert tokenizer.spans('Deep learning')[1] == [(0, 4), (5, 10), (10, 13)]
        assert tokenizer.decode([2, *ids, 3]) == 'deep learning is!'
        assert tokenizer.special == (0, 1, 2, 3) and tokenizer.id('[MASK]') == 4
        tokenizer.save(tmp_path / 'tokenizer.json')
        assert load(tmp_path / 'tokenizer.json') == tokenizer

    def test_a_text_has_no_marks_whatever_the_file_adds(self, tmp_path):
        definition = json.loads(wordpiece(tmp_path).definition)
        definition['post_processor'] = {
            'type': 'BertProcessing', 'sep': ['[SEP]', 3], 'cls': ['[CLS]', 2]
        }  # fmt: skip
        definition['truncation'] = {
            'direction': 'Right', 'max_length': 2, 'strategy': 'LongestFirst', 'stride': 0
        }  # fmt: skip
        (tmp_path / 'tokenizer.json').write_text(json.dumps(definition))
        assert load(tmp_path / 'tokenizer.json').encode('deep learning is') == [5, 6, 7, 8]

    def test_what_is_no_tokenizer_is_said(self, tmp_path):
        for content, line in (
            ('{"kind": "words"}', 'is no tokenizer: it is one that was saved'),
            ('{"model": {}}', 'is no tokenizer: '),
            ('{', 'it is not JSON'),
        ):
            (tmp_path / 'a.json').write_text(content)
            with pytest.raises(JaxdlError, match=line):
                load(tmp_path / 'a.json')
        with pytest.raises(JaxdlError, match='cannot be read'):
            load(tmp_path / 'b.json')
        with pytest.raises(UsageError, match="no piece 'cta'; did you mean 'cat'"):
            Words.learn(LINES).id('cta')
        with pytest.raises(UsageError, match='one text is given; give a list'):
            Words.learn('a text')
        with pytest.raises(UsageError, match='begin with a'):
            Characters(('a', 'b'))
        (tmp_path / 'vocab.txt').write_text('a\nb\n')
        with pytest.raises(UsageError, match=r'there is no piece \[UNK\]'):
            Pieces.wordpiece(tmp_path / 'vocab.txt')
        with pytest.raises(UsageError, match='vocabulary=100; at least 260'):
            Pieces.bpe(['a'], vocabulary=100)

    def test_a_missing_library_is_named(self, monkeypatch):
        real = builtins.__import__

        def missing(name, *args, **more):
            if name == 'tokenizers':
                raise ImportError(name)
            return real(name, *args, **more)

        monkeypatch.setattr(builtins, '__import__', missing)
        with pytest.raises(UsageError, match=r"package tokenizers: pip install 'jaxdl\[text\]'"):
            Pieces.bpe(['a'], vocabulary=300)


class TestTables:
    def test_rows_are_cut_and_filled_up(self):
        tokenizer = Words.learn(['a b c'])
        table = token_table(
            ['a', 'a b c', ''], tokenizer, length=2, columns={'y': [0, 1, 0]}, name='mine'
        )
        np.testing.assert_array_equal(table.column('tokens'), [[4, 0], [4, 5], [0, 0]])
        assert table.column('lengths').tolist() == [1, 2, 0]
        assert table.name == 'mine, 1 of 3 cut at 2 tokens' and table.columns[-1] == 'y'
        marked = token_table(['a', 'a b c'], tokenizer, length=4, start=True, end=True)
        # A row that is cut keeps its end.
        np.testing.assert_array_equal(marked.column('tokens'), [[2, 4, 3, 0], [2, 4, 5, 3]])

    def test_pairs_end_and_targets_start(self):
        a, b = Words.learn(['x y']), Words.learn(['é z'])
        table = pair_table(['x', 'x y'], ['é z', 'z q'], tokenizers=(a, b), length=(3, 4))
        np.testing.assert_array_equal(table.column('source'), [[4, 3, 0], [4, 5, 3]])
        np.testing.assert_array_equal(table.column('target'), [[2, 5, 4, 3], [2, 4, 1, 3]])
        assert table.column('source_lengths').tolist() == [2, 3]
        assert table.column('target_lengths').tolist() == [4, 4]
        assert [from_utf8(row) for row in table.column('reference')] == ['é z', 'z q']
        with pytest.raises(UsageError, match='2 sources and 1 targets'):
            pair_table(['x', 'y'], ['z'], tokenizers=(a, b), length=(3, 4))

    def test_a_tag_stands_at_the_first_part_of_its_word(self, tmp_path):
        tokenizer = wordpiece(tmp_path)
        table = tag_table(
            [['Deep', 'learning', '\u200b', '!']], [[0, 1, 2, 3]],
            tokenizer, length=8, start=True, end=True, classes='ABCD',
        )  # fmt: skip
        # The third word has no visible character: it is unknown, and keeps its tag.
        np.testing.assert_array_equal(table.column('tokens'), [[2, 5, 6, 7, 1, 9, 3, 0]])
        np.testing.assert_array_equal(table.column('tags'), [[-1, 0, 1, -1, 2, 3, -1, -1]])
        assert table.classes == {'tags': ('A', 'B', 'C', 'D')}
        with pytest.raises(UsageError, match='row 0: 2 words and 1 tags'):
            tag_table([['a', 'b']], [[0]], tokenizer, length=3)

    def test_packed_rows_hold_every_text_once(self):
        rng = np.random.default_rng(0)
        rows = [rng.integers(4, 50, rng.integers(0, 9)).tolist() for _ in range(60)]
        table = packed(rows, length=8).arrays
        found = []
        for tokens, segments, length in zip(*(table[n] for n in table), strict=True):
            assert (segments[:length] > 0).all() and not segments[length:].any()
            assert not tokens[length:].any() and (np.diff(segments[:length]) >= 0).all()
            found += [tokens[segments == s].tolist() for s in range(1, segments.max() + 1)]
        assert sorted(found) == sorted(filter(None, rows))
        best = -(-sum(map(len, rows)) // 8)
        assert best <= len(table['tokens']) <= best + 2
        assert packed([[5] * 9, [6]], length=8).name == 'packed, 1 of 2 cut at 8 tokens'

    def test_an_answer_is_found_in_its_row_and_in_its_bytes(self):
        context = 'Über 40 Männer sangen laut.'
        tokenizer = Words.learn([context], pattern=WORDS_AND_SIGNS)
        rows = (
            ['wer sang ?'] * 2,
            [context] * 2,
            [['40 Männer', 'Männer'], ['laut']],
            [[5, 8], [22]],
        )
        table = answer_table(*rows, tokenizer, length=10).arrays
        begin = 5  # of <s> wer sang ? </s>
        np.testing.assert_array_equal(table['start'], [begin + 1, 0])
        np.testing.assert_array_equal(table['end'], [begin + 2, 0])
        np.testing.assert_array_equal(table['there'], [True, False])  # it is cut off
        np.testing.assert_array_equal(table['sentences'][0], [0] * begin + [1] * (10 - begin))
        first, last = table['bytes'][0, begin + 1, 0], table['bytes'][0, begin + 2, 1]
        assert from_utf8(table['context'][0][first:last]) == '40 Männer'
        assert from_utf8(table['answers'][0]).split('\0') == ['40 Männer', 'Männer']
        assert table['tokens'][0, -1] == 3 and not table['bytes'][0, -1].any()
        whole = answer_table(*rows, tokenizer, length=12).arrays
        # The sign that stands right after it is no part of it.
        assert [whole[name][1] for name in ('start', 'end', 'there')] == [begin + 4, begin + 4, 1]
        with pytest.raises(UsageError, match="'Frauen' is not at character 8 of its context"):
            answer_table(['?'], [context], [['Frauen']], [[8]], tokenizer, length=10)


class TestWindows:
    def test_each_token_is_predicted_once(self):
        table = windows(np.arange(10, 21), length=4).arrays
        rows, lengths = table['tokens'], table['lengths']
        np.testing.assert_array_equal(rows[0], [10, 11, 12, 13, 14])
        np.testing.assert_array_equal(rows[2], [18, 19, 20, 0, 0])
        targets = [row[1:n].tolist() for row, n in zip(rows, lengths, strict=True)]
        assert sum(targets, []) == list(range(11, 21))
        assert len(windows(np.arange(9), length=4)) == 2

    def test_windows_may_overlap(self):
        table = windows(np.arange(7), length=3, step=1).arrays
        np.testing.assert_array_equal(table['tokens'][:, 0], [0, 1, 2, 3])
        assert (table['lengths'] == 4).all()

    def test_random_windows_are_of_the_text_and_reach_its_ends(self):
        source = random_windows(np.arange(50, 70), length=4, batch=200)
        assert source.order == 'windows at random places'
        tokens = np.asarray(next(iter(source))['tokens'])
        assert tokens.shape == (200, 5) and (np.diff(tokens) == 1).all()
        assert set(tokens[:, 0]) == set(range(50, 66))

    def test_a_stream_opens_at_any_step(self):
        source = random_windows(np.arange(99), length=4, batch=3)
        stream = iter(source)
        batches = [next(stream) for _ in range(3)]
        assert next(source.open(0, 2)) == ()
        again = source.make(key_at(key_for(jax.random.key(0), 'batches'), 2), source.resident, ())
        np.testing.assert_array_equal(again['tokens'], batches[2]['tokens'])
        assert (batches[1]['tokens'] != batches[2]['tokens']).any() and again['mask'].all()

    def test_the_last_token_is_a_class(self):
        batch = {'tokens': np.arange(8).reshape(2, 4), 'lengths': np.full(2, 4)}
        made = next_token(jax.random.key(0), batch)
        assert made['y'].tolist() == [3, 7] and made['tokens'].tolist() == [[0, 1, 2], [4, 5, 6]]
        assert 'lengths' not in made

    @pytest.mark.parametrize(
        ('tokens', 'options', 'line'),
        [
            (range(4), {'length': 4}, '4 tokens; a window of 4 needs 5'),
            (range(9), {'length': 0}, 'length=0; at least 1'),
            ('text', {'length': 2}, 'it is ids in one row'),
            (range(9), {'length': 2, 'batch': 0}, 'batch=0; at least 1'),
        ],
    )
    def test_what_has_no_windows_is_said(self, tokens, options, line):
        with pytest.raises(UsageError, match=line):
            random_windows(tokens, **{'batch': 1, **options})


def test_a_text_of_ones_own_takes_five_lines(tmp_path):
    (tmp_path / 'mine.txt').write_text(TEXT * 40)
    text = (tmp_path / 'mine.txt').read_text()
    tokenizer = Characters.learn(text)
    tokens = tokenizer.encode(text)
    train = random_windows(tokens[:-1000], length=64, batch=12)
    test = in_order(windows(tokens[-1000:], length=64), batch=100)
    assert next(iter(train))['tokens'].shape == (12, 65)
    assert sum(int((b['lengths'] - 1) @ b['mask']) for b in test) == 999


def test_lines_of_ones_own_are_classified(tmp_path):
    lines = ''.join(f'"text {i}, {i % 3}",{i % 2}\n' for i in range(40))
    (tmp_path / 'mine.csv').write_text(f'text,y\n{lines}')
    train, test = csv(tmp_path / 'mine.csv', columns={'text': str, 'y': int}).split(
        test=0.1, seed=0
    )
    tokenizer = Words.learn(train.column('text'), most=10_000)
    labels = {'y': train.column('y')}
    table = token_table(train.column('text'), tokenizer, length=50, columns=labels)
    source = shuffled(table, batch=32)
    batch = next(iter(source))
    assert batch['tokens'].shape == (32, 50) and set(np.asarray(batch['lengths'])) == {3}


def test_a_table_of_tokens_is_of_the_dataset_of_its_texts():
    card = Card('plays', 'https://a.b', licence='none stated')
    letters = Characters.learn('ab')
    both = {'tokenizers': (letters, letters), 'length': (4, 4)}
    for table in (
        token_table(['a', 'b'], letters, length=2, card=card),
        pair_table(['a'], ['b'], **both, card=card),
        tag_table([['a']], [[0]], letters, length=2, card=card),
    ):
        assert table.card == card and table.take([0]).card == card
    assert token_table(['a'], letters, length=2, name='mine').card == Card('mine')
