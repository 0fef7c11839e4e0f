"""The networks of `experiments.throughput` in PyTorch, and a program that trains one of them.

    python _in_torch.py NETWORK BATCH RATE [compiled] [memory_kept] [channels_last]

prints the number of parameters, and for each number of steps that it reads the seconds they took.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional


def main(network: str, batch: str, lr: str, *options: str, trainer: Any = None) -> None:
    """Train when told to, with what torch.compile makes of the network or not.

    trainer: see `network_trainer`, which it is if none is given.
    """
    if 'memory_kept' in options:
        from jaxdl.run.machine import tune_memory

        tune_memory()
    make = trainer or network_trainer
    asked = {'compiled': 'compiled' in options, 'last': 'channels_last' in options}
    train, parameters = make(network, int(batch), lr=float(lr), **asked)
    print(parameters, flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        train(int(line))
        print(time.perf_counter() - begun, flush=True)


def network_trainer(
    network: str, batch: int, *, compiled: bool, lr: float, last: bool = False
) -> tuple[Callable[[int], None], int]:
    """A function that trains for n steps and waits for them, and the number of parameters.

    last: images lie in memory with their channels last, as on a GPU they do anyway.
    """
    make, row = NETWORKS[network]
    gpu = torch.cuda.is_available()
    half = gpu and not isinstance(row, Papers)  # there are no sparse products in bfloat16
    device = 'cuda' if gpu else 'cpu'
    layout = torch.channels_last if gpu or last else torch.contiguous_format
    model: Any = make().to(device, memory_format=layout)
    if isinstance(row, Papers):
        x, y = row.drawn(device)
    elif isinstance(row, Text):
        x = torch.randint(row.words, (batch, row.tokens), device=device)
        y = torch.randint(row.words, (batch * row.tokens,), device=device)
    else:
        x = torch.randn(batch, *row, device=device).contiguous(memory_format=layout)
        with torch.no_grad():
            shape = model(x).shape
        y = torch.randint(shape[1], (batch, *shape[2:]), device=device)
    opt = torch.optim.AdamW(model.parameters(), lr, weight_decay=1e-4, fused=gpu)  # optax's decay
    forward = torch.compile(model) if compiled else model

    def train(steps: int) -> None:
        for _ in range(steps):
            opt.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=half):
                loss = functional.cross_entropy(forward(x), y)
            loss.backward()
            opt.step()
        loss.item()

    # nn.LSTM has a second bias beside each, to no purpose but cuDNN's.
    sizes = (p.numel() for name, p in model.named_parameters() if 'bias_hh' not in name)
    return train, sum(sizes)


def cnn() -> nn.Module:
    """`jaxdl.models.cnn.CNN` on 64x64x3."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(64 * 16 * 16, 256), nn.ReLU(), nn.Linear(256, 10)),
    )


def lenet() -> nn.Module:
    """`jaxdl.models.lenet.LeNet` on 28x28x1."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def conv_norm(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """A convolution of odd kernel, zero padded, and its norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Block(nn.Module):
    """ResNet's basic block."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        first, second = conv_norm(inputs, width, stride=stride), conv_norm(width, width)
        self.residual = nn.Sequential(*first, nn.ReLU(inplace=True), *second)
        same = stride == 1 and inputs == width
        self.shortcut = nn.Sequential(
            *([] if same else conv_norm(inputs, width, kernel=1, stride=stride))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, width, H / stride, W / stride]."""
        return functional.relu(self.residual(x) + self.shortcut(x), inplace=True)


def resnet18() -> nn.Module:
    """ResNet-18 with CIFAR's stem."""
    layers, inputs = [*conv_norm(3, 64), nn.ReLU(inplace=True)], 64
    for i, width in enumerate((64, 128, 256, 512)):
        layers += [Block(inputs, width, 2 if i else 1), Block(width, width, 1)]
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


class UNet(nn.Module):
    """`jaxdl.models.unet.UNet(base=32, depth=4)` on one channel."""

    def __init__(self, base: int = 32, depth: int = 4) -> None:
        super().__init__()
        widths = [base << i for i in range(depth + 1)]
        pairs = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(map(double, [1, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs))
        self.merge = nn.ModuleList(double(2 * a, a) for a, _ in reversed(pairs))
        self.out = nn.Conv2d(base, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 1, H, W] -> logits [B, 2, H, W]."""
        skips: list[torch.Tensor] = []
        for i, down in enumerate(self.down):
            x = down(functional.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat((skip, up(x)), 1))
        return self.out(x)


def double(inputs: int, width: int) -> nn.Module:
    """Twice a convolution, its norm and ReLU."""
    relu = nn.ReLU(inplace=True)
    return nn.Sequential(*conv_norm(inputs, width), relu, *conv_norm(width, width), relu)


class Encoder(nn.Module):
    """A block of a Transformer, with PyTorch's fused attention.

    causal: whether a token sees only those before it. post: whether norms follow, as BERT has it.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        epsilon: float = 1e-6,
        gelu: str = 'none',
        causal: bool = False,
        post: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.causal, self.post = heads, causal, post
        self.norms = nn.ModuleList(nn.LayerNorm(width, epsilon) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        hidden = 4 * width
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(gelu), nn.Linear(hidden, width))

    def attend(self, z: torch.Tensor) -> torch.Tensor:
        """[B, T, width] -> [B, T, width]."""
        batch, tokens, width = z.shape
        q, k, v = self.qkv(z).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(attended.transpose(1, 2).reshape(batch, tokens, width))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """[B, T, width] -> [B, T, width]."""
        first, second = self.norms
        if self.post:
            z = first(z + self.attend(z))
            return second(z + self.mlp(z))
        z = z + self.attend(first(z))
        return z + self.mlp(second(z))


class ViT(nn.Module):
    """`jaxdl.models.vit.ViT(width=384, depth=6, heads=6, mlp=1536, patch=4)` on 64x64x3."""

    def __init__(self, width: int = 384, depth: int = 6, heads: int = 6) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 257, width))
        self.blocks = nn.Sequential(*(Encoder(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, 1e-6), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, 64, 64] -> logits [B, 10]."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        z = torch.cat((self.token.expand(len(x), -1, -1), x), 1) + self.positions
        return self.head(self.norm(self.blocks(z))[:, 0])


class LSTM(nn.Module):
    """`jaxdl.models.rnn.LanguageModel(65, units=(256, 256))`."""

    def __init__(self, words: int = 65, embedding: int = 128, units: int = 256) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, embedding)
        self.rnn = nn.LSTM(embedding, units, 2, batch_first=True)
        self.out = nn.Linear(units, words)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, T] -> logits [B T, words]."""
        return self.out(self.rnn(self.embed(tokens))[0]).flatten(0, 1)


class GPT(nn.Module):
    """`jaxdl.models.gpt.GPT`, whose embeddings are its output's weights too."""

    def __init__(self, words: int, context: int, *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(words, width), nn.Embedding(context, width)
        block = partial(Encoder, width, heads, epsilon=1e-5, gelu='tanh', causal=True)
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, T] -> logits [B T, words]."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        z = self.norm(self.blocks(self.words(tokens) + self.positions(places)))
        return functional.linear(z, self.words.weight).flatten(0, 1)


