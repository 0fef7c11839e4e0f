"""Catch: a ball falls, a paddle at the bottom must be under it (Mnih et al. 2014, section 5)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.keys import Key
from jaxdl.rl.env import Environment, Outcome

Array = jax.Array


class Board(NamedTuple):
    """Where the ball is and where the paddle is; the paddle is in the last row."""

    row: Array
    column: Array
    paddle: Array


def catch(*, rows: int = 10, columns: int = 5) -> Environment:
    """The game as in bsuite (Osband et al. 2020): `rows` - 1 moves, one reward of +1 or -1.

    The ball starts in a random column of the top row and falls one row a move. The paddle starts
    in the middle; actions 0, 1, 2 move it left, not at all, right, not beyond the walls. The
    reward comes with the last row: +1 if the paddle is under the ball, else -1. The observation
    is float32 [rows, columns], 1 at the ball and at the paddle.
    """

    def look(board: Board) -> Array:
        picture = jnp.zeros((rows, columns), jnp.float32)
        return picture.at[board.row, board.column].set(1.0).at[rows - 1, board.paddle].set(1.0)

    def reset(key: Key) -> tuple[Board, Array]:
        column = jax.random.randint(key, (), 0, columns)
        board = Board(jnp.int32(0), column, jnp.int32(columns // 2))
        return board, look(board)

    def step(key: Key, board: Board, action: Array) -> tuple[Board, Outcome]:
        paddle = jnp.clip(board.paddle + action - 1, 0, columns - 1)
        board = Board(board.row + 1, board.column, paddle)
        landed = board.row == rows - 1
        caught = jnp.where(board.paddle == board.column, 1.0, -1.0)
        reward = jnp.where(landed, caught, 0.0)
        return board, Outcome(look(board), reward, landed, jnp.bool(False))

    def draw(board: Board) -> Array:
        return look(board)[..., None]

    return Environment(reset, step, actions=3, shape=(rows, columns), horizon=rows - 1, draw=draw)
