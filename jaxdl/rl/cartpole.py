"""CartPole: a cart on a track, on it a pole that must not fall (Barto, Sutton, Anderson 1983)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.keys import Key
from jaxdl.rl.env import Environment, Outcome, time_limit

Array = jax.Array

GRAVITY, CART, POLE, HALF = 9.8, 1.0, 0.1, 0.5  # m/s^2, kg, kg, half of the pole's length in m
FORCE, TICK = 10.0, 0.02  # N, s
TRACK, LEAN = 2.4, 12 * 2 * jnp.pi / 360  # beyond which it is over: m, rad


class Cart(NamedTuple):
    """Where the cart is, m, and the pole, rad from upright, clockwise; and how fast, per second."""

    x: Array
    speed: Array
    angle: Array
    turning: Array


def cartpole(*, steps: int = 500) -> Environment:
    """The environment CartPole-v1 of Gymnasium: its dynamics, its limits, its reward.

    Actions 0 and 1 push the cart to the left and to the right. The observation is float32 [4]:
    x, speed, angle, turning; all start uniformly in +-0.05. Each move is worth 1, the last one too.
    It is over, terminally, where the cart leaves +-2.4 m or the pole +-12 degrees, and truncated
    after `steps` moves. Euler's method, explicit, 0.02 s a move.
    """

    def reset(key: Key) -> tuple[Cart, Array]:
        start = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return Cart(*start), start

    def step(key: Key, cart: Cart, action: Array) -> tuple[Cart, Outcome]:
        after = push(cart, jnp.where(action == 1, FORCE, -FORCE))
        terminal = (jnp.abs(after.x) > TRACK) | (jnp.abs(after.angle) > LEAN)
        return after, Outcome(jnp.stack(after), jnp.float32(1), terminal, jnp.bool(False))

    # Without a limit a pole may stand for ever.
    endless = Environment(reset, step, actions=2, shape=(4,), horizon=steps, draw=draw_cart)
    return time_limit(endless, steps)


def push(cart: Cart, force: Array) -> Cart:
    """The cart after one tick of a force, in N (Florian 2007, equations 23 and 24)."""
    cos, sin = jnp.cos(cart.angle), jnp.sin(cart.angle)
    mass = CART + POLE
    pushed = (force + POLE * HALF * cart.turning**2 * sin) / mass
    angular = (GRAVITY * sin - cos * pushed) / (HALF * (4 / 3 - POLE * cos**2 / mass))
    linear = pushed - POLE * HALF * angular * cos / mass
    return Cart(
        cart.x + TICK * cart.speed,
        cart.speed + TICK * linear,
        cart.angle + TICK * cart.turning,
        cart.turning + TICK * angular,
    )


def draw_cart(cart: Cart, *, height: int = 48, width: int = 120) -> Array:
    """A picture of the cart and its pole on the track, [height, width, 1], dark on white.

    The picture is the track's width across; the pole is drawn 1 m long, as it is.
    """
    scale = width / (2 * TRACK)  # pixels a metre
    rows, columns = jnp.mgrid[0:height, 0:width].astype(jnp.float32)
    middle, floor = width / 2 + cart.x * scale, height - 8.0
    half, top = 8.0, floor - 6
    body = (jnp.abs(columns - middle) <= half) & (rows > top) & (rows <= floor)
    track = (rows > floor + 1) & (rows <= floor + 2)
    # How far a pixel is along the pole, from its foot, and from its middle line.
    right, up = columns - middle, top - rows
    along = right * jnp.sin(cart.angle) + up * jnp.cos(cart.angle)
    aside = right * jnp.cos(cart.angle) - up * jnp.sin(cart.angle)
    pole = (along >= 0) & (along <= 2 * HALF * scale) & (jnp.abs(aside) <= 1.2)
    picture = jnp.where(track, 0.6, 1.0)
    picture = jnp.where(body, 0.2, picture)
    return jnp.where(pole, 0.45, picture)[..., None]
