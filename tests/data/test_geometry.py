"""Movements of the plane against scipy; boxes and segmentations go where the image goes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pace import mostly_slow
from scipy import ndimage

from jaxdl.data.augment import (
    Scene,
    affine,
    compose,
    crop,
    elastic,
    flip,
    resized_crop,
    rotate,
    scale,
    shear,
    shift,
    sometimes,
)
from jaxdl.data.augment.warps import transformed
from jaxdl.errors import UsageError

KEY = jax.random.key(5)
HIGH, WIDE = 12, 16
RNG = np.random.default_rng(0)
CORNERS = np.array([[[2, 3, 9, 8], [5, 1, 14, 11], [0, 0, 0, 0]]], np.float32)


def scenes(rows=6):
    """Images, the boxes above in each and, as segmentation, the first box filled."""
    filled = np.zeros((rows, HIGH, WIDE), np.int32)
    filled[:, 3:8, 2:9] = 1
    return {
        'x': jnp.asarray(RNG.uniform(size=(rows, HIGH, WIDE, 3)).astype(np.float32)),
        'boxes': jnp.asarray(CORNERS.repeat(rows, 0)),
        'boxes_mask': jnp.asarray(np.array([[True, True, False]]).repeat(rows, 0)),
        'segmentation': jnp.asarray(filled),
        'y': jnp.arange(rows),
    }


MOVES = {
    'flip': flip(0.5, 0.5),
    'shift': shift(3),
    'crop': crop((9, 10), padding=2),
    'resized_crop': resized_crop((24, 20), area=(0.4, 0.9)),
    'rotate': rotate(40),
    'scale': scale(0.6, 1.5),
    'shear': shear(20),
    'affine': affine(degrees=20, scale=(0.8, 1.2), shear=10, translate=0.2),
    'elastic': elastic(1.5),
}
every = pytest.mark.parametrize('name', MOVES)
kinds = pytest.mark.parametrize('name', ['flip', 'crop', 'resized_crop', 'affine', 'elastic'])


@functools.cache
def compiled(name):
    return jax.jit(MOVES[name])


def moved(name, batch, key=KEY):
    return jax.tree.map(np.asarray, compiled(name)(key, batch))


@every
def test_the_box_is_around_the_filled_box(name):
    """Exactly where sides stay parallel to the axes; rotated corners may lie outside the image."""
    after = moved(name, scenes())
    for box, known, labels in zip(
        after['boxes'][:, 0], after['boxes_mask'][:, 0], after['segmentation'], strict=True
    ):
        rows, columns = np.nonzero(labels == 1)
        if not known:
            assert len(rows) < 0.2 * 35
            continue
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        if name in ('flip', 'shift', 'crop', 'elastic'):
            np.testing.assert_array_equal(box, found)
        elif name in ('scale', 'resized_crop'):
            np.testing.assert_allclose(box, found, atol=0.51)
        else:
            # A pixel's centre lies up to one pixel inside of a slanted edge's corner.
            assert (found[:2] > box[:2] - 0.51).all() and (found[2:] < box[2:] + 0.51).all()
            inside = (box > 0.5) & (box < [WIDE - 0.5, HIGH - 0.5] * 2)
            if inside.all():
                np.testing.assert_allclose(box, found, atol=1.6)


@every
def test_the_segmentation_moves_with_the_image(name):
    """An image that shows the segmentation: both moved agree but for pixels at the edges."""
    shown = scenes()
    after = moved(name, {**shown, 'x': shown['segmentation'][..., None] * jnp.ones((1, 1, 1, 3))})
    image, labels = after['x'][..., 0], after['segmentation']
    sure = (image < 0.2) | (image > 0.8)
    assert sure.mean() > 0.8
    np.testing.assert_array_equal(np.where(labels == 255, 0, labels)[sure], image.round()[sure])
    assert labels.dtype == np.int32 and set(np.unique(labels)) <= {0, 1, 255}


@every
def test_images_draw_alone_and_the_key_decides(name):
    same = {n: jnp.broadcast_to(c[:1], c.shape) for n, c in scenes().items()}
    first, again, other = (moved(name, same, k)['x'] for k in (KEY, KEY, jax.random.key(6)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len({image.tobytes() for image in first}) > (2 if name == 'flip' else 4)


@kinds
def test_no_boxes_and_no_segmentation_is_the_same_image(name):
    bare = {'x': scenes()['x'], 'other': jnp.arange(6)}
    after = jax.jit(MOVES[name])(KEY, bare)
    assert set(after) == {'x', 'other'}
    with_all = moved(name, scenes() | {'x': bare['x']})
    np.testing.assert_allclose(after['x'], with_all['x'], atol=1e-6)


@pytest.mark.parametrize('name', mostly_slow(['affine', 'crop', 'flip', 'resized_crop', 'elastic']))
def test_one_program_for_all_seeds(name):
    keys, batch = jax.random.split(KEY, 2), scenes()
    mapped = jax.jit(jax.vmap(MOVES[name], (0, None)))(keys, batch)
    for seed in (0, 1):
        for column, alone in moved(name, batch, keys[seed]).items():
            np.testing.assert_allclose(mapped[column][seed], alone, atol=1e-5)


@pytest.mark.parametrize(
    'transform',
    [
        flip(0, 0),
        crop(),
        shift(0),
        affine(),
        affine(scene=Scene(border='reflect')),
        elastic(0.0),
        sometimes(0.0, rotate(90)),
    ],
)
def test_no_movement_is_the_identity_to_the_bit(transform):
    before = scenes()
    after = jax.jit(transform)(KEY, before)
    for column in before:
        np.testing.assert_array_equal(after[column], before[column], err_msg=column)


def test_a_window_of_the_whole_image_is_the_image():
    before = scenes()
    shape = WIDE / HIGH
    after = jax.jit(resized_crop((HIGH, WIDE), area=(1, 1), aspect=(shape, shape)))(KEY, before)
    for column in before:
        np.testing.assert_allclose(after[column], before[column], atol=1e-5, err_msg=column)


def test_flips_are_numpys_and_their_own_inverse():
    before = scenes()
    both = jax.jit(flip(1.0, 1.0))
    after = both(KEY, before)
    np.testing.assert_array_equal(after['x'], np.asarray(before['x'])[:, ::-1, ::-1])
    np.testing.assert_array_equal(after['segmentation'], before['segmentation'][:, ::-1, ::-1])
    np.testing.assert_array_equal(after['boxes'][0, 0], [16 - 9, 12 - 8, 16 - 2, 12 - 3])
    for column, value in both(KEY, after).items():
        np.testing.assert_array_equal(value, before[column])
    across = jax.jit(flip(1.0))(KEY, before)
    np.testing.assert_array_equal(across['x'], np.asarray(before['x'])[:, :, ::-1])


def test_probabilities_of_flips():
    x = np.broadcast_to(np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1), (1000, 2, 2, 1))
    corner = np.asarray(jax.jit(flip(0.3, 0.6))(KEY, {'x': x})['x'])[:, 0, 0, 0]
    part = np.bincount(corner, minlength=4) / 1000
    np.testing.assert_allclose(part, [0.7 * 0.4, 0.3 * 0.4, 0.7 * 0.6, 0.3 * 0.6], atol=0.05)


@pytest.mark.parametrize('border', ['constant', 'edge', 'reflect'])
def test_a_crop_is_a_window_of_the_padded_image(border):
    batch = scenes(30)
    scene = Scene(border=border, fill=0.25, ignore=7)
    after = jax.jit(crop((9, 10), padding=3, scene=scene))(KEY, batch)
    after = jax.tree.map(np.asarray, after)
    seen = set()
    for i in range(30):
        options = ({'constant_values': v} if border == 'constant' else {} for v in (0.25, 7))
        image, labels = (
            np.pad(c[i], ((3, 3), (3, 3), (0, 0))[: c[i].ndim], border, **o)
            for c, o in zip((batch['x'], batch['segmentation']), options, strict=True)
        )
        found = [
            (r, c)
            for r in range(10)
            for c in range(13)
            if (image[r : r + 9, c : c + 10] == after['x'][i]).all()
        ]
        assert len(found) == 1
        ((r, c),) = found
        np.testing.assert_array_equal(labels[r : r + 9, c : c + 10], after['segmentation'][i])
        seen.add((r, c))
    rows, columns = zip(*seen, strict=True)
    assert max(rows) - min(rows) > 6 and max(columns) - min(columns) > 8


def test_pad_and_crop_takes_any_dtype():
    x = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1)
    both = compose(shift(1), flip())
    assert jax.jit(both)(KEY, {'x': x})['x'].dtype == jnp.uint8


MATRICES = np.array(
    [[[1, 0], [0, 1]], [[0.8, -0.6], [0.6, 0.8]], [[1.4, 0.2], [-0.3, 0.7]]], np.float32
)
OFFSETS = np.array([[2.3, -1.0], [0.0, 0.0], [1.25, 0.5]], np.float32)


@pytest.mark.parametrize('border', ['constant', 'edge', 'reflect'])
def test_affine_maps_are_scipys(border):
    batch = scenes(3)
    scene = Scene(border=border, fill=0.5, ignore=9)
    warp = jax.jit(lambda batch: transformed(batch, scene, MATRICES, OFFSETS, 'test'))
    after = warp(batch)
    mode = {'constant': 'grid-constant', 'edge': 'nearest', 'reflect': 'mirror'}[border]
    centre = np.array([WIDE, HIGH]) / 2
    for i in range(3):
        back = np.linalg.inv(MATRICES[i].astype(np.float64))
        # Source index of output index 0, first as (x, y), then as scipy's (row, column).
        offset = back @ (0.5 - centre - OFFSETS[i]) + centre - 0.5
        options = {'matrix': back[::-1, ::-1], 'offset': offset[::-1], 'mode': mode}
        for channel in range(3):
            expected = ndimage.affine_transform(
                np.asarray(batch['x'][i, ..., channel], np.float64), order=1, cval=0.5, **options
            )
            np.testing.assert_allclose(after['x'][i, ..., channel], expected, atol=1e-5)
        expected = ndimage.affine_transform(
            np.asarray(batch['segmentation'][i]), order=0, cval=9, **options
        )
        # Rounding may differ where a source lies between two pixels.
        assert (np.asarray(after['segmentation'][i]) != expected).mean() < 0.02


def test_box_of_a_rotation_by_hand():
    batch = scenes(1)
    quarter = np.array([[[0.0, -1.0], [1.0, 0.0]]], np.float32)
    turn = jax.jit(lambda batch: transformed(batch, Scene(), quarter, np.zeros((1, 2)), 'test'))
    after = turn(batch)
    # (x, y) -> (8 - (y - 6), 6 + (x - 8)): 2..9 x 3..8 becomes 6..11 x 0..7.
    np.testing.assert_allclose(after['boxes'][0, 0], [6, 0, 11, 7], atol=1e-5)
    # 5..14 x 1..11 becomes 3..13 x 3..12.
    np.testing.assert_allclose(after['boxes'][0, 1], [3, 3, 13, 12], atol=1e-5)


@pytest.mark.parametrize(('least', 'stays'), [(0.49, True), (0.51, False)])
def test_boxes_are_clipped_and_dropped(least, stays):
    batch = {
        'picture': np.ones((1, 8, 8, 1), np.float32),
        'objects': jnp.array([[[0.0, 2.0, 4.0, 6.0], [6.0, 6.0, 8.0, 8.0], [1.0, 1.0, 3.0, 3.0]]]),
        'objects_mask': jnp.array([[True, True, False]]),
    }
    scene = Scene(image='picture', boxes='objects', boxes_mask='objects_mask', least_area=least)
    left = np.array([[-2.0, 0.0]], np.float32)
    one = np.eye(2, dtype=np.float32)[None]
    after = jax.jit(lambda batch: transformed(batch, scene, one, left, 'test'))(batch)
    np.testing.assert_array_equal(after['objects_mask'], [[stays, True, False]])
    first = [0, 2, 2, 6] if stays else [0, 0, 0, 0]
    np.testing.assert_array_equal(after['objects'], [[first, [4, 6, 6, 8], [0, 0, 0, 0]]])


def test_a_mask_of_boxes_is_made_where_there_is_none():
    batch = scenes()
    del batch['boxes_mask']
    # The third box has no area: it is none.
    np.testing.assert_array_equal(
        jax.jit(flip())(KEY, batch)['boxes_mask'], [[True, True, False]] * len(batch['y'])
    )


def test_affine_draws_are_in_their_ranges():
    """Boxes of one pixel's size show the map: their centres move as points do."""
    rows = 300
    boxes = jnp.array([[[49.0, 49, 51, 51], [79, 49, 81, 51], [49, 79, 51, 81]]])
    batch = {
        'x': jnp.ones((rows, 100, 100, 1)),
        'boxes': np.broadcast_to(boxes, (rows, 3, 4)),
    }

    def centres(transform):
        boxes = np.asarray(jax.jit(transform)(KEY, batch)['boxes'])
        return (boxes[..., :2] + boxes[..., 2:]) / 2 - 50

    at, below = centres(rotate(30))[:, 1:].swapaxes(0, 1)
    np.testing.assert_allclose(below, np.stack((-at[:, 1], at[:, 0]), 1), atol=1e-3)
    angles = np.rad2deg(np.arctan2(at[:, 1], at[:, 0]))
    np.testing.assert_allclose(np.linalg.norm(at, axis=-1), 30, rtol=1e-4)
    assert -30 <= angles.min() < -28 and 28 < angles.max() <= 30
    zooms = centres(scale(0.5, 1.5))[:, 1, 0] / 30
    assert 0.5 <= zooms.min() < 0.52 and 1.48 < zooms.max() <= 1.5
    at = centres(shear(20))[:, 1]
    slopes = np.rad2deg(np.arctan(at[:, 1] / 30))
    np.testing.assert_allclose(at[:, 0], 30, rtol=1e-4)
    assert -20 <= slopes.min() < -19 and 19 < slopes.max() <= 20
    t = centres(affine(translate=0.3))[:, 0]
    assert (abs(t) <= 30).all() and (abs(t).max(0) > 28).all() and (t.min(0) < -28).all()


