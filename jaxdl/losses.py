"""Loss functions: pure formulae over a batch.

One convention for all. With l_i the loss of element i and w_i its weight, a loss is the scalar

    L = sum_i w_i l_i / sum_i w_i        (0 where nothing weighs)

`weights` is non-negative, boolean or real, and has the shape of the l_i or a prefix of it: the mask
[rows] of a batch serves losses per row, per token and per pixel. Elements of weight zero have no
part in the value or the gradient, whatever stands there: padding may hold NaN. Of a micro-batch
the denominator is that of the whole batch (`jaxdl.micro_batches.whole`). Arithmetic is in float32
at least. For values per element call `optax.losses`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdl.keys import Key
from jaxdl.micro_batches import whole

Array = jax.Array


def cross_entropy(
    logits: Any,
    targets: Any,
    *,
    weights: Any = None,
    class_weights: Any = None,
    label_smoothing: float = 0.0,
    ignore: int | None = None,
) -> Array:
    """Cross-entropy of softmax(logits) [..., C]: L = sum w a q (-log p) / sum w a t.

    Per row, token or pixel: [B, H, W, C] with targets and, say, a map of weights [B, H, W].

    targets: classes, int [...], or their probabilities t [..., C].
    class_weights: a [C], weighs true classes; also in the denominator, as in torch.
    label_smoothing: q = (1 - s) t + s / C (Szegedy et al. 2016, section 7).
    ignore: a target that is no class; such elements have weight zero.
    """
    x, y = _float(logits), jnp.asarray(targets)
    classes = x.shape[-1]
    integer = jnp.issubdtype(y.dtype, jnp.integer)
    _expect(y, x.shape[:-1] if integer else x.shape, 'targets')
    w = _spread(weights, x.shape[:-1])
    if integer and ignore is not None:
        w = jnp.where(y == ignore, 0, w)
    x, y = _kept(x, w), _kept(y, w)
    if integer and not label_smoothing:
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(x, y)
        if class_weights is None:
            return _mean(losses, w)
        a = _float(class_weights)[y]
        return _ratio(losses * a * w, a * w)
    t = jax.nn.one_hot(y, classes, dtype=x.dtype) if integer else _float(y)
    q = optax.losses.smooth_labels(t, label_smoothing) if label_smoothing else t
    if class_weights is None:
        return _mean(optax.losses.safe_softmax_cross_entropy(x, q), w)
    a = jnp.broadcast_to(_float(class_weights), x.shape)
    return _ratio(optax.losses.safe_softmax_cross_entropy(x, a * q) * w, (a * t).sum(-1) * w)


def binary_cross_entropy(
    logits: Any, targets: Any, *, weights: Any = None, pos_weight: Any = 1.0
) -> Array:
    """Binary cross-entropy: l = -[c y log s(x) + (1 - y) log(1 - s(x))], s the logistic function.

    targets: y in [0, 1] (or booleans) of the logits' shape.
    pos_weight: c, a scalar or one value for each entry of the last axis; weighs positives.
    """
    x, y, w = _pair(logits, targets, weights)
    c = jnp.broadcast_to(_float(pos_weight), x.shape)
    return _mean(-c * y * jax.nn.log_sigmoid(x) - (1 - y) * jax.nn.log_sigmoid(-x), w)


def focal(
    logits: Any, targets: Any, *, weights: Any = None, alpha: float = 0.25, gamma: float = 2.0
) -> Array:
    """Focal loss (Lin et al. 2017, eq. 5): l = -a_t (1 - p_t)^gamma log p_t, p = s(x).

    p_t is p where y = 1 and 1 - p where y = 0; a_t likewise alpha and 1 - alpha.
    targets: y in {0, 1} (or booleans) of the logits' shape. The paper divides the sum over anchors
    by the number of those with an object: multiply by their ratio.
    """
    x, y, w = _pair(logits, targets, weights)
    return _mean(optax.losses.sigmoid_focal_loss(x, y, alpha=alpha, gamma=gamma), w)


def dice(probabilities: Any, targets: Any, *, weights: Any = None, smooth: float = 1.0) -> Array:
    """Soft Dice loss: l = 1 - (2 sum_i p_i g_i + s) / (sum_i p_i^2 + sum_i g_i^2 + s).

    One l for each row and class, the sums over its pixels i: the V-Net's with squares in the
    denominator (Milletari et al. 2016, section 3), which has s = 0. With s > 0 a class that is
    neither there nor predicted costs nothing.

    probabilities: p [B, ..., C], sigmoid or softmax of the logits.
    targets: g in {0, 1} (or booleans) of the same shape, e.g. `jax.nn.one_hot` of labels; the
        one-hot of a label that is no class is zero, but give it weight zero, too.
    weights: [B] weighs rows, [B, ...] pixels: in the sums, and a row by its pixels' mean.
    """
    x, y = _float(probabilities), _float(targets)
    _expect(y, x.shape, 'targets')
    w = _spread(weights, x.shape[:-1])
    pixels = (len(x), -1, x.shape[-1])
    p, g = _kept(x, w).reshape(pixels), _kept(y, w).reshape(pixels)
    w = w.reshape(len(x), -1)
    row = w.mean(1)
    # Weights of mean 1 in each row: its own weight cancels, in the relation to s, too.
    v = (w / jnp.where(row > 0, row, 1)[:, None])[..., None]
    both, squares = (v * p * g).sum(1), (v * (p**2 + g**2)).sum(1)
    # Two wheres: the gradient of 0 / 0 would be NaN although its value is not taken.
    some = squares + smooth > 0
    overlap = (2 * both + smooth) / jnp.where(some, squares + smooth, 1)
    losses = jnp.where(some, 1 - overlap, 0)
    return _mean(losses, jnp.broadcast_to(row[:, None], losses.shape))


def mean_squared_error(predictions: Any, targets: Any, *, weights: Any = None) -> Array:
    """Mean squared error: l = (x - y)^2. Shapes are equal."""
    x, y, w = _pair(predictions, targets, weights)
    return _mean(optax.losses.squared_error(x, y), w)


def mean_absolute_error(predictions: Any, targets: Any, *, weights: Any = None) -> Array:
    """Mean absolute error: l = |x - y|. Shapes are equal."""
    x, y, w = _pair(predictions, targets, weights)
    return _mean(jnp.abs(x - y), w)


def huber(predictions: Any, targets: Any, *, weights: Any = None, delta: float = 1.0) -> Array:
    """Huber's loss (1964): l = e^2 / 2 where e = |x - y| <= delta, else delta (e - delta / 2)."""
    x, y, w = _pair(predictions, targets, weights)
    # Not optax's, which takes a minimum: its gradient looks for the result among the arguments, and
    # finds none where a compiler has computed them twice, rounded otherwise.
    e = jnp.abs(x - y)
    return _mean(jnp.where(e <= delta, e**2 / 2, delta * (e - delta / 2)), w)


