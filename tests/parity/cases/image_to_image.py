"""SRGAN, CycleGAN and the context encoder."""

from golden import Case

# A bias before an instance norm does nothing: its gradient is rounding.
BEFORE_NORMS = (
    *('model.1.bias', 'model.4.bias', 'model.7.bias', '*.conv_block.?.bias'),
    *('model.12.bias', 'model.15.bias'),
)

CASES: list[Case] = [
    Case(
        *('srresnet', 'public', ((2, 7, 10, 3),), {'blocks': 2, 'width': 8}),
        train=True,
        again=((1, 12, 9, 3),),
    ),
    Case('srresnet', 'public', ((1, 24, 17, 3),), full=True),
    Case(
        *('srgan_discriminator', 'public', ((2, 40, 33, 3),), {'width': 4, 'hidden': 16}),
        train=True,
    ),
    Case('srgan_discriminator', 'public', ((2, 96, 96, 3),), full=True),
    Case(
        *('cyclegan_generator', 'public', ((2, 12, 16, 2),)),
        {'blocks': 2, 'base': 4, 'channels': 2},
        train=True,
        zeros=BEFORE_NORMS,
    ),
    Case('cyclegan_generator', 'public', ((1, 64, 56, 3),), full=True),
    Case('cyclegan_generator', 'public', ((1, 64, 56, 3),), {'blocks': 6}, full=True),
    Case('pix2pix_unet', 'public', ((3, 64, 32, 3),), {'base': 4, 'depth': 5}, train=True),
    Case('pix2pix_unet', 'public', ((1, 256, 256, 3),), full=True),
    Case(
        *('patchgan', 'public', ((2, 48, 37, 3),), {'base': 4}),
        train=True,
        zeros=('model.[258].bias',),
    ),
    Case('patchgan', 'public', ((2, 70, 90, 3),), full=True),
    Case(
        *('context_encoder', 'torch', ((3, 32, 32, 3),)),
        {'base': 4, 'bottleneck': 20, 'depth': 3},
        train=True,
    ),
    Case('context_encoder', 'torch', ((1, 128, 128, 3),), full=True),
    Case('context_critic', 'torch', ((3, 16, 16, 3),), {'base': 4, 'depth': 2}, train=True),
    Case('context_critic', 'torch', ((2, 64, 64, 3),), full=True),
]
