"""Variational autoencoding: the evidence lower bound, and what is shown of it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl.errors import UsageError
from jaxdl.game import Nets, supervised
from jaxdl.keys import Key, key_for
from jaxdl.metrics import Mean
from jaxdl.micro_batches import whole
from jaxdl.net import Net
from jaxdl.samples import Images
from jaxdl.task import Batch, Metrics, Task


def variational(module: nn.Module, opt: optax.GradientTransformation, *, beta: float = 1.0) -> Task:
    """An autoencoder of x in [0, 1], [B, ...], by the evidence lower bound (Kingma 2014, eq. 10).

    module(x) -> (logits of x, the code's `Gaussian`), such as `jaxdl.models.vae.VAE`; it draws from
    the stream 'noise'. Pixels are probabilities of a Bernoulli variable. beta: weight of the
    divergence (Higgins et al. 2017). Measures 'loss', minus the bound in nats a row by one draw
    with weight 1 whatever beta is, and its parts 'reconstruction' and 'divergence'.
    """
    if not beta > 0:
        raise UsageError(f'variational: beta is {beta}, and the weight of a divergence is positive')

    def parts(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, jax.Array]:
        (logits, code), _ = net(batch['x'], key=key)
        each = optax.losses.sigmoid_binary_cross_entropy(logits, batch['x'])
        return each.reshape(len(each), -1).sum(-1), code.divergence()

    def mean(values: jax.Array, batch: Batch) -> jax.Array:
        mask = batch['mask']
        return jnp.where(mask, values, 0).sum() / whole(mask.sum(), least=1)

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        reconstruction, divergence = parts(net, batch, key)
        return mean(reconstruction + beta * divergence, batch), (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        reconstruction, divergence = parts(net, batch, key_for(key, 'noise'))
        numbers = {
            'loss': reconstruction + divergence,
            'reconstruction': reconstruction,
            'divergence': divergence,
        }
        return {name: Mean.of(x, batch['mask'], better='lower') for name, x in numbers.items()}

    return supervised(module, loss, opt, measure)


def show_decoded(nets: Nets, batch: Batch, key: Key, *, codes: int, count: int = 32) -> Any:
    """Means of p(x | z) for draws of the prior, for `Eval.show`. codes: axes of z."""
    z = jax.random.normal(key_for(key, 'codes'), (count, codes))
    logits, _ = nets['net'](z, method='decode')
    return {'samples': Images(jax.nn.sigmoid(logits))}
