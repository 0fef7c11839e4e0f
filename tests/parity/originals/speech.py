"""Networks for speech of PyTorch's own layers, row by row: no row has padding that could leak."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

Rows = list[torch.Tensor]  # [length, features] each


def rows_of(x: torch.Tensor, lengths: torch.Tensor) -> Rows:
    """The rows of a batch without what fills them up."""
    return [row[:n] for row, n in zip(x, lengths.tolist(), strict=True)]


def through(rnn: nn.RNNBase, rows: Rows, steps: int) -> torch.Tensor:
    """The outputs [B, steps, units] of recurrent layers, zero beyond each row."""
    ys, _ = rnn(pack_sequence(rows, enforce_sorted=False))
    return pad_packed_sequence(ys, batch_first=True, total_length=steps)[0]


def side_by_side(row: torch.Tensor, count: int) -> torch.Tensor:
    """So many frames as one, the last filled up with zeros."""
    return functional.pad(row, (0, 0, 0, -len(row) % count)).reshape(-1, count * row.shape[1])


class Recogniser(nn.Module):
    """Logits at each step of nn.LSTM in both directions."""

    def __init__(self, classes: int, features: int, units: int, layers: int, stack: int) -> None:
        super().__init__()
        self.stack = stack
        self.rnn = nn.LSTM(stack * features, units, layers, bidirectional=True, batch_first=True)
        self.out = nn.Linear(2 * units, classes)

    def heard(self, x: Any, lengths: Any) -> tuple[Any, list[int]]:
        """The outputs of the layers, and how many of each row count."""
        rows = [side_by_side(row, self.stack) for row in rows_of(x, lengths)]
        steps = -(-x.shape[1] // self.stack)
        return through(self.rnn, rows, steps), [len(row) for row in rows]

    def forward(self, x: Any, lengths: Any) -> Any:
        """[B, T, n] and frames [B] -> [B, ceil(T / stack), classes]."""
        return self.out(self.heard(x, lengths)[0])


class WordRNN(Recogniser):
    """Logits of the mean over each row."""

    def forward(self, x: Any, lengths: Any) -> Any:
        """[B, T, n] and frames [B] -> [B, classes]."""
        ys, counts = self.heard(x, lengths)
        return self.out(torch.stack([y[:n].mean(0) for y, n in zip(ys, counts, strict=True)]))


class WordCNN(nn.Module):
    """Convolutions on the picture of each row by itself."""

    def __init__(self, classes: int, features: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.count = len(widths)
        for i, (before, width) in enumerate(zip((1, *widths), widths, strict=False)):
            self.add_module(f'conv{i}', nn.Conv2d(before, width, 3, padding=1))
            features = -(-features // 2)
        self.out = nn.Linear(features * widths[-1], classes)

    def forward(self, x: Any, lengths: Any) -> Any:
        """[B, T, n] and frames [B] -> [B, classes]."""
        means = []
        for row in rows_of(x, lengths):
            y = row[None]
            for i in range(self.count):
                y = functional.relu(self.get_submodule(f'conv{i}')(y))
                y = functional.max_pool2d(y, 2, ceil_mode=True)
            means.append(y.mean(1).T.flatten())  # [frequencies, channels]
        return self.out(torch.stack(means))


# ---- Tacotron -----------------------------------------------------------------------------------


class Filters(nn.Module):
    """Conv1d on each row by itself, as 'same' as TensorFlow has it; BatchNorm over all rows."""

    def __init__(
        self, before: int, features: int, widths: Sequence[int], *, linear: bool = False
    ) -> None:
        super().__init__()
        self.widths, size = widths, len(widths) * features
        for k in widths:
            self.add_module(f'conv{k}', nn.Conv1d(before, features, k, bias=False))
        self.bias = None if linear else nn.Parameter(torch.empty(size))
        self.norm = nn.BatchNorm1d(size)

    def filtered(self, row: torch.Tensor) -> torch.Tensor:
        """A row [length, before] -> [length, features of all]."""
        pads = [((k - 1) // 2, k // 2) for k in self.widths]
        convs = [self.get_submodule(f'conv{k}') for k in self.widths]
        y = [conv(functional.pad(row.T, pad)) for conv, pad in zip(convs, pads, strict=True)]
        y = torch.cat(y).T
        return y if self.bias is None else functional.relu(y + self.bias)

    def forward(self, rows: Rows) -> Rows:
        """Rows [length, before] -> [length, features of all]."""
        y = self.norm(torch.cat([self.filtered(row) for row in rows]))
        return list(y.split([len(row) for row in rows]))


class Highway(nn.Module):
    """Part of what it changes, the rest of what it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        """[..., width] -> [..., width]."""
        return torch.lerp(x, functional.relu(self.change(x)), torch.sigmoid(self.gate(x)))


