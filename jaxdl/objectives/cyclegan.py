"""CycleGAN (Zhu et al. 2017): from images of one kind to another, and back, without pairs.

A batch has images of both kinds, `a` [B, H, W, C] and `b` [B, H, W, D]; nothing says which belong
together. Four players: 'ab' makes b of a, 'ba' makes a of b, and 'critic_a' and 'critic_b' tell
what is made from what is real.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.errors import UsageError
from jaxdl.game import Nets, Player, game
from jaxdl.keys import Key, key_for
from jaxdl.objectives.adversarial import Rules
from jaxdl.task import Batch, Metrics, State, Task

Array = jax.Array

LEAST_SQUARES = Rules(losses.least_squares_discriminator, losses.least_squares_generator)


class Pool(NamedTuple):
    """Images that generators have made: [capacity, H, W, C], and how many there are, int32."""

    images: Array
    size: Array


class CycleState(NamedTuple):
    """The state of a CycleGAN: that of its game, and a pool for each critic, by its kind."""

    players: State
    pools: Mapping[str, Pool]


def empty_pool(shape: tuple[int, ...], capacity: int) -> Pool:
    """A pool for images of that shape, none of them there."""
    return Pool(jnp.zeros((capacity, *shape)), jnp.int32(0))


def draw_from_pool(key: Key, pool: Pool, images: Array) -> tuple[Pool, Array]:
    """The pool after `images` [B, H, W, C], and what a critic is shown in their place.

    One after another: while there is room an image is kept and shown; then, with probability 1/2,
    it takes the place of one that was drawn, which is shown (Shrivastava et al. 2017, section 2.3,
    as in the code of CycleGAN). A pool without room shows what it is given.
    """
    capacity = len(pool.images)
    if capacity == 0:
        return pool, images

    def one(pool: Pool, drawn: tuple[Array, Array]) -> tuple[Pool, Array]:
        key, image = drawn
        place = jax.random.randint(key_for(key, 'place'), (), 0, capacity)
        swapped = jax.random.bernoulli(key_for(key, 'whether'))
        room = pool.size < capacity
        at = jnp.where(room, pool.size, place)
        old = pool.images[at]
        shown = jnp.where(swapped & ~room, old, image)
        kept = pool.images.at[at].set(jnp.where(swapped | room, image, old))
        return Pool(kept, pool.size + room.astype(jnp.int32)), shown

    return jax.lax.scan(one, pool, (jax.random.split(key, len(images)), images))


def cyclegan(
    generators: Mapping[str, nn.Module],
    critics: Mapping[str, nn.Module],
    measure: Callable[[Nets, Batch, Key], Metrics],
    *,
    generator_opt: optax.GradientTransformation,
    critic_opt: optax.GradientTransformation,
    cycle: float = 10.0,
    identity: float = 0.5,
    pool: int = 50,
    rules: Rules = LEAST_SQUARES,
) -> Task:
    """CycleGAN's objective (Zhu et al. 2017, eq. 3 and section 5.2).

        ab:  adv(critic_b(ab(a))) + cycle (|ba(ab(a)) - a| + |ab(ba(b)) - b|)
             + cycle identity |ab(b) - b|
        ba:  the same with a and b exchanged
        critic_b:  tells b from ab(a), of the pool; half the loss, as in the authors' code

    Means of absolute differences. What the pool gets is made by the generators before their turn,
    as there; the two generators take their turns one after the other, and there they move at once.

    generators: {'ab': ..., 'ba': ...}, images -> images; where `identity` weighs, of as many
        channels as they are given. critics: {'a': ..., 'b': ...}, images -> logits [B, ...].
    cycle, identity: weights; 0 leaves the term out. The latter is a part of the former.
    pool: capacity of the pools of made images, 0 for none.
    """
    for what, given, names in (
        ('generators', generators, {'ab', 'ba'}),
        ('critics', critics, {'a', 'b'}),
    ):
        if set(given) != names:
            raise UsageError(
                f'cyclegan: {what} are for {sorted(given)}; they are for {sorted(names)}'
            )
    if pool < 0:
        raise UsageError(f'cyclegan: pool={pool}; it is 0 or more images')

    def apply(net: Any, x: Array, key: Key) -> tuple[Array, Any]:
        return net(x, key=key, train=True)

    def generator(there: str, back: str, source: str, target: str) -> Player:
        def loss(nets: Nets, batch: Batch, key: Key) -> tuple[Array, tuple[Nets, Metrics]]:
            a, b = batch[source], batch[target]
            made, net = apply(nets[there], a, key_for(key, 'made'))
            scores, _ = apply(nets[f'critic_{target}'], made, key_for(key, 'judged'))
            value = rules.generator(scores)
            if cycle:
                again, _ = apply(nets[back], made, key_for(key, 'again'))
                other, _ = apply(nets[back], b, key_for(key, 'other'))
                round_trip, _ = apply(nets[there], other, key_for(key, 'round trip'))
                value += cycle * losses.mean_absolute_error(again, a)
                value += cycle * losses.mean_absolute_error(round_trip, b)
            if cycle and identity:
                same, _ = apply(nets[there], b, key_for(key, 'same'))
                value += cycle * identity * losses.mean_absolute_error(same, b)
            return value, ({there: net}, {})

        return Player(generators[there], loss, generator_opt, lambda batch: (batch[source],))

    def critic(kind: str) -> Player:
        def loss(nets: Nets, batch: Batch, key: Key) -> tuple[Array, tuple[Nets, Metrics]]:
            name = f'critic_{kind}'
            scores, net = apply(nets[name], batch[kind], key_for(key, 'real'))
            shown, _ = apply(nets[name], batch[f'made_{kind}'], key_for(key, 'made'))
            return rules.critic(scores, shown) / 2, ({name: net}, {})

        return Player(critics[kind], loss, critic_opt, lambda batch: (batch[kind],))

    players = {
        'ab': generator('ab', 'ba', 'a', 'b'),
        'ba': generator('ba', 'ab', 'b', 'a'),
        'critic_a': critic('a'),
        'critic_b': critic('b'),
    }
    inner = game(players, measure)

    def init(key: Key, batch: Batch) -> CycleState:
        pools = {kind: empty_pool(batch[kind].shape[1:], pool) for kind in ('a', 'b')}
        return CycleState(inner.init(key, batch), pools)

    def step(key: Key, state: CycleState, batch: Batch) -> tuple[CycleState, Metrics]:
        nets, shown, pools = inner.nets(state.players), {}, {}
        for kind, source, name in (('a', 'b', 'ba'), ('b', 'a', 'ab')):
            made, _ = apply(nets[name], batch[source], key_for(key, f'made {kind}'))
            drawn = key_for(key, f'pool {kind}')
            pools[kind], shown[f'made_{kind}'] = draw_from_pool(drawn, state.pools[kind], made)
        after, metrics = inner.step(key_for(key, 'game'), state.players, {**batch, **shown})
        return CycleState(after, pools), metrics

    def measured(key: Key, state: CycleState, batch: Batch) -> Metrics:
        return inner.measure(key, state.players, batch)

    told = f'each critic is shown what was made from a pool of {pool} images' if pool else ''
    return Task(
        init,
        step,
        measured,
        nets=lambda state: inner.nets(state.players),
        method=inner.method._replace(notes=(told,) if told else ()),
    )
