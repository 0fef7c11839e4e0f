"""Convolutions of few channels and stride 1 as products with a banded matrix.

n neighbouring outputs of a row see a patch of kh rows and n + kw - 1 columns. They are the patch
times a matrix in which the kernel's taps stand a column further down for each output, here for two
outputs, one row, three taps and one channel:

    [x0 x1 x2 x3] | w0  0 |
                  | w1 w0 |
                  | w2 w1 |
                  |  0 w2 |

So a whole batch is one product of matrices, [patches, kh (n + kw - 1) I] and [.., n O], whose
result lies in memory as [B, H', W', O] does. The zeros are multiplied too, but a patch is made of
kh pieces of neighbouring columns, where the usual product with each output's taps copies kh kw
small ones. Gradients are those of the product. A NaN in the image reaches all outputs of its
patches, some of which the direct convolution would not give one.

Measured on 2 cores as time of the forward pass and both gradients over XLA's convolution: LeNet's
first 0.25, its second 0.7; 3x3 kernels on colour images 0.5 to 0.8; 20 to 50 channels 0.6; but 8 to
16 channels, as many as a vector register holds, up to 2.2.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
Pads = tuple[tuple[int, int], tuple[int, int]]  # of rows, of columns


def size(images: Sequence[int], kernel: Sequence[int], padding: Pads) -> tuple[int, int]:
    """Rows and columns of what a convolution of stride 1 makes of [B, H, W, I], [kh, kw, I, O]."""
    high, wide = (images[1 + i] + sum(padding[i]) - kernel[i] + 1 for i in range(2))
    return high, wide


def pays(images: Sequence[int], kernel: Sequence[int], padding: Pads) -> bool:
    """Whether it is faster here than XLA's convolution; images [B, H, W, I], kernel [kh, kw, I, O].

    Measured on 2 cores; XLA's is slow where a number of channels does not fill vector registers.
    """
    inputs, outputs = kernel[2:]
    ragged = any(n % 4 for n in (inputs, outputs))
    return min(size(images, kernel, padding)) > 0 and (inputs < 8 or (inputs <= 24 and ragged))


def convolution(x: Array, w: Array, padding: Pads) -> Array:
    """x [B, H, W, I], w [kh, kw, I, O] -> [B, H', W', O], of at least one row and column.

    The plain one is ``lax.conv_general_dilated(x, w, (1, 1), padding)`` in NHWC, HWIO.
    """
    batch, (kh, kw, inputs, outputs) = len(x), w.shape
    rows, columns = size(x.shape, w.shape, padding)
    n = max(1, kw - 1)  # the fewest whose columns hold all that the patch before needs of them
    patches, piece, rest = -(-columns // n), n * inputs, (kw - 1) * inputs
    (top, bottom), (left, right) = padding
    around = ((top, bottom, 0), (left, right + patches * n - columns, 0))
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *around, (0, 0, 0)))
    x = x.reshape(batch, rows + kh - 1, -1)
    own = x[:, :, : patches * piece].reshape(batch, -1, patches, piece)
    after = jnp.concatenate([own[:, :, 1:, :rest], x[:, :, None, patches * piece :]], axis=2)
    seen = jnp.concatenate([own, after], axis=3)
    lines = jnp.concatenate([seen[:, i : i + rows] for i in range(kh)], axis=3)
    y = lines @ _band(w, n)
    return y.reshape(batch, rows, patches * n, outputs)[:, :, :columns]


def _band(w: Array, n: int) -> Array:
    """[kh, kw, I, O] -> [kh (n + kw - 1) I, n O]."""
    kh, kw, inputs, outputs = w.shape
    seen = n + kw - 1
    # Lines of taps and zeros, a column too long, are laid end to end and cut at the right length
    # instead: in each the taps then stand a column further than in the one before.
    line = jnp.pad(w, ((0, 0), (0, n), (0, 0), (0, 0)))
    lines = jnp.broadcast_to(line[:, None], (kh, n, *line.shape[1:]))
    lines = lines.reshape(kh, n * (seen + 1), inputs, outputs)[:, : n * seen]
    band = lines.reshape(kh, n, seen, inputs, outputs).transpose(0, 2, 3, 1, 4)
    return band.reshape(kh * seen * inputs, n * outputs)
