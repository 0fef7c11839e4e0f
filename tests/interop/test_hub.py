"""Folders of the transformers library: what they hold, and what they say where it does not fit."""

import json
import re
import sys
from types import SimpleNamespace

import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.language import CASES, SENTENCE
from flax.traverse_util import flatten_dict

from jaxdl import interop
from jaxdl.cli import exchange
from jaxdl.errors import UsageError
from jaxdl.interop import hub
from jaxdl.interop.files import read_weights, write_arrays

(GPT2,) = [case for case in CASES if case.arch == 'gpt2' and case.train]
(PRETRAINING,) = [case for case in CASES if case.arch == 'bert_pretraining' and case.train]
WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'deep', 'learning', 'is', 'amazing', '!']
BERT_CONFIG = {
    'architectures': ['BertModel'],
    'hidden_act': 'gelu',
    'hidden_size': 12,
    'intermediate_size': 20,
    'layer_norm_eps': 1e-12,
    'max_position_embeddings': 8,
    'num_attention_heads': 3,
    'num_hidden_layers': 2,
    'type_vocab_size': 2,
    'vocab_size': 9,
}
GPT2_CONFIG = {
    'activation_function': 'gelu_new',
    'architectures': ['GPT2LMHeadModel'],
    'layer_norm_epsilon': 1e-05,
    'n_embd': 12,
    'n_head': 3,
    'n_inner': 20,
    'n_layer': 2,
    'n_positions': 11,
    'vocab_size': 17,
}


def tensors(case):
    return golden.drawn(case, interop.tensors(case.arch, case.layout, **case.config))


def saved(folder, config, arrays):
    folder.mkdir(exist_ok=True)
    (folder / 'config.json').write_text(json.dumps(config))
    write_arrays(folder / 'model.safetensors', arrays)
    return folder


@pytest.fixture
def bert(tmp_path):
    """A folder as `BertModel.save_pretrained` and its tokenizer leave it."""
    folder = saved(tmp_path / 'bert', BERT_CONFIG, tensors(SENTENCE))
    (folder / 'vocab.txt').write_text('\n'.join(WORDS) + '\n')
    return folder


def said(function, *args, **more):
    with pytest.raises(UsageError) as raised:
        function(*args, **more)
    assert '\n' not in str(raised.value)
    return str(raised.value)


def test_deep_learning_is_amazing_here_as_there(bert):
    model = hub.read(bert)
    assert model.arch == 'bert' and [path.name for path in model.tokenizer] == ['vocab.txt']
    vocabulary = {word: i for i, word in enumerate(model.tokenizer[0].read_text().split())}
    words = re.findall(r'\w+|!', 'Deep learning is amazing!'.lower())
    tokens = jnp.array([[vocabulary[word] for word in ('[CLS]', *words, '[SEP]')]])
    hidden, pooled = jax.jit(model.module.apply)(model.variables, tokens)
    known = golden.load(SENTENCE)
    for ours, theirs in ((hidden, known['output 0']), (pooled, known['output 1'])):
        assert golden.error(golden.kept(np.asarray(ours)), theirs) < SENTENCE.tolerance


def test_a_part_of_a_model_is_read_and_a_prefix_is_no_matter(tmp_path):
    whole = tensors(PRETRAINING)
    config = {**BERT_CONFIG, 'vocab_size': 17, 'max_position_embeddings': 11}
    old = {
        name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('Norm.bias', 'Norm.beta'): x
        for name, x in whole.items()
    }
    old['cls.predictions.decoder.weight'] = whole['bert.embeddings.word_embeddings.weight']
    folder = saved(tmp_path / 'm', {**config, 'architectures': ['BertForPreTraining']}, old)
    model, part = hub.read(folder), hub.read(folder, arch='bert')
    assert (model.arch, part.arch) == ('bert_pretraining', 'bert')
    there = flatten_dict(model.variables['params']['bert'])
    assert there.keys() == flatten_dict(part.variables['params']).keys()
    for path, array in flatten_dict(part.variables['params']).items():
        np.testing.assert_array_equal(array, there[path])
    old['cls.predictions.decoder.weight'] = old['cls.predictions.decoder.weight'] + 1
    saved(folder, {**config, 'architectures': ['BertForPreTraining']}, old)
    assert "'cls.predictions.decoder.weight' is not 'bert.embeddings" in said(hub.read, folder)


