"""CLIP."""

from golden import Case, Exactly

TOLERANCE = 2e-5
WORDS = 17  # of which the last ends a text
SMALL = {
    'image': 16,
    'patch': 8,
    'width': 12,
    'depth': 2,
    'heads': 3,
    'mlp': 20,
    'vocabulary': WORDS,
    'context': 7,
    'text_width': 8,
    'text_depth': 2,
    'text_heads': 2,
    'text_mlp': 12,
    'joint': 10,
}
# Texts, and the place after their end; what comes after it is not looked at.
TEXTS = ((3, 1, 4, 16, 0, 0, 0), (5, 9, 2, 6, 5, 3, 16), (8, 16, 7, 9, 1, 2, 0))
SIZES = (4, 7, 2)
LAST = 49_407  # the token that ends a text
SENTENCES = tuple(
    (*(7919 * (i + j) % LAST for j in range(length - 1)), LAST, *([0] * (77 - length)))
    for i, length in enumerate((9, 77))
)

CASES = [
    Case(
        *('clip', 'hf', ((2, 16, 16, 3), Exactly(TEXTS), Exactly(SIZES))),
        SMALL,
        TOLERANCE,
        train=True,
        again=((5, 16, 16, 3), Exactly(((1, 2, 16, 3),)), Exactly((3,))),
        zeros=('*.k_proj.bias',),  # added to all keys, it changes all scores of a query alike
    ),
    # ViT-B/32. What comes after the token that ends a text is not looked at.
    Case(
        *('clip', 'hf', ((2, 224, 224, 3), Exactly(SENTENCES), Exactly((9, 77)))),
        {},
        TOLERANCE,
        full=True,
    ),
]
