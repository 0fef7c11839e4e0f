"""Detection: the task that all detectors share, and what is told of it.

A batch has images x [B, H, W, C], boxes [B, N, 4] in pixels, boxes_mask [B, N] and classes int
[B, N]; a detector's answer is `jaxdl.boxes.Detections`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl.game import Nets, Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Mean
from jaxdl.metrics.detection import Found
from jaxdl.net import Net
from jaxdl.samples import Boxes, unit
from jaxdl.task import Batch, Labels, Metrics, Task


def detector(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    classes: int | Sequence[str],
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Detection of boxes of `classes`: how many, or their names.

    The module has two methods::

        losses(x, boxes, classes, boxes_mask, rows, train=True) -> scalars by name, or a NamedTuple
        detect(x) -> Detections [B, D, ...]

    What is descended is the sum of the losses. Measures the numbers of `Found`: mAP50, AP50, mAP
    and AR. With a `shadow` (an EMA) it is the shadow that is measured.
    """

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        truth = batch['boxes'], batch['classes'], batch['boxes_mask'], batch['mask']
        found, net = net(batch['x'], *truth, key=key, train=True, method='losses')
        parts = found if isinstance(found, Mapping) else found._asdict()
        metrics = {name: Mean.of(part, better='lower') for name, part in parts.items()}
        total: jax.Array = sum(parts.values(), jnp.float32(0))
        return total, (net, metrics)

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        found, _ = (net.shadow or net)(batch['x'], method='detect')
        return {'': Found.of(found, batch, classes=classes)}

    task = supervised(module, loss, opt, measure, accumulate=accumulate, shadow=shadow)
    return task._replace(labels={'classes': Labels.of(classes, axes=1, mask='boxes_mask')})


def show_boxes(
    nets: Nets, batch: Batch, key: Key, *, least: float = 0.5, count: int = 8
) -> dict[str, Any]:
    """For `Eval.show`: the first images of a batch, with the boxes of a score above `least`."""
    first = jax.tree.map(lambda x: x[:count], batch)
    net = nets['net']
    found, _ = (net.shadow or net)(first['x'], method='detect')
    return {
        'boxes': Boxes(
            unit(first['x']),
            found.boxes,
            found.classes,
            found.mask & (found.scores > least),
            scores=found.scores,
            truth=first['boxes'],
            truth_mask=first['boxes_mask'],
        )
    }
