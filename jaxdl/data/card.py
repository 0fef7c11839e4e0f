"""The card of a dataset: what it is called, where it is from, and who may use it how."""

from typing import NamedTuple


class Card(NamedTuple):
    """What a reader of a result must know of the data, whatever was taken of them.

    source: where they are from, an address or a file. licence, citation, about: '' where nothing
    is stated. about: what they are, in a sentence or two.
    """

    name: str
    source: str = ''
    licence: str = ''
    citation: str = ''
    about: str = ''
