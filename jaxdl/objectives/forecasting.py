"""Forecasting: the task that all forecasters share, and what is shown of it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.errors import UsageError
from jaxdl.game import Nets, Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Mean
from jaxdl.net import Net
from jaxdl.samples import Forecasts
from jaxdl.task import Batch, Metrics, Task


def forecaster(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Forecasts of y [B, H, C] from x [B, T, C] by the mean squared error.

    Measures 'mse' and 'mae' over all steps and features, in the units of the series: where that is
    scaled by the part that is trained on, as papers have them. With a `shadow` (an EMA) it is the
    shadow that is measured. Raises UsageError, when it is traced, for a forecast of another shape.
    """

    def forecast(output: jax.Array, batch: Batch) -> jax.Array:
        if output.shape != batch['y'].shape:
            raise UsageError(
                f'{type(module).__name__} forecasts {list(output.shape)}, and the future is '
                f'{list(batch["y"].shape)}: [rows, steps, features]'
            )
        return output

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        output, net = net(batch['x'], key=key, train=True)
        y = forecast(output, batch)
        return losses.mean_squared_error(y, batch['y'], weights=batch['mask']), (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        output, _ = (net.shadow or net)(batch['x'])
        error = forecast(output, batch) - batch['y']
        return {
            'mse': Mean.of(error**2, batch['mask'], better='lower'),
            'mae': Mean.of(jnp.abs(error), batch['mask'], better='lower'),
        }

    return supervised(module, loss, opt, measure, accumulate=accumulate, shadow=shadow)


def show_forecasts(
    nets: Nets, batch: Batch, key: Key, *, feature: int = -1, count: int = 6
) -> dict[str, Any]:
    """Some forecasts of one feature of a batch, evenly spaced, for `Eval.show`."""
    net = nets['net']
    rows = jnp.linspace(0, len(batch['x']) - 1, min(count, len(batch['x']))).astype(jnp.int32)
    x, y = batch['x'][rows], batch['y'][rows]
    predicted, _ = (net.shadow or net)(x)
    seen = (part[..., feature] for part in (x, y, predicted))
    return {'forecasts': Forecasts(*seen)}
