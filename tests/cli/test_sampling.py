"""Text from trained language models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.cli import sampling
from jaxdl.cli.main import main
from jaxdl.cli.sampling import Way, answers, continuations
from jaxdl.data.text import Characters, Words
from jaxdl.interop import build
from jaxdl.interop.files import Weights, write_weights
from jaxdl.models.gpt import GPT
from jaxdl.models.seq2seq import Seq2Seq
from jaxdl.net import Net

STUDY = """
import numpy as np
import optax
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import from_arrays
from jaxdl.data.text import Characters, random_windows, windows
from jaxdl.models.mlp import MLP
from jaxdl.models.rnn import LanguageModel
from jaxdl.nn.recurrent import SimpleRNN
from jaxdl.objectives.classification import classifier
from jaxdl.objectives.language import language_model
from jaxdl.study import Phase, Study

TEXT = 'abcd' * 10
X = from_arrays({'x': np.zeros((8, 2), np.float32), 'y': np.zeros(8, np.int32)}, name='mine')


def trial(speaks: bool = True, steps: int = 40) -> Phase:
    if not speaks:
        task = classifier(MLP((2,)), optax.sgd(0.5), classes=2)
        return Phase(task, shuffled(X, batch=4), {'test': in_order(X, batch=8)}, steps=1)
    tokenizer = Characters.learn(TEXT)
    tokens = tokenizer.encode(TEXT)
    module = LanguageModel(tokenizer.vocabulary, (8,), 8, layer=SimpleRNN)
    test = in_order(windows(tokens, length=8), batch=5)
    train = random_windows(tokens, length=8, batch=8)
    task = language_model(module, optax.adam(0.05))
    return Phase(task, train, {'test': test}, steps, every=steps, tokenizer=tokenizer)


study = Study('What comes next?', trial, {'mute': {'speaks': False}, 'says': {}}, seeds=1)
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sampling')
    (folder / 'mine.py').write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv('JAXDL_MALLOPT', '0')
        assert main(['run', 'mine.py', '--no-tensorboard']) == 0
        yield folder


