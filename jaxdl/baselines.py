"""Predictions that need no training: what a trained network has to beat. Numpy on the host.

Each is a pure function of arrays. A study makes an arm of one in a line or two, see
`jaxdl.study.Baseline`:

    def nearest(seed: int) -> dict[str, float]:
        train, test = tables(seed)
        found = nearest_neighbour(train['x'], train['y'], test['x'])
        return {'test/accuracy': np.mean(found == test['y'])}
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from jaxdl.errors import UsageError

BLOCK = 2**24  # distances held at once: 64 MB of float32


def majority(train_labels: Any, test_labels: Any) -> np.ndarray:
    """The most frequent training label, predicted for everything: the rule ZeroR.

    train_labels: [n, ...] numbers of classes, of images or of pixels. test_labels: [m, ...], of
    which only the shape is looked at. Returns [m, ...]; of equally frequent labels the least.

    Source: Holte (1993), "Very simple classification rules perform well on most commonly used
    datasets", where it is the rule that looks at no attribute.
    """
    labels = np.asarray(train_labels)
    if not labels.size:
        raise UsageError('majority: there are no training labels')
    values, counts = np.unique(labels, return_counts=True)
    return np.full(np.shape(test_labels), values[counts.argmax()])


def nearest_neighbour(
    train_x: Any, train_y: Any, test_x: Any, *, neighbours: int = 1
) -> np.ndarray:
    """The label of the nearest training example, or the most frequent of the nearest few.

    train_x: [n, ...] numbers; train_y: [n] labels; test_x: [m, ...] of the same trailing shape,
    which is flattened. neighbours: how many are asked, 1 to n. Returns labels [m].

    Distances are Euclidean. Of equally near examples the first count, and of equally many votes
    those of the label that has the nearest example. Products of float32 matrices, in blocks, find
    who may be among the nearest; who is, is decided by their distances in float64.

    Raises UsageError where shapes do not fit or `neighbours` is out of range.

    Source: Cover and Hart (1967), "Nearest neighbor pattern classification".
    """
    train, test, labels = _rows(train_x), _rows(test_x), np.asarray(train_y)
    if labels.ndim != 1 or len(labels) != len(train):
        raise UsageError(
            f'nearest_neighbour: train_y has the shape {labels.shape}, and train_x '
            f'{len(train)} rows; there must be one label a row'
        )
    if train.shape[1] != test.shape[1]:
        raise UsageError(
            f'nearest_neighbour: rows of train_x hold {train.shape[1]} numbers, and those of '
            f'test_x {test.shape[1]}'
        )
    if not isinstance(neighbours, int | np.integer) or not 1 <= neighbours <= len(train):
        raise UsageError(
            f'nearest_neighbour: neighbours is {neighbours!r}; it is a whole number, at least 1 '
            f'and at most {len(train)}, the training examples'
        )
    centre = train.mean(0, dtype=np.float64)  # smaller numbers round less
    known = _centred(train, centre)
    squares = np.einsum('nd,nd->n', known, known)
    # What rounding can do to a distance: of its terms, each of as many products as a row is long.
    spread = 4 * np.finfo(np.float32).eps * max(8.0, np.sqrt(train.shape[1]))
    found = np.empty(len(test), labels.dtype)
    size = max(1, BLOCK // len(train))
    for first in range(0, len(test), size):
        points = test[first : first + size].astype(np.float64)
        block = _centred(points, centre)
        own = np.einsum('nd,nd->n', block, block)
        distances = squares - 2 * (block @ known.T) + own[:, None]
        reach = np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]
        reach += spread * (own + squares.max())
        for row, (point, near, far) in enumerate(zip(points, distances, reach, strict=True)):
            (close,) = np.nonzero(near <= far)
            exact = np.square(train[close].astype(np.float64) - point).sum(1)
            order = close[np.argsort(exact, kind='stable')[:neighbours]]
            found[first + row] = _vote(labels[order])
    return found


def frequent_tags(train_words: Any, train_tags: Any, test_words: Any) -> list[list[int]]:
    """The tag that each word most often has in training; of a word that is not there, that of all.

    train_words, test_words: sentences, each a sequence of words; train_tags: the number of each
    word's tag. Of equally frequent tags the least. Returns a list of tags for each test sentence.

    Source: Charniak et al. (1993), "Equations for part-of-speech tagging", section 3.
    """
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    total: Counter[int] = Counter()
    for words, tags in zip(train_words, train_tags, strict=True):
        for word, tag in zip(words, tags, strict=True):
            counts[str(word)][int(tag)] += 1
            total[int(tag)] += 1
    if not total:
        raise UsageError('frequent_tags: there are no training words')
    first = {word: _most(tags) for word, tags in counts.items()}
    return [[first.get(str(word), _most(total)) for word in words] for words in test_words]


def overlapping(question: str, sentences: Sequence[str]) -> str:
    """The sentence that shares the most words with a question, the first of equal ones.

    A word is what stands between signs and blanks, in small letters. Raises UsageError where there
    is no sentence.

    Source: the baseline "word overlap" of Richardson et al. (2013), "MCTest", section 5, without
    its weights.
    """
    if not sentences:
        raise UsageError('overlapping: there are no sentences')
    asked = _words(question)
    return max(sentences, key=lambda sentence: len(asked & _words(sentence)))


def persistence(series: Any, horizon: int) -> np.ndarray:
    """The last value known, predicted for later: nothing changes.

    series: [time, ...]. horizon: how many steps ahead, at least 1. Returns [time - horizon, ...]:
    what is predicted for series[horizon:].

    Raises UsageError where `horizon` is out of range.

    Source: the naive method of Hyndman and Athanasopoulos (2021), "Forecasting: principles and
    practice", 3rd edition, section 5.2.
    """
    values = np.asarray(series)
    longest = values.shape[0] - 1 if values.ndim else 0
    if not isinstance(horizon, int | np.integer) or not 1 <= horizon <= longest:
        raise UsageError(
            f'persistence: horizon is {horizon!r}; it is a whole number, at least 1 and at most '
            f'{longest}, one less than the length of the series'
        )
    return values[:-horizon]


def _most(tags: Counter[int]) -> int:
    return min(tags, key=lambda tag: (-tags[tag], tag))


def _words(text: str) -> set[str]:
    return set(re.findall(r'\w+', text.lower()))


def label_propagation(
    senders: Any, receivers: Any, labels: Any, known: Any, *, steps: int = 1000
) -> np.ndarray:
    """Labels that spread along edges from the nodes where they are known, and stay there.

    F <- D^-1 A F, then the rows of known nodes are set to their labels again (Zhu and Ghahramani
    2002, section 2.2), until nothing moves by more than 1e-6, or for so many steps. What no label
    reaches gets the most frequent known one.

    senders, receivers: int [E]; undirected edges stand in both directions. labels: int [N], classes
    0, 1, ..., of which only those of `known`, int [n], are looked at. Returns int [N].
    """
    labels, known = np.asarray(labels), np.asarray(known)
    if not known.size:
        raise UsageError('label_propagation: no label is known')
    nodes, classes = len(labels), int(labels[known].max()) + 1
    ones = np.ones(len(np.asarray(senders)))
    edges = scipy.sparse.csr_matrix((ones, (receivers, senders)), (nodes, nodes))
    degrees = np.maximum(edges.sum(1), 1)
    truth = np.eye(classes)[labels[known]]
    spread = np.zeros((nodes, classes))
    spread[known] = truth
    for _ in range(steps):
        after = np.asarray(edges @ spread / degrees)
        after[known] = truth
        moved, spread = np.abs(after - spread).max(), after
        if moved <= 1e-6:
            break
    found = spread.argmax(1)
    lost = spread.sum(1) == 0
    found[lost] = majority(labels[known], found[lost])
    return found


def _rows(x: Any) -> np.ndarray:
    """[n, ...] as [n, d], of whatever type."""
    array = np.asarray(x)
    if array.ndim < 1 or not array.size:
        raise UsageError('nearest_neighbour: there are no examples')
    return array.reshape(len(array), -1)


def _centred(rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Rows without their centre, rounded to float32 once, a few at a time."""
    found = np.empty(rows.shape, np.float32)
    for first in range(0, len(rows), 1024):
        found[first : first + 1024] = rows[first : first + 1024] - centre
    return found


def _vote(labels: np.ndarray) -> Any:
    """The most frequent of some labels, the nearest first; of several, that which comes first."""
    values, firsts, counts = np.unique(labels, return_index=True, return_counts=True)
    return values[np.lexsort((firsts, -counts))[0]]
