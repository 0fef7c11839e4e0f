"""The sum tree: numbers at places, their sum at every node above, drawn from in log time.

A binary heap of 2 * leaves numbers in one array: node 1 is the root, node i has the children 2i and
2i + 1, and place j is node leaves + j; entry 0 is not used (Schaul et al. 2016, appendix B.2.1).
"""

import math

import jax
import jax.numpy as jnp

Array = jax.Array


def empty_tree(places: int) -> Array:
    """A tree of zeros with at least so many places, float32 [2 * leaves]."""
    return jnp.zeros(2 << math.ceil(math.log2(places)) if places > 1 else 2)


def at_leaves(tree: Array, places: Array) -> Array:
    """The numbers at places, int32 [n] -> [n]."""
    return tree[len(tree) // 2 + places]


def set_leaves(tree: Array, places: Array, values: Array) -> Array:
    """The tree with values [n] at places [n], every sum above them taken anew.

    A place that is given twice must have one value.
    """
    node = len(tree) // 2 + places
    tree = tree.at[node].set(values)
    for _ in range(_depth(tree)):
        node = node // 2
        # From both children, not by what was added: sums then never drift from what is below.
        tree = tree.at[node].set(tree[2 * node] + tree[2 * node + 1])
    return tree


def find(tree: Array, targets: Array) -> Array:
    """The place in whose stretch each target lies, [n] -> int32 [n].

    Place j has the stretch of length `value j` after those of the places before it. A place whose
    value is 0 is never found while there is another.
    """
    node = jnp.ones(targets.shape, jnp.int32)
    for _ in range(_depth(tree)):
        left, right = tree[2 * node], tree[2 * node + 1]
        # A target at the very end may lie beyond it by rounding: nothing is there to be found.
        goes_right = (targets >= left) & (right > 0)
        targets = jnp.where(goes_right, targets - left, targets)
        node = 2 * node + goes_right
    return node - len(tree) // 2


def _depth(tree: Array) -> int:
    return int(math.log2(len(tree))) - 1
