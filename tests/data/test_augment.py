"""Batch functions against NumPy, Pillow and matplotlib, and that they are pure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import colors
from pace import mostly_slow
from PIL import Image, ImageEnhance, ImageOps

from jaxdl.data.augment import (
    as_float,
    colour,
    compose,
    cutmix,
    cutout,
    flip,
    greyscale,
    jitter,
    mixing,
    mixup,
    one_of,
    policy,
    rand_augment,
    shift,
    sometimes,
    standardise,
    views,
)
from jaxdl.data.augment.scene import Scene
from jaxdl.errors import UsageError

KEY = jax.random.key(3)
PHOTO = np.random.default_rng(1).integers(30, 200, (40, 48, 3), np.uint8)
PHOTO[2:8, 3:9] = (250, 10, 120)


def images(n=6, size=5):
    pixels = np.random.default_rng(0).integers(1, 256, (n, size, size, 2), np.uint8)
    return {'x': jnp.asarray(pixels), 'y': jnp.arange(n)}


def test_as_float():
    batch = as_float()(KEY, images())
    assert batch['x'].dtype == jnp.float32
    np.testing.assert_allclose(batch['x'], np.asarray(images()['x']) / 255, rtol=1e-6)
    np.testing.assert_array_equal(batch['y'], images()['y'])


@pytest.mark.parametrize(
    ('mean', 'std'), [(3.0, 2.0), (np.array([1.0, 2.0]), np.array([4.0, 5.0]))]
)
def test_standardise(mean, std):
    x = np.asarray(images()['x'], np.float32)
    np.testing.assert_allclose(
        standardise(mean, std)(KEY, images())['x'], (x - mean) / std, rtol=1e-6
    )


def test_shift_is_a_translation_with_zeros():
    batch = images(40)
    moved = np.asarray(jax.jit(shift(2))(KEY, batch)['x'])
    seen = set()
    for image, result in zip(np.asarray(batch['x']), moved, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        found = {
            (dy - 2, dx - 2)
            for dy in range(5)
            for dx in range(5)
            if (padded[dy : dy + 5, dx : dx + 5] == result).all()
        }
        assert len(found) == 1
        seen |= found
    # All 5 x 5 shifts are drawn alike: 40 draws hit about 25 * (1 - (24/25)**40) = 20 of them.
    assert len(seen) > 12 and {dy for dy, _ in seen} == {-2, -1, 0, 1, 2}
    assert moved.dtype == np.uint8


def test_shift_depends_on_the_key():
    first, again, other = (
        jax.jit(shift(2))(k, images())['x'] for k in (KEY, KEY, jax.random.key(4))
    )
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other)).any()


def test_composition_is_in_order_and_each_has_its_own_key():
    def noise(key, batch):
        return {**batch, 'noise': (*batch.get('noise', ()), jax.random.uniform(key))}

    batch = compose(noise, as_float(scale=2.0), noise, standardise(1.0, 1.0))(KEY, images())
    np.testing.assert_array_equal(batch['x'], np.asarray(images()['x'], np.float32) * 2 - 1)
    assert len({float(draw) for draw in batch['noise']}) == 2


def test_compiled_and_mapped_over_seeds_is_the_same():
    transform = jax.jit(compose(shift(1), as_float()))
    keys = jax.random.split(KEY, 3)
    mapped = jax.jit(jax.vmap(transform, in_axes=(0, None)))(keys, images())
    for seed, key in enumerate(keys):
        np.testing.assert_array_equal(mapped['x'][seed], transform(key, images())['x'])


def pillow(operation):
    return np.asarray(operation(Image.fromarray(PHOTO)), np.float64) / 255


SAME_AS_PILLOW = {
    'autocontrast': (colour.autocontrast, ImageOps.autocontrast, 1.01),
    'equalize': (colour.equalize, ImageOps.equalize, 0),
    'posterize': (lambda x: colour.posterize(x, 3), lambda i: ImageOps.posterize(i, 3), 0),
    'solarize': (lambda x: colour.solarize(x, 100 / 255), lambda i: ImageOps.solarize(i, 100), 0),
} | {
    f'{name} {factor}': (
        lambda x, adjust=adjust, factor=factor: adjust(x, factor),
        lambda i, enhance=enhance, factor=factor: enhance(i).enhance(factor),
        2.5,  # it rounds the smoothed or grey image, and then the blend
    )
    for name, adjust, enhance in [
        ('brightness', colour.adjust_brightness, ImageEnhance.Brightness),
        ('contrast', colour.adjust_contrast, ImageEnhance.Contrast),
        ('colour', colour.adjust_colour, ImageEnhance.Color),
        ('sharpness', colour.adjust_sharpness, ImageEnhance.Sharpness),
    ]
    for factor in (0.0, 0.4, 1.8)
}


@pytest.mark.parametrize('name', SAME_AS_PILLOW)
def test_operations_are_pillows(name):
    ours, theirs, levels = SAME_AS_PILLOW[name]
    x = PHOTO.astype(np.float32) / 255
    np.testing.assert_allclose(jax.jit(ours)(x), pillow(theirs), rtol=0, atol=(levels + 1e-3) / 255)


@pytest.mark.parametrize('flat', [0.0, 0.5, 1.0])
def test_operations_on_an_image_of_one_colour(flat):
    x = np.full((4, 5, 3), flat, np.float32)
    for operation in (colour.autocontrast, colour.equalize, lambda x: colour.turn_hue(x, 0.3)):
        np.testing.assert_allclose(jax.jit(operation)(x), x, atol=0.5 / 255)


@pytest.mark.parametrize('turn', [0.0, 0.2, -0.45, 0.5])
def test_hue_is_matplotlibs(turn):
    x = np.concatenate([PHOTO.reshape(-1, 3) / 255, np.eye(3), 1 - np.eye(3), np.zeros((1, 3))])
    x = x[None].astype(np.float32)
    hsv = colors.rgb_to_hsv(x)
    hsv[..., 0] = (hsv[..., 0] + turn) % 1
    np.testing.assert_allclose(jax.jit(colour.turn_hue)(x, turn), colors.hsv_to_rgb(hsv), atol=2e-6)


def test_jitter_draws_in_its_ranges_and_alone():
    rows = 400
    x = jnp.broadcast_to(jnp.array([0.2, 0.3, 0.4]), (rows, 2, 2, 3))
    factor = (
        np.asarray(jax.jit(jitter(brightness=0.3))(KEY, {'x': x})['x'])[:, 0, 0]
        / np.asarray(x)[0, 0, 0]
    )
    np.testing.assert_allclose(factor, factor[:, :1].repeat(3, 1), rtol=1e-5)
    assert 0.7 <= factor.min() < 0.71 and 1.29 < factor.max() <= 1.30001
    turned = np.asarray(jax.jit(jitter(hue=0.1))(KEY, {'x': x})['x'])[:, 0, 0]
    turn = colors.rgb_to_hsv(turned)[:, 0] - colors.rgb_to_hsv(np.asarray(x[0, 0, 0]))[0]
    assert -0.1001 <= turn.min() < -0.095 and 0.095 < turn.max() <= 0.1001
    assert len(np.unique(turn.round(6))) > 300


def test_jitter_is_its_four_changes_in_order():
    batch = {'x': np.asarray(PHOTO[None] / 255, np.float32)}
    x = batch['x']
    strengths = {'brightness': 0.5, 'contrast': 0.5, 'saturation': 0.5, 'hue': 0.2}
    together = jax.jit(jitter(**strengths))(KEY, batch)['x']
    for name, strength in strengths.items():
        before, batch = batch, jax.jit(jitter(**{name: strength}))(KEY, batch)
        assert abs(before['x'] - batch['x']).max() > 0.01
    np.testing.assert_allclose(together, batch['x'], atol=1e-6)
    assert (np.asarray(together) >= 0).all() and (np.asarray(together) <= 1).all()
    np.testing.assert_array_equal(jax.jit(jitter())(KEY, {'x': x})['x'], x)
    grey = jax.eval_shape(jitter(brightness=0.5, contrast=0.5), KEY, {'x': x[..., :1]})['x']
    assert grey.shape == (1, 40, 48, 1)
    with pytest.raises(UsageError, match='saturation and hue of 1 channels'):
        jitter(hue=0.1)(KEY, {'x': x[..., :1]})
    with pytest.raises(UsageError, match=r'uint8; put as_float\(\)'):
        jitter(hue=0.1)(KEY, {'x': jnp.asarray(PHOTO[None])})


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.uint8])
def test_cutout_erases_a_square_about_any_pixel(dtype):
    x = jnp.ones((500, 8, 8, 2), dtype)
    after = np.asarray(jax.jit(cutout(3, fill=5))(KEY, {'x': x})['x'])
    assert after.dtype == dtype
    seen = set()
    for image in after:
        rows, columns, _ = np.nonzero(image == 5)
        box = (rows.min(), rows.max(), columns.min(), columns.max())
        # A filled rectangle of at most 3 x 3, smaller at the border alone.
        assert (image == 5).sum() == 2 * (box[1] - box[0] + 1) * (box[3] - box[2] + 1)
        for low, high in (box[:2], box[2:]):
            assert high - low == 2 or (high - low == 1 and (low == 0 or high == 7))
        seen.add(box)
    assert len(seen) == 64


def mixable(rows=64, padding=5):
    """Images that hold their own number, and their square where cutmix may leave a trace."""
    numbers = jnp.arange(rows, dtype=jnp.float32).reshape(-1, 1, 1, 1) + 1
    x = jnp.broadcast_to(numbers, (rows, 10, 10, 1))
    mask = jnp.arange(rows) < rows - padding
    return {'x': x, 'y': jnp.arange(rows) % 7, 'mask': mask}


@pytest.mark.parametrize('mix', [mixup, cutmix])
def test_mixtures(mix):
    batch, eye = mixable(), np.eye(7)
    after = jax.jit(mix(1.0, classes=7))(KEY, batch)
    x, y = np.asarray(after['x'])[..., 0], np.asarray(after['y'])
    np.testing.assert_allclose(y.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(x[59:], np.asarray(batch['x'])[59:, ..., 0])
    np.testing.assert_array_equal(y[59:], eye[np.arange(59, 64) % 7])
    partners = []
    for i in range(59):
        if mix is cutmix:
            others = np.unique(x[i][x[i] != i + 1])
            if not len(others):  # nothing was cut
                np.testing.assert_array_equal(y[i], eye[i % 7])
                continue
            (other,) = others
            part = (x[i] == i + 1).mean()  # the area that is left is the weight
            rows, columns = np.nonzero(x[i] == other)
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            partner = int(other) - 1
            expected = part * eye[i % 7] + (1 - part) * eye[partner % 7]
        else:
            # x = l (i + 1) + (1 - l) (j + 1): the label that it gives for the partner j is y.
            assert np.ptp(x[i]) == 0
            fits = []
            for j in range(59):
                part = (x[i, 0, 0] - (j + 1)) / (i - j) if j != i else np.nan
                label = part * eye[i % 7] + (1 - part) * eye[j % 7]
                if np.allclose(label, y[i], atol=1e-4) and 0 <= part <= 1:
                    fits.append((j, label))
            assert fits
            partner, expected = fits[0]
        np.testing.assert_allclose(y[i], expected, atol=1e-4)
        partners.append(partner)
    assert max(partners) < 59
    if mix is cutmix:
        assert len(set(partners)) == len(partners) > 50 and not (
            {p - i for i, p in enumerate(partners)} <= {1}
        )


def test_partners_are_one_cycle_of_the_valid_rows():
    mask = np.array([True, False, True, True, False, True, True])
    partners = jax.jit(lambda key: mixing._partners(key, {'mask': mask}, 7, 'mask'))
    for seed in range(4):
        partner, mixed = map(np.asarray, partners(jax.random.key(seed)))
        np.testing.assert_array_equal(mixed, mask)
        at, seen = 0, []
        for _ in range(5):
            at = int(partner[at])
            seen.append(at)
        assert sorted(seen) == [0, 2, 3, 5, 6] and at == 0
        assert int(partner[1]) == 1 and int(partner[4]) == 4


@pytest.mark.parametrize('valid', [0, 1])
@pytest.mark.parametrize('mix', [mixup, cutmix])
def test_a_row_alone_stays(mix, valid):
    batch = mixable(4, 4 - valid)
    after = jax.jit(mix(1.0, classes=7))(KEY, batch)
    np.testing.assert_array_equal(after['x'], batch['x'])
    np.testing.assert_array_equal(after['y'], np.eye(7)[:4])


def test_mixup_weights_are_beta():
    rows, a = 4000, 0.4
    y = np.arange(rows)
    x = (1 - y % 2).reshape(-1, 1, 1, 1).astype(np.float32)
    mixed = jax.jit(lambda batch: jnp.diag(mixup(a, classes=rows)(KEY, batch)['y']))
    weights = mixed({'x': x, 'y': y})
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    np.testing.assert_allclose(np.mean(weights), 0.5, atol=0.02)
    np.testing.assert_allclose(np.var(weights), 1 / (4 * (2 * a + 1)), atol=0.01)


@pytest.mark.slow
def test_mixtures_of_mixtures_and_one_of_two():
    batch = mixable(8, 0)
    both = jax.jit(compose(mixup(1.0, classes=7), cutmix(1.0, classes=7)))(KEY, batch)
    np.testing.assert_allclose(both['y'].sum(1), 1, atol=1e-6)
    either = jax.jit(one_of(mixup(1.0, classes=7), cutmix(1.0, classes=7)))
    flat = {
        seed: bool(
            (np.ptp(np.asarray(either(jax.random.key(seed), batch)['x']), (1, 2)) == 0).all()
        )
        for seed in range(12)
    }
    assert 2 <= sum(flat.values()) <= 10
    with pytest.raises(UsageError, match='labels of shape'):
        mixup(classes=9)(KEY, both)


def test_sometimes_is_per_row():
    batch = {'x': jnp.arange(400.0).reshape(200, 1, 2, 1)}
    after = np.asarray(jax.jit(sometimes(0.25, flip(1.0)))(KEY, batch)['x'])
    changed = (after != np.asarray(batch['x'])).any((1, 2, 3))
    assert 0.15 < changed.mean() < 0.35


SIDE = 24
OPS = {
    'identity': lambda x, s: x,
    'auto_contrast': lambda x, s: colour.autocontrast(x),
    'equalize': lambda x, s: colour.equalize(x),
    'solarize': lambda x, s: np.where(x < 0.6 * 256 / 255, x, 1 - x),
    'posterize': lambda x, s: np.floor(np.round(x * 255) / 4) * 4 / 255,
    'contrast': lambda x, s: colour.adjust_contrast(x, 1 + s * 0.36),
    'colour': lambda x, s: colour.adjust_colour(x, 1 + s * 0.36),
    'brightness': lambda x, s: np.clip(x * (1 + s * 0.36), 0, 1),
    'sharpness': lambda x, s: colour.adjust_sharpness(x, 1 + s * 0.36),
}


@pytest.fixture(scope='module')
def operated():
    """Every operation at 4 / 10 of its strength, to both sides, on one image; and the box in it."""
    count = len(policy.OPERATIONS)
    choice = jnp.repeat(jnp.arange(count), 2)
    side = jnp.tile(jnp.array([1.0, -1.0]), count)
    x = jnp.asarray(np.random.default_rng(2).uniform(size=(1, SIDE, SIDE, 3)), jnp.float32)
    boxes = jnp.broadcast_to(jnp.array([[[10.0, 8, 13, 14]]]), (2 * count, 1, 4))
    batch = {'x': jnp.broadcast_to(x, (2 * count, SIDE, SIDE, 3)), 'boxes': boxes}
    run = jax.jit(lambda batch: policy.operate(batch, choice, side, strength=0.4, scene=Scene()))
    after = run(batch)
    return x[0], np.asarray(after['x']), np.asarray(after['boxes'])


@pytest.mark.parametrize('name', mostly_slow(policy.OPERATIONS, 5))
def test_operations_of_rand_augment(operated, name):
    before, images, boxes = operated
    index = policy.OPERATIONS.index(name)
    assert len(policy.OPERATIONS) == 14
    for side, image, box in zip((1, -1), images[2 * index :], boxes[2 * index :, 0], strict=False):
        if name in OPS:
            np.testing.assert_allclose(image, OPS[name](before, side), atol=1e-5)
            np.testing.assert_array_equal(box, [10, 8, 13, 14])
            continue
        matrix, t = np.eye(2), np.zeros(2)
        if name == 'rotate':
            c, s = np.cos(side * np.pi / 15), np.sin(side * np.pi / 15)
            matrix = np.array([[c, -s], [s, c]])
        elif name.startswith('shear'):
            matrix[(0, 1) if name == 'shear_x' else (1, 0)] = side * 0.12
        else:
            t[0 if name == 'translate_x' else 1] = side * 0.4 * SIDE * 150 / 331
        corners = np.array([[10, 8], [13, 8], [13, 14], [10, 14]]) - SIDE / 2
        corners = corners @ matrix.T + SIDE / 2 + t
        np.testing.assert_allclose(box, [*corners.min(0), *corners.max(0)], atol=1e-4)
        assert (image != before).any()


def test_rand_augment_draws_alone_and_at_zero_changes_little():
    x = jnp.asarray(np.random.default_rng(4).uniform(size=(1, 8, 8, 3)), jnp.float32)
    batch = {'x': jnp.broadcast_to(x, (30, 8, 8, 3))}
    transform = jax.jit(rand_augment(2, 9))
    first, again, other = (
        np.asarray(transform(k, batch)['x']) for k in (KEY, KEY, jax.random.key(0))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and len({image.tobytes() for image in first}) > 20
    assert (first >= 0).all() and (first <= 1).all()
    np.testing.assert_array_equal(rand_augment(0)(KEY, batch)['x'], batch['x'])
    with pytest.raises(UsageError, match='magnitude=-1'):
        rand_augment(2, -1)


def test_views_stand_beside_the_image_and_each_has_its_own_draws():
    batch = images(40)
    made = views({'first': shift(2), 'second': shift(2), 'same': flip(0.0)})(KEY, batch)
    assert made.keys() == {'x', 'y', 'first', 'second', 'same'}
    np.testing.assert_array_equal(made['x'], batch['x'])
    np.testing.assert_array_equal(made['same'], batch['x'])
    assert (np.asarray(made['first']) != np.asarray(made['second'])).any()
    for name in ('first', 'second'):
        assert made[name].shape == batch['x'].shape and (made[name] != batch['x']).any()
    with pytest.raises(UsageError, match="a column 'y' already"):
        views({'y': shift(1)})(KEY, batch)


def test_greyscale_is_the_luminance_in_every_channel():
    x = jnp.asarray(PHOTO / 255, jnp.float32)[None]
    grey = np.asarray(greyscale()(KEY, {'x': x})['x'][0])
    assert grey.shape == PHOTO.shape and (grey == grey[..., :1]).all()
    theirs = np.asarray(Image.fromarray(PHOTO).convert('L'), np.float32)
    np.testing.assert_allclose(grey[..., 0] * 255, theirs, atol=0.51)
