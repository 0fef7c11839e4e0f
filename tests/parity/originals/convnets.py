"""The tutorial CNN, AlexNet, VGG and Inception."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class CNN(nn.Module):
    """Two stages of convolution and pooling."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * 8 * 8, 256)
        self.fc2 = nn.Linear(256, classes)

    def forward(self, x: Any) -> Any:
        """[B, 3, 32, 32] -> logits."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def response_norm() -> nn.Module:
    """Section 3.3 of the AlexNet paper: PyTorch divides alpha by the size."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2)


class AlexNet(nn.Module):
    """The network of 2012, on 227x227."""

    def __init__(self, classes: int = 1000, hidden: int = 4096):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(256 * 6 * 6, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)
        self.norm, self.pool = response_norm(), nn.MaxPool2d(3, 2)

    def forward(self, x: Any) -> Any:
        """[B, 3, H, W] -> logits."""
        x = self.pool(self.norm(F.relu(self.conv1(x))))
        x = self.pool(self.norm(F.relu(self.conv2(x))))
        x = F.relu(self.conv4(F.relu(self.conv3(x))))
        x = F.adaptive_avg_pool2d(self.pool(F.relu(self.conv5(x))), 6).flatten(1)
        return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))


class Unit(nn.Module):
    """A convolution with biases, and its ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, **options: Any):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, **options)

    def forward(self, x: Any) -> Any:
        """[B, I, H, W] -> [B, O, H', W']."""
        return F.relu(self.conv(x))


class Inception(nn.Module):
    """Figure 2(b) of the GoogLeNet paper."""

    def __init__(self, inputs: int, *widths: int):
        super().__init__()
        one, reduce3, three, reduce5, five, project = widths
        self.conv1x1 = Unit(inputs, one)
        self.reduce3x3 = Unit(inputs, reduce3)
        self.conv3x3 = Unit(reduce3, three, 3, padding=1)
        self.reduce5x5 = Unit(inputs, reduce5)
        self.conv5x5 = Unit(reduce5, five, 5, padding=2)
        self.project = Unit(inputs, project)

    def forward(self, x: Any) -> Any:
        """Concatenates the branches."""
        three, five = self.conv3x3(self.reduce3x3(x)), self.conv5x5(self.reduce5x5(x))
        pooled = self.project(F.max_pool2d(x, 3, stride=1, padding=1))
        return torch.cat([self.conv1x1(x), three, five, pooled], 1)


class Head(nn.Module):
    """An auxiliary classifier: only its names and shapes are compared."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.conv = Unit(inputs, 128)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, classes)


class GoogLeNet(nn.Module):
    """Table 1 and figure 3 of the GoogLeNet paper."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        self.conv1 = Unit(3, 64, 7, stride=2, padding=3)
        self.conv2, self.conv3 = Unit(64, 64), Unit(64, 192, 3, padding=1)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1, self.aux2 = Head(512, classes), Head(528, classes)
        self.fc = nn.Linear(1024, classes)
        self.norm, self.pool = response_norm(), nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x: Any) -> Any:
        """[B, 3, H, W] -> logits."""
        x = self.norm(self.pool(self.conv1(x)))
        x = self.pool(self.norm(self.conv3(self.conv2(x))))
        x = self.pool(self.inception3b(self.inception3a(x)))
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = self.pool(self.inception4e(self.inception4d(x)))
        return self.fc(self.inception5b(self.inception5a(x)).mean((2, 3)))


def torchvision(name: str, *, widths: Callable[..., Any] = lambda model, hidden: None) -> Any:
    """A torchvision network; `widths` replaces what it has no argument for."""

    def make(classes: int = 1000, hidden: int = 4096) -> Any:
        from torchvision import models

        options = {'init_weights': False} if name in ('googlenet', 'inception_v3') else {}
        model = models.get_model(name, weights=None, num_classes=classes, **options)
        if hidden != 4096:
            widths(model, hidden)
        return model

    return make


def dense(*positions: int) -> Callable[..., None]:
    """Other widths of the hidden dense layers, which stand at `positions` of the classifier."""

    def widths(model: Any, hidden: int) -> None:
        first, second, last = (model.classifier[i] for i in positions)
        model.classifier[positions[0]] = nn.Linear(first.in_features, hidden)
        model.classifier[positions[1]] = nn.Linear(hidden, hidden)
        model.classifier[positions[2]] = nn.Linear(hidden, last.out_features)

    return widths


def keras_vgg16(classes: int = 1000) -> Any:
    """Keras' VGG16 without its softmax."""
    import keras

    options = {'classes': classes, 'classifier_activation': None}
    return keras.applications.VGG16(weights=None, **options)


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('cnn', 'torch'): CNN,
    ('alexnet', 'torchvision'): torchvision('alexnet', widths=dense(1, 4, 6)),
    ('alexnet2012', 'torch'): AlexNet,
    **{
        (f'vgg{n}{bn}', 'torchvision'): torchvision(f'vgg{n}{bn}', widths=dense(0, 3, 6))
        for n in (11, 13, 16, 19)
        for bn in ('', '_bn')
    },
    ('vgg16', 'keras'): keras_vgg16,
    ('googlenet', 'torchvision'): torchvision('googlenet'),
    ('googlenet2014', 'torch'): GoogLeNet,
    ('inception_v3', 'torchvision'): torchvision('inception_v3'),
}
