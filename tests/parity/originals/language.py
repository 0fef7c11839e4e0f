"""Attention, the Transformer, BERT, GPT-2 and Marian, called as ours are."""

import math
import re
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn


def present(lengths: Any, steps: int) -> Any:
    """[B, steps]: 1 for the tokens that count."""
    return (torch.arange(steps)[None] < lengths[:, None]).long()


# ---- PyTorch ------------------------------------------------------------------------------------


class Attention(nn.MultiheadAttention):
    """PyTorch's attention to what counts of a memory."""

    def forward(self, x: Any, memory: Any, lengths: Any) -> Any:  # type: ignore[override]
        """[B, T, width] -> the same."""
        absent = present(lengths, memory.shape[1]) == 0
        return super().forward(x, memory, memory, key_padding_mask=absent, need_weights=False)[0]


def waves(steps: int, width: int) -> Any:
    """Section 3.5 of Vaswani et al. 2017, number by number."""
    found = torch.empty(steps, width, dtype=torch.float64)
    for position in range(steps):
        for i in range(width):
            angle = position / 10_000 ** (2 * (i // 2) / width)
            found[position, i] = math.cos(angle) if i % 2 else math.sin(angle)
    return found


class Transformer(nn.Module):
    """PyTorch's encoder and decoder between an embedding and its transpose."""

    def __init__(
        self,
        vocabulary: int = 32_000,
        width: int = 512,
        depth: int = 6,
        heads: int = 8,
        mlp: int = 2048,
        norm_first: bool = False,
    ):
        super().__init__()
        options: dict[str, Any] = {'batch_first': True, 'norm_first': norm_first, 'dropout': 0.0}
        sizes = width, heads, mlp
        last = [nn.LayerNorm(width) if norm_first else None for _ in range(2)]
        encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*sizes, **options),
            depth,
            norm=last[0],
            enable_nested_tensor=False,
        )
        decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(*sizes, **options), depth, norm=last[1]
        )
        self.embedding = nn.Embedding(vocabulary, width)
        self.transformer = nn.Transformer(
            width, heads, custom_encoder=encoder, custom_decoder=decoder, batch_first=True
        )

    def forward(self, source: Any, target: Any, lengths: Any) -> Any:
        """Tokens -> logits."""
        absent = present(lengths, source.shape[1]) == 0
        size = target.shape[1]
        later = torch.ones(size, size, dtype=torch.bool).triu(1)
        y = self.transformer(
            self.embedded(source),
            self.embedded(target),
            tgt_mask=later,
            src_key_padding_mask=absent,
            memory_key_padding_mask=absent,
        )
        return y @ self.embedding.weight.T

    def embedded(self, tokens: Any) -> Any:
        """Scaled, with positions."""
        x = self.embedding(tokens)
        return x * math.sqrt(x.shape[-1]) + waves(*x.shape[1:]).to(x.dtype)


# ---- transformers -------------------------------------------------------------------------------


def trains_padding(model: Any) -> Any:
    """The model, the embedding of whose padding has a gradient as every other word's has."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.padding_idx = None
    return model


def bert(make: Any) -> Callable[..., nn.Module]:
    """A function of the options of a case to a BERT."""

    class Called(make):  # type: ignore[misc, valid-type]
        """BERT on tokens, lengths and sentences."""

        def forward(self, tokens: Any, *more: Any) -> Any:
            """[B, T] -> hidden states or logits."""
            lengths, sentences = (*more, None, None)[:2]
            mask = None if lengths is None else present(lengths, tokens.shape[1])
            found = super().forward(input_ids=tokens, attention_mask=mask, token_type_ids=sentences)
            return tuple(found.values())

    def build(
        vocabulary: int = 30_522,
        context: int = 512,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp: int = 3072,
        activation: str = 'gelu',
        epsilon: float = 1e-12,
    ) -> nn.Module:
        config = transformers.BertConfig(
            vocab_size=vocabulary,
            max_position_embeddings=context,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=mlp,
            hidden_act=activation,
            layer_norm_eps=epsilon,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        return trains_padding(Called(config))

    return build


class GPT2(transformers.GPT2LMHeadModel):
    """GPT-2 on tokens."""

    def forward(self, tokens: Any) -> Any:  # type: ignore[override]
        """[B, T] -> logits."""
        return super().forward(tokens).logits


def gpt2(
    vocabulary: int = 50_257,
    context: int = 1024,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    mlp: int | None = None,
) -> nn.Module:
    """GPT-2 of any size."""
    config = transformers.GPT2Config(
        vocab_size=vocabulary,
        n_positions=context,
        n_embd=width,
        n_layer=depth,
        n_head=heads,
        n_inner=mlp,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2(config)


class Marian(transformers.MarianMTModel):
    """Marian, its bias trained, on source, target and the source's lengths."""

    def __init__(self, config: Any):
        super().__init__(config)
        del self.final_logits_bias
        self.final_logits_bias = nn.Parameter(torch.zeros(1, config.vocab_size))

    def forward(self, source: Any, target: Any, lengths: Any) -> Any:  # type: ignore[override]
        """Tokens -> logits."""
        mask = present(lengths, source.shape[1])
        return super().forward(source, mask, decoder_input_ids=target).logits


