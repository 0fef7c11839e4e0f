"""Episodes as animations: which frames, for how long, of which policy."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdl.errors import UsageError
from jaxdl.rl.actor import Policy
from jaxdl.rl.catch import catch
from jaxdl.rl.show import show_episodes
from jaxdl.samples import Animation
from jaxdl.samples.drawing import draw

KEY = jax.random.key(0)
LEFT = Policy(
    explore=lambda key, nets, obs, step: jnp.full(len(obs), 2, jnp.int32),
    exploit=lambda key, nets, obs: jnp.zeros(len(obs), jnp.int32),
)


def test_an_episode_is_shown_from_its_start_to_its_end_as_the_policy_plays_it():
    # A horizon beyond the end: what is played on is not shown.
    env = catch(rows=5, columns=7)._replace(horizon=9)
    shown = jax.jit(show_episodes(env, LEFT, episodes=3))({}, {}, KEY)['episode']
    assert shown.frames.shape == (3, 10, 5, 7, 1) and shown.lengths.tolist() == [5] * 3
    for film in np.asarray(shown.frames)[:, :5, :, :, 0]:
        np.testing.assert_array_equal(film[:, :4].sum((1, 2)), [1, 1, 1, 1, 0])
        np.testing.assert_array_equal(film[:4, 4].argmax(-1), [3, 2, 1, 0])  # the paddle
        np.testing.assert_array_equal(film[:4].sum(2).argmax(1)[:3], [0, 1, 2])  # the ball


def test_every_second_frame_is_half_as_many():
    show = jax.jit(show_episodes(catch(rows=5, columns=7), LEFT, every=2))
    shown = show({}, {}, KEY)['episode']
    assert shown.frames.shape == (1, 3, 5, 7, 1) and shown.lengths.tolist() == [3]


def test_an_animation_is_a_png_that_plays():
    films = np.zeros((2, 4, 8, 10, 1))
    for at in range(4):
        films[0, at, at], films[1, at, :, at] = 1, 1
    kind, content = draw(Animation(films, np.array([4, 2]), rate=10))
    assert kind == 'png'
    picture = Image.open(io.BytesIO(content))
    assert picture.is_animated and picture.n_frames == 4 and picture.info['loop'] == 0
    zoom, width = 16, 160  # about 160 pixels, and a frame of 3 around each
    for at in range(4):
        picture.seek(at)
        assert picture.info['duration'] == (100 if at < 3 else 1000)
        seen = np.asarray(picture.convert('L'))
        assert seen.shape == (3 + 128 + 3, 3 + width + 3 + width + 3)
        assert (seen[3 + zoom * at, 3 : 3 + width] == 255).all()
        assert seen[3 + 50, 6 + width :][zoom * min(at, 1)] == 255  # it stands still


def test_colours_stay():
    films = np.zeros((1, 2, 4, 4, 3))
    films[..., 0] = 1
    picture = Image.open(io.BytesIO(draw(Animation(films))[1]))
    assert picture.convert('RGB').getpixel((10, 10)) == (255, 0, 0)


@pytest.mark.parametrize(
    ('make', 'line'),
    [
        (lambda: show_episodes(catch()._replace(draw=None), LEFT), 'no `draw`'),
        (lambda: show_episodes(catch(), LEFT, every=0), 'every is 0'),
        (lambda: Animation(np.zeros((1, 1, 2, 2, 1)), rate=0.0), 'Animation: rate is 0.0'),
    ],
)
def test_what_cannot_be_shown_is_one_line(make, line):
    with pytest.raises(UsageError, match=line):
        make()