def test_windows_are_in_their_ranges():
    """The image is a pair of ramps, so a window shows where it was and how large."""
    rows, side = 200, 64
    ramp = (np.arange(side) + 0.5) / side
    x = np.stack(np.meshgrid(ramp, ramp, indexing='ij'), -1).astype(np.float32)
    x = jnp.broadcast_to(jnp.asarray(x), (rows, side, side, 2))
    after = np.asarray(jax.jit(resized_crop((8, 8), area=(0.2, 0.5)))(KEY, {'x': x})['x'])
    # From the centre of pixel 1 to that of 6 are 5/8 of the window, away from antialiased edges.
    high = (after[:, 6, 4, 0] - after[:, 1, 4, 0]) * 8 / 5
    wide = (after[:, 4, 6, 1] - after[:, 4, 1, 1]) * 8 / 5
    area, aspect = high * wide, wide / high
    assert 0.195 < area.min() < 0.22 and 0.48 < area.max() < 0.505
    assert 0.74 < aspect.min() < 0.78 and 1.28 < aspect.max() < 1.35
    top = (after[:, 3, 4, 0] + after[:, 4, 4, 0]) / 2 - high / 2
    assert top.min() > -0.01 and (top + high).max() < 1.01 and top.max() > 0.4


def test_elastic_displacements_have_the_standard_deviation():
    ramps = np.stack(np.meshgrid(np.arange(48.0), np.arange(48.0), indexing='ij'), -1)
    x = jnp.asarray(ramps[None].repeat(300, 0), jnp.float32)
    after = jax.jit(elastic(2.0, scene=Scene(border='edge')))(KEY, {'x': x})['x']
    # At the centre of the middle cell (between pixels) the displacement is the drawn one itself.
    drawn = np.asarray(after)[:, 23:25, 23:25].mean((1, 2)) - 23.5
    np.testing.assert_allclose(drawn.std(0), 2.0, rtol=0.12)
    np.testing.assert_allclose(drawn.mean(0), 0.0, atol=0.4)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.2
    # Smooth: neighbours move alike.
    steps = np.diff(np.asarray(after)[:, 8:40, 8:40, 0], axis=1) - 1
    assert abs(steps).mean() < 0.3 and abs(steps).max() > 0.1


def test_windows_that_do_not_fit_and_integers_are_refused():
    with pytest.raises(UsageError, match=r'crop: size=\(20, 4\)'):
        jax.eval_shape(crop((20, 4)), KEY, scenes())
    for transform in (rotate(3), elastic(), resized_crop((4, 4))):
        with pytest.raises(UsageError, match=r'uint8; put as_float\(\)'):
            jax.eval_shape(transform, KEY, {'x': np.ones((1, 4, 4, 1), np.uint8)})
