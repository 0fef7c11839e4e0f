"""What `--layout` may say of devices: how many of them share seeds, rows, parameters, layers.

seeds=4,data=2     four parts of the seeds, each over two devices by the rows of a batch
fsdp=8             rows over eight devices, and parameters and their optimizer with them
data=4,tensor=2    rows over four, and the layers that give their axes names over two
seeds,data         as many parts of the seeds as divide, and rows over the devices that are left
"""

import math
from typing import NamedTuple

from jaxdl.errors import UsageError, closest, nearest

PLAIN = ('auto', 'vmap', 'loop', 'pmap')  # layouts that are no axes


class Axes(NamedTuple):
    """Devices along each axis of a mesh.

    seeds: seeds lie apart. data: rows of a batch do. fsdp: rows too, and each parameter is cut into
    as many parts, put together where it is used (Rajbhandari et al. 2020, ZeRO's third stage).
    tensor: layers are cut (Shoeybi et al. 2019), where a module names the axes of its parameters.
    """

    seeds: int = 1
    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @property
    def devices(self) -> int:
        """How many there are in all."""
        return math.prod(self)

    @property
    def rows(self) -> int:
        """Parts of the rows of a batch."""
        return self.data * self.fsdp

    def __str__(self) -> str:
        sizes = zip(self._fields, self, strict=True)
        return ','.join(f'{name}={size}' for name, size in sizes if size > 1) or 'vmap'


def is_axes(text: str) -> bool:
    """Whether a layout is one of axes: the word for one, or with a number or a comma."""
    return '=' in text or ',' in text or text in Axes._fields


def check_layout(text: str) -> str:
    """The same text, if it can be a layout on some machine. Raises UsageError otherwise."""
    if is_axes(text):
        _sizes(text)
    elif text not in PLAIN:
        known = (*PLAIN, *Axes._fields)
        raise UsageError(f'--layout: unknown layout {text!r}{nearest(text, known)}')
    return text


def check_even(what: str, *, seeds: int, devices: int) -> None:
    """Raise UsageError where seeds and devices do not divide one another."""
    if seeds % devices and devices % seeds:
        raise UsageError(
            f'{what}: {seeds} seeds cannot be laid evenly over {devices} devices; '
            f"take a multiple of {devices} seeds, or 'seeds,data'"
        )


def read_axes(text: str, *, seeds: int, devices: int) -> Axes:
    """The axes that `text` asks for, of so many seeds on so many devices.

    An axis without a number takes the devices that the others leave; `seeds` as many of them as
    divide the seeds. Raises UsageError for what cannot be, with what does not divide what.
    """
    what, given = f'--layout {text}', _sizes(text)
    open_axes = [name for name, size in given.items() if size is None and name != 'seeds']
    asked = math.prod(size for size in given.values() if size)
    if devices % asked:
        raise UsageError(
            f'{what}: it is for {asked} devices, which does not divide the {devices} that are '
            f'here; {closest(asked, devices)} does'
        )
    left = devices // asked
    if 'seeds' in given and given['seeds'] is None:
        if not open_axes:
            check_even(what, seeds=seeds, devices=left)
        given['seeds'] = apart = math.gcd(seeds, left)
        left //= apart
    for name in open_axes:
        given[name] = left
    axes = Axes(**{name: size or 1 for name, size in given.items()})
    if seeds % axes.seeds:
        raise UsageError(
            f'{what}: {seeds} seeds cannot be laid evenly over {axes.seeds} devices; '
            f'seeds={closest(axes.seeds, seeds)} can'
        )
    return axes


def _sizes(text: str) -> dict[str, int | None]:
    """The axes of a layout and their numbers, None for an axis without one."""
    what = f'--layout {text}'
    given: dict[str, int | None] = {}
    for part in text.split(','):
        name, equals, number = (word.strip() for word in part.partition('='))
        if name not in Axes._fields:
            raise UsageError(f'{what}: unknown axis {name!r}{nearest(name, Axes._fields)}')
        if name in given:
            raise UsageError(f'{what}: {name} is there twice')
        if equals and not (number.isdecimal() and int(number)):
            raise UsageError(f'{what}: {name} is {number!r}; it must be a whole number, at least 1')
        given[name] = int(number) if equals else None
    free = [name for name, size in given.items() if size is None and name != 'seeds']
    if len(free) > 1:
        raise UsageError(
            f'{what}: {free[0]} and {free[1]} have no number; one alone takes what is left'
        )
    return given
