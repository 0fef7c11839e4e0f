"""Convolutional classifiers before residual ones: counts, tables of the papers, properties."""

import jax
import jax.numpy as jnp
import pytest

from jaxdl import cost
from jaxdl.models.cnn import CNN, deep_mnist, flax_mnist


def counts(module, *shape):
    """Parameters and multiply-adds, from shapes alone."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x), x)
    return cost.parameters(variables['params']), cost.flops(module.apply, variables, x) // 2


class TestCNN:
    @pytest.mark.parametrize(
        ('module', 'shape', 'parameters', 'macs'),
        [
            (CNN(), (32, 32, 3), 1_070_794, 6_654_464),
            (CNN(), (64, 64, 3), 4_216_522, 26_610_176),
            (CNN(classes=200), (64, 64, 3), 4_265_352, 26_658_816),
            (flax_mnist(), (28, 28, 1), 824_458, 4_643_840),
            (deep_mnist(), (28, 28, 1), 3_274_634, 13_883_904),
        ],
    )
    def test_counts_are_those_of_the_tutorials(self, module, shape, parameters, macs):
        assert counts(module, 1, *shape) == (parameters, macs)