class BERT(nn.Module):
    """`jaxdl.models.bert.PreTraining` of 4 layers and width 256, without its next sentence."""

    def __init__(self, words: int = 8000, width: int = 256, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(words, width), nn.Embedding(128, width)
        self.kinds, self.norm = nn.Embedding(2, width), nn.LayerNorm(width, 1e-12)
        block = partial(Encoder, width, heads, epsilon=1e-12, post=True)
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))
        norm = nn.LayerNorm(width, 1e-12)
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), norm)
        self.bias = nn.Parameter(torch.zeros(words))
        self.pooler, self.follows = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, T] -> logits [B T, words]."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        z = self.words(tokens) + self.positions(places) + self.kinds(torch.zeros_like(tokens))
        z = self.transform(self.blocks(self.norm(z)))
        return functional.linear(z, self.words.weight, self.bias).flatten(0, 1)


class Papers(NamedTuple):
    """A graph of papers, as `experiments.throughput.Papers`."""

    nodes: int = 2708
    pairs: int = 5278
    words: int = 1433
    used: int = 49_216
    labelled: int = 140

    def drawn(self, device: str) -> tuple[Any, torch.Tensor]:
        """(words and the normalised adjacency as sparse matrices), and labels, most unknown."""
        ends = torch.randint(self.nodes, (2, self.pairs), device=device)
        own = torch.arange(self.nodes, device=device).expand(2, -1)
        edges = torch.unique(torch.cat((ends, ends.flip(0), own), 1), dim=1)
        root = torch.bincount(edges[1], minlength=self.nodes) ** -0.5
        shape = (self.nodes, self.nodes)
        adjacency = torch.sparse_coo_tensor(edges, root[edges].prod(0), shape).coalesce()
        rows = torch.randint(self.nodes, (self.used,), device=device)
        columns = torch.randint(self.words, (self.used,), device=device)
        values = torch.rand(self.used, device=device)
        places = torch.stack((rows, columns))
        words = torch.sparse_coo_tensor(places, values, (self.nodes, self.words)).coalesce()
        y = torch.randint(7, (self.nodes,), device=device)
        y[self.labelled :] = -100  # what cross_entropy leaves out
        return (words, adjacency), y


class GCN(nn.Module):
    """`jaxdl.models.gcn.GCN((16, 7))` on sparse features."""

    def __init__(self, words: int = 1433, units: int = 16, classes: int = 7) -> None:
        super().__init__()
        shapes = (words, units), (units, classes)
        self.weights = nn.ParameterList(
            nn.init.xavier_uniform_(torch.empty(*shape)) for shape in shapes
        )

    def forward(self, x: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Sparse words [N, words] and adjacency [N, N] -> logits [N, classes]."""
        words, adjacency = x
        # Dropout of the entries alone, as in the first layer of ours.
        values = functional.dropout(words.values(), 0.5, self.training)
        words = torch.sparse_coo_tensor(
            words.indices(), values, words.shape, is_coalesced=True, check_invariants=False
        )
        first, second = self.weights
        h = torch.sparse.mm(adjacency, torch.sparse.mm(words, first))
        h = functional.dropout(functional.relu(h), 0.5, self.training)
        return torch.sparse.mm(adjacency, h @ second)


class Text(NamedTuple):
    """Rows of tokens, numbers below `words`."""

    tokens: int
    words: int


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int] | Text | Papers]] = {
    'cnn': (cnn, (3, 64, 64)),
    'resnet18': (resnet18, (3, 32, 32)),
    'unet': (UNet, (1, 128, 128)),
    'vit': (ViT, (3, 64, 64)),
    'lenet': (lenet, (1, 28, 28)),
    'lstm': (LSTM, Text(128, 65)),
    'gpt': (partial(GPT, 65, 64, width=128, depth=4, heads=4), Text(64, 65)),
    'gpt_wide': (partial(GPT, 65, 256, width=384, depth=6, heads=6), Text(256, 65)),
    'bert': (BERT, Text(128, 8000)),
    'gcn': (GCN, Papers()),
}

if __name__ == '__main__':
    main(*sys.argv[1:])