def smooth_l1(predictions: Any, targets: Any, *, weights: Any = None, beta: float = 1.0) -> Array:
    """Smooth L1: l = e^2 / (2 beta) where e = |x - y| < beta, else e - beta / 2.

    For boxes (Girshick 2015, eq. 3, where beta is 1): Huber's loss over its delta.
    """
    return huber(predictions, targets, weights=weights, delta=beta) / beta


def hinge(scores: Any, targets: Any, *, weights: Any = None) -> Array:
    """Hinge loss of a binary or a multi-class support vector machine, by the shape of `targets`.

    Binary, scores x [...] and signs y [...] in {-1, +1}: l = max(0, 1 - y x).
    Multi-class, scores x [..., C] and classes y, int [...]: l = max(0, 1 + max_{c != y} x_c - x_y)
    (Crammer and Singer 2001).
    """
    x, y = _float(scores), jnp.asarray(targets)
    if y.shape == x.shape:
        x, y, w = _pair(x, y, weights)
        return _mean(jax.nn.relu(1 - y * x), w)
    _expect(y, x.shape[:-1], 'targets')
    w = _spread(weights, y.shape)
    x, y = _kept(x, w), _kept(y, w)
    true = jax.nn.one_hot(y, x.shape[-1], dtype=x.dtype)
    margins = x + 1 - true
    # The largest by its place: the gradient of a maximum looks for it again (see `huber`).
    largest = jnp.take_along_axis(margins, margins.argmax(-1, keepdims=True), -1)[..., 0]
    return _mean(largest - (x * true).sum(-1), w)


def non_saturating_discriminator(real: Any, fake: Any, *, weights: Any = None) -> Array:
    """Discriminator's loss (Goodfellow et al. 2014, eq. 1): -log s(D(x)) - log(1 - s(D(G(z)))).

    real, fake: logits D(x), D(G(z)) of one shape; each term is a weighted mean.
    """
    x, y, w = _pair(real, fake, weights)
    return _mean(jax.nn.softplus(-x) + jax.nn.softplus(y), w)


def non_saturating_generator(fake: Any, *, weights: Any = None) -> Array:
    """Generator's loss: -log s(D(G(z))), the non-saturating form (Goodfellow et al. 2014, sec. 3).

    fake: logits D(G(z)).
    """
    x, _, w = _pair(fake, fake, weights)
    return _mean(jax.nn.softplus(-x), w)


