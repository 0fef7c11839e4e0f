"""Networks of action values, as plain PyTorch has them."""

from typing import Any

from torch import nn


def convolutions() -> list[nn.Module]:
    """Those of DQN, and the flattening."""
    return [
        *(nn.Conv2d(4, 32, 8, stride=4), nn.ReLU()),
        *(nn.Conv2d(32, 64, 4, stride=2), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, stride=1), nn.ReLU(), nn.Flatten()),
    ]


class NatureDQN(nn.Module):
    """In the layout of cleanrl's `QNetwork` for Atari."""

    def __init__(self, actions: int = 6):
        super().__init__()
        head = (nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, actions))
        self.network = nn.Sequential(*convolutions(), *head)

    def forward(self, x: Any) -> Any:
        """[B, 4, 84, 84] -> action values."""
        return self.network(x / 255.0)


class Dueling(nn.Module):
    """Two streams on the same convolutions."""

    def __init__(self, actions: int = 6):
        super().__init__()
        self.trunk = nn.Sequential(*convolutions())
        self.value = nn.Sequential(nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 1))
        self.advantage = nn.Sequential(nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, actions))

    def forward(self, x: Any) -> Any:
        """[B, 4, 84, 84] -> action values."""
        seen = self.trunk(x / 255.0)
        advantage = self.advantage(seen)
        return self.value(seen) + (advantage - advantage.mean(1, keepdim=True))


ORIGINALS = {('nature_dqn', 'cleanrl'): NatureDQN, ('nature_dueling', 'torch'): Dueling}
