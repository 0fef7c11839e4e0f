"""CLIP of the transformers library, called as ours is."""

from collections.abc import Callable
from typing import Any

import transformers


class CLIP(transformers.CLIPModel):
    """CLIP on images and texts."""

    def forward(self, images: Any, tokens: Any, lengths: Any) -> Any:  # type: ignore[override]
        """[B, 3, H, W] and [C, T] -> embeddings of both, and the scale of their products.

        It finds the end of a text by its token; lengths are not asked for.
        """
        found = super().forward(input_ids=tokens, pixel_values=images)
        scale = self.logit_scale.exp()
        # That its logits are these very products is a part of what is compared.
        theirs = found.logits_per_image
        assert (theirs - scale * found.image_embeds @ found.text_embeds.T).abs().max() < 1e-5
        return found.image_embeds, found.text_embeds, scale


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
) -> CLIP:
    """CLIP of any size; its activation is its own, quick_gelu."""
    vision = {
        'image_size': image,
        'patch_size': patch,
        'hidden_size': width,
        'num_hidden_layers': depth,
        'num_attention_heads': heads,
        'intermediate_size': mlp,
        'projection_dim': joint,
    }
    text = {
        'vocab_size': vocabulary,
        'max_position_embeddings': context,
        'hidden_size': text_width,
        'num_hidden_layers': text_depth,
        'num_attention_heads': text_heads,
        'intermediate_size': text_mlp,
        'projection_dim': joint,
        'bos_token_id': vocabulary - 2,
        'eos_token_id': vocabulary - 1,
    }
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=joint)
    return CLIP(config)


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {('clip', 'hf'): clip}
