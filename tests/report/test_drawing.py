"""Boxes and masks as a person sees them: the pixels of the picture."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdl.audio.wav import decode_wav, encode_wav
from jaxdl.errors import UsageError
from jaxdl.metrics import Mean, classes_of, describe
from jaxdl.metrics.confusion import Confusion
from jaxdl.samples import Audio, Boxes, Forecasts, Images, Masks, Texts, named
from jaxdl.samples.drawing import draw, read_texts
from jaxdl.samples.plots import draw_spectrogram

ORANGE, BLUE, GREY = (230, 159, 0), (86, 180, 233), (138, 143, 152)


def picture(sample):
    kind, content = draw(sample)
    assert kind == 'png'
    return np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))


def where(pixels, colour):
    """Rows and columns of a colour, as (first row, first column, last row, last column)."""
    rows, columns = np.nonzero((pixels == np.array(colour)).all(-1))
    return rows.min(), columns.min(), rows.max(), columns.max()


def boxes(**fields):
    """One black image of 240x240, drawn pixel for pixel with a frame of 3 around it."""
    some = {
        'pixels': np.zeros((1, 240, 240, 1)),
        'boxes': np.array([[[20, 30, 60, 50], [100, 100, 120, 140], [0, 0, 9, 9]]], float),
        'classes': np.array([[0, 1, 0]]),
        'mask': np.array([[True, True, False]]),
    }
    return Boxes(**{**some, **fields})


def test_boxes_are_drawn_where_they_are_in_the_colour_of_their_class():
    seen = picture(boxes())[3:-3, 3:-3]
    assert seen.shape == (240, 240, 3)
    assert where(seen, ORANGE) == (30, 20, 49, 59)  # row 30 to 50, column 20 to 60
    assert where(seen, BLUE) == (100, 100, 139, 119)
    assert (seen[31:49, 21:59] == 0).all() and (seen[:9, :9] == 0).all()


def test_small_images_are_enlarged_with_their_boxes():
    small = boxes(pixels=np.zeros((1, 24, 48, 3)), boxes=np.array([[[2, 4, 10, 8]] * 3], float))
    seen = picture(small)[3:-3, 3:-3]
    assert seen.shape == (24 * 5, 48 * 5, 3) and where(seen, BLUE) == (20, 10, 39, 49)


def test_truth_is_dashed_and_predictions_carry_their_scores():
    plain = picture(boxes())
    truth = {'truth': np.array([[[150, 150, 190, 170]]], float), 'truth_mask': np.array([[True]])}
    seen = picture(boxes(**truth))[3:-3, 3:-3]
    edge = (seen[150, 150:190] == 255).all(-1)
    assert edge[:3].all() and not edge[3:6].any() and edge[6:9].all()
    assert (seen[169, 150:153] == 255).all() and (seen[150:153, 189] == 255).all()
    hidden = picture(boxes(**{**truth, 'truth_mask': np.array([[False]])}))
    np.testing.assert_array_equal(hidden, plain)
    scored = picture(boxes(scores=np.array([[0.5, 0.25, 0]])))
    assert (scored != plain).any()


@pytest.mark.parametrize('box', [[-50, -50, 900, 900], [np.nan] * 4, [np.inf, 0, -np.inf, 0]])
def test_a_box_outside_the_image_stays_at_its_edge(box):
    seen = picture(boxes(boxes=np.array([[box] * 3], float)))
    assert (seen[:3] == 255).all() and (seen[-3:] == 255).all() and (seen[:, :3] == 255).all()


def test_images_with_boxes_stand_in_a_grid():
    five = boxes(
        pixels=np.zeros((5, 240, 240, 1)),
        boxes=np.full((5, 1, 4), 10.0)
        + np.array([[[0, 0, 20, 20]]])
        + 30 * np.arange(5)[:, None, None],
        classes=np.zeros((5, 1), int),
        mask=np.ones((5, 1), bool),
    )
    seen = picture(five)
    assert seen.shape == (2 * 243 + 3, 3 * 243 + 3, 3)
    last = seen[246:486, 246:486]
    assert where(last, ORANGE) == (130, 130, 149, 149)


def test_masks_stand_beside_the_image():
    image = np.linspace(0, 1, 2)[:, None, None, None] * np.ones((2, 192, 192, 1))
    truth, predicted = np.zeros((2, 192, 192), int), np.zeros((2, 192, 192), int)
    truth[0, :50], truth[0, 50:60], predicted[1, :, :20] = 1, 255, 1
    seen = picture(Masks(image, truth, predicted))
    tiles = [[seen[3 + 195 * i :][:192, 3 + 195 * j :][:, :192] for j in range(3)] for i in (0, 1)]
    assert seen.shape == (2 * 195 + 3, 3 * 195 + 3, 3)
    assert (tiles[0][0] == 0).all() and (tiles[1][0] == 255).all()
    assert (tiles[0][1][:50] == 255).all() and (tiles[0][1][60:] == 0).all()
    assert (tiles[0][1][50:60] == GREY).all()
    assert (tiles[0][2] == 0).all() and (tiles[1][1] == 0).all()
    assert (tiles[1][2][:, :20] == 255).all() and (tiles[1][2][:, 20:] == 0).all()


def test_masks_name_the_colours_of_their_classes():
    truth = np.arange(12).reshape(1, 1, 12) * np.ones((1, 12, 1), int)
    pixels = np.zeros((1, 12, 12, 3))
    plain = picture(Masks(pixels, truth, truth))
    some = picture(Masks(pixels, truth.clip(max=2), truth.clip(max=2), names=('sky', 'cat', 'dog')))
    assert some.shape == (plain.shape[0] + 18, *plain.shape[1:])
    legend = some[plain.shape[0] :]
    assert where(legend, ORANGE)[1] < where(legend, BLUE)[1]  # cat before dog
    # In as many lines as it takes, and no names of classes that are not there.
    many = picture(Masks(pixels, truth, truth, names=('a long name, that of a class',) * 20))
    assert (many.shape[0] - plain.shape[0]) % 18 == 0 and many.shape[0] > some.shape[0]


def test_more_classes_have_colours_and_none_that_of_the_background():
    truth = np.arange(12).reshape(1, 1, 12) * np.ones((1, 12, 1), int)
    seen = picture(Masks(np.zeros((1, 12, 12, 3)), truth, truth))[3 : 3 + 192]
    classes = seen[0, 3 + 195 :: 16][:12]
    assert classes[0].tolist() == [0, 0, 0] and tuple(classes[1]) == ORANGE
    assert tuple(classes[2]) == BLUE and (classes[1:].sum(1) > 0).all()
    assert len({tuple(c) for c in classes[1:8]}) == 7


EDGE = (208, 211, 216)


@pytest.mark.parametrize(
    ('columns', 'gap', 'shape'),
    [(2, 3, (3, 2)), (5, 3, (1, 5)), (9, 3, (1, 5)), (1, 10, (5, 1)), (3, 0, (2, 3))],
)
def test_images_stand_in_as_many_columns_as_asked_for_with_a_gap(columns, gap, shape):
    seen = picture(Images(np.ones((5, 56, 56, 1)), columns=columns, gap=gap))
    rows, across = shape
    assert seen.shape == (rows * (56 + gap) + gap, across * (56 + gap) + gap, 3)
    if gap:  # white images on white paper have an edge
        assert where(seen, EDGE)[:2] == (gap - 1, gap - 1)
        assert (seen[gap : gap + 56, gap : gap + 56] == 255).all()


@pytest.mark.parametrize('options', [{'columns': 0}, {'gap': -1}])
def test_a_grid_that_cannot_be_is_refused(options):
    with pytest.raises(UsageError, match='Images: '):
        Images(np.ones((1, 2, 2, 1)), **options)


def labelled(names, columns=2):
    some = np.zeros((2, 8, 8, 1)), np.array([0, 1]), np.array([0, 0])
    return picture(Images(*some, names=names, columns=columns))


def test_labels_are_names_where_they_are_known_and_have_the_room_they_need():
    numbers, names = labelled(()), labelled(('aeroplane', 'bird'))
    assert numbers.shape == (3 + 56 + 16 + 3, 2 * 59 + 3, 3)
    assert names.shape[0] == numbers.shape[0] and names.shape[1] > numbers.shape[1]
    # As wide as the limit lets it be, and cut there.
    assert labelled(('a' * 400, 'b')).shape[1] == 2 * 153 + 3
    # Numbers beyond the names are shown as numbers.
    np.testing.assert_array_equal(labelled(('0',)), numbers)


def test_samples_take_the_names_of_what_is_measured():
    classes = ('cat', 'dog')
    counts = Confusion.of(jnp.array([0]), jnp.array([1]), classes)
    known = classes_of(describe({'loss': Mean.of(1.0), '': counts}))
    assert known == classes and classes_of(describe({'loss': Mean.of(1.0)})) == ()
    mine = Images(np.ones((1, 2, 2, 1)), names=('a', 'b'))
    found = named({'mine': mine, 'open': mine.replace(names=()), 'other': 3}, known)
    assert [getattr(x, 'names', None) for x in found.values()] == [('a', 'b'), classes, None]


def test_boxes_carry_the_names_of_their_classes():
    plain = picture(boxes())
    assert (picture(boxes(names=('cat', 'dog'))) != plain).any()


def codes(*lines):
    longest = max(map(len, lines))
    return np.array([[ord(c) for c in line.ljust(longest, chr(0))] for line in lines])


def test_texts_say_what_was_predicted_and_what_is_true():
    three = codes('one', 'two', 'three')
    labels, truth = np.array([0, 1, 2]), np.array([0, 0, 2])
    assert read_texts(Texts(three, labels, names=('A', 'B'))) == [
        'one  [A]',
        'two  [B]',
        'three  [2]',
    ]
    assert read_texts(Texts(three, labels, truth, names=('A', 'B'))) == [
        'one  [A] (right)',
        'two  [B] (wrong: A)',
        'three  [2] (right)',
    ]
    assert read_texts(Texts(codes('a'), np.array([0]), target=codes('a'))) == ['a  [0]  (right)']
    assert read_texts(Texts(three, target=codes('one', 'too', 'three!'))) == [
        'one  (right)',
        'two\n    truth: too',
        'three\n    truth: three!',
    ]
    assert draw(Texts(codes('a'), target=codes('b'))) == ('txt', b'a\n    truth: b\n')


def test_texts_are_tokens_where_they_say_how_these_are_read():
    rows, right = np.array([[1, 2, 0], [2, 0, 0]]), np.array([[1, 2], [1, 0]])

    def words(ids):
        return ' '.join('abc'[i - 1] for i in ids if i)

    assert read_texts(Texts(rows, decode=words)) == ['a b', 'b']
    both = Texts(rows, target=right, decode=words, decode_target=words)
    assert read_texts(both) == ['a b  (right)', 'b\n    truth: a']
    assert read_texts(both.replace(source=codes('x y', 'z'))) == [
        'x y\n    said: a b  (right)',
        'z\n    said: b\n    truth: a',
    ]
    asked = both.replace(source=rows, decode_source=lambda ids: str(len(ids)))
    assert read_texts(asked)[1] == '3\n    said: b\n    truth: a'


def test_sounds_are_one_file_with_silence_between():
    waves = np.stack([np.full(50, 0.5), np.full(50, -0.5)])
    kind, content = draw(Audio(waves, lengths=np.array([50, 20]), rate=100))
    found, rate = decode_wav(content)
    assert (kind, rate) == ('wav', 100)
    expected = np.concatenate([np.full(50, 0.5), np.zeros(25), np.full(20, -0.5)])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_tone_is_a_line_in_its_spectrogram():
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    picture = draw_spectrogram(encode_wav(tone, rate=8000))
    grey = np.asarray(Image.open(io.BytesIO(picture)).convert('L'), int)
    middle = grey[:, grey.shape[1] * 2 // 5]  # beside the label of the axis
    # A quarter of the way up from 0 to 4 kHz is the brightest; the axes' paper is brighter.
    inside = np.flatnonzero(middle < 200)
    line = np.flatnonzero((middle > 120) & (np.arange(len(middle)) > inside[0]))
    line = line[line < inside[-1]]
    place = (inside[-1] - line.mean()) / (inside[-1] - inside[0])
    assert place == pytest.approx(0.25, abs=0.03)


def test_forecasts_have_a_plot_for_each_row():
    x = np.random.default_rng(0).normal(size=(5, 8))
    one, five = (
        Image.open(io.BytesIO(draw(Forecasts(x[:n], x[:n, :4], x[:n, 4:]))[1])).size for n in (1, 5)
    )
    assert five[0] > 2.5 * one[0] and five[1] > 1.5 * one[1]
    broken = Forecasts(x, x[:, :4], np.full((5, 4), np.nan))
    assert draw(broken)[0] == 'png'
