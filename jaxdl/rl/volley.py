"""Volley: a ball and a paddle on a screen of pixels, a small game for networks that see."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.keys import Key, key_for
from jaxdl.rl.env import Environment, Outcome, time_limit

Array = jax.Array

BALL, PADDLE, THICK = 4, 14, 3  # pixels: the ball's side, the paddle's width and height
FALL, STRIDE = 4, 5  # pixels a move, of the ball down or up, and of the paddle
FASTEST = 3  # pixels that the ball goes aside in a move


class Court(NamedTuple):
    """Left upper corner of the ball, how far it goes in a move, and the paddle's left edge."""

    row: Array
    column: Array
    down: Array
    right: Array
    paddle: Array


def volley(*, side: int = 84, steps: int = 200) -> Environment:
    """The game, whose rules are its own: return the ball for as long as you can.

    The ball starts at the top in a random column, goes down 4 pixels a move, and aside by a random
    number from -3 to 3 other than 0. It bounces from the walls at the sides and at the top. Where
    it reaches the paddle's height over the paddle it bounces too, for a reward of 1, and goes aside
    by a new random number; beside the paddle it is lost: a reward of -1, and the end, terminally.
    Actions 0, 1, 2 move the paddle of 14 pixels by 5 to the left, not at all, to the right. After
    `steps` moves it is truncated.

    The observation is uint8 [side, side], 255 at ball and paddle: no frame alone says where the
    ball goes, see `jaxdl.rl.frames.stack_frames`.
    """
    floor = side - THICK - BALL  # the ball's row when it lies on the paddle

    def look(court: Court) -> Array:
        rows, columns = jnp.mgrid[0:side, 0:side]
        ball = (rows >= court.row) & (rows < court.row + BALL)
        ball &= (columns >= court.column) & (columns < court.column + BALL)
        paddle = (rows >= side - THICK) & (columns >= court.paddle)
        paddle &= columns < court.paddle + PADDLE
        return jnp.where(ball | paddle, 255, 0).astype(jnp.uint8)

    def aside(key: Key) -> Array:
        size = jax.random.randint(key_for(key, 'size'), (), 1, FASTEST + 1)
        return jnp.where(jax.random.bernoulli(key_for(key, 'sign')), size, -size)

    def reset(key: Key) -> tuple[Court, Array]:
        column = jax.random.randint(key_for(key, 'column'), (), 0, side - BALL + 1)
        middle = jnp.int32((side - PADDLE) // 2)
        court = Court(jnp.int32(0), column, jnp.int32(FALL), aside(key), middle)
        return court, look(court)

    def step(key: Key, court: Court, action: Array) -> tuple[Court, Outcome]:
        paddle = jnp.clip(court.paddle + STRIDE * (action - 1), 0, side - PADDLE)
        row, column = court.row + court.down, court.column + court.right
        # A wall sends the ball back by as much as it would have gone too far.
        last = side - BALL
        outside = (column < 0) | (column > last)
        column = jnp.where(column < 0, -column, jnp.where(column > last, 2 * last - column, column))
        right = jnp.where(outside, -court.right, court.right)
        down = jnp.where(row <= 0, FALL, court.down)
        row = jnp.maximum(row, 0)
        landed = (row >= floor) & (court.down > 0)
        over = (column + BALL > paddle) & (column < paddle + PADDLE)
        back = landed & over
        court = Court(
            jnp.minimum(row, floor),
            column,
            jnp.where(back, -FALL, down),
            jnp.where(back, aside(key), right),
            paddle,
        )
        reward = jnp.where(back, 1.0, jnp.where(landed, -1.0, 0.0))
        return court, Outcome(look(court), reward, landed & ~over, jnp.bool(False))

    def draw(court: Court) -> Array:
        return look(court)[..., None] / 255.0

    game = Environment(reset, step, actions=3, shape=(side, side), horizon=steps, draw=draw)
    return time_limit(game, steps)
