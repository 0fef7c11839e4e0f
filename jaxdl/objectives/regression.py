"""Regression: the task that all networks share that estimate numbers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.errors import UsageError
from jaxdl.game import Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Mean
from jaxdl.metrics.errors import RootMean
from jaxdl.net import Net
from jaxdl.objectives.classification import Inputs, read_x
from jaxdl.task import Batch, Metrics, Task


def regressor(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    mean: float = 0.0,
    scale: float = 1.0,
    inputs: Inputs = read_x,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Estimates of y [B] or [B, D] by the mean squared error of what is scaled, (y - mean) / scale.

    module(*inputs) -> [B, 1] or [B, D], scaled. Measures 'rmse' and 'mae' in the units of y. With a
    `shadow` (an EMA) it is the shadow that is measured.

    Raises UsageError for a scale that is not above 0 and, when it is traced, for a network of
    another number of outputs.
    """
    if not scale > 0:
        raise UsageError(f'regressor: scale is {scale:g}; it is above 0')

    def estimate(output: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        y = batch['y'].reshape(len(batch['y']), -1)
        if output.shape != y.shape:
            raise UsageError(
                f'{type(module).__name__} has outputs {list(output.shape)} for y '
                f'{list(batch["y"].shape)}: {list(y.shape)} are needed'
            )
        return output, y

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        output, net = net(*inputs(batch), key=key, train=True)
        output, y = estimate(output, batch)
        truth = (y - mean) / scale
        return losses.mean_squared_error(output, truth, weights=batch['mask']), (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        output, _ = (net.shadow or net)(*inputs(batch))
        output, y = estimate(output, batch)
        error = output * scale + mean - y
        return {
            'rmse': RootMean.of(error**2, batch['mask'], better='lower'),
            'mae': Mean.of(jnp.abs(error), batch['mask'], better='lower'),
        }

    return supervised(
        module, loss, opt, measure, inputs=inputs, accumulate=accumulate, shadow=shadow
    )