class CBHG(nn.Module):
    """A bank of convolutions, highways and nn.GRU in both directions."""

    def __init__(self, before: int, bank: int, projection: int, units: int) -> None:
        super().__init__()
        self.bank = Filters(before, units, range(1, bank + 1))
        self.projection1 = Filters(bank * units, projection, (3,))
        self.projection2 = Filters(projection, before, (3,), linear=True)
        if before != units:
            self.widen = nn.Linear(before, units)
        for i in range(4):
            self.add_module(f'highway{i}', Highway(units))
        self.rnn = nn.GRU(units, units, bidirectional=True, batch_first=True)

    def forward(self, rows: Rows, steps: int) -> Any:
        """Rows [length, before] -> [B, steps, 2 units]."""
        # One more step at the end, which is never the largest: PyTorch pads both sides.
        longer = [functional.pad(row.T, (0, 1), value=-torch.inf) for row in self.bank(rows)]
        pooled = [functional.max_pool1d(row[None], 2, 1)[0].T for row in longer]
        projected = self.projection2(self.projection1(pooled))
        ys = [row + y for row, y in zip(rows, projected, strict=True)]
        if hasattr(self, 'widen'):
            ys = [self.widen(y) for y in ys]
        for i in range(4):
            ys = [self.get_submodule(f'highway{i}')(y) for y in ys]
        return through(self.rnn, ys, steps)


class Prenet(nn.Module):
    """Two layers with dropout."""

    def __init__(self, before: int, units: int) -> None:
        super().__init__()
        self.fc0, self.fc1 = nn.Linear(before, 2 * units), nn.Linear(2 * units, units)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        """[..., before] -> [..., units]."""
        return self.drop(functional.relu(self.fc1(self.drop(functional.relu(self.fc0(x))))))


class Attention(nn.Module):
    """Bahdanau's."""

    def __init__(self, query: int, key: int, units: int) -> None:
        super().__init__()
        self.query = nn.Linear(query, units, bias=False)
        self.key = nn.Linear(key, units, bias=False)
        self.v = nn.Linear(units, 1, bias=False)

    def forward(self, query: Any, memory: Any, mask: Any) -> Any:
        """query [B, m], memory [B, S, n], mask [B, S] -> weights [B, S]."""
        scores = self.v(torch.tanh(self.query(query)[:, None] + self.key(memory)))[..., 0]
        return scores.masked_fill(~mask, -torch.inf).softmax(1)


class Look(nn.Module):
    """The attention and its GRU."""

    def __init__(self, before: int, context: int, units: int) -> None:
        super().__init__()
        self.rnn = nn.GRUCell(before + context, units)
        self.attention = Attention(units, context, units)


class Tacotron(nn.Module):
    """Step by step, after the true frame before each."""

    def __init__(
        self,
        vocabulary: int = 149,
        mels: int = 80,
        bins: int = 1025,
        voices: int = 1,
        embedding: int = 256,
        units: int = 128,
        decoder: int = 256,
        reduction: int = 2,
        banks: tuple[int, int] = (16, 8),
    ) -> None:
        super().__init__()
        self.mels, self.reduction, self.size = mels, reduction, decoder
        self.embed = nn.Embedding(vocabulary, embedding)
        self.voice = nn.Embedding(voices, 2 * units)
        self.text_prenet = Prenet(embedding, units)
        self.encoder = CBHG(units, banks[0], units, units)
        self.frame_prenet = Prenet(mels, units)
        self.look = Look(units, 2 * units, decoder)
        self.join = nn.Linear(decoder + 2 * units, decoder)
        self.rnn = nn.ModuleList(nn.GRU(decoder, decoder, batch_first=True) for _ in range(2))
        self.frames = nn.Linear(decoder, reduction * mels)
        self.stop = nn.Linear(decoder, 1)
        self.postnet = CBHG(mels, banks[1], 2 * units, units)
        self.out = nn.Linear(2 * units, bins)

    def forward(self, text: Any, lengths: Any, voice: Any, frames: Any, frame_lengths: Any) -> Any:
        """Frames, logits of the last group, weights of the characters, and the spectrum."""
        rows, letters = text.shape
        read = rows_of(self.text_prenet(self.embed(text)), lengths)
        memory = self.encoder(read, letters) + self.voice(voice)[:, None]
        mask = torch.arange(letters)[None] < lengths[:, None]
        groups = -(-frames.shape[1] // self.reduction)
        state, context = memory.new_zeros(rows, self.size), torch.zeros_like(memory[:, 0])
        before, said, looked = memory.new_zeros(rows, self.mels), [], []
        for i in range(groups):
            x = torch.cat([self.frame_prenet(before), context], 1)
            state = self.look.rnn(x, state)
            weights = self.look.attention(state, memory, mask)
            context = (weights[..., None] * memory).sum(1)
            said.append(torch.cat([state, context], 1))
            looked.append(weights)
            before = frames[:, min((i + 1) * self.reduction, frames.shape[1]) - 1]
        y = self.join(torch.stack(said, 1))
        for layer in self.rnn:
            y = y + layer(y)[0]
        mel = self.frames(y).reshape(rows, groups * self.reduction, self.mels)
        counts = -(-frame_lengths // self.reduction) * self.reduction
        spectrum = self.out(self.postnet(rows_of(mel, counts), mel.shape[1]))
        return mel, self.stop(y)[..., 0], torch.stack(looked, 1), spectrum


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('recogniser', 'torch'): Recogniser,
    ('word_rnn', 'torch'): WordRNN,
    ('word_cnn', 'torch'): WordCNN,
    ('tacotron', 'torch'): Tacotron,
}
