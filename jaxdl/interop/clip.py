"""CLIP in the files of the transformers library, layout `hf`."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jaxdl.interop.attention import apart, headed
from jaxdl.interop.reference import SAME, TORCH, Axes, Place, Reference, Rule, layered, tokens
from jaxdl.models.clip import CLIP, ImageTower, TextTower
from jaxdl.nn.layers import LayerNorm

NAMES: Mapping[str, str | Callable[[re.Match[str]], str]] = {
    r'^image_tower\b': 'vision_model',
    r'^text_tower\b': 'text_model',
    r'^image_projection$': 'visual_projection',
    r'\bpatches$': 'embeddings.patch_embedding',
    r'\bword$': 'embeddings.token_embedding',
    r'\bposition$': 'embeddings.position_embedding',
    r'\bnorm_before$': 'pre_layrnorm',
    r'^vision_model/norm_after$': 'vision_model.post_layernorm',
    r'^text_model/norm_after$': 'text_model.final_layer_norm',
    r'\bblock_(\d+)/': r'encoder.layers.\1.',
    r'\bself_attention/out$': 'self_attn.out_proj',
    r'\bself_attention/(query|key|value)$': lambda found: f'self_attn.{found[1][0]}_proj',
    r'\bnorm(\d)$': r'layer_norm\1',
    r'\bfeed_forward/': 'mlp.',
}


def _named(path: str) -> str:
    for ours, theirs in NAMES.items():
        path = re.sub(ours, theirs, path)
    return path.replace('/', '.')


def clip(
    image: int = 224,
    patch: int = 32,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    mlp: int = 3072,
    vocabulary: int = 49_408,
    context: int = 77,
    text_width: int = 512,
    text_depth: int = 12,
    text_heads: int = 8,
    text_mlp: int = 2048,
    joint: int = 512,
    epsilon: float = 1e-5,
) -> CLIP:
    """CLIP of any size, of images of `image` x `image`.

    width, depth, heads, mlp: of the images' blocks; text_: of the texts'. joint: width of the space
    of both. epsilon: of the norms.
    """
    norm = partial(LayerNorm, epsilon=epsilon)
    images = partial(ImageTower, width, depth, heads, mlp, patch, norm=norm)
    texts = partial(
        TextTower, vocabulary, context, text_width, text_depth, text_heads, text_mlp, norm=norm
    )
    return CLIP(images, texts, joint)


def _inputs(image: int = 224, **_: Any) -> tuple[Any, ...]:
    return (1, image, image, 3), tokens(1, 2), tokens(1)


def _rule(
    width: int = 768, heads: int = 12, text_width: int = 512, text_heads: int = 8, **_: Any
) -> Rule:
    axes: dict[str, Axes] = {
        **apart(headed(width, heads), 'image_tower/.*/self_attention'),
        **apart(headed(text_width, text_heads), 'text_tower/.*/self_attention'),
    }
    places: dict[str, Callable[..., Place]] = {
        'image_tower/token': lambda: Place('vision_model.embeddings.class_embedding', SAME),
        '(image_tower/position)': lambda path: Place(f'{_named(path)}.weight', SAME),
        '(logit_scale)': lambda name: Place(name, SAME),
    }
    return layered(TORCH, _named, axes=axes, places=places)


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('clip', 'hf'): Reference(clip, _inputs, _rule, r'.*position_ids')
}
