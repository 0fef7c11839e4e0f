"""CLIP's objective: of all images and texts of a batch, which belong together?

A batch has `x`, images [B, H, W, C], and of the text of each `tokens` int [B, T] and `lengths` [B];
`group` int [B], where several may have one text.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.errors import UsageError
from jaxdl.game import Nets, Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Each, Mean, read_classes
from jaxdl.metrics.confusion import Confusion, Score, accuracy
from jaxdl.metrics.retrieval import Retrieval
from jaxdl.micro_batches import whole
from jaxdl.models.clip import unit_length
from jaxdl.net import Net
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array
MOST = 100.0  # that products are scaled by (section 2.5)


def info_nce(logits: Array, mask: Array) -> Array:
    """The symmetric cross-entropy of pairs (Radford et al. 2021, figure 3; van den Oord et al.).

    L = (mean_i -log softmax_j(l_ij)_i + mean_j -log softmax_i(l_ij)_j) / 2, over the rows and the
    columns of logits [B, B] where mask [B] is true; the others are no candidates either.
    """
    both = mask[:, None] & mask[None]
    # Finite, so that a row that is all padding has no NaN in its gradient.
    shown = jnp.where(both, logits, np.finfo(logits.dtype).min)
    own = jnp.diagonal(logits)

    def one_way(axis: int) -> Array:
        each = jax.nn.logsumexp(shown, axis=axis) - own
        return jnp.where(mask, each, 0).sum() / whole(mask.sum(), least=1)

    return (one_way(1) + one_way(0)) / 2


def at_most(limit: float, *, name: str) -> optax.GradientTransformation:
    """Updates after which the parameters called `name` are `limit` at most: the last of a chain.

    A minimum in the loss would have no gradient there, and the parameter would never come back.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError('at_most: it needs the parameters')

        def clipped(path: Any, update: Array, value: Array) -> Array:
            if jax.tree_util.keystr(path[-1:], simple=True) != name:
                return update
            return jnp.minimum(value + update, limit) - value

        return jax.tree_util.tree_map_with_path(clipped, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def clip(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    ks: Sequence[int] = (1, 5),
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Images and texts that belong together, by `info_nce` over the pairs of a batch.

    module(x, tokens, lengths) -> `jaxdl.models.clip.Embedded`. Its parameter `logit_scale` is kept
    at log(100) at most, by a last step of the optimizer.

    Measures, over all pairs of the split at once, what `Retrieval` does, with recalls at `ks`; what
    a batch loses depends on who else is in it, and is told of training alone.
    """

    def loss(net: Net, batch: Batch, key: Key) -> tuple[Array, tuple[Net, Metrics]]:
        found, net = net(*_inputs(batch), key=key, train=True)
        mask = batch['mask']
        right = found.logits.argmax(-1) == jnp.arange(len(mask))
        numbers: dict[str, Any] = {'accuracy': Mean.of(right, mask, better='higher')}
        return info_nce(found.logits, mask), (net, numbers)

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        found, _ = (net.shadow or net)(*_inputs(batch))
        pairs = Retrieval.of(
            found.images,
            found.texts,
            batch['mask'],
            group=batch.get('group'),
            scale=found.scale,
            ks=ks,
        )
        return {'': pairs}

    bounded = optax.chain(opt, at_most(math.log(MOST), name='logit_scale'))
    return supervised(
        module, loss, bounded, measure, inputs=_inputs, accumulate=accumulate, shadow=shadow
    )


def zero_shot(
    tokens: Any, lengths: Any, *, classes: int | Sequence[str]
) -> Callable[[Nets, Batch, Key], Metrics]:
    """A measure, for `Eval`: classes are told apart by their texts, of which none was trained on.

    The class of an image x is that whose text lies nearest to it (section 3.1). Measures the
    'accuracy' of `y`, and the confusion.

    tokens: int [classes, T], or [classes, prompts, T] whose embeddings are averaged (section
        3.1.4); lengths: int [classes] or [classes, prompts].
    """
    count, _ = read_classes(classes)
    texts, sizes = jnp.asarray(tokens), jnp.asarray(lengths)
    if texts.ndim not in (2, 3) or texts.shape[:-1] != sizes.shape or len(texts) != count:
        raise UsageError(
            f'zero_shot: tokens {list(texts.shape)} and lengths {list(sizes.shape)} for {count} '
            'classes; they are [classes, T] or [classes, prompts, T], and the same without T'
        )

    def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
        net = nets['net'].shadow or nets['net']
        images, _ = net(batch['x'], method='embed_images')
        flat = texts.reshape(-1, texts.shape[-1])
        each, _ = net(flat, sizes.reshape(-1), method='embed_texts')
        mean = unit_length(each.reshape(count, -1, each.shape[-1]).mean(1))
        predicted = (images @ mean.T).argmax(-1)
        y, mask = batch['y'], batch['mask']
        scores = {'accuracy': Score(accuracy)}
        found = Confusion.of(y, predicted, classes, mask, scores=scores)
        return {'': found, 'accuracy/each': Each.of(predicted == y, mask)}

    return measure


def _inputs(batch: Batch) -> tuple[Any, ...]:
    return batch['x'], batch['tokens'], batch['lengths']
