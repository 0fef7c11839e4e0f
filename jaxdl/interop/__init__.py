"""Weights from and to other implementations: pure NumPy, nothing else is imported.

variables = from_state_dict('resnet50', 'torchvision', state_dict)
logits = build('resnet50', 'torchvision').apply(variables, images)
state_dict = to_state_dict('resnet50', 'torchvision', variables)     # exactly the same again
"""

import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from jaxdl.errors import UsageError, nearest
from jaxdl.interop import (
    attention,
    clip,
    convnets,
    darknet,
    decisions,
    diffusion,
    faster_rcnn,
    gans,
    graphs,
    image_to_image,
    language,
    recurrent,
    residual,
    segmentation,
    series,
    speech,
    stylegan2,
)
from jaxdl.interop.reference import Reference, Shape, decode, encode, expected, places

REFERENCES: Mapping[tuple[str, str], Reference] = {
    **convnets.REFERENCES,
    **residual.REFERENCES,
    **segmentation.REFERENCES,
    **darknet.REFERENCES,
    **diffusion.REFERENCES,
    **faster_rcnn.REFERENCES,
    **recurrent.REFERENCES,
    **attention.REFERENCES,
    **language.REFERENCES,
    **clip.REFERENCES,
    **series.REFERENCES,
    **gans.REFERENCES,
    **graphs.REFERENCES,
    **decisions.REFERENCES,
    **image_to_image.REFERENCES,
    **stylegan2.REFERENCES,
    **speech.REFERENCES,
}


def list_references() -> list[tuple[str, str]]:
    """Every (arch, layout) there is."""
    return sorted(REFERENCES)


def reference(arch: str, layout: str, config: Mapping[str, Any]) -> Reference:
    """The reference of that name. Raises UsageError for a name or an option there is not."""
    archs = sorted({arch for arch, _ in REFERENCES})
    if arch not in archs:
        raise UsageError(f'no arch {arch!r}{nearest(arch, archs)}')
    layouts = [there for name, there in list_references() if name == arch]
    if layout not in layouts:
        raise UsageError(f'no layout {layout!r} of {arch}{nearest(layout, layouts)}')
    allowed = options(arch, layout)
    for name in config:
        if name not in allowed:
            raise UsageError(f'{arch} has no option {name!r}{nearest(name, allowed)}')
    return REFERENCES[arch, layout]


def options(arch: str, layout: str) -> list[str]:
    """The names that `config` may have for a reference."""
    return list(inspect.signature(REFERENCES[arch, layout].build).parameters)


def build(arch: str, layout: str, **config: Any) -> nn.Module:
    """The module whose variables `from_state_dict` gives."""
    return reference(arch, layout, config).build(**config)


def tensors(arch: str, layout: str, **config: Any) -> dict[str, Shape]:
    """The shape of every tensor that the state dict must have, by name."""
    return expected(places(reference(arch, layout, config), config))


def paths(arch: str, layout: str, **config: Any) -> list[str]:
    """The path of every array of ours, 'params/conv1/kernel'."""
    return ['/'.join(path) for path in places(reference(arch, layout, config), config)]


def from_state_dict(
    arch: str, layout: str, state_dict: Mapping[str, Any], *, strict: bool = True, **config: Any
) -> dict[str, Any]:
    """The variables {'params': ..., 'batch_stats': ...} from another implementation's weights.

    state_dict: arrays by name; anything that NumPy reads.
    strict: tensors the network has no place for are an error.
    Raises UsageError, naming the tensor, for one that is missing, unknown or misshapen.
    """
    return decode(reference(arch, layout, config), state_dict, config, strict=strict)


def to_state_dict(
    arch: str, layout: str, variables: Mapping[str, Any], **config: Any
) -> dict[str, np.ndarray]:
    """The other implementation's weights from our variables: the inverse of `from_state_dict`."""
    return encode(reference(arch, layout, config), variables, config)
