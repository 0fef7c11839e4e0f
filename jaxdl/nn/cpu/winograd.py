"""3x3 convolutions of stride 1 with 4/9 of the multiplications: Winograd's F(2x2, 3x3).

Lavin and Gray 2015, *Fast algorithms for convolutional neural networks*, section 4.1. Tiles d of
4x4 of the image, which overlap by two, and kernels g are transformed so that a tile's convolution
is a product element by element. Over channels that makes 16 products of matrices [tiles, I] and
[I, O], and of them a tile Y of 2x2 of the output:

    V = B^T d B,  U = G g G^T,  M = V U,  Y = A^T M A

          | 1  0 -1  0 |       |  1    0    0  |         | 1  1  1  0 |
    B^T = | 0  1  1  0 |   G = | 1/2  1/2  1/2 |   A^T = | 0  1 -1 -1 |
          | 0 -1  1  0 |       | 1/2 -1/2  1/2 |
          | 0  1  0 -1 |       |  0    0    1  |

All is linear. So the kernel's gradient is G^T [V^T (A dY A^T)] G, and the image's the convolution
of dY with the mirrored kernel, whose U has its rows and columns in the order 3, 1, 2, 0.
In float32 the error is that of the direct convolution.

Measured on 2 cores as time over that of XLA's convolution: 0.4 to 0.6 for the forward pass with 64
to 512 channels, 0.6 to 0.75 for both gradients.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.nn.cpu.banded import Pads, size

Array = jax.Array
Grid = list[list[Array]]

KERNEL, TILE, STEP = 3, 4, 2
MIRRORED = (3, 1, 2, 0)

# Bytes of V and M above which a batch is computed in parts: they are to stay near the caches.
# Measured with 16 images of 56x56x128: gradients 249 ms whole, 165 ms in four parts of 51 MB.
PART = 2**26


def pays(images: Sequence[int], kernel: Sequence[int], padding: Pads) -> bool:
    """Whether it is faster here than XLA's convolution; images [B, H, W, I], kernel [kh, kw, I, O].

    Measured on 2 cores: with less than 24 channels the transformations cost more than they save, as
    those of the kernels do with few tiles, and small convolutions take no time.
    """
    if tuple(kernel[:2]) != (KERNEL, KERNEL) or any(not 0 <= n <= 2 for p in padding for n in p):
        return False
    rows, columns = (-(-n // STEP) for n in size(images, kernel, padding))
    tiles, channels = images[0] * rows * columns, kernel[2:]
    work = tiles * STEP**2 * KERNEL**2 * channels[0] * channels[1]
    return min(channels) >= 24 and tiles >= 32 and work >= 2e7


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolution(x: Array, w: Array, padding: Pads) -> Array:
    """x [B, H, W, I], w [3, 3, I, O] -> [B, H', W', O]; up to 2 rows and columns of zeros around.

    The plain one is ``lax.conv_general_dilated(x, w, (1, 1), padding)`` in NHWC, HWIO.
    """
    return _convolved(x, _kernels(w), padding, inputs=0)


def _forward(x: Array, w: Array, padding: Pads) -> tuple[Array, tuple[Array, Array]]:
    return convolution(x, w, padding), (x, w)


def _backward(padding: Pads, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = saved
    u = _kernels(w)
    mirrored = [[u[k][j] for j in MIRRORED] for k in MIRRORED]
    (top, bottom), (left, right) = padding
    around = ((2 - top, 2 - bottom), (2 - left, 2 - right))
    dx = _convolved(g, mirrored, around, inputs=1)
    total: Grid | None = None
    for part, gradient in zip(*_parts(x, g, channels=w.shape[2] + w.shape[3]), strict=True):
        if total is not None:
            part, gradient, total = lax.optimization_barrier((part, gradient, total))
        products = _each(_over_tiles, _image_tiles(part, padding), _gradient_tiles(gradient))
        total = products if total is None else _each(jnp.add, total, products)
    assert total is not None
    return dx, jnp.stack([jnp.stack(row) for row in _both_ways(_kernel_back, total)])


convolution.defvjp(_forward, _backward)


def _convolved(x: Array, u: Grid, padding: Pads, *, inputs: int) -> Array:
    """The convolution with transformed kernels, 4 x 4 matrices whose axis `inputs` is x's."""
    outputs = u[0][0].shape[1 - inputs]
    high, wide = size(x.shape, (KERNEL, KERNEL), padding)
    (parts,) = _parts(x, channels=x.shape[-1] + outputs)
    done: list[Array] = []
    for part in parts:
        if done:  # one after another
            part, done[-1] = lax.optimization_barrier((part, done[-1]))
        v = _image_tiles(part, padding)
        products = _each(lambda v, u: jnp.tensordot(v, u, ((3,), (inputs,))), v, u)
        pieces = [jnp.stack(row, axis=3) for row in _both_ways(_output, products)]
        _, rows, columns, *_ = pieces[0].shape
        y = jnp.stack(pieces, axis=2).reshape(len(part), STEP * rows, STEP * columns, outputs)
        done.append(y[:, :high, :wide])
    # What follows would otherwise be fused with the last step, and repeat it wherever y is read.
    return lax.optimization_barrier(jnp.concatenate(done))