def wasserstein_critic(real: Any, fake: Any, *, weights: Any = None) -> Array:
    """Critic's loss: f(G(z)) - f(x), minus the distance it estimates (Arjovsky et al. 2017, eq. 3).

    real, fake: the critic's values f(x), f(G(z)) of one shape. The critic must be kept Lipschitz:
    see `gradient_penalty`.
    """
    x, y, w = _pair(real, fake, weights)
    return _mean(y - x, w)


def wasserstein_generator(fake: Any, *, weights: Any = None) -> Array:
    """Generator's loss: -f(G(z)) (Arjovsky et al. 2017, algorithm 1). fake: values f(G(z))."""
    x, _, w = _pair(fake, fake, weights)
    return _mean(-x, w)


def hinge_discriminator(real: Any, fake: Any, *, weights: Any = None) -> Array:
    """Discriminator's loss: max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Miyato et al. 2018, eq. 16).

    real, fake: scores D(x), D(G(z)) of one shape. The generator's is `wasserstein_generator`
    (eq. 17).
    """
    x, y, w = _pair(real, fake, weights)
    return _mean(jax.nn.relu(1 - x) + jax.nn.relu(1 + y), w)


def least_squares_discriminator(real: Any, fake: Any, *, weights: Any = None) -> Array:
    """Discriminator's loss of LSGAN (Mao et al. 2017, eq. 9, doubled): (D(x) - 1)^2 + D(G(z))^2.

    real, fake: scores of one shape; each term is a weighted mean.
    """
    x, y, w = _pair(real, fake, weights)
    return _mean((x - 1) ** 2 + y**2, w)


def least_squares_generator(fake: Any, *, weights: Any = None) -> Array:
    """Generator's loss of LSGAN (Mao et al. 2017, eq. 9, doubled): (D(G(z)) - 1)^2."""
    x, _, w = _pair(fake, fake, weights)
    return _mean((x - 1) ** 2, w)


def gradient_penalty(
    critic: Callable[[Array], Array], real: Any, fake: Any, key: Key, *, weights: Any = None
) -> Array:
    """Gradient penalty (Gulrajani et al. 2017, eq. 3): l = (|grad f(u)| - 1)^2, times their lambda.

    u = e x + (1 - e) G(z) with one e ~ U[0, 1] for each row.
    critic(rows) -> values, one for each row, each of its own row alone: no BatchNorm in it.
    real, fake: rows [B, ...] of one shape. The usual lambda is 10.
    """
    x, y, w = _pair(real, fake, weights, axes=1)
    e = jax.random.uniform(key, (len(x),) + (1,) * (x.ndim - 1), x.dtype)
    gradient = jax.grad(lambda u: critic(u).sum())(e * x + (1 - e) * y)
    # safe_norm: a critic that is flat at u has norm 0, where the norm's own gradient is NaN.
    norm = optax.safe_norm(gradient.reshape(len(x), -1), 0.0, axis=1)
    return _mean((norm - 1) ** 2, w)


def r1_penalty(critic: Callable[[Array], Array], real: Any, *, weights: Any = None) -> Array:
    """R1 (Mescheder et al. 2018, eq. 9): l = |grad D(x)|^2 at real x, times their gamma / 2.

    critic(rows) -> values, one for each row, each of its own row alone: no BatchNorm in it.
    real: rows [B, ...]. weights: [B].
    """
    x, _, w = _pair(real, real, weights, axes=1)
    gradient = jax.grad(lambda u: critic(u).sum())(x)
    return _mean((gradient.reshape(len(x), -1) ** 2).sum(1), w)


def nt_xent(a: Any, b: Any, *, temperature: float = 0.5, weights: Any = None) -> Array:
    """Normalised temperature-scaled cross-entropy, NT-Xent (Chen et al. 2020, eq. 1).

    Of the 2 N rows z of both views, l_i = -log exp(s_ij / t) / sum_{k != i} exp(s_ik / t), where s
    are cosines, j is the other view of row i, and all others but i are its negatives.

    a, b: the two views' projections [N, D], row by row of the same example.
    weights: [N], of examples; one of weight zero is no negative of the others either.
    """
    x, y, w = _pair(a, b, weights, axes=1)
    z, w = _unit(jnp.concatenate((x, y))), jnp.concatenate((w, w))
    rows = jnp.arange(len(z))
    others = (rows[:, None] != rows[None]) & (w > 0)[None]
    logits = jnp.where(others, z @ z.T / temperature, jnp.float32(-1e9))
    positive = (rows + len(x)) % len(z)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, positive)
    return _mean(losses, w)