def test_a_model_in_several_files_without_its_prefix(tmp_path):
    bare = {n.removeprefix('transformer.'): x for n, x in tensors(GPT2).items()}
    bare['h.0.attn.bias'] = np.tril(np.ones((1, 1, 11, 11), np.float32))  # a mask
    names = sorted(bare)
    shards = {f'model-{i + 1}-of-2.safetensors': names[i::2] for i in range(2)}
    for file, held in shards.items():
        write_arrays(tmp_path / file, {name: bare[name] for name in held})
    index = {'weight_map': {name: file for file, held in shards.items() for name in held}}
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps(index))
    (tmp_path / 'config.json').write_text(json.dumps(GPT2_CONFIG))
    model = hub.read(tmp_path)
    assert model.config == {**GPT2.config, 'activation': 'gelu_new', 'epsilon': 1e-5}
    want = interop.from_state_dict('gpt2', 'hf', tensors(GPT2), **GPT2.config)
    jax.tree.map(np.testing.assert_array_equal, model.variables, want)
    index['weight_map']['h.9'] = 'model-1-of-2.safetensors'
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps(index))
    assert "model-1-of-2.safetensors has no tensor 'h.9'" in said(hub.read, tmp_path)
    index['weight_map']['h.9'] = '../model.safetensors'
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps(index))
    assert "'../model.safetensors' is no file beside it" in said(hub.read, tmp_path)


@pytest.mark.parametrize(
    'config, arch, line',
    [
        ({'architectures': ['BertForMaskedLM']}, None, "no counterpart of 'BertForMaskedLM'"),
        ({'architectures': None}, None, 'does not say one architecture; say --arch'),
        ({}, 'brt', "--arch: no model of the hub is read as 'brt'; did you mean 'bert'?"),
        ({'is_decoder': True}, None, 'is_decoder is True; here it is False alone'),
        ({'hidden_act': 'gelo'}, None, "no hidden_act 'gelo'; did you mean 'gelu'?"),
        ({'hidden_size': '12'}, None, "hidden_size is '12'; it must be a positive number"),
        ({'vocab_size': 8}, None, 'has shape [9, 12], not [8, 12]'),
        ({}, 'bert_sequence', "no tensor 'classifier.bias'"),
    ],
)
def test_what_has_no_counterpart_is_named(config, arch, line, bert):
    (bert / 'config.json').write_text(json.dumps({**BERT_CONFIG, **config}))
    assert line in said(hub.read, bert, arch=arch)


def test_settings_are_those_of_the_file_and_classes_as_many_as_the_head_has(bert):
    trunk = {f'bert.{name}': x for name, x in tensors(SENTENCE).items()}
    head = {'classifier.weight': np.ones((3, 12), np.float32)}
    head['classifier.bias'] = np.zeros(3, np.float32)
    config = {**BERT_CONFIG, 'architectures': ['BertForSequenceClassification']}
    config |= {'layer_norm_eps': 1e-5, 'hidden_act': 'swish'}
    module = hub.read(saved(bert, config, trunk | head)).module
    assert module.classes == 3 and module.bert.activation is nn.silu
    assert module.bert.norm.keywords == {'epsilon': 1e-5}


def test_a_folder_without_what_it_needs_says_what_to_do(bert, tmp_path):
    (bert / 'model.safetensors').unlink()
    assert 'has no model.safetensors' in said(hub.read, bert)
    (bert / 'pytorch_model.bin').touch()
    assert f"t.BertModel.from_pretrained('{bert}').save_pretrained" in said(hub.read, bert)
    (bert / 'config.json').unlink()
    assert 'has no config.json' in said(hub.read, bert)
    assert 'no name of a model on the hub' in said(hub.read, tmp_path / 'not' / 'there')


def test_the_hub_is_asked_for_what_is_no_folder(bert, monkeypatch):
    asked = []

    def give(name, allow_patterns):
        asked.append(name)
        if name == 'some/one':
            return str(bert)
        raise OSError('no network\nmore')

    monkeypatch.setitem(sys.modules, 'huggingface_hub', SimpleNamespace(snapshot_download=give))
    assert hub.read('some/one').arch == 'bert'
    line = said(hub.read, 'gpt2')
    assert 'the hub does not give it: no network; where it does, `hf download gpt2' in line
    assert asked == ['some/one', 'gpt2']
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    assert "pip install 'jaxdl[hf]'" in said(hub.read, 'gpt2')


def test_the_command_writes_weights_that_runs_start_from(bert, capsys):
    exchange.convert(['--hf', str(bert), '--without', 'params/pooler/*'])
    out = bert.parent / 'bert.jaxdl.npz'
    line = capsys.readouterr().out
    assert line.startswith(f'wrote {out}: ') and f'tokenizer: {bert / "vocab.txt"}' in line
    found = read_weights(out)
    assert found.arch == 'bert' and found.layout == 'hf' and found.config['width'] == 12
    assert 'pooler' not in found.variables['params'] and found.without == ('params/pooler/*',)
    assert '--layout: it does not go' in said(
        exchange.convert, ['--hf', str(bert), '--layout', 'hf']
    )
    assert 'it stands instead of' in said(exchange.convert, ['x.npz', '--hf', str(bert)])
    assert '--out' in said(exchange.convert, ['--hf', str(bert), '--out', 'x.safetensors'])
