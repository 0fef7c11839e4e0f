"""Tokenizers of parts of words: BPE and WordPiece, by the library `tokenizers`.

Learned here, or read as others have them: `tokenizer.json`, or BERT's `vocab.txt`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from jaxdl.data.text.vocabulary import (
    MARKS,
    Bytes,
    Characters,
    Pathlike,
    Place,
    Special,
    Tokenizer,
    Words,
)
from jaxdl.errors import JaxdlError, UsageError, nearest
from jaxdl.files import read_json, unread, write_bytes

# How others call the tokens that are no text.
NAMES = {
    'pad': ('<pad>', '[PAD]'),
    'unknown': ('<unk>', '[UNK]'),
    'start': ('<s>', '[CLS]', '<|endoftext|>'),
    'end': ('</s>', '[SEP]', '<|endoftext|>'),
}


@dataclass(frozen=True)
class Pieces:
    """A tokenizer of the library `tokenizers`, by its definition: the text of a tokenizer.json.

    Raises UsageError where the library is not installed.
    """

    definition: str = field(repr=False)

    @classmethod
    def bpe(
        cls,
        texts: Iterable[str],
        *,
        vocabulary: int,
        lower: bool = False,
        marks: Sequence[str] = (),
    ) -> Self:
        """Byte pair encoding learned from texts (Sennrich et al. 2016, algorithm 1), over bytes.

        As of GPT-2 (Radford et al. 2019, section 2.2): no text is unknown, and a blank belongs to
        the word after it. It is the same for a text at its beginning and within another.

        vocabulary: how many pieces at most, the 256 bytes and the marks among them.
        lower: whether large and small letters are the same.
        marks: further tokens that are no text, such as '<mask>'.
        """
        library = _library()
        if isinstance(texts, str):
            raise UsageError('Pieces.bpe: one text is given; give a list of texts')
        first = [*MARKS, *marks]
        if vocabulary < 256 + len(first):
            raise UsageError(
                f'Pieces.bpe: vocabulary={vocabulary}; at least {256 + len(first)}, the bytes and '
                f'{", ".join(first)}'
            )
        tokenizer = library.Tokenizer(library.models.BPE())
        if lower:
            tokenizer.normalizer = library.normalizers.Lowercase()
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=first,
            initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer.to_str())

    @classmethod
    def wordpiece(cls, path: Pathlike, *, lower: bool = True) -> Self:
        """BERT's tokenizer of a `vocab.txt`, one piece a line (Devlin et al. 2019; Wu et al. 2016).

        lower: whether it is one of small letters without accents ("uncased").
        """
        library = _library()
        pieces = _read(Path(path)).split('\n')
        pieces = [piece.rstrip('\r') for piece in pieces]
        ids = {piece: i for i, piece in enumerate(pieces) if piece}
        if '[UNK]' not in ids:
            raise UsageError(f'{path}: there is no piece [UNK]: it is no vocabulary of WordPiece')
        model = library.models.WordPiece(ids, unk_token='[UNK]')
        tokenizer = library.Tokenizer(model)
        tokenizer.normalizer = library.normalizers.BertNormalizer(lowercase=lower)
        tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = library.decoders.WordPiece()
        marks = [m for m in ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]') if m in ids]
        tokenizer.add_special_tokens(marks)
        return cls(tokenizer.to_str())

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = _library().Tokenizer.from_str(self.definition)
        # Rows are cut and filled up where tables are made, so that all tokenizers are alike.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def _begins_with_blank(self) -> bool:
        """Whether a blank is put before a text, so that its first word is as within a text."""
        return self.encode('a') == self.encode(' a')

    @property
    def vocabulary(self) -> int:
        """How many ids there are."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @cached_property
    def special(self) -> Special:
        """The ids of tokens that are no text, by the names that are common for them."""
        found = {}
        for kind, names in NAMES.items():
            ids = map(self._tokenizer.token_to_id, names)
            found[kind] = next((i for i in ids if i is not None), None)
        return Special(**found)

    def id(self, piece: str) -> int:
        """The id of a piece, as the vocabulary writes it."""
        i = self._tokenizer.token_to_id(piece)
        if i is None:
            raise UsageError(f'no piece {piece!r}{nearest(piece, self._tokenizer.get_vocab())}')
        return i

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without marks of its start and end."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def spans(self, text: str) -> tuple[list[int], list[Place]]:
        """The ids of a text, and the characters each stands for, without a blank before them."""
        read = self._tokenizer.encode(text, add_special_tokens=False)
        return read.ids, [_trimmed(text, *place) for place in read.offsets]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; tokens that are no text are left out."""
        text = self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=True)
        return text.removeprefix(' ') if self._begins_with_blank else text

    def save(self, path: Pathlike) -> None:
        """Write it as a tokenizer.json."""
        write_bytes(Path(path), self.definition.encode())


def load(path: Pathlike) -> Tokenizer:
    """The tokenizer of a file that `save` wrote, or of a tokenizer.json of the library.

    BERT's vocab.txt is read by `Pieces.wordpiece`, which has to know whether letters are lowered.
    Raises JaxdlError for a file that cannot be read, UsageError for one of something else.
    """
    path = Path(path)
    content = read_json(path, sealed=False)
    if isinstance(content, dict) and 'model' in content:
        tokenizer = Pieces(_read(path))
        try:
            _ = tokenizer.vocabulary
        except UsageError:
            raise
        except Exception as error:  # the library raises no other
            raise UsageError(f'{path} is no tokenizer: {error}') from error
        return tokenizer
    match content:
        case {'kind': 'bytes'}:
            return Bytes()
        case {'kind': 'characters', 'marks': int(marks), 'pieces': list(pieces)}:
            return Characters(tuple(pieces), marks)
        case {
            'kind': 'words',
            'marks': int(marks),
            'pieces': list(pieces),
            'pattern': str(pattern),
            'lower': bool(lower),
        } if isinstance(between := content.get('between', ' '), str):
            return Words(tuple(pieces), marks, pattern, lower, between)
    raise UsageError(f'{path} is no tokenizer: it is one that was saved, or a tokenizer.json')


def _trimmed(text: str, first: int, last: int) -> Place:
    while first < last and text[first].isspace():
        first += 1
    return first, last


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise unread(path, error) from error
    except UnicodeDecodeError as error:
        raise JaxdlError(f'{path} is damaged: it is no text: {error}') from error


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise UsageError(
            "parts of words need the package tokenizers: pip install 'jaxdl[text]'"
        ) from error
    return tokenizers