def normalised_squared_error(predictions: Any, targets: Any, *, weights: Any = None) -> Array:
    """Squared distance of directions (Grill et al. 2020, eq. 2): l = |x/|x| - y/|y||^2.

    It is 2 - 2 cos(x, y), from 0 to 4. predictions, targets: [B, D]. weights: [B].
    """
    x, y, w = _pair(predictions, targets, weights, axes=1)
    return _mean(((_unit(x) - _unit(y)) ** 2).sum(-1), w)


def ctc(
    logits: Any,
    lengths: Any,
    labels: Any,
    label_lengths: Any,
    *,
    weights: Any = None,
    blank: int = 0,
) -> Array:
    """Connectionist temporal classification (Graves et al. 2006, eq. 8): l = -log p(labels | x).

    p is the sum over all alignments: rows of T classes that become the labels when repetitions are
    joined and blanks left out. One l for each row.

    logits: [B, T, V], of which the first `lengths` [B] steps count. labels: int [B, N], of which
    the first `label_lengths` [B], none of them blank. A row needs as many steps as it has labels,
    and one more between two that are equal; a shorter one has no alignment and an l near 1e5.
    """
    x, y = _float(logits), jnp.asarray(labels)
    rows, steps, _ = x.shape
    _expect(y, (rows, *y.shape[1:2]), 'labels')
    w = _spread(weights, (rows,))
    x = _kept(x, w)
    n = jnp.asarray(label_lengths)[:, None]
    past = jnp.arange(steps)[None] >= jnp.asarray(lengths)[:, None]
    missing = jnp.arange(y.shape[1])[None] >= n
    x = jnp.where(past[..., None], 0, x)
    y = jnp.where(missing, blank, y)
    losses = optax.ctc_loss(x, past.astype(x.dtype), y, missing.astype(x.dtype), blank_id=blank)
    return _mean(losses, w)


def path_lengths(generate: Callable[[Array], Array], styles: Any, key: Key) -> Array:
    """How far images go for a step of their styles (Karras et al. 2020, section 3.2), [B].

        a = |J^T y|,  J = dG(w) / dw,  y ~ N(0, I) / sqrt(H W)

    generate(styles) -> images [B, H, W, C], each of its own row alone. styles: [B, L, W], one for
    each of L layers; over layers the length is the root of the mean square. Its penalty is
    (a - E[a])^2, with a running mean for E[a].
    """
    w = _float(styles)
    images, back = jax.vjp(generate, w)
    y = jax.random.normal(key, images.shape, images.dtype) / math.sqrt(math.prod(images.shape[1:3]))
    (gradient,) = back(y)
    # safe_norm: images that do not depend on their styles have length 0.
    return optax.safe_norm(gradient.reshape(len(w), -1), 0.0, axis=1) / math.sqrt(w.shape[1])


def _float(x: Any) -> Array:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _pair(x: Any, y: Any, weights: Any, *, axes: int | None = None) -> tuple[Array, Array, Array]:
    """Two arrays of one shape and the weights of their elements (of their first `axes` axes)."""
    x, y = _float(x), _float(y)
    _expect(y, x.shape, 'targets')
    w = _spread(weights, x.shape[:axes])
    return _kept(x, w), _kept(y, w), w


def _unit(x: Array) -> Array:
    """Rows of length 1; a row of zeros stays, and has a finite gradient."""
    return x * jax.lax.rsqrt((x**2).sum(-1, keepdims=True) + 1e-12)


def _expect(y: Array, shape: tuple[int, ...], name: str) -> None:
    # [n] against [n, 1] would broadcast to [n, n] without a word.
    if y.shape != shape:
        raise ValueError(f'{name} have shape {y.shape} where {shape} is needed')


def _spread(weights: Any, shape: tuple[int, ...]) -> Array:
    """The weights in `shape`, of which their own shape is a prefix."""
    if weights is None:
        return jnp.ones(shape, jnp.float32)
    w = jnp.asarray(weights, jnp.float32)
    if w.shape != shape[: w.ndim]:
        raise ValueError(f'weights have shape {w.shape}, which is no prefix of {shape}')
    return jnp.broadcast_to(w.reshape(w.shape + (1,) * (len(shape) - w.ndim)), shape)


def _kept(x: Array, w: Array) -> Array:
    # Before the formula, not after: 0 times the derivative at a NaN would still be NaN.
    keep = jnp.broadcast_to((w > 0).reshape(w.shape + (1,) * (x.ndim - w.ndim)), x.shape)
    return jnp.where(keep, x, jnp.zeros_like(x))


def _mean(losses: Array, w: Array) -> Array:
    return _ratio(losses * w, w)


def _ratio(total: Array, weight: Array) -> Array:
    total, weight = total.sum(), whole(weight.sum())
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), 0)
