"""Denoising diffusion as a task: the noise in an image is told from its step (Ho et al. 2020)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import losses
from jaxdl.diffusion import Schedule, deterministic, noised
from jaxdl.errors import UsageError
from jaxdl.game import Nets, Shadow, supervised
from jaxdl.keys import Key, key_for
from jaxdl.metrics import Mean
from jaxdl.net import Net
from jaxdl.samples import Images
from jaxdl.task import Batch, Metrics, Task


def diffusion(
    module: nn.Module,
    opt: optax.GradientTransformation,
    schedule: Schedule,
    *,
    shadow: Shadow | None = None,
) -> Task:
    """Noise of x_t from (x_t, t), for images x in -1..1 [B, H, W, C] (algorithm 1, eq. 14).

    module(x_t, t) -> noise [B, H, W, C], such as `jaxdl.models.ddpm.DenoisingUNet`. Measures
    'loss', the mean squared error; each row at its own step, and the rows of a batch at steps
    evenly spread, so that it varies less. With a `shadow` (an EMA) it is the shadow that is
    measured. Raises UsageError, when it is traced, for noise of another shape.
    """

    def tell(
        net: Net, x: jax.Array, steps: jax.Array, key: Key, *, train: bool
    ) -> tuple[jax.Array, jax.Array, Net]:
        noise = jax.random.normal(key_for(key, 'noise'), x.shape)
        x_t = noised(schedule, x, steps, noise)
        told, net = net(x_t, steps, key=key_for(key, 'net'), train=train)
        if told.shape != x.shape:
            raise UsageError(
                f'{type(module).__name__} tells noise of {list(told.shape)}, and the images are '
                f'{list(x.shape)}'
            )
        return told, noise, net

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        x = batch['x']
        steps = jax.random.randint(key_for(key, 'steps'), (len(x),), 0, schedule.steps)
        told, noise, net = tell(net, x, steps, key, train=True)
        return losses.mean_squared_error(told, noise, weights=batch['mask']), (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        x = batch['x']
        spread = (np.arange(len(x)) + 0.5) / len(x) * schedule.steps
        steps = jnp.asarray(spread.astype(np.int32))
        told, noise, _ = tell(net.shadow or net, x, steps, key, train=False)
        return {'loss': Mean.of((told - noise) ** 2, batch['mask'], better='lower')}

    def inputs(batch: Batch) -> tuple[Any, ...]:
        return batch['x'], jnp.zeros(len(batch['x']), jnp.int32)

    return supervised(module, loss, opt, measure, inputs=inputs, shadow=shadow)


def show_denoised(
    nets: Nets, batch: Batch, key: Key, *, schedule: Schedule, count: int = 32, calls: int = 50
) -> Any:
    """Images from noise in `calls` steps, for `Eval.show`."""
    net = nets['net'].shadow or nets['net']
    shape = (count, *batch['x'].shape[1:])
    images = deterministic(
        schedule, lambda x, steps: net(x, steps)[0], key, shape, calls=min(calls, schedule.steps)
    )
    return {'samples': Images((images + 1) / 2)}
