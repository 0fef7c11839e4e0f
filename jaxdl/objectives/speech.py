"""Speech recognition: labels in their order, without knowing where each one is, by CTC."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.decoding_ctc import Labelling, best_path
from jaxdl.game import Nets, Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Mean
from jaxdl.metrics.edits import ErrorRate
from jaxdl.net import Net
from jaxdl.samples import Texts
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array
Decode = Callable[[Array, Array], Labelling]


def speech_recognition(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    space: int | None = None,
    decode: Decode = best_path,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Recognition of labels y int [B, N] in features x [B, T, n] by `losses.ctc`, whose blank is 0.

    A batch has `lengths` [B] of x in frames and `y_lengths` [B]; labels begin at 1. The network is
    called with (x, lengths) and returns `jaxdl.models.speech.Emissions`.

    Measures 'loss', a row's, and the error rates of what is decoded (see `ErrorRate`): 'wer' and
    'ser' of labels that are words, 'cer' too where labels are characters with a `space`. With a
    `shadow` (an EMA) it is the shadow that is measured.

    decode(logits, lengths) -> labels: `best_path`, or ``partial(prefix_beam, width=16)``.
    """

    def ctc(emissions: Any, batch: Batch) -> Array:
        logits, lengths = emissions
        labels = batch['y'], batch['y_lengths']
        return losses.ctc(logits, lengths, *labels, weights=batch['mask'])

    def loss(net: Net, batch: Batch, key: Key) -> tuple[Array, tuple[Net, Metrics]]:
        emissions, net = net(batch['x'], batch['lengths'], key=key, train=True)
        return ctc(emissions, batch), (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        emissions, _ = (net.shadow or net)(batch['x'], batch['lengths'])
        found = decode(*emissions)
        count = batch['mask'].sum().astype(jnp.float32)
        truth = batch['y'], batch['y_lengths'], batch['mask']
        return {
            'loss': Mean(ctc(emissions, batch) * count, count, better='lower'),
            '': ErrorRate.of(found.labels, found.lengths, *truth, space=space),
        }

    return supervised(
        module,
        loss,
        opt,
        measure,
        inputs=lambda batch: (batch['x'], batch['lengths']),
        accumulate=accumulate,
        shadow=shadow,
    )


def show_transcripts(
    nets: Nets,
    batch: Batch,
    key: Key,
    *,
    symbols: str,
    decode: Decode = best_path,
    count: int = 12,
) -> dict[str, Any]:
    """What was understood of the first rows and what was said, for `Eval.show`.

    symbols: a character for each label from 1 on: '0123456789'.
    """
    net = nets['net']
    emissions, _ = (net.shadow or net)(batch['x'][:count], batch['lengths'][:count])
    codes = jnp.array([0, *map(ord, symbols)], jnp.int32)
    found = decode(*emissions)
    n = batch['y_lengths'][:count, None]
    truth = jnp.where(jnp.arange(batch['y'].shape[1])[None] < n, batch['y'][:count], 0)
    return {'transcripts': Texts(codes[found.labels], target=codes[truth])}
