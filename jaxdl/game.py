"""Players and games: almost every objective is a set of networks that each descend a loss.

Supervised learning is a game of one, a GAN of two, CycleGAN of four; DQN and BYOL are a player
with a shadow. Only player n's parameters are differentiated in n's loss, so a min-max game needs
no masks and no optimizer index.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.custom_batching import custom_vmap

from jaxdl.blame import at
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.metrics import Mean, Metric, check_metrics
from jaxdl.micro_batches import asked, cut, dividing_by, wholes
from jaxdl.net import Net
from jaxdl.task import Batch, Method, Metrics, State, Task

Nets = Mapping[str, Net]
Loss = Callable[[Nets, Batch, Key], tuple[jax.Array, tuple[Nets, Metrics]]]


class Shadow(NamedTuple):
    """A slow copy of a net: `follow(shadow, net, turn) -> shadow` runs after turn 1, 2, ..."""

    follow: Callable[[Net, Net, jax.Array], Net]


def ema(decay: float | Callable[[jax.Array], jax.Array]) -> Shadow:
    """Exponential moving average, s <- decay * s + (1 - decay) * net; memory is copied.

    decay: a number, or a schedule: decay(turn) after turn 1, 2, ...
    """

    def follow(shadow: Net, net: Net, turn: jax.Array) -> Net:
        now: float | jax.Array = decay(turn) if callable(decay) else decay
        params = optax.incremental_update(net.params, shadow.params, 1 - now)
        return shadow.replace(params=params, memory=net.memory)

    return Shadow(follow)


def periodic_copy(every: int) -> Shadow:
    """The net at the last multiple of `every` turns: the target network of Mnih et al. 2015."""

    def follow(shadow: Net, net: Net, turn: jax.Array) -> Net:
        old, new = (shadow.params, shadow.memory), (net.params, net.memory)
        params, memory = optax.periodic_update(new, old, turn, every)
        return shadow.replace(params=params, memory=memory)

    return Shadow(follow)


class Lazy(NamedTuple):
    """One more move, down a loss of its own, after every `every`-th turn of a player.

    What is dear and may be rare: StyleGAN2's penalties (Karras et al. 2020, section 4.1). The move
    is made by the player's own optimizer, which so makes every + 1 moves in `every` turns (see
    `jaxdl.optim.lazy_adam`). Where no move is made none is computed, and its metrics weigh nothing.
    """

    loss: Loss
    every: int


class Player(NamedTuple):
    """A network, the loss it descends, and how it moves.

    module: the network.
    loss(nets, batch, key) -> (scalar, (nets, metrics)): nets as they have become (see `Net`).
        None: a judge or a teacher, which others look at and which never moves.
    opt: any optax transformation: schedules, clipping, decay and freezing live there. None for a
        player without a loss.
    inputs(batch) -> tuple: what the module sees at initialisation.
    turns: turns per step. The batch then holds max(turns) minibatches, one for each turn.
    accumulate: micro-batches per turn, whose gradients are averaged before the one update as those
        of the whole batch, see `jaxdl.micro_batches`. A run may ask for another number.
    shadow: a slow copy, seen in losses and measures as ``nets[name].shadow``.
    lazy: a second loss, descended now and then, after the turn and before the shadow follows.
    memory: arrays that its losses keep from turn to turn, beside the module's own memory and as a
        collection of it: ``{'path': {'length': 0.0}}``. A loss returns the net that has the new.
    """

    module: nn.Module
    loss: Loss | None
    opt: optax.GradientTransformation | None
    inputs: Callable[[Batch], tuple[Any, ...]]
    turns: int = 1
    accumulate: int = 1
    shadow: Shadow | None = None
    lazy: Lazy | None = None
    memory: Mapping[str, Any] = MappingProxyType({})


class Seat(NamedTuple):
    """One player's state in a game: its net, its optimizer's state, and its turns so far."""

    net: Net
    opt: Any
    turn: jax.Array


def game(players: Mapping[str, Player], measure: Callable[[Nets, Batch, Key], Metrics]) -> Task:
    """A task in which every player takes its turns, in the order of the mapping.

    The state is {player: Seat}. Training metrics are the players' own plus their 'loss'; where
    several players move each name is prefixed, 'critic/loss'.
    Raises ValueError where a player has a loss and no optimizer, or the other way round.
    """
    if not isinstance(players, Mapping):
        raise UsageError(f'game: the players are {_told(players)}, and must be a mapping by name')
    for name, player in players.items():
        _check_player(f'player {name!r}', player)
        if (player.loss is None) != (player.opt is None):
            raise ValueError(f'player {name!r} needs a loss and an optimizer, or neither')
    moving = {name: player for name, player in players.items() if player.loss}
    minibatches = max([1, *(player.turns for player in moving.values())])

    def init(key: Key, batch: Batch) -> State:
        return {name: _sit(p, key_for(key, name), batch) for name, p in players.items()}

    def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
        parts = _split(batch, minibatches, f'turns={minibatches}')
        total: dict[str, Metric] = {}
        for name, player in moving.items():
            prefix = f'{name}/' if len(moving) > 1 else ''
            # Unrolled, not a scan: what stands in a while loop loses its threads in XLA:CPU.
            for turn in range(player.turns):
                turn_key = jax.random.fold_in(key_for(key, name), turn)
                state, metrics = _turn(name, player, turn_key, state, parts[turn])
                for kind, metric in metrics.items():
                    label = prefix + kind
                    total[label] = total[label] + metric if label in total else metric
        return state, total

    def nets_of(state: State) -> Nets:
        return {name: seat.net for name, seat in state.items()}

    def measure_nets(key: Key, state: State, batch: Batch) -> Metrics:
        return measure(nets_of(state), batch, key)

    return Task(init, step, measure_nets, nets_of, method=Method(players))


def supervised(
    module: nn.Module,
    loss: Callable[[Net, Batch, Key], tuple[jax.Array, tuple[Net, Metrics]]],
    opt: optax.GradientTransformation,
    measure: Callable[[Net, Batch, Key], Metrics],
    *,
    inputs: Callable[[Batch], tuple[Any, ...]] = lambda batch: (batch['x'],),
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """A game of one, whose loss and measure see the net itself instead of a mapping."""

    def game_loss(nets: Nets, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Nets, Metrics]]:
        returned = loss(nets['net'], batch, key)
        what = at('the loss', loss)
        value, net, metrics = _returned(returned, 'net', what)
        if not isinstance(net, Net):
            raise UsageError(f'{what}: it returns {_told(net)} for the net')
        return value, ({'net': net}, metrics)

    player = Player(module, game_loss, opt, inputs, accumulate=accumulate, shadow=shadow)
    return game({'net': player}, lambda nets, batch, key: measure(nets['net'], batch, key))


def _check_player(what: str, player: Player) -> None:
    """Raise UsageError where a field of a player is of the wrong kind."""
    if not isinstance(player, Player):
        raise UsageError(f'{what}: {player!r:.80} is no Player')
    module: Any = player.module
    if not isinstance(module, nn.Module):
        made = f'; make one: {module.__name__}(...)' if isinstance(module, type) else ''
        raise UsageError(f'{what}: {module!r:.80} is no module{made}')
    opt: Any = player.opt
    if opt is not None and not callable(getattr(opt, 'update', None)):
        raise UsageError(
            f'{what}: {opt!r:.80} is no optimizer; optax.adam(1e-3), for example, makes one'
        )
    if player.shadow is not None and not isinstance(player.shadow, Shadow):
        raise UsageError(f'{what}: {player.shadow!r:.80} is no Shadow; ema(0.999) makes one')
    for name, least in (('turns', 0), ('accumulate', 1)):
        count = getattr(player, name)
        _check_count(f'{what}: {name}', count, least)
    if player.lazy is not None:
        if not isinstance(player.lazy, Lazy):
            raise UsageError(f'{what}: {player.lazy!r:.80} is no Lazy; Lazy(loss, every=16) is one')
        if player.loss is None:
            raise UsageError(f'{what}: it has a lazy loss and no loss')
        _check_count(f'{what}: every', player.lazy.every, 1)


def _check_count(what: str, count: Any, least: int) -> None:
    if isinstance(count, bool) or not hasattr(count, '__index__') or count < least:
        raise UsageError(f'{what} is {count!r:.80}; it must be a whole number, at least {least}')


def beside(
    task: Task,
    players: Mapping[str, Player],
    *,
    make: Callable[[Nets, Batch, Key], Batch] | None = None,
) -> Task:
    """The same game with players beside it that have no loss and never move.

    They hand networks through a phase: several phases that each start from one pre-trained network,
    and none from what the phase before made of it, take it from here (see `graft`, ``nets=``). Or
    they make what is learned from.

    make(nets, batch, key) -> batch of the same shapes: what the game trains on, of the batch and
        the nets of these players, such as samples of a generator that is trained already. What is
        measured is the batch as it is.

    Raises UsageError where one of them is in the game already, or has a loss.
    """
    for name, player in players.items():
        _check_player(f'player {name!r}', player)
        if player.loss is not None or player.opt is not None:
            raise UsageError(f'beside: player {name!r} has a loss or an optimizer, and would move')

    def init(key: Key, batch: Batch) -> State:
        own = task.init(key, batch)
        for name in players:
            if not isinstance(own, Mapping) or name in own:
                raise UsageError(f'beside: {name!r} is in the game already, or there is no game')
        return {**own, **{name: _sit(p, key_for(key, name), batch) for name, p in players.items()}}

    def game_of(state: State) -> State:
        return {name: seat for name, seat in state.items() if name not in players}

    def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
        if make is not None:
            nets = {name: state[name].net for name in players}
            batch = make(nets, batch, key_for(key, 'make'))
        own, metrics = task.step(key, game_of(state), batch)
        return {**state, **own}, metrics

    return task._replace(
        init=init,
        step=step,
        measure=lambda key, state, batch: task.measure(key, game_of(state), batch),
        nets=lambda state: {name: seat.net for name, seat in state.items()},
        method=task.method._replace(players={**task.method.players, **players}),
    )


def _sit(player: Player, key: Key, batch: Batch) -> Seat:
    net = Net.init(player.module, key, *player.inputs(batch))
    if taken := sorted({*player.memory} & {'params', *net.memory}):
        raise UsageError(f'memory: the module has {taken[0]!r} of its own; take another name')
    net = net.replace(memory={**net.memory, **jax.tree.map(jnp.asarray, dict(player.memory))})
    if player.opt is None:
        return Seat(net.replace(frozen=True), (), jnp.int32(0))
    opt = player.opt.init(net.params)
    if player.shadow:
        # A copy: the state is donated, and a buffer may be donated only once.
        net = net.replace(shadow=jax.tree.map(jnp.copy, net))
    return Seat(net, opt, jnp.int32(0))


def _turn(
    name: str, player: Player, key: Key, state: State, batch: Batch
) -> tuple[State, dict[str, Metric]]:
    assert player.loss is not None
    seat, metrics = _descended(name, player, player.loss, key, state, batch)
    if player.lazy is not None:
        key = key_for(key, 'lazy')
        seat, more = _lazily(name, player, player.lazy, key, {**state, name: seat}, batch)
        if twice := sorted({*metrics} & {*more}):
            raise UsageError(f'player {name!r}: both of its losses measure {twice[0]!r}')
        metrics = {**metrics, **more}
    return {**state, name: follow(player, seat)}, metrics


def _descended(
    name: str, player: Player, descended: Loss, key: Key, state: State, batch: Batch
) -> tuple[Seat, dict[str, Metric]]:
    """The seat after one move down a loss."""
    seat: Seat = state[name]

    def objective(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        nets = {other: seat.net for other, seat in state.items()} | {name: net}
        what = at(f'the loss of player {name!r}', descended)
        value, after, metrics = _returned(descended(nets, batch, key), 'nets', what)
        if not isinstance(after, Mapping) or not isinstance(after.get(name), Net):
            raise UsageError(f'{what}: it returns {_told(after)} for the nets, by player')
        # Only this player's own memory: another's loss may look at a net, not move it.
        return value, (after[name], metrics)

    parts, why = asked(player.accumulate)
    if parts == 1:
        net, grads, metrics = _gradient(objective, seat.net, batch, key)
    else:
        net, grads, metrics = _accumulated(objective, seat.net, cut(batch, parts, what=why), key)
    return move(player, seat._replace(net=net), grads), metrics


# The scope of what is computed in one of n steps, which `jaxdl.engine.cost` counts as an nth.
ONE_IN = 'one_in_'


@custom_vmap
def _of_any_seed(due: jax.Array) -> jax.Array:
    """Whether it is due in any of the seeds that one program trains.

    They take their turns together, but under vmap each has a predicate of its own, and a cond of
    many predicates computes both of its branches.
    """
    return due


@_of_any_seed.def_vmap
def _(size: int, batched: list[bool], due: jax.Array) -> tuple[jax.Array, bool]:
    return due.any(), False


def _lazily(
    name: str, player: Player, lazy: Lazy, key: Key, state: State, batch: Batch
) -> tuple[Seat, dict[str, Metric]]:
    """The seat after the lazy move, if it is due, and what was measured; its loss is not."""
    before: Seat = state[name]
    due = (before.turn + 1) % lazy.every == 0

    def moved() -> tuple[Seat, dict[str, Metric]]:
        after, metrics = _descended(name, player, lazy.loss, key, state, batch)
        del metrics['loss']
        still = jax.tree.map(jnp.zeros_like, metrics)
        return jax.tree.map(
            lambda new, old: jnp.where(due, new, old), (after, metrics), (before, still)
        )

    measured = jax.eval_shape(moved)[1]

    def stayed() -> tuple[Seat, dict[str, Metric]]:
        return before, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), measured)

    with jax.named_scope(f'{ONE_IN}{lazy.every}'):
        return jax.lax.cond(_of_any_seed(due), moved, stayed)


def _returned(returned: Any, nets: str, what: str) -> tuple[jax.Array, Any, Metrics]:
    """The parts of what a loss returns. Raises UsageError where they are not as they must be.

    nets: what it calls the nets that it returns. what: the loss, for a person.
    """
    match returned:
        case (value, (after, metrics)) if not isinstance(after, jax.Array):
            pass
        case _:
            raise UsageError(
                f'{what}: it must return (loss, ({nets}, metrics)), not {_told(returned)}'
            )
    number = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.floating)
    if not number or value.shape:
        raise UsageError(f'{what}: it must be one number, float32[], not {_told(value)}')
    if not isinstance(metrics, Mapping):
        raise UsageError(f'{what}: its metrics are {_told(metrics)}, and must be a mapping')
    return value, after, check_metrics(what, metrics)


def _told(value: Any) -> str:
    """A value that is not what it should be, in short."""
    match value:
        case tuple() | list():
            inner = ', '.join(map(_told, value))
            return f'({inner})' if isinstance(value, tuple) else f'[{inner}]'
        case Mapping():
            return f'a mapping of {", ".join(map(str, value)) or "nothing"}'
        case jax.Array():
            return f'{value.dtype}{list(value.shape)}'
        case None | bool() | int() | float() | str():
            return f'{value!r:.40}'
    return f'a {type(value).__name__}'


def move(player: Player, seat: Seat, grads: Any) -> Seat:
    """The seat after its net has moved against `grads`; its turn is not over."""
    assert player.opt is not None
    updates, opt = player.opt.update(grads, seat.opt, seat.net.params)
    params = optax.apply_updates(seat.net.params, updates)
    return seat._replace(net=seat.net.replace(params=params), opt=opt)


def follow(player: Player, seat: Seat) -> Seat:
    """The seat at the end of its turn, after its shadow has followed."""
    net, turn = seat.net, seat.turn + 1
    if player.shadow and net.shadow:
        net = net.replace(shadow=player.shadow.follow(net.shadow, net, turn))
    return seat._replace(net=net, turn=turn)


Objective = Callable[[Net, Batch, Key], tuple[jax.Array, tuple[Net, Metrics]]]


def _gradient(
    objective: Objective, net: Net, batch: Batch, key: Key
) -> tuple[Net, Any, dict[str, Metric]]:
    """The net with its new memory, the gradient of an objective, and what was measured."""

    def of_params(params: Any) -> tuple[jax.Array, tuple[Net, Metrics]]:
        return objective(net.replace(params=params), batch, key)

    (value, (after, metrics)), grads = jax.value_and_grad(of_params, has_aux=True)(net.params)
    loss = Mean.of(value, better='lower')
    return net.replace(memory=after.memory), grads, {'loss': loss, **metrics}


def _accumulated(
    objective: Objective, net: Net, micro: Batch, key: Key
) -> tuple[Net, Any, dict[str, Metric]]:
    """The mean gradient over micro-batches [parts, ...], one after another: the memory of one."""
    parts, rows = jax.tree.leaves(micro)[0].shape[:2]
    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(parts))
    known = wholes(lambda batch, key: objective(net, batch, key), micro, keys)

    def of_whole(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        with dividing_by(known, parts):
            return objective(net, batch, key)

    # Gradients are summed in the carry; a scan that stacked them would hold `parts` copies.
    def body(carry: tuple[Net, Any], x: tuple[Batch, Key]) -> Any:
        net, total = carry
        net, grads, metrics = _gradient(of_whole, net, *x)
        return (net, jax.tree.map(jnp.add, total, grads)), metrics

    zeros = jax.tree.map(jnp.zeros_like, net.params)
    (net, total), metrics = jax.lax.scan(body, (net, zeros), (micro, keys))
    grads = jax.tree.map(lambda g: g / parts, total)
    return net, grads, {name: metric.collapse(rows) for name, metric in metrics.items()}


def _split(batch: Batch, parts: int, why: str) -> list[Batch]:
    """`parts` equal slices of every leaf's first axis."""
    if parts == 1:
        return [batch]
    sizes = {leaf.shape[0] for leaf in jax.tree.leaves(batch)}
    for size in sizes:
        if size % parts:
            raise UsageError(
                f'a batch of {size} rows cannot be split into {parts} equal parts, for {why}'
            )
    return [
        jax.tree.map(lambda x, i=i: x[i * (len(x) // parts) : (i + 1) * (len(x) // parts)], batch)
        for i in range(parts)
    ]
