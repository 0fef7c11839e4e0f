"""How near pictures are to what they should be: PSNR, SSIM, and two distances of their texture.

All compare pictures x with pictures y, both [B, H, W, C] with values 0..peak, and give one number a
picture, [B]; `Mean.of(psnr(x, y), batch['mask'], better='higher')` adds them. `counts` bool
[B, H, W] says which pixels count, so that pictures of several sizes fit one batch and borders are
cut: see `inner_pixels`. Each is NaN where a picture has no pixel, window or patch that counts.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdl.errors import UsageError

Array = jax.Array


def luma(x: Array) -> Array:
    """The luma Y' of RGB pictures 0..1 (ITU-R BT.601), [..., 3] -> [..., 1] from 16/255 to 235/255.

    As MATLAB's rgb2ycbcr has it, not rounded: super-resolution is measured on it.
    """
    if x.shape[-1] != 3:
        raise UsageError(f'luma: pictures of {x.shape[-1]} channels; of 3, RGB')
    return (16 + x @ jnp.array([[65.481], [128.553], [24.966]], x.dtype)) / 255


def inner_pixels(shape: tuple[int, int], sizes: Array | None = None, *, border: int = 0) -> Array:
    """Which pixels of a batch count, bool [B, H, W]; [1, H, W] without `sizes`.

    shape: (H, W) of the batch. sizes: int [B, 2], the height and width of each picture, which
    stands in the top left corner; None: all of it. border: pixels cut off on each of its sides.
    """
    sizes = jnp.array([shape]) if sizes is None else jnp.asarray(sizes)
    row, column = jnp.arange(shape[0])[None, :, None], jnp.arange(shape[1])[None, None, :]
    high, wide = sizes[:, 0, None, None], sizes[:, 1, None, None]
    inside = (row >= border) & (column >= border)
    return inside & (row < high - border) & (column < wide - border)


def psnr(x: Array, y: Array, *, peak: float = 1.0, counts: Array | None = None) -> Array:
    """Peak signal-to-noise ratio, 10 log10(peak^2 / mean (x - y)^2), in decibels [B].

    Infinite where the two are equal.
    """
    _check('psnr', x, y)
    error = _mean(((x - y) ** 2).mean(-1), _counting(x, counts))
    return 10 * jnp.log10(peak**2 / error)


def ssim(x: Array, y: Array, *, peak: float = 1.0, counts: Array | None = None) -> Array:
    """Structural similarity (Wang et al. 2004, eq. 13), the mean over windows and channels, [B].

    Windows are Gaussian, 11x11 with a deviation of 1.5; K1 = 0.01, K2 = 0.03. Those count whose
    pixels all count, none reaches over the border of the batch.
    """
    _check('ssim', x, y)
    side, deviation = 11, 1.5
    if min(x.shape[1:3]) < side:
        raise UsageError(f'ssim: windows of {side}x{side} in pictures {list(x.shape)}')
    bell = np.exp(-0.5 * ((np.arange(side) - side // 2) / deviation) ** 2)

    def banded(n: int) -> Array:
        rows = np.zeros((n - side + 1, n))
        for i, row in enumerate(rows):
            row[i : i + side] = bell / bell.sum()
        return jnp.asarray(rows, jnp.float32)

    # Deviations from the mean of each picture: variances are no differences of large numbers then.
    centre = (x.mean((1, 2), keepdims=True) + y.mean((1, 2), keepdims=True)) / 2
    a, b = x - centre, y - centre
    # Weighted sums of windows as products: there are fewer to compile than of shifted pictures.
    down, across = (banded(n) for n in x.shape[1:3])
    moments = jnp.stack((a, b, a * a, b * b, a * b))
    mean_a, mean_b, *squares = jnp.einsum('ih,mbhwc,jw->mbijc', down, moments, across)
    var_a, var_b = squares[0] - mean_a**2, squares[1] - mean_b**2
    covariance = squares[2] - mean_a * mean_b
    mean_x, mean_y = mean_a + centre, mean_b + centre
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    same_mean = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    similar = same_mean * (2 * covariance + c2) / (var_a + var_b + c2)
    return _mean(similar.mean(-1), _whole(_counting(x, counts), side, 1))


def power_spectrum(x: Array, *, side: int = 32, counts: Array | None = None) -> Array:
    """The radially averaged power spectrum of pictures, [B, side // 2].

    The mean over windows of side x side pixels, side // 2 apart, tapered by Hann's window after
    their mean is taken off, over channels and over directions: entry k - 1 is that of frequencies
    of k +- 1/2 periods in a window, up to side // 2, the highest there is.
    """
    step = side // 2
    if min(x.shape[1:3]) < side:
        raise UsageError(f'power_spectrum: windows of side={side} in pictures {list(x.shape)}')
    taper = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    windows = _patches(x, side, step)  # [B, I, J, side, side, C]
    windows = windows - windows.mean((3, 4), keepdims=True)
    windows *= jnp.asarray(np.outer(taper, taper), jnp.float32)[None, None, None, :, :, None]
    power = jnp.abs(jnp.fft.fft2(windows, axes=(3, 4))) ** 2
    frequency = np.fft.fftfreq(side, 1 / side)
    radius = np.round(np.hypot(frequency[:, None], frequency[None])).astype(int)
    rings = np.stack([radius == k for k in range(1, step + 1)]).astype(np.float32)
    rings /= rings.sum((1, 2), keepdims=True)
    each = jnp.einsum('bijhwc,khw->bijk', power, rings) / x.shape[-1]
    whole = _whole(_counting(x, counts), side, step)
    return jax.vmap(_mean, (-1, None), -1)(each, whole)


def spectral_distance(x: Array, y: Array, *, side: int = 32, counts: Array | None = None) -> Array:
    """How far the power spectra of x and y lie apart, in decibels, [B].

    The root of the mean over frequencies of (10 log10 P_x / P_y)^2, P of `power_spectrum`: what is
    too smooth lacks power at high frequencies, whatever its pixels' errors are.
    """
    _check('spectral_distance', x, y)
    # A floor far below what 8 bits can show: the logarithm of nothing is no distance.
    p, q = (power_spectrum(z, side=side, counts=counts) + 1e-8 for z in (x, y))
    return jnp.sqrt(jnp.mean((10 * jnp.log10(p / q)) ** 2, axis=-1))


def patch_distance(
    x: Array, y: Array, *, side: int = 7, step: int = 3, counts: Array | None = None
) -> Array:
    """The sliced Wasserstein distance between the patches of x and those of y, [B].

    The patches are side x side pixels, step apart, each without its mean: their texture. A distance
    is the mean, over 64 drawn directions in the space of patches, always the same, of the mean
    difference between sorted projections, in the unit of the pixels: the average over directions of
    Wasserstein-1 distances (Rabin et al. 2011; of patches in Karras et al. 2018, section 5). Where
    a patch lies plays no part.
    """
    _check('patch_distance', x, y)
    rng, channels = np.random.default_rng(0), x.shape[-1]
    directions = rng.standard_normal((side, side, channels, 64))
    directions -= directions.mean((0, 1), keepdims=True)  # blind to a patch's mean
    directions /= np.sqrt((directions**2).sum((0, 1, 2), keepdims=True))
    kernel = jnp.asarray(directions, jnp.float32)
    whole = _whole(_counting(x, counts), side, step).reshape(len(x), -1)

    def projected(z: Array) -> Array:
        z = lax.conv_general_dilated(
            z, kernel, (step, step), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )
        # What does not count is last of both, equal, and adds nothing.
        z = jnp.where(whole[..., None], z.reshape(*whole.shape, -1), jnp.float32(1e9))
        return jnp.sort(z, axis=1)

    gaps = jnp.abs(projected(x) - projected(y)).mean(-1).sum(1)
    number = whole.sum(1)
    return jnp.where(number > 0, gaps / jnp.maximum(number, 1), jnp.nan)


def _check(name: str, x: Array, y: Array) -> None:
    if x.ndim != 4 or x.shape != y.shape:
        raise UsageError(
            f'{name}: pictures {list(x.shape)} and {list(y.shape)}; both are of one shape, '
            '[B, H, W, C]'
        )


def _counting(x: Array, counts: Array | None) -> Array:
    if counts is None:
        return jnp.ones(x.shape[:3], bool)
    return jnp.broadcast_to(counts, x.shape[:3])


def _patches(x: Array, side: int, step: int) -> Array:
    """[B, H, W, C] -> [B, I, J, side, side, C]."""
    rows, columns = ((n - side) // step + 1 for n in x.shape[1:3])
    down = (np.arange(rows) * step)[:, None] + np.arange(side)
    across = (np.arange(columns) * step)[:, None] + np.arange(side)
    return x[:, down][:, :, :, across].transpose(0, 1, 3, 2, 4, 5)


def _whole(counts: Array, side: int, step: int) -> Array:
    """Which windows of side x side, `step` apart, have only pixels that count."""
    window, strides = (1, side, side), (1, step, step)
    number = lax.reduce_window(counts.astype(jnp.int32), 0, lax.add, window, strides, 'VALID')
    return number == side**2


def _mean(values: Array, counts: Array) -> Array:
    """The mean of values [B, ...] where `counts`, for each row; NaN where nothing does."""
    axes = tuple(range(1, values.ndim))
    number = counts.sum(axes)
    total = jnp.where(counts, values, 0).sum(axes)
    return jnp.where(number > 0, total / jnp.maximum(number, 1), jnp.nan)
