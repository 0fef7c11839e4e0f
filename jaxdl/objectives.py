"""Objectives that many studies share: functions from a network and an optimizer to a task."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl.game import Shadow, supervised
from jaxdl.keys import Key
from jaxdl.losses import cross_entropy
from jaxdl.metrics import Confusion, Mean
from jaxdl.net import Net
from jaxdl.samples import Images
from jaxdl.task import Batch, Metrics, State, Task


def classifier(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    classes: int,
    label_smoothing: float = 0.0,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Classification of x [B, ...] into y int [B] by cross-entropy.

    Measures 'loss' (without smoothing), 'accuracy' and the 'confusion' matrix. With a `shadow`
    (an EMA) it is the shadow that is measured.
    """

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        x, y, mask = batch['x'], batch['y'], batch['mask']
        logits, net = net(x, key=key, train=True)
        value = cross_entropy(logits, y, weights=mask, label_smoothing=label_smoothing)
        return value, (net, {'accuracy': Mean.of(logits.argmax(-1) == y, mask)})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        x, y, mask = batch['x'], batch['y'], batch['mask']
        logits, _ = (net.shadow or net)(x)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return {
            'loss': Mean.of(losses, mask),
            'accuracy': Mean.of(logits.argmax(-1) == y, mask),
            'confusion': Confusion.of(y, logits.argmax(-1), classes, mask),
        }

    return supervised(module, loss, opt, measure, accumulate=accumulate, shadow=shadow)


def mistakes(key: Key, state: State, batch: Batch, *, count: int = 32) -> dict[str, Any]:
    """The images of a batch that a classifier gets most wrong, for `Phase.show`."""
    net: Net = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Net))[0]
    logits, _ = (net.shadow or net)(batch['x'])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch['y'])
    worst = jnp.argsort(-jnp.where(batch['mask'], losses, -jnp.inf))[:count]
    x, predicted = batch['x'][worst], logits.argmax(-1)[worst]
    low, high = batch['x'].min(), batch['x'].max()
    pixels = (x - low) / jnp.maximum(high - low, 1e-6)
    return {'mistakes': Images(pixels, labels=predicted, truth=batch['y'][worst])}