def marian(
    vocabulary: int = 58_101,
    context: int = 512,
    width: int = 512,
    depth: int = 6,
    heads: int = 8,
    mlp: int = 2048,
    activation: str = 'silu',
) -> nn.Module:
    """Marian of any size."""
    config = transformers.MarianConfig(
        vocab_size=vocabulary,
        max_position_embeddings=context,
        d_model=width,
        encoder_layers=depth,
        decoder_layers=depth,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=mlp,
        decoder_ffn_dim=mlp,
        activation_function=activation,
        scale_embedding=True,
        dropout=0.0,
        pad_token_id=0,
        eos_token_id=0,
        forced_eos_token_id=None,
        decoder_start_token_id=0,
    )
    return trains_padding(Marian(config))


def generated(model: Any, inputs: list[Any], **options: Any) -> Any:
    """The tokens [B, length] that the transformers library goes on with, greedy or by a beam.

    options: `width`, `penalty`, `end` and `length` of a `Decoding`.
    """
    kind = type(model).__mro__[1]  # without the call that is ours
    plain = kind(model.config)
    plain.load_state_dict(model.state_dict())
    tokens, *lengths = inputs
    mask = present(lengths[0], tokens.shape[1]) if lengths else torch.ones_like(tokens)
    search = {}
    if options['width'] > 1:
        search = {'length_penalty': options['penalty'], 'early_stopping': 'never'}
    found = plain.eval().generate(
        tokens,
        attention_mask=mask,
        do_sample=False,
        num_beams=options['width'],
        **search,
        eos_token_id=options['end'],
        pad_token_id=0,
        max_new_tokens=options['length'],
    )
    return found[:, 1 if lengths else tokens.shape[1] :]


FILE_NAMES = {
    'vit.layers.': 'vit.encoder.layer.',
    'attention.o_proj': 'attention.output.dense',
    'attention.q_proj': 'attention.attention.query',
    'attention.k_proj': 'attention.attention.key',
    'attention.v_proj': 'attention.attention.value',
    'mlp.fc1': 'intermediate.dense',
    'mlp.fc2': 'output.dense',
}


class ViT(nn.Module):
    """A vision transformer whose tensors have the names that they have in files."""

    def __init__(self, config: Any):
        super().__init__()
        model = transformers.ViTForImageClassification(config)
        self.model = [model]  # a list hides it: its tensors would be there twice
        for name, tensor in model.named_parameters():
            for theirs, file in FILE_NAMES.items():
                name = re.sub(re.escape(theirs), file, name)
            *outer, last = name.split('.')
            place: nn.Module = self
            for word in outer:
                if word not in dict(place.named_children()):
                    place.add_module(word, nn.Module())
                place = place.get_submodule(word)
            place.register_parameter(last, tensor)

    def forward(self, images: Any) -> Any:
        """[B, 3, H, W] -> logits."""
        return self.model[0](images).logits


def vit(
    image: int = 224,
    patch: int = 16,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    mlp: int = 3072,
    classes: int = 1000,
) -> nn.Module:
    """ViT of any size."""
    config = transformers.ViTConfig(
        image_size=image,
        patch_size=patch,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=mlp,
        num_labels=classes,
    )
    return ViT(config)


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('attention', 'torch'): lambda width=512, heads=8: Attention(width, heads, batch_first=True),
    ('transformer', 'torch'): Transformer,
    ('transformer', 'hf'): marian,
    ('bert', 'hf'): bert(transformers.BertModel),
    ('bert_pretraining', 'hf'): bert(transformers.BertForPreTraining),
    ('bert_sequence', 'hf'): bert(transformers.BertForSequenceClassification),
    ('bert_tokens', 'hf'): bert(transformers.BertForTokenClassification),
    ('bert_span', 'hf'): bert(transformers.BertForQuestionAnswering),
    ('gpt2', 'hf'): gpt2,
    ('vit_b_16', 'hf'): vit,
}
