"""StyleGAN2's game: the non-saturating loss, with two penalties that are taken now and then."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.errors import UsageError
from jaxdl.game import Lazy, Nets, Player, Shadow, game
from jaxdl.keys import Key, key_for
from jaxdl.metrics import Mean
from jaxdl.models.stylegan2 import StyleGAN2, StyleGAN2Discriminator
from jaxdl.net import Net
from jaxdl.optim import lazy_adam
from jaxdl.task import Batch, Metrics, Task

MEAN_MOVES = 0.01  # of the way to a batch's mean path length (Karras et al. 2020, appendix B)


def stylegan2(
    generator: StyleGAN2,
    discriminator: StyleGAN2Discriminator,
    measure: Callable[[Nets, Batch, Key], Metrics],
    *,
    lr: float | optax.Schedule = 2e-3,
    r1: float = 10.0,
    r1_every: int = 16,
    path: float = 2.0,
    path_every: int = 4,
    path_part: int = 2,
    mixing: float = 0.9,
    judges: Mapping[str, Player] = MappingProxyType({}),
    shadow: Shadow | None = None,
) -> Task:
    """StyleGAN2 (Karras et al. 2020): the players 'critic', who moves first, and 'generator'.

    A batch has real images x [B, size, size, C], from -1 to 1.

    lr: of both, who move by Adam with beta 0 and 0.99, corrected for the moves down penalties.
    r1: gamma of R1 (Mescheder et al. 2018), after every `r1_every`-th turn of the critic.
    path: weight of the path length penalty (section 3.2, eq. 4), after every `path_every`-th turn
        of the generator, on one of `path_part` parts of a batch. Of both penalties 0 is none.
    mixing: the share of images that have two styles (Karras et al. 2019, section 3.1).
    judges: players without a loss that evaluations see beside the two, as in `adversarial`.
    shadow: a slow copy of the generator, the one to look at: `ema(0.999)`.

    In training metrics are 'critic/r1', the penalty itself, and 'generator/path_length'.
    Raises UsageError for a share that is none, and where penalty or part are below what is allowed.
    """
    bounds = [('r1', r1, 0), ('path', path, 0), ('path_part', path_part, 1)]
    bounds += [('r1_every', r1_every, 1), ('path_every', path_every, 1)]
    for name, value, least in bounds:
        if not value >= least:
            raise UsageError(f'stylegan2: {name} is {value}; it is {least} or more')
    if not 0 <= mixing <= 1:
        raise UsageError(f'stylegan2: mixing is {mixing}; it is a share, from 0 to 1')

    def style(net: Net, key: Key, rows: int, *, train: bool) -> tuple[jax.Array, Net]:
        """Styles [rows, layers, latent] of new z, a share of them mixed."""
        z = jax.random.normal(key_for(key, 'z'), (2 * rows, generator.latent))
        w, net = net(z, method='map', train=train)
        first, second = jnp.split(w, 2)
        crossover = jax.random.randint(key_for(key, 'crossover'), (rows,), 1, generator.layers)
        mixed = jax.random.uniform(key_for(key, 'mixed'), (rows,)) < mixing
        crossover = jnp.where(mixed, crossover, generator.layers)
        return net(first, second, crossover, method='mix')[0], net

    def paint(net: Net, styles: jax.Array, key: Key) -> jax.Array:
        return net(styles, key=key_for(key, 'generator'), method='synthesise')[0]

    def score(nets: Nets, x: jax.Array) -> jax.Array:
        return nets['critic'](x)[0][:, 0]

    def critic_loss(nets: Nets, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Nets, Metrics]]:
        styles, _ = style(nets['generator'], key, len(batch['x']), train=False)
        fake = score(nets, paint(nets['generator'], styles, key))
        value = losses.non_saturating_discriminator(score(nets, batch['x']), fake)
        return value, (nets, {})

    def generator_loss(
        nets: Nets, batch: Batch, key: Key
    ) -> tuple[jax.Array, tuple[Nets, Metrics]]:
        styles, net = style(nets['generator'], key, len(batch['x']), train=True)
        value = losses.non_saturating_generator(score(nets, paint(net, styles, key)))
        return value, ({**nets, 'generator': net}, {})

    # Penalties are taken once in k turns, and weigh k times as much.
    def r1_loss(nets: Nets, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Nets, Metrics]]:
        penalty = losses.r1_penalty(lambda x: score(nets, x), batch['x'])
        return r1 / 2 * r1_every * penalty, (nets, {'r1': Mean.of(penalty)})

    def path_loss(nets: Nets, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Nets, Metrics]]:
        net = nets['generator']
        styles, _ = style(net, key, max(1, len(batch['x']) // path_part), train=False)
        noise = key_for(key, 'image')
        lengths = losses.path_lengths(lambda s: paint(net, s, key), styles, noise)
        mean = net.memory['path']['length']
        mean += MEAN_MOVES * (lengths.mean() - mean)
        value = path * path_every * ((lengths - mean) ** 2).mean()
        net = net.replace(memory={**net.memory, 'path': {'length': mean}})
        return value, ({**nets, 'generator': net}, {'path_length': Mean.of(lengths)})

    def adam(weight: float, every: int) -> optax.GradientTransformation:
        return lazy_adam(lr, every=every) if weight else optax.adam(lr, 0.0, 0.99)

    players = {
        'critic': Player(
            discriminator,
            critic_loss,
            adam(r1, r1_every),
            lambda batch: (batch['x'],),
            lazy=Lazy(r1_loss, r1_every) if r1 else None,
        ),
        'generator': Player(
            generator,
            generator_loss,
            adam(path, path_every),
            lambda batch: (jnp.zeros((len(batch['x']), generator.latent)),),
            shadow=shadow,
            lazy=Lazy(path_loss, path_every) if path else None,
            memory={'path': {'length': 0.0}} if path else {},
        ),
        **judges,
    }
    return game(players, measure)
