"""Augmentation: pure functions (key, batch) -> batch that run inside the compiled step.

Each is made by a function of keyword arguments, and `compose` makes one of many::

    compose(as_float(), crop(padding=4), flip(), jitter(brightness=0.4), standardise(mean, std))

Every image of a batch has draws of its own. Images are [B, H, W, C], floats in 0..1 (put `as_float`
first); `flip`, `crop`, `shift`, `cutout` and `cutmix` take any dtype. Boxes and segmentation maps
that a batch has follow the image; which columns these are and what comes in from outside the image
is a `Scene`, made once for a study and handed to each geometric transform::

    cells = Scene(segmentation='truth', border='reflect')
    compose(flip(vertical=0.5, scene=cells), rotate(20, scene=cells), elastic(scene=cells))

Where a method compares several views of one image, `views` puts them beside it, as columns.

Sound has transforms of its own, `as_features` and `spec_augment`.

`mixup` and `cutmix` turn labels y [B] into probabilities [B, classes], which `classifier` takes.
"""

from jaxdl.data.augment.basic import (
    Transform,
    as_float,
    compose,
    one_of,
    sometimes,
    standardise,
    views,
)
from jaxdl.data.augment.colour import greyscale, jitter
from jaxdl.data.augment.mixing import cutmix, cutout, mixup
from jaxdl.data.augment.policy import rand_augment
from jaxdl.data.augment.scene import Scene
from jaxdl.data.augment.spectral import as_features, spec_augment
from jaxdl.data.augment.warps import affine, elastic, rotate, scale, shear
from jaxdl.data.augment.windows import crop, flip, resized_crop, shift

__all__ = [
    'Scene',
    'Transform',
    'affine',
    'as_features',
    'as_float',
    'compose',
    'crop',
    'cutmix',
    'cutout',
    'elastic',
    'flip',
    'greyscale',
    'jitter',
    'mixup',
    'one_of',
    'rand_augment',
    'resized_crop',
    'rotate',
    'scale',
    'shear',
    'shift',
    'sometimes',
    'spec_augment',
    'standardise',
    'views',
]
