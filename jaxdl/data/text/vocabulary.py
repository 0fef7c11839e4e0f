"""Tokenizers of our own: bytes, characters and words; and what every tokenizer is.

A tokenizer is a value: it never changes, and two of the same pieces are equal. Ids of our own
vocabularies begin with '<pad>' 0, '<unk>' 1, '<s>' 2 and '</s>' 3.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, Self

from jaxdl.errors import UsageError, nearest
from jaxdl.files import write_json

MARKS = ('<pad>', '<unk>', '<s>', '</s>')
WORDS = r'\S+'
WORDS_AND_SIGNS = r'\w+|[^\w\s]'  # for text whose punctuation stands at its words
UNKNOWN = MARKS.index('<unk>')
UNREADABLE = '\ufffd'  # how a character that is not in a vocabulary is written

Place = tuple[int, int]
Pathlike = str | os.PathLike[str]


class Special(NamedTuple):
    """Ids of tokens that are no text; None where a vocabulary has no such token."""

    pad: int | None = 0
    unknown: int | None = 1
    start: int | None = 2
    end: int | None = 3


class Tokenizer(Protocol):
    """Text as numbers, and back."""

    @property
    def vocabulary(self) -> int:
        """How many ids there are: they are 0..vocabulary - 1."""

    @property
    def special(self) -> Special:
        """The ids of tokens that are no text."""

    def id(self, piece: str) -> int:
        """The id of a piece. Raises UsageError where it is none."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without marks of its start and end."""

    def spans(self, text: str) -> tuple[list[int], list[Place]]:
        """The ids of a text, and the characters (first, one after the last) each stands for."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; tokens that are no text are left out."""

    def save(self, path: Pathlike) -> None:
        """Write it to a JSON file that `load` reads."""


class Bytes:
    """The bytes of UTF-8: no text is unknown. Byte b has the id b + 4."""

    vocabulary = 256 + len(MARKS)
    special = Special()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bytes)

    def __hash__(self) -> int:
        return hash(Bytes)

    def __repr__(self) -> str:
        return 'Bytes()'

    def id(self, piece: str) -> int:
        """The id of a mark, or of a character of one byte."""
        if piece in MARKS:
            return MARKS.index(piece)
        if len(code := piece.encode()) != 1:
            raise UsageError(f'Bytes: {piece!r} is {len(code)} bytes, and no token')
        return code[0] + len(MARKS)

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        return [byte + len(MARKS) for byte in text.encode()]

    def spans(self, text: str) -> tuple[list[int], list[Place]]:
        """The ids of a text, and the character each is a part of."""
        sizes = [len(char.encode()) for char in text]
        places = [(i, i + 1) for i, size in enumerate(sizes) for _ in range(size)]
        return self.encode(text), places

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8 are shown as U+FFFD."""
        known = (int(i) - len(MARKS) for i in ids)
        return bytes(b for b in known if 0 <= b < 256).decode(errors='replace')

    def save(self, path: Pathlike) -> None:
        """Write it to a JSON file."""
        _save(path, {'kind': 'bytes'})


@dataclass(frozen=True)
class _Listed:
    """A vocabulary that is a list of pieces, of which the first are marks."""

    pieces: tuple[str, ...]
    marks: int = len(MARKS)

    kind: ClassVar[str]
    special: ClassVar[Special] = Special()

    def __post_init__(self) -> None:
        if self.pieces[: len(MARKS)] != MARKS:
            raise UsageError(
                f'{type(self).__name__}: the pieces begin with {", ".join(self.pieces[:4])}, and '
                f'must with {", ".join(MARKS)}'
            )
        if len(set(self.pieces)) < len(self.pieces):
            twice = next(piece for piece, n in Counter(self.pieces).items() if n > 1)
            raise UsageError(f'{type(self).__name__}: {twice!r} is there twice')

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.vocabulary} pieces)'

    @property
    def vocabulary(self) -> int:
        """How many pieces there are."""
        return len(self.pieces)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.pieces)}

    def id(self, piece: str) -> int:
        """The id of a piece."""
        if piece not in self._ids:
            raise UsageError(
                f'{type(self).__name__}: no piece {piece!r}{nearest(piece, self.pieces)}'
            )
        return self._ids[piece]

    def _read(self, ids: Iterable[int], unknown: str) -> list[str]:
        """The pieces of ids that are text, and what stands for the unknown."""
        found = []
        for i in map(int, ids):
            if i == UNKNOWN or not 0 <= i < len(self.pieces):
                found.append(unknown)
            elif i >= self.marks:
                found.append(self.pieces[i])
        return found


@dataclass(frozen=True, repr=False)
class Characters(_Listed):
    """Characters, each a token."""

    kind: ClassVar[str] = 'characters'

    @classmethod
    def learn(cls, *texts: str, marks: Sequence[str] = ()) -> Self:
        """The characters of texts in the order of their code points.

        marks: further tokens that are no text, such as '<mask>'.
        """
        first = (*MARKS, *marks)
        return cls((*first, *sorted(set().union(*texts))), len(first))

    def encode(self, text: str) -> list[int]:
        """The id of each character."""
        ids = self._ids
        return [ids.get(char, UNKNOWN) for char in text]

    def spans(self, text: str) -> tuple[list[int], list[Place]]:
        """The id of each character, and where it stands."""
        return self.encode(text), [(i, i + 1) for i in range(len(text))]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; what is unknown is shown as U+FFFD."""
        return ''.join(self._read(ids, UNREADABLE))

    def save(self, path: Pathlike) -> None:
        """Write it to a JSON file."""
        _save(path, {'kind': self.kind, 'marks': self.marks, 'pieces': self.pieces})


