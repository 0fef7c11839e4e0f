"""DQN on Gymnasium's CartPole in PyTorch, which plays when told to; see `experiments.dqn_speed`.

    python _dqn_in_torch.py HIDDEN HIDDEN BATCH PER_STEP COPY_EVERY REPLAY RATE

prints the number of parameters, and for each number of moves that it reads the seconds they took.
The loop is of the usual kind: one move at a time, a batch from a ring of numpy arrays now and then.
"""

import sys
import time
from collections.abc import Iterator

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Ring:
    """The latest transitions, drawn with replacement."""

    def __init__(self, capacity: int) -> None:
        self.obs = np.zeros((capacity, 4), np.float32)
        self.following = np.zeros((capacity, 4), np.float32)
        self.actions = np.zeros((capacity, 1), np.int64)
        self.rewards = np.zeros(capacity, np.float32)
        self.ends = np.zeros(capacity, np.float32)
        self.position, self.size = 0, 0

    def add(
        self, obs: np.ndarray, following: np.ndarray, action: int, reward: float, ends: bool
    ) -> None:
        """Remember one, in the place of the oldest."""
        at = self.position
        self.obs[at], self.following[at] = obs, following
        self.actions[at], self.rewards[at], self.ends[at] = action, reward, ends
        self.position = (at + 1) % len(self.obs)
        self.size = min(self.size + 1, len(self.obs))

    def draw(self, rng: np.random.Generator, batch: int) -> list[torch.Tensor]:
        """A batch of every column."""
        at = rng.integers(self.size, size=batch)
        columns = self.obs, self.following, self.actions, self.rewards, self.ends
        return [torch.from_numpy(column[at]) for column in columns]


def perceptron(*hidden: int) -> nn.Module:
    """From 4 numbers to the values of 2 actions."""
    sizes = (4, *hidden)
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 2))


def main(*words: str) -> None:
    """Play and learn, so many moves at a time."""
    *hidden, batch, per_step, copy_every, capacity = map(int, words[:-1])
    q, target = perceptron(*hidden), perceptron(*hidden)
    target.load_state_dict(q.state_dict())
    opt = torch.optim.Adam(q.parameters(), lr=float(words[-1]))
    print(sum(p.numel() for p in q.parameters()), flush=True)
    playing = play(q, target, opt, Ring(capacity), batch, per_step, copy_every)
    for line in sys.stdin:
        begun = time.perf_counter()
        for _ in range(int(line)):
            next(playing)
        print(time.perf_counter() - begun, flush=True)


def play(
    q: nn.Module,
    target: nn.Module,
    opt: torch.optim.Optimizer,
    ring: Ring,
    batch: int,
    per_step: int,
    copy_every: int,
) -> Iterator[None]:
    """Moves without end; after every `per_step` of them a step of learning."""
    env, rng, moves, steps = gymnasium.make('CartPole-v1'), np.random.default_rng(0), 0, 0
    obs, _ = env.reset(seed=0)
    while True:
        if rng.random() < 0.1:
            action = int(rng.integers(2))
        else:
            with torch.no_grad():
                action = int(q(torch.from_numpy(obs)[None]).argmax(1))
        following, reward, terminal, truncated, _ = env.step(action)
        ring.add(obs, following, action, float(reward), terminal)
        obs = env.reset()[0] if terminal or truncated else following
        moves += 1
        if moves % per_step == 0 and ring.size >= batch:
            seen, after, taken, rewards, ends = ring.draw(rng, batch)
            with torch.no_grad():
                aims = rewards + 0.99 * (1 - ends) * target(after).max(1).values
            loss = functional.huber_loss(q(seen).gather(1, taken)[:, 0], aims)
            opt.zero_grad()
            loss.backward()
            opt.step()
            steps += 1
            if steps % copy_every == 0:
                target.load_state_dict(q.state_dict())
        yield


if __name__ == '__main__':
    main(*sys.argv[1:])