def said(capsys, *words):
    code = main(['sample', *words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize('way', [['--greedy'], ['--beam', '3'], ['--top-k', '1']], ids=' '.join)
def test_what_was_learned_is_said(way, run, capsys):
    words = ['mine', '--arm', 'says', '--prompt', 'ab', '--length', '6', *way]
    code, out, err = said(capsys, *words)
    assert (code, out, err) == (0, 'abcdabcd\n', 'runs/mine/says, seed 0\n')


def test_texts_are_those_of_a_key(run, capsys):
    words = ['runs/mine', '--arm', 'says', '--count', '3', '--length', '9', '--temperature', '3']
    first, again, other = (said(capsys, *words, '--key', key)[1] for key in '001')
    assert first == again != other
    texts = first.split('\n---\n')
    assert len(texts) == 3 and len(set(texts)) > 1


def test_tokens_that_are_unknown_are_told(run, capsys):
    _, _, err = said(capsys, 'mine', '--arm', 'says', '--prompt', 'a?b', '--length', '1')
    assert '1 of the 3 tokens of the prompt are unknown to it' in err


@pytest.mark.parametrize(
    ('words', 'line'),
    [
        (['mine', '--arm', 'mute'], 'runs/mine/mute: MLP: no language model'),
        (['mine', '--arm', 'say'], "--arm: no trained arm 'say' in runs/mine; did you mean 'says'"),
        (['mine', '--arm', 'says', '--seed', '4'], 'has no seed 4; it has [0]'),
        (['mine', '--greedy', '--top-k', '3'], '--top-k: it has no use with --greedy'),
        (['mine', '--beam', '2', '--greedy'], '--beam: it has no use with --greedy'),
        (['mine', '--beam', '2', '--count', '2'], '--count: it has no use with --beam'),
        (['mine', '--top-p', '0'], '--top-p: 0.0 is not allowed'),
        (['mine', '--temprature', '1'], "did you mean '--temperature'"),
        (['minne'], "no run 'minne' here or in runs/"),
    ],
    ids=lambda value: ' '.join(value)[:30],
)
def test_mistakes_are_one_line(words, line, run, capsys):
    code, out, err = said(capsys, *words)
    assert code == 2 and out == '' and line in err and err.count('\n') == 1


TOKENIZER = Characters.learn('abcdefgh')


def test_a_full_context_is_read_on_from_its_half():
    net = Net.init(
        GPT(TOKENIZER.vocabulary, 6, width=8, depth=1, heads=2),
        jax.random.key(0),
        jnp.zeros((1, 6), jnp.int32),
    )
    net = net.replace(params=jax.tree.map(lambda x: 9 * x, net.params))
    prompt = TOKENIZER.encode('abca')
    (text,) = continuations(net, prompt, TOKENIZER, count=1, way=Way(9, temperature=0))
    logits = jax.jit(lambda tokens: net(tokens)[0])
    tokens = list(prompt)
    for start in (0, 0, 3, 3, 3, 6, 6, 6, 9):  # after 6 tokens the last 3 of them are read
        seen = np.zeros((1, 6), np.int32)
        seen[0, : len(tokens) - start] = tokens[start:]
        tokens.append(int(logits(seen)[0, len(tokens) - start - 1].argmax()))
    end = tokens.index(3) if 3 in tokens else None
    assert text == TOKENIZER.decode(tokens[:end]) and len(tokens[:end]) > 8


def test_what_stands_after_an_end_is_not_text():
    rows = np.array([TOKENIZER.encode('abc'), [4, 3, 5]])
    assert sampling._texts(TOKENIZER, rows, 3, TOKENIZER.encode('h')) == ['habc', 'ha']


def test_a_beam_does_not_outgrow_the_context():
    net = Net(params={}, memory={}, module=GPT(9, 6, width=8, depth=1, heads=2))
    with pytest.raises(sampling.UsageError, match='beam of 9 tokens after 2; .* reads 6 at most'):
        continuations(net, [4, 5], TOKENIZER, count=1, way=Way(9, beam=2))


def test_an_encoder_decoder_answers(monkeypatch, tmp_path):
    words = Words.learn(['one two'])
    module = Seq2Seq(words.vocabulary, TOKENIZER.vocabulary, embedding=4, units=4)
    example = jnp.zeros((1, 3), jnp.int32)
    net = Net.init(module, jax.random.key(0), example, example)
    phase = type('Phase', (), {'tokenizer': TOKENIZER, 'source_tokenizer': words})()
    monkeypatch.setattr(sampling, 'load_outcome', lambda arm, seed: (phase, {'net': net}))
    speaker = sampling.of_run(tmp_path, 0)
    heard = []

    def spy(net, source, *args, **options):
        heard.append(source)
        return answers(net, source, *args, **options)

    monkeypatch.setattr(sampling, 'answers', spy)
    way = Way(5, temperature=0)
    texts, _ = sampling.sample(speaker, prompt='two one', count=2, way=way)
    assert heard == [[words.id('two'), words.id('one'), words.special.end]]
    assert len(texts) == 2 and texts[0] == texts[1]
    with pytest.raises(sampling.UsageError, match='--prompt: say what to answer to'):
        sampling.sample(speaker, prompt=None, count=1, way=way)
    phase.tokenizer = None
    with pytest.raises(sampling.UsageError, match='does not say how text becomes tokens'):
        sampling.of_run(tmp_path, 0)


SIZES = {'vocabulary': 12, 'context': 8, 'width': 8, 'depth': 1, 'heads': 2}


@pytest.fixture(scope='module')
def converted(tmp_path_factory):
    """A folder with a small GPT-2 as a weights file, and tokenizers."""
    folder = tmp_path_factory.mktemp('converted')
    module = build('gpt2', 'hf', **SIZES)
    net = Net.init(module, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
    params = jax.tree.map(np.asarray, net.params)
    write_weights(folder / 'gpt2.npz', Weights({'params': params}, 'gpt2', 'hf', SIZES))
    part = Weights({'params': params}, 'gpt2', 'hf', SIZES, ('params/ln_f/*',))
    write_weights(folder / 'part.npz', part)
    TOKENIZER.save(folder / 'tokenizer.json')
    Characters.learn('abcdefghi').save(folder / 'larger.json')
    return folder, net


def test_a_converted_network_speaks(converted, capsys, monkeypatch):
    folder, net = converted
    monkeypatch.chdir(folder)
    words = ['--tokenizer', 'tokenizer.json', '--prompt', 'ab', '--greedy', '--length', '4']
    code, out, err = said(capsys, 'gpt2.npz', *words)
    way = Way(4, temperature=0)
    (want,) = continuations(net, TOKENIZER.encode('ab'), TOKENIZER, count=1, way=way)
    assert (code, out, err) == (0, f'{want}\n', 'gpt2.npz\n')


@pytest.mark.parametrize(
    ('words', 'line'),
    [
        (['gpt2.npz'], '--tokenizer: say which'),
        (['gpt2.npz', '--seed', '1'], '--seed: a file has its own'),
        (['mine', '--tokenizer', 'x.json'], '--tokenizer: a run has its own'),
        (['part.npz', '--tokenizer', 'tokenizer.json'], 'part.npz does not hold a whole network'),
        (['gpt2.npz', '--tokenizer', 'larger.json'], 'has 13 tokens, and gpt2.npz 12'),
        (['none.npz', '--tokenizer', 'tokenizer.json'], 'none.npz'),
    ],
    ids=lambda value: ' '.join(value)[:30],
)
def test_mistakes_about_files_are_one_line(words, line, converted, capsys, monkeypatch):
    monkeypatch.chdir(converted[0])
    code, out, err = said(capsys, *words)
    assert code != 0 and out == '' and line in err and err.count('\n') == 1
