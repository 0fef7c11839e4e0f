"""BERT, GPT-2 and the Transformer in other implementations.

Layout `hf` has the names in files of the transformers library. Its encoder-decoder that fits the
Transformer of 2017 is Marian; `torch` are PyTorch's own layers between one embedding and its
transpose.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial, wraps
from inspect import signature
from typing import Any, Literal

import flax.linen as nn

from jaxdl.interop.attention import apart, headed, side_by_side
from jaxdl.interop.reference import (
    ROW,
    SAME,
    TORCH,
    Place,
    Reference,
    Rule,
    layered,
    tokens,
)
from jaxdl.models.bert import BERT, PreTraining, SequenceClassifier, SpanAnswers, TokenClassifier
from jaxdl.models.gpt import GPT, gelu_tanh
from jaxdl.models.transformer import Transformer, post_norm, pre_norm
from jaxdl.models.vit import gelu
from jaxdl.nn.attention import sinusoid_halves
from jaxdl.nn.layers import LayerNorm

Activation = Literal['gelu', 'gelu_new', 'relu', 'silu']
# By the names of the transformers library.
ACTIVATIONS: Mapping[str, Callable[..., Any]] = {
    'gelu': gelu,
    'gelu_new': gelu_tanh,
    'relu': nn.relu,
    'silu': nn.silu,
}


def _renamed(names: Mapping[str, str], path: str) -> str:
    """A path with patterns of ours replaced one after another by what they are there."""
    for ours, theirs in names.items():
        path = re.sub(ours, theirs, path)
    return path.replace('/', '.')


# ---- BERT ---------------------------------------------------------------------------------------

BERT_NAMES = {
    r'\b(word|position)$': r'embeddings.\1_embeddings',
    r'\bsentence$': 'embeddings.token_type_embeddings',
    r'\bembedding_norm$': 'embeddings.LayerNorm',
    r'\blayer_(\d+)/': r'encoder.layer.\1.',
    r'\bself_attention/out$': 'attention.output.dense',
    r'\bself_attention/': 'attention.self.',
    r'\bnorm1$': 'attention.output.LayerNorm',
    r'\bfeed_forward/fc1$': 'intermediate.dense',
    r'\bfeed_forward/fc2$': 'output.dense',
    r'\bnorm2$': 'output.LayerNorm',
    r'\bpooler$': 'pooler.dense',
    r'^transform$': 'cls.predictions.transform.dense',
    r'^transform_norm$': 'cls.predictions.transform.LayerNorm',
    r'^follows$': 'cls.seq_relationship',
    r'^outputs$': 'qa_outputs',
}
COPIES = {
    'cls.predictions.decoder.weight': 'bert.embeddings.word_embeddings.weight',
    'cls.predictions.decoder.bias': 'cls.predictions.bias',
}


def bert(
    vocabulary: int = 30_522,
    context: int = 512,
    sentences: int = 2,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    mlp: int = 3072,
    activation: Activation = 'gelu',
    epsilon: float = 1e-12,
) -> BERT:
    """BERT of any size. epsilon: of its norms."""
    return BERT(
        vocabulary,
        context,
        sentences,
        width,
        depth,
        heads,
        mlp,
        activation=ACTIVATIONS[activation],
        norm=partial(LayerNorm, epsilon=epsilon),
    )


def _on_bert(make: Callable[[BERT], nn.Module]) -> Callable[..., nn.Module]:
    """A function of the options of `bert`, to the network on top of it."""

    @wraps(bert)
    def build(*sizes: Any, **options: Any) -> nn.Module:
        return make(bert(*sizes, **options))

    return build


def _classifier(make: Callable[[int, BERT], nn.Module]) -> Callable[..., nn.Module]:
    """A function of the number of classes and the options of `bert`, to a classifier on top."""

    def build(classes: int = 2, *sizes: Any, **options: Any) -> nn.Module:
        return make(classes, bert(*sizes, **options))

    # Whoever asks a reference for its options reads its signature.
    first, own = next(iter(signature(build).parameters.values())), signature(bert)
    shown: Any = build
    shown.__signature__ = own.replace(parameters=[first, *own.parameters.values()])
    return build


def _bert_rule(width: int = 768, heads: int = 12, **_: Any) -> Rule:
    return layered(
        TORCH,
        partial(_renamed, BERT_NAMES),
        axes=apart(headed(width, heads), '.*/self_attention'),
        places={'bias': lambda: Place('cls.predictions.bias')},
    )


def _bert(build: Callable[..., nn.Module], tied: Mapping[str, str] | None = None) -> Reference:
    counters = r'.*position_ids'
    return Reference(build, lambda **_: (tokens(1, 2),), _bert_rule, counters, tied or {})


# ---- GPT-2 --------------------------------------------------------------------------------------

GPT2_NAMES = {
    r'^(w[tp]e|ln_f)$': r'transformer.\1',
    r'^h_(\d+)/': r'transformer.h.\1.',
    r'\bself_attention/out$': 'attn.c_proj',
    r'\bself_attention$': 'attn.c_attn',
    r'\bnorm(\d)$': r'ln_\1',
    r'\bfeed_forward/fc1$': 'mlp.c_fc',
    r'\bfeed_forward/fc2$': 'mlp.c_proj',
}


def gpt2(
    vocabulary: int = 50_257,
    context: int = 1024,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    mlp: int | None = None,
    activation: Activation = 'gelu_new',
    epsilon: float = 1e-5,
) -> GPT:
    """GPT-2 of any size. mlp: None is 4 width; epsilon: of its norms."""
    return GPT(
        vocabulary,
        context,
        width,
        depth,
        heads,
        mlp,
        activation=ACTIVATIONS[activation],
        norm=partial(LayerNorm, epsilon=epsilon),
    )


def _gpt2_rule(width: int = 768, heads: int = 12, **_: Any) -> Rule:
    rename = partial(_renamed, GPT2_NAMES)
    lie = headed(width, heads, dense=SAME)  # its dense layers are [in, out], as ours are

    def projection(layer: str, which: str, leaf: str) -> Place:
        part = ('query', 'key', 'value').index(which)
        name = f'{rename(layer)}.{TORCH.names[leaf]}'
        if leaf == 'kernel':
            return Place(name, lie.kernel, part, 3, axis=1)
        return Place(name, lie.bias, part, 3)

    return layered(
        TORCH,
        rename,
        axes={'.*/self_attention/out/kernel': lie.out, '.*/fc[12]/kernel': SAME},
        places={'(.*)/(query|key|value)/(kernel|bias)': projection},
    )


# ---- the Transformer ----------------------------------------------------------------------------

MARIAN_NAMES = {
    r'^embedding$': 'model.shared',
    r'^(encoder|decoder)_(\d+)/': r'model.\1.layers.\2.',
    r'\bcross_attention/': 'encoder_attn.',
    r'\bself_attention/': 'self_attn.',
    r'\bout$': 'out_proj',
    r'\bquery$': 'q_proj',
    r'\bkey$': 'k_proj',
    r'\bvalue$': 'v_proj',
    r'\bnorm1$': 'self_attn_layer_norm',
    r'\bnorm_cross$': 'encoder_attn_layer_norm',
    r'\bnorm2$': 'final_layer_norm',
    r'\bfeed_forward/': '',
}
MARIAN_COPIES = {
    name: 'model.shared.weight'
    for name in ('model.encoder.embed_tokens.weight', 'model.decoder.embed_tokens.weight')
} | {'lm_head.weight': 'model.shared.weight'}


def marian(
    vocabulary: int = 58_101,
    context: int = 512,
    width: int = 512,
    depth: int = 6,
    heads: int = 8,
    mlp: int = 2048,
    activation: Activation = 'silu',
) -> Transformer:
    """Marian, with as many blocks in its decoder as in its encoder, and one vocabulary."""
    return Transformer(
        vocabulary,
        width,
        depth,
        heads,
        mlp,
        residual=post_norm,
        activation=ACTIVATIONS[activation],
        positions=sinusoid_halves,
        bias=True,
        longest=context,
    )


def _marian_rule(width: int = 512, heads: int = 8, **_: Any) -> Rule:
    return layered(
        TORCH,
        partial(_renamed, MARIAN_NAMES),
        axes=apart(headed(width, heads), '.*/(?:self|cross)_attention'),
        places={'word_bias': lambda: Place('final_logits_bias', ROW)},
    )


TORCH_NAMES = {
    r'^(encoder|decoder)_(\d+)/': r'transformer.\1.layers.\2.',
    r'^(encoder|decoder)_norm$': r'transformer.\1.norm',
    r'\bcross_attention\b': 'multihead_attn',
    r'\bself_attention\b': 'self_attn',
    r'/out$': '/out_proj',
    r'\bfeed_forward/fc': 'linear',
    r'(decoder\.layers\.\d+\.)norm2$': r'\1norm3',
    r'\bnorm_cross$': 'norm2',
}


def _torch(
    vocabulary: int = 32_000,
    width: int = 512,
    depth: int = 6,
    heads: int = 8,
    mlp: int = 2048,
    norm_first: bool = False,
) -> Transformer:
    return Transformer(
        vocabulary,
        width,
        depth,
        heads,
        mlp,
        residual=pre_norm if norm_first else post_norm,
        norm_last=norm_first,
    )


def _torch_rule(width: int = 512, heads: int = 8, **_: Any) -> Rule:
    rename = partial(_renamed, TORCH_NAMES)
    return layered(TORCH, rename, places=side_by_side(rename, headed(width, heads)))


def _both(**_: Any) -> tuple[Any, ...]:
    return tokens(1, 2), tokens(1, 2)


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('bert', 'hf'): _bert(bert),
    ('bert_pretraining', 'hf'): _bert(_on_bert(PreTraining), COPIES),
    ('bert_sequence', 'hf'): _bert(_classifier(SequenceClassifier)),
    ('bert_tokens', 'hf'): _bert(_classifier(TokenClassifier)),
    ('bert_span', 'hf'): _bert(_on_bert(SpanAnswers)),
    ('gpt2', 'hf'): Reference(
        gpt2,
        lambda **_: (tokens(1, 2),),
        _gpt2_rule,
        r'.*\.attn\.(masked_)?bias',
        {'lm_head.weight': 'transformer.wte.weight'},
    ),
    ('transformer', 'hf'): Reference(
        marian, _both, _marian_rule, r'.*\.embed_positions\.weight', MARIAN_COPIES
    ),
    ('transformer', 'torch'): Reference(_torch, _both, _torch_rule),
}
