"""Neural style transfer (Gatys et al. 2016): the content of one image in the style of another.

What is trained is the image: the parameters of the player 'image', which a frozen network looks at,
the player 'judge'. Its weights come from a phase before (`Phase.start`), or from a file
(``--init-from``).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl.errors import UsageError
from jaxdl.game import Nets, Player, game
from jaxdl.keys import Key
from jaxdl.metrics import Mean
from jaxdl.samples import Images
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array
Features = Mapping[str, Array]
Start = Callable[[Key, Array], Array]

# Of VGG-19 (Gatys et al. 2016, section 2.4).
CONTENT = ('conv4_2',)
STYLE = ('conv1_1', 'conv2_1', 'conv3_1', 'conv4_1', 'conv5_1')


def from_content(key: Key, content: Array) -> Array:
    """The image begins as the content."""
    return content


def from_noise(key: Key, content: Array) -> Array:
    """The image begins as white noise between the content's least and largest values."""
    return jax.random.uniform(key, content.shape, minval=content.min(), maxval=content.max())


class Canvas(nn.Module):
    """Images that are parameters: `start(key, content)` at first, whatever is shown later."""

    start: Start = from_content

    @nn.compact
    def __call__(self, content: Array) -> Array:
        """[B, H, W, C] -> the images [B, H, W, C]."""
        return self.param('pixels', self.start, content)


def gram(features: Array) -> Array:
    """The Gram matrices of maps [B, H, W, C], [B, C, C]: G_ij = sum_k F_ik F_jk (eq. 3)."""
    flat = features.reshape(len(features), -1, features.shape[-1])
    return flat.swapaxes(1, 2) @ flat


def content_loss(features: Array, wanted: Array) -> Array:
    """1/2 sum (F - P)^2 over all maps and places (eq. 1), of each image, [B]."""
    return 0.5 * ((features - wanted) ** 2).sum((1, 2, 3))


def style_loss(features: Array, wanted: Array) -> Array:
    """sum (G / M - A / M')^2 / (4 N^2) over the Gram matrices of N maps (eq. 4), [B].

    M, M': the places of the maps of the image and of the style; they are equal in the paper, where
    the two images are of one size.
    """
    places = [x.shape[1] * x.shape[2] for x in (features, wanted)]
    difference = gram(features) / places[0] - gram(wanted) / places[1]
    return (difference**2).sum((1, 2)) / (4 * features.shape[-1] ** 2)


def total_variation(images: Array) -> Array:
    """The sum of squared differences of neighbours, across and down, of each image, [B].

    The regulariser of Mahendran and Vedaldi (2015, eq. 4) with beta = 2.
    """
    down, across = jnp.diff(images, axis=1), jnp.diff(images, axis=2)
    return (down**2).sum((1, 2, 3)) + (across**2).sum((1, 2, 3))


def style_transfer(
    judge: nn.Module,
    opt: optax.GradientTransformation,
    *,
    content: Sequence[str] = CONTENT,
    style: Sequence[str] = STYLE,
    content_weight: float = 1.0,
    style_weight: float = 1e3,
    smoothness: float = 0.0,
    start: Start = from_content,
) -> Task:
    """Style transfer (Gatys et al. 2016, eq. 7), of a batch of images at a time.

        content_weight mean_l content_loss + style_weight mean_l style_loss
        + smoothness total_variation,  summed over images

    A batch has `content` [B, H, W, 3] and `style` [B, H', W', 3], as the judge sees images. Every
    batch is the same: the images are those of its rows. Measures 'loss' and its parts, 'content',
    'style' and 'variation', without their weights, the mean of an image.

    judge: images -> maps [B, h, w, n] by the names in `content` and `style`; see
        `jaxdl.models.vgg.VGGLayers`, of VGG-19 ``VGGLayers((2, 2, 4, 4, 4), layers=(*STYLE,
        *CONTENT))``.
    """
    if not content and not style:
        raise UsageError('style_transfer: there are no layers of content and none of style')

    def parts(nets: Nets, batch: Batch) -> tuple[dict[str, Array], Any]:
        images, net = nets['image'](batch['content'])

        def look(images: Array) -> Features:
            return nets['judge'](images)[0]

        seen, kept, wanted = look(images), look(batch['content']), look(batch['style'])
        none = jnp.zeros(len(images))
        found = {
            'content': sum((content_loss(seen[n], kept[n]) for n in content), none)
            / max(1, len(content)),
            'style': sum((style_loss(seen[n], wanted[n]) for n in style), none)
            / max(1, len(style)),
            'variation': total_variation(images),
        }
        return found, net

    def whole(found: Mapping[str, Array]) -> Array:
        weighed = content_weight * found['content'] + style_weight * found['style']
        return weighed + smoothness * found['variation']

    def loss(nets: Nets, batch: Batch, key: Key) -> tuple[Array, tuple[Nets, Metrics]]:
        found, net = parts(nets, batch)
        return whole(found).sum(), ({'image': net}, {})

    def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
        found, _ = parts(nets, batch)
        numbers = {'loss': whole(found), **found}
        return {n: Mean.of(x, batch['mask'], better='lower') for n, x in numbers.items()}

    players = {
        'image': Player(Canvas(start), loss, opt, lambda batch: (batch['content'],)),
        'judge': Player(judge, None, None, lambda batch: (batch['content'],)),
    }
    return game(players, measure)


def show_images(
    nets: Nets, batch: Batch, key: Key, *, restore: Callable[[Array], Array] = lambda x: x
) -> dict[str, Any]:
    """The images beside their content, for `Eval.show`; restore: to 0..1, from what judges see."""
    images, _ = nets['image'](batch['content'])
    pixels = jnp.stack((batch['content'], images), 1).reshape(-1, *images.shape[1:])
    return {'images': Images(jnp.clip(restore(pixels), 0, 1), columns=2)}