def _parts(*arrays: Array, channels: int) -> list[list[Array]]:
    """Each array [B, H, W, C] as parts of the batch whose V and M have at most about PART bytes."""
    images, high, wide, _ = arrays[0].shape
    whole = images * high * wide * channels * 4 * (TILE / STEP) ** 2
    count = next((n for n in range(1, images) if not images % n and whole / n <= PART), images)
    return [jnp.split(array, count) for array in arrays]


def _image_tiles(x: Array, padding: Pads) -> Grid:
    """V: 4 x 4 arrays [B, rows, columns, I]. The last tiles may reach over the edge."""
    sizes = size(x.shape, (KERNEL, KERNEL), padding)
    around = [(low, high + n % STEP) for (low, high), n in zip(padding, sizes, strict=True)]
    x = jnp.pad(x, ((0, 0), *around, (0, 0)))
    down, across = (n + n % STEP - 1 for n in sizes)
    return _both_ways(
        _image,
        [
            [x[:, i : i + down : STEP, j : j + across : STEP] for j in range(TILE)]
            for i in range(TILE)
        ],
    )


def _gradient_tiles(g: Array) -> Grid:
    """A dY A^T: 4 x 4 arrays [B, rows, columns, O]."""
    g = jnp.pad(g, ((0, 0), (0, g.shape[1] % STEP), (0, g.shape[2] % STEP), (0, 0)))
    return _both_ways(
        _output_back, [[g[:, i::STEP, j::STEP] for j in range(STEP)] for i in range(STEP)]
    )


def _over_tiles(v: Array, m: Array) -> Array:
    """[B, rows, columns, I] and [B, rows, columns, O] -> [I, O]."""
    return jnp.tensordot(v, m, ((0, 1, 2), (0, 1, 2)))


def _kernels(w: Array) -> Grid:
    """U: 4 x 4 matrices [I, O]."""
    return _both_ways(_kernel, [[w[i, j] for j in range(KERNEL)] for i in range(KERNEL)])


def _each(f: Callable[[Array, Array], Array], first: Grid, second: Grid) -> Grid:
    """f of what two grids have at one place."""
    return [list(map(f, *rows)) for rows in zip(first, second, strict=True)]


def _both_ways(
    transform: Callable[[Sequence[Array]], list[Array]], grid: Sequence[Sequence[Array]]
) -> Grid:
    """T x T^T of a grid x, where `transform` is T."""
    columns = [transform(column) for column in zip(*grid, strict=True)]
    return [transform(row) for row in zip(*columns, strict=True)]


def _image(d: Sequence[Array]) -> list[Array]:  # B^T
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _kernel(g: Sequence[Array]) -> list[Array]:  # G
    return [g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2]]


def _kernel_back(u: Sequence[Array]) -> list[Array]:  # G^T
    return [u[0] + (u[1] + u[2]) / 2, (u[1] - u[2]) / 2, (u[1] + u[2]) / 2 + u[3]]


def _output(m: Sequence[Array]) -> list[Array]:  # A^T
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _output_back(y: Sequence[Array]) -> list[Array]:  # A
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]
