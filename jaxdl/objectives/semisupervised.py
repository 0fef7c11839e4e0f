"""Semi-supervised classification: few labelled rows, and many unlabelled ones beside them.

A batch is {'x', 'y', 'mask', 'unlabelled': {...}}, as `jaxdl.data.together` makes it. Labelled and
unlabelled rows go through the network in one call, so that BatchNorm sees them all. What is
measured is what `classifier` measures, on labelled rows.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.errors import UsageError
from jaxdl.game import Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Mean, read_classes
from jaxdl.micro_batches import whole
from jaxdl.net import Net
from jaxdl.objectives.classification import check_outputs, measure_classes
from jaxdl.task import Batch, Labels, Metrics, State, Task

UNLABELLED = 'unlabelled'

Loss = Callable[[Net, Batch, Key], tuple[jax.Array, tuple[Net, Metrics]]]


def pseudo_label(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    classes: int | Sequence[str],
    weight: Callable[[jax.Array], jax.Array],
    shadow: Shadow | None = None,
) -> Task:
    """Pseudo-labels: unlabelled rows have the class that the network finds likeliest (Lee 2013).

    Descends the cross-entropy of the labelled rows plus weight(step) times that of the unlabelled
    ones with their likeliest classes (eq. 15), both means over rows. Of these the column 'x' is
    looked at. The paper's weight (eq. 16) is 0 until T1 and rises to a from there to T2:
    ``optax.linear_schedule(0, a, T2 - T1, T1)``.

    shadow: a slow copy, which is then measured.
    """

    count, _ = read_classes(classes)

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        rest = batch[UNLABELLED]
        (known, unknown), net = _together(net, (batch['x'], rest['x']), key)
        check_outputs(module, known, count)
        value, metrics = _supervised(known, batch)
        pseudo = losses.cross_entropy(unknown, unknown.argmax(-1), weights=rest['mask'])
        # The same number in all rows: a step takes it from the count of its steps.
        return value + rest['weight'].mean() * pseudo, (net, metrics)

    task = _learned(module, opt, loss, classes, shadow)

    def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
        rest = batch[UNLABELLED]
        now = jnp.asarray(weight(state['net'].turn), jnp.float32)
        rest = {**rest, 'weight': jnp.broadcast_to(now, rest['mask'].shape)}
        return task.step(key, state, {**batch, UNLABELLED: rest})

    return task._replace(step=step)


def fixmatch(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    classes: int | Sequence[str],
    threshold: float = 0.95,
    weight: float = 1.0,
    shadow: Shadow | None = None,
) -> Task:
    """FixMatch: what is sure of a weak view is the label of a strong one (Sohn et al. 2020).

    Descends l_s + weight l_u. l_s (eq. 3) is the cross-entropy of the labelled rows. l_u (eq. 4) is
    the mean over all unlabelled rows of 1(max q >= threshold) H(argmax q, p), where q are the
    probabilities of the column 'weak', through which no gradient goes, and p those of 'strong',
    which `augment.views` makes. There are mu times as many of them as labelled ones, by the size of
    their batches. In training 'kept' is the share of the sure ones.

    shadow: a slow copy, which is then measured; the paper's is ``ema(0.999)``. Raises UsageError
    for a threshold that is no probability.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f'fixmatch: threshold is {threshold}, and is a probability, 0..1')

    count, _ = read_classes(classes)

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        rest = batch[UNLABELLED]
        views = (batch['x'], rest['weak'], rest['strong'])
        (known, weak, strong), net = _together(net, views, key)
        check_outputs(module, known, count)
        value, metrics = _supervised(known, batch)
        q = jax.nn.softmax(jax.lax.stop_gradient(weak))
        sure = rest['mask'] & (q.max(-1) >= threshold)
        # A mean over the sure ones times their share is one over all, those of loss zero included.
        share = whole(sure.sum()) / whole(rest['mask'].sum(), least=1)
        consistency = share * losses.cross_entropy(strong, q.argmax(-1), weights=sure)
        metrics = {**metrics, 'kept': Mean.of(sure, rest['mask'])}
        return value + weight * consistency, (net, metrics)

    return _learned(module, opt, loss, classes, shadow)


def _together(net: Net, parts: Sequence[jax.Array], key: Key) -> tuple[Sequence[jax.Array], Net]:
    """The logits of several arrays of rows, in one call in training."""
    logits, net = net(jnp.concatenate(parts), key=key, train=True)
    ends = [sum(map(len, parts[: i + 1])) for i in range(len(parts) - 1)]
    return jnp.split(logits, ends), net


def _supervised(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    """The loss of the labelled rows, and their accuracy."""
    y, mask = batch['y'], batch['mask']
    right = Mean.of(logits.argmax(-1) == y, mask, better='higher')
    return losses.cross_entropy(logits, y, weights=mask), {'accuracy': right}


def _learned(
    module: nn.Module,
    opt: optax.GradientTransformation,
    loss: Loss,
    classes: int | Sequence[str],
    shadow: Shadow | None,
) -> Task:
    """A task that descends `loss`, and is measured as a classifier is."""
    measure = measure_classes(module, classes=classes)
    task = supervised(module, loss, opt, measure, shadow=shadow)
    return task._replace(labels={'y': Labels.of(classes)})
