"""Objectives that many studies share: functions from a network and an optimizer to a task."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.confusion import Confusion, Score, accuracy
from jaxdl.game import Nets, Player, Shadow, game, supervised
from jaxdl.keys import Key, key_for
from jaxdl.metrics import Mean
from jaxdl.net import Net
from jaxdl.samples import Images, unit
from jaxdl.task import Batch, Metrics, Task

SCORES = {'accuracy': Score(accuracy)}

Criterion = Callable[[Callable[[jax.Array], jax.Array], Any], jax.Array]


def one_head(loss: Callable[[jax.Array], jax.Array], output: jax.Array) -> jax.Array:
    """The criterion of a network that returns logits alone: their loss."""
    return loss(output)


def classifier(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    classes: int | Sequence[str],
    scores: Mapping[str, Score] = SCORES,
    label_smoothing: float = 0.0,
    criterion: Criterion = one_head,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Classification of x [B, ...] into y int [B] by cross-entropy.

    y may be probabilities [B, classes], as `mixup` makes them; the likeliest is then the truth.
    criterion(loss, output) -> scalar: what is descended, from the loss of one head and the output
    in training; `googlenet_loss` adds those of auxiliary heads, whose output has `logits`.
    Measures 'loss' (without smoothing), and of one 'confusion' matrix the `scores`: the accuracy,
    if you do not say. With a `shadow` (an EMA) it is the shadow that is measured.

    classes: how many, or their names.
    """

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        x, y, mask = batch['x'], batch['y'], batch['mask']
        output, net = net(x, key=key, train=True)
        cross_entropy = partial(
            losses.cross_entropy, targets=y, weights=mask, label_smoothing=label_smoothing
        )
        logits = getattr(output, 'logits', output)
        value = criterion(cross_entropy, output)
        right = logits.argmax(-1) == _dominant(y)
        return value, (net, {'accuracy': Mean.of(right, mask, better='higher')})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        x, y, mask = batch['x'], batch['y'], batch['mask']
        logits, _ = (net.shadow or net)(x)
        each = _cross_entropies(logits, y)
        pairs = Confusion.of(_dominant(y), logits.argmax(-1), classes, mask, scores=scores)
        return {'loss': Mean.of(each, mask, better='lower'), '': pairs}

    return supervised(module, loss, opt, measure, accumulate=accumulate, shadow=shadow)


def show_mistakes(nets: Nets, batch: Batch, key: Key, *, count: int = 32) -> dict[str, Any]:
    """The images of a batch that a classifier gets most wrong, for `Eval.show`."""
    net = nets['net']
    logits, _ = (net.shadow or net)(batch['x'])
    each = _cross_entropies(logits, batch['y'])
    worst = jnp.argsort(-jnp.where(batch['mask'], each, -jnp.inf))[:count]
    pixels, predicted = unit(batch['x'])[worst], logits.argmax(-1)[worst]
    return {'mistakes': Images(pixels, labels=predicted, truth=_dominant(batch['y'])[worst])}


def _dominant(y: jax.Array) -> jax.Array:
    """The classes [B] of classes [B] or of probabilities [B, classes]."""
    return y if y.ndim == 1 else y.argmax(-1)


def _cross_entropies(logits: jax.Array, y: jax.Array) -> jax.Array:
    if y.ndim == 1:
        return optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return optax.safe_softmax_cross_entropy(logits, y)


class Rules(NamedTuple):
    """What critic and generator descend: functions of the critic's scores [B] of real and fake."""

    critic: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]


NON_SATURATING = Rules(losses.non_saturating_discriminator, losses.non_saturating_generator)
WASSERSTEIN = Rules(losses.wasserstein_critic, losses.wasserstein_generator)


def adversarial(
    generator: nn.Module,
    critic: nn.Module,
    measure: Callable[[Nets, Batch, Key], Metrics],
    *,
    rules: Rules,
    noise: int,
    generator_opt: optax.GradientTransformation,
    critic_opt: optax.GradientTransformation,
    critic_turns: int = 1,
    penalty: float = 0.0,
    shadow: Shadow | None = None,
) -> Task:
    """A GAN: generator(z [B, noise]) against critic(x [B, ...]) -> scores [B, 1].

    The players are 'critic', who moves first and `critic_turns` times a step, each time on its own
    part of the batch, and 'generator'. penalty: weight of the gradient penalty (Gulrajani et al.
    2017, eq. 3). shadow: a slow copy of the generator.
    """

    def score(nets: Nets, x: jax.Array) -> jax.Array:
        return nets['critic'](x, train=True)[0][:, 0]

    def generate(nets: Nets, batch: Batch, key: Key) -> tuple[jax.Array, Nets]:
        z = jax.random.normal(key_for(key, 'noise'), (len(batch['x']), noise))
        fake, net = nets['generator'](z, key=key_for(key, 'generator'), train=True)
        return fake, {**nets, 'generator': net}

    def critic_loss(nets: Nets, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Nets, Metrics]]:
        real, fake = batch['x'], generate(nets, batch, key)[0]
        scores, net = nets['critic'](real, key=key_for(key, 'critic'), train=True)
        nets = {**nets, 'critic': net}
        value = rules.critic(scores[:, 0], score(nets, fake))
        if penalty:
            mix = key_for(key, 'mix')
            value += penalty * losses.gradient_penalty(lambda x: score(nets, x), real, fake, mix)
        return value, (nets, {})

    def generator_loss(
        nets: Nets, batch: Batch, key: Key
    ) -> tuple[jax.Array, tuple[Nets, Metrics]]:
        fake, nets = generate(nets, batch, key)
        return rules.generator(score(nets, fake)), (nets, {})

    def latents(batch: Batch) -> tuple[jax.Array]:
        return (jnp.zeros((len(batch['x']), noise)),)

    def images(batch: Batch) -> tuple[jax.Array]:
        return (batch['x'],)

    players = {
        'critic': Player(critic, critic_loss, critic_opt, images, turns=critic_turns),
        'generator': Player(generator, generator_loss, generator_opt, latents, shadow=shadow),
    }
    return game(players, measure)
