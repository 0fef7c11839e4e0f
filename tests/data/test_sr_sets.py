"""Set5 and Set14: what is read, and the published figure of bicubic interpolation."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.catalogue import available
from jaxdl.data.public import locate
from jaxdl.data.sets.sr_sets import SET, sr_patches, sr_pictures
from jaxdl.errors import DataMissingError, UsageError
from jaxdl.metrics.images import inner_pixels, luma, psnr
from jaxdl.nn.resize import resize_bicubic


@pytest.fixture(scope='module')
def set5():
    if {entry.name: entry.state for entry in available()}['sr_set5_set14'] != 'prepared':
        pytest.skip('sr_set5_set14 is not under JAXDL_DATA_DIR')
    return sr_pictures('set5').arrays


def in_eight_bits(x):
    return jnp.clip(jnp.floor(x + 0.5), 0, 255)


def test_bicubic_interpolation_has_the_published_psnr(set5):
    """28.42 dB on Set5, factor 4, luma in 8 bits, 4 pixels of border cut (Dong et al. 2014)."""

    @jax.jit
    def measured(x, y, sizes):
        counts = inner_pixels(y.shape[1:3], sizes, border=4)
        up = in_eight_bits(resize_bicubic(x, y.shape[1:3])) / 255
        a, b = (in_eight_bits(255 * luma(z)) / 255 for z in (up, y / 255))
        return psnr(a, b, counts=counts)

    found = measured(set5['x'], set5['y'], set5['sizes'])
    assert round(float(found.mean()), 2) == 28.42


def test_the_small_pictures_are_made_by_bicubic_interpolation(set5):
    """Exactly, but for 3 pixels at the border; imresize rounds after each axis."""
    high, wide = set5['sizes'][1]
    x, y = set5['x'][1, : high // 4, : wide // 4], jnp.asarray(set5['y'][1:2, :high, :wide])
    down = in_eight_bits(resize_bicubic(y, (high // 4, wide)))
    down = in_eight_bits(resize_bicubic(down, (high // 4, wide // 4)))[0]
    np.testing.assert_array_equal(down[3:-3, 3:-3], x[3:-3, 3:-3])


def test_pictures_are_mirrored_to_one_size(set5):
    assert set5['x'].shape == (5, 128, 128, 3) and set5['y'].shape == (5, 512, 512, 3)
    assert set5['sizes'].tolist() == [[512, 512], [288, 288], [256, 256], [280, 280], [344, 228]]
    high, wide = set5['sizes'][3]
    np.testing.assert_array_equal(set5['y'][3, high], set5['y'][3, high - 1])
    np.testing.assert_array_equal(set5['y'][3, :, wide + 2], set5['y'][3, :, wide - 3])


def test_the_picture_of_both_sets_is_left_out_of_training(set5):
    whole, train = sr_pictures('set14'), sr_pictures('set14_train')
    assert (len(whole), len(train)) == (14, 13)
    sizes = whole.column('sizes').tolist()
    assert sizes[5] == [276, 276] and train.column('sizes').tolist() == sizes[:5] + sizes[6:]
    # The same woman, cut a little differently.
    bird = set5['y'][3, 2:278, 2:278].astype(float)
    assert np.corrcoef(whole.column('y')[5, :276, :276].ravel(), bird.ravel())[0, 1] > 0.98


def test_patches_lie_where_they_lay(set5):
    patches, pictures = sr_patches('set5', side=32, step=16), set5
    assert patches.columns == ('x', 'y') and patches.column('y').shape[1:] == (128, 128, 3)
    np.testing.assert_array_equal(patches.column('x')[1], pictures['x'][0, :32, 16:48])
    np.testing.assert_array_equal(patches.column('y')[1], pictures['y'][0, :128, 64:192])
    sides = pictures['sizes'] // 4
    assert len(patches) == sum(((h - 32) // 16 + 1) * ((w - 32) // 16 + 1) for h, w in sides)
    with pytest.raises(UsageError, match='side=90 in a picture of 72x72'):
        sr_patches('set5', side=90)


def test_files_are_those_of_the_source(set5):
    assert len(SET.files) == 38
    for file, (url, sha256) in SET.files.items():
        assert url.endswith(f'/data/{file}')
        assert hashlib.sha256(locate(SET.name, file).read_bytes()).hexdigest() == sha256, file


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="there is no split 'set15'; did you mean 'set5'"):
        sr_pictures('set15')
    monkeypatch.setenv('JAXDL_DATA_DIR', str(tmp_path))
    with pytest.raises(DataMissingError, match=r'LR\.png is missing; run: jaxdl data prepare sr'):
        sr_patches()
