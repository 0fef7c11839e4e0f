"""Forecasters on [B, T, C], and a network of videos on [B, T, H, W, C]."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pack_padded_sequence

from originals.language import waves


class DLinear(nn.Module):
    """Section 4 of Zeng et al. 2023: a moving average, what is left of it, a product of each."""

    def __init__(self, past: int = 336, future: int = 96, average: int = 25):
        super().__init__()
        self.average = average
        self.Linear_Seasonal = nn.Linear(past, future)
        self.Linear_Trend = nn.Linear(past, future)

    def forward(self, x: Any) -> Any:
        """[B, T, C] -> [B, H, C]."""
        x = x.transpose(1, 2)
        before = (self.average - 1) // 2
        padded = F.pad(x, (before, self.average - 1 - before), mode='replicate')
        trend = padded.unfold(2, self.average, 1).mean(-1)
        return (self.Linear_Seasonal(x - trend) + self.Linear_Trend(trend)).transpose(1, 2)


class NLinear(nn.Module):
    """The same section: a product of the differences from the last value."""

    def __init__(self, past: int = 336, future: int = 96):
        super().__init__()
        self.Linear = nn.Linear(past, future)

    def forward(self, x: Any) -> Any:
        """[B, T, C] -> [B, H, C]."""
        last = x[:, -1:].detach()
        return self.Linear((x - last).transpose(1, 2)).transpose(1, 2) + last


class Recurrent(nn.Module):
    """PyTorch's layers, and a linear one on the last layer's last state."""

    def __init__(
        self,
        make: type[nn.RNNBase],
        future: int = 96,
        features: int = 7,
        units: int = 64,
        layers: int = 1,
    ):
        super().__init__()
        self.rnn = make(features, units, layers, batch_first=True)
        self.out = nn.Linear(units, future * features)

    def forward(self, x: Any) -> Any:
        """[B, T, C] -> [B, H, C]."""
        ys, _ = self.rnn(x)
        return self.out(ys[:, -1]).unflatten(1, (-1, x.shape[2]))


class Transformer(nn.Module):
    """PyTorch's encoder, its norms first, and a linear layer on its last step."""

    def __init__(
        self,
        future: int = 96,
        features: int = 7,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        mlp: int = 128,
    ):
        super().__init__()
        self.embed = nn.Linear(features, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, mlp, dropout=0.0, batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(width)
        self.encoder = nn.TransformerEncoder(layer, depth, norm=norm, enable_nested_tensor=False)
        self.out = nn.Linear(width, future * features)

    def forward(self, x: Any) -> Any:
        """[B, T, C] -> [B, H, C]."""
        z = self.embed(x)
        z = self.encoder(z + waves(*z.shape[1:]).to(z.dtype))
        return self.out(z[:, -1]).unflatten(1, (-1, x.shape[2]))


class Trunk(nn.Module):
    """Two 3x3 convolutions with pooling, and a linear layer."""

    def __init__(self, rows: int, columns: int, features: int, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(1, features // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(features // 2, features, 3, padding=1)
        self.fc = nn.Linear(features * (rows // 4) * (columns // 4), width)

    def forward(self, x: Any) -> Any:
        """[N, 1, H, W] -> [N, width]."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.relu(self.fc(x.flatten(1)))


class Frames(nn.Module):
    """An LSTM over what the trunk makes of each frame that counts."""

    def __init__(
        self,
        classes: int = 10,
        rows: int = 16,
        columns: int = 16,
        features: int = 32,
        width: int = 64,
        units: int = 64,
    ):
        super().__init__()
        self.trunk = Trunk(rows, columns, features, width)
        self.rnn = nn.LSTM(width, units, batch_first=True)
        self.out = nn.Linear(units, classes)

    def forward(self, x: Any, lengths: Any) -> Any:
        """[B, T, H, W, 1] -> logits."""
        frames = [self.trunk(x[:, t].permute(0, 3, 1, 2)) for t in range(x.shape[1])]
        rows = torch.stack(frames, dim=1)
        packed = pack_padded_sequence(rows, lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.rnn(packed)
        return self.out(last[0])


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('dlinear', 'torch'): DLinear,
    ('nlinear', 'torch'): NLinear,
    ('lstm_forecaster', 'torch'): lambda **sizes: Recurrent(nn.LSTM, **sizes),
    ('gru_forecaster', 'torch'): lambda **sizes: Recurrent(nn.GRU, **sizes),
    ('transformer_forecaster', 'torch'): Transformer,
    ('frame_lstm', 'torch'): Frames,
}
