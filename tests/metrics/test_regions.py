"""Regions: partitions against scikit-image's and by hand; what a gap and a thick boundary cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import adapted_rand_error, variation_of_information

from jaxdl.metrics import add
from jaxdl.metrics.base import describe
from jaxdl.metrics.regions import Regions, agreement, filled, regions


def test_agreement_is_as_scikit_image_has_it():
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 4, (20, 21)), rng.integers(0, 5, (20, 21))
    found = agreement(said, truth)
    # It counts pairs of two pixels, the challenge also each with itself: of many it is the same.
    many = [np.kron(x, np.ones((32, 32), int)) for x in (truth, said)]
    error, of_truth, of_said = adapted_rand_error(*many, ignore_labels=(0,))
    np.testing.assert_allclose(
        [found.rand, found.split, found.merge], [1 - error, of_truth, of_said], rtol=1e-4
    )
    inside = truth > 0
    both = variation_of_information(truth[inside], said[inside])
    assert found.variation == pytest.approx(both.sum(), rel=1e-12)


def test_agreement_by_hand():
    truth = np.array([[1, 1, 2, 2, 0]])
    assert agreement(truth, truth) == (1, 1, 1, 0)
    joined = agreement(np.array([[1, 1, 1, 1, 1]]), truth)
    assert joined == pytest.approx((2 * 0.5 / 1.5, 1, 0.5, 1))  # one bit is lost
    apart = agreement(np.array([[1, 2, 3, 4, 5]]), truth)
    assert apart == pytest.approx((2 * 0.5 / 1.5, 0.5, 1, 1))
    assert np.isnan(agreement(truth, np.zeros((1, 5), int))).all()


def cells(width=1, gap=False):
    """A square with a boundary down its middle."""
    boundary = np.zeros((16, 16), bool)
    boundary[:, 8 : 8 + width] = True
    if gap:
        boundary[5, 8 : 8 + width] = False
    return boundary


def test_a_gap_joins_and_a_thick_boundary_costs_nothing():
    truth = regions(cells())
    assert truth.max() == 2
    assert agreement(filled(cells(width=2)), truth).rand > 0.9
    assert agreement(filled(cells(gap=True)), truth).merge < 0.6
    assert not filled(np.ones((4, 4), bool)).any()


def test_images_join_and_those_of_the_padding_do_not_count():
    truth = np.stack([cells(), cells(), cells()])
    probability = jnp.array(0.8 * np.stack([cells(), cells(gap=True), ~cells()]))
    mask = jnp.array([True, True, False])
    whole = Regions.of(probability, jnp.array(truth), mask).value()
    parts = [
        Regions.of(probability[i : i + 1], jnp.array(truth[i : i + 1]), mask[i : i + 1])
        for i in range(3)
    ]
    assert add(parts).value() == whole
    assert add(parts).thresholds == parts[0].thresholds  # they are no counts
    described = describe({'regions': jax.eval_shape(lambda: parts[0])})
    assert described.keys() == {f'regions/{name}' for name in whole}
    each = [agreement(filled(cells(gap=gap)), regions(cells())) for gap in (False, True)]
    assert whole['rand'] == pytest.approx(np.mean([it.rand for it in each]))
    assert whole['variation'] == pytest.approx(np.mean([it.variation for it in each]))
    assert whole['rand_best'] == whole['rand']  # 0.1 to 0.7 see the same; nothing is above 0.9
    assert Regions.of(probability, jnp.array(truth), mask).directions().keys() == whole.keys()
