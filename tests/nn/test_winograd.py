"""Winograd's convolution against the direct one: values, gradients, rounding."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from pace import mostly_slow
from test_layers import DIMENSIONS, assert_all_close, value_and_gradients

from jaxdl.nn.cpu import winograd


def plain(x, w, padding):
    return lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=DIMENSIONS)


def drawn(images=(3, 8, 8, 5), outputs=6):
    rng = np.random.default_rng(0)
    x = rng.normal(size=images).astype(np.float32)
    return x, rng.normal(size=(3, 3, images[-1], outputs)).astype(np.float32)


CASES = itertools.product(
    [(9, 7), (8, 8), (3, 4)],
    [((0, 2), (1, 0)), ((1, 1), (1, 1)), ((0, 0), (0, 0))],
    [1, 2**26],
)


@pytest.mark.parametrize('size,padding,part', mostly_slow(CASES, 3))
def test_it_equals_the_direct_one(monkeypatch, size, padding, part):
    monkeypatch.setattr(winograd, 'PART', part)  # 1: each image by itself
    x, w = drawn((3, *size, 5))
    ours = value_and_gradients(lambda x, w: winograd.convolution(x, w, padding), x, w)
    assert_all_close(ours, value_and_gradients(lambda x, w: plain(x, w, padding), x, w))


def test_its_rounding_is_that_of_the_direct_one():
    x, w = drawn((2, 12, 12, 64), 32)
    padding = ((1, 1), (1, 1))
    with jax.enable_x64(True):
        exact = np.asarray(plain(x.astype(np.float64), w.astype(np.float64), padding))
    errors = [
        np.sqrt(np.mean((np.asarray(conv(x, w, padding)) - exact) ** 2)) / exact.std()
        for conv in (winograd.convolution, plain)
    ]
    assert errors[0] < 3 * errors[1] and errors[0] < 1e-6


@pytest.mark.slow
def test_seeds_by_vmap_rows_over_devices_and_second_derivatives(monkeypatch):
    monkeypatch.setattr(winograd, 'PART', 2**16)  # two parts
    x, w = drawn((8, 8, 8, 5))
    padding = ((1, 1), (1, 1))

    def penalty(conv, x, w):
        slope = jax.grad(lambda x: jnp.sin(conv(x, w, padding)).sum())(x)
        return (slope**2).sum()

    def gradients(conv):
        return jax.grad(partial(penalty, conv), (0, 1))

    seeds = np.stack([w, 2 * w])
    want = [jax.jit(gradients(plain))(x, w) for w in seeds]
    got = jax.jit(jax.vmap(gradients(winograd.convolution), (None, 0)))(x, seeds)
    assert_all_close(got, jax.tree.map(lambda *leaves: np.stack(leaves), *want), 1e-4)
    mesh = jax.make_mesh((4,), ('rows',), axis_types=(AxisType.Auto,))
    rows = jax.device_put(x, NamedSharding(mesh, PartitionSpec('rows')))
    assert_all_close(jax.jit(gradients(winograd.convolution))(rows, w), want[0], 1e-4)