@dataclass(frozen=True, repr=False)
class Words(_Listed):
    """Words, each a token: what `pattern`, a regular expression, finds one after another.

    By itself it finds what stands between white space; WORDS_AND_SIGNS parts signs from words.
    between: what is written between two of them: '' where the pattern leaves nothing out.
    """

    pattern: str = WORDS
    lower: bool = False
    between: str = ' '

    kind: ClassVar[str] = 'words'

    @classmethod
    def learn(
        cls,
        texts: Iterable[str],
        *,
        most: int | None = None,
        least: int = 1,
        pattern: str = WORDS,
        lower: bool = False,
        marks: Sequence[str] = (),
        between: str = ' ',
    ) -> Self:
        """The words of texts, the most frequent first, and of equally frequent ones in their order.

        most: how many words at most, the marks not among them. least: a word that is there less
        often is unknown. lower: whether large and small letters are the same. marks: further tokens
        that are no text, such as '<mask>'.
        """
        if isinstance(texts, str):
            raise UsageError('Words.learn: one text is given; give a list of texts')
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(re.findall(pattern, text.lower() if lower else text))
        first = (*MARKS, *marks)
        frequent = sorted((-n, word) for word, n in counts.items() if n >= least)
        words = [word for _, word in frequent if word not in first]
        return cls((*first, *words[:most]), len(first), pattern, lower, between)

    @cached_property
    def _found(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def encode(self, text: str) -> list[int]:
        """The id of each word."""
        return self.spans(text)[0]

    def spans(self, text: str) -> tuple[list[int], list[Place]]:
        """The id of each word, and where it stands."""
        ids = self._ids
        found = list(self._found.finditer(text))
        words = (match[0].lower() if self.lower else match[0] for match in found)
        return [ids.get(word, UNKNOWN) for word in words], [match.span() for match in found]

    def decode(self, ids: Iterable[int]) -> str:
        """The words with `between` between them; what is unknown is '<unk>'."""
        return self.between.join(self._read(ids, MARKS[UNKNOWN]))

    def save(self, path: Pathlike) -> None:
        """Write it to a JSON file."""
        known = {'marks': self.marks, 'pattern': self.pattern, 'lower': self.lower}
        if self.between != ' ':  # files of before it was there are as they were
            known['between'] = self.between
        _save(path, {'kind': self.kind, **known, 'pieces': self.pieces})


def _save(path: Pathlike, content: dict[str, object]) -> None:
    write_json(Path(path), content)
