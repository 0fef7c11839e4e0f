"""What a run does and on which data, for those who read of it: about.json.

Read from the objects that a trial makes, in words where they have any, so that a report needs
neither the data nor the code. Nothing here changes what is computed, and nothing here may end a
run: what cannot be read is said to be unreadable.
"""

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn

from jaxdl.data.card import Card
from jaxdl.data.source import Source
from jaxdl.run.closures import (
    arguments,
    closed_over,
    custom,
    fields_of,
    in_words,
    made_with,
    maker,
    network,
    number,
    origin,
)
from jaxdl.run.optimizers import optimizer_in_words
from jaxdl.run.stage import Stage
from jaxdl.task import never


def about(stages: Sequence[Stage]) -> dict[str, Any]:
    """The method of each phase and the data of each split, for JSON."""
    return {
        'phases': [_guarded(_phase, stage) for stage in stages],
        'data': [found for stage in stages for found in _guarded_data(stage)],
    }


def _guarded(read: Any, stage: Stage) -> dict[str, Any]:
    name = stage.prefix.removesuffix('/')
    try:
        return {'name': name, **read(stage)}
    except Exception as error:  # objects of a person's own may be anything
        return {'name': name, 'unread': f'{type(error).__name__}: {error}'[:200]}


def _guarded_data(stage: Stage) -> list[dict[str, Any]]:
    sources = {'train': stage.phase.train}
    sources |= {name: test.source for name, test in stage.evaluations.items()}
    found = []
    for split, source in sources.items():
        it = _guarded(functools.partial(_data, source=source, split=split), stage)
        found.append({'split': split, **it})
    return found


def _phase(stage: Stage) -> dict[str, Any]:
    """How a phase trains."""
    phase, engine, method = stage.phase, stage.engine, stage.phase.task.method
    players = [_player(name, player) for name, player in method.players.items()]
    regularised = [word for player in players for word in player.pop('regularisation')]
    return {
        'steps': phase.steps,
        'every': stage.every,
        'at_most': phase.task.stopped is not never,
        'batch': engine.rows,
        'epochs': stage.cost().epochs(phase.steps),
        'flops': engine.flops(),
        'private': phase.train.private,
        'drawn': phase.train.drawn is not None,
        'players': players,
        'augmentation': transform_in_words(phase.train.transform),
        'regularisation': list(dict.fromkeys(regularised)),
        'notes': list(method.notes),
        'start': '' if phase.start is None else _function(phase.start),
        'best': phase.best or '',
        'tests': {name: _evaluation(stage, name) for name in stage.evaluations},
    }


def _evaluation(stage: Stage, name: str) -> dict[str, Any]:
    test = stage.evaluations[name]
    return {
        'every': test.every,
        'transform': transform_in_words(test.source.transform),
        'measure': '' if test.measure is None else _function(test.measure),
        'private': test.source.private,
        'made': test.source.table is None and not test.source.name == 'nothing',
    }


def _player(name: str, player: Any) -> dict[str, Any]:
    """A player of a game: its network, what it descends, and how it moves."""
    moves = player.opt is not None
    optimizer = optimizer_in_words(player.opt) if moves else 'does not move'
    loss, own = ('', {}) if player.loss is None else loss_in_words(player.loss)
    decay = re.search(r'weight decay ([^,;)]*)', optimizer)
    regularised = [
        f'{n.replace("_", " ")} {in_words(x)}' for n, x in own.items() if _restrains(n, x)
    ]
    regularised += [f'{n.replace("_", " ")} {in_words(x)}' for n, x in _dropped(player.module)]
    if decay and not re.match(r'0(?![.\d])', decay[1]):
        regularised.append(decay[0])
    return {
        'name': name,
        'network': network(player.module),
        'loss': loss,
        'optimizer': optimizer,
        'turns': player.turns,
        'accumulate': player.accumulate,
        'lazy': 0 if player.lazy is None else player.lazy.every,
        'shadow': '' if player.shadow is None else _function(player.shadow.follow),
        'regularisation': regularised,
    }


def _restrains(name: str, value: Any) -> bool:
    """Whether an argument of a loss is there against overfitting."""
    known = any(word in name for word in ('smoothing', 'penalty', 'drop', 'decay'))
    return known and isinstance(value, int | float) and value > 0


def _dropped(value: Any) -> Iterator[tuple[str, float]]:
    """The rates of dropout in a network and in the networks in its fields."""
    if isinstance(value, nn.Module):
        inner: Mapping[str, Any] = fields_of(value)
    elif isinstance(value, functools.partial):
        inner = value.keywords
    else:
        return
    for name, each in inner.items():
        if 'drop' in name and isinstance(each, int | float) and each > 0:
            yield name, each
        for item in each if isinstance(each, tuple | list) else [each]:
            yield from _dropped(item)


def loss_in_words(loss: Any) -> tuple[str, dict[str, Any]]:
    """What a player descends, by what made it, and the arguments of that."""
    if origin(loss) == 'supervised':  # which hands a loss of the net its nets
        loss = closed_over(loss)['loss']
    told = {n: x for n, x in arguments(loss).items() if not isinstance(x, nn.Module)}
    made = maker(loss)
    if not _is_ours(loss) or made is None:
        return custom(loss), told
    said = (getattr(made, '__doc__', None) or '').strip().partition('\n')[0].rstrip('.')
    words = [origin(loss), *(f'{n.replace("_", " ")} {in_words(x)}' for n, x in told.items())]
    return f'{said} ({", ".join(words)})' if said else ', '.join(words), told


def transform_in_words(transform: Any) -> str:
    """What a transform of batches does: 'as_float(scale 0.003922), crop(padding 4)'."""
    if transform is None:
        return 'none'
    values = closed_over(transform)
    match origin(transform):
        case _ if not _is_ours(transform):
            return _own(transform)
        case 'compose':
            return ', '.join(map(transform_in_words, values['transforms']))
        case 'on':
            column = '' if values['column'] == 'x' else f' of {values["column"]}'
            return made_with(values['function']) + column
        case 'sometimes':
            told = transform_in_words(values['transform'])
            return f'with probability {number(values["probability"])}: {told}'
        case 'one_of':
            return f'one of: {" | ".join(map(transform_in_words, values["transforms"]))}'
    return made_with(transform)


def _own(fn: Any) -> str:
    """A person's own function by its name and what it says of itself."""
    said = (getattr(maker(fn), '__doc__', None) or '').strip().partition('\n')[0].rstrip('.')
    return f'{origin(fn)} ({said})' if said else custom(fn)


def _function(fn: Any) -> str:
    """A function of ours by what made it, a person's own by its name."""
    return made_with(fn) if _is_ours(fn) else custom(fn)


def _is_ours(fn: Any) -> bool:
    inner = fn.func if isinstance(fn, functools.partial) else fn
    return str(getattr(inner, '__module__', '')).partition('.')[0] == 'jaxdl'


# ---- data ---------------------------------------------------------------------------------------


def _data(stage: Stage, *, source: Source, split: str) -> dict[str, Any]:
    """What a split is of: the card of its dataset, its rows, columns and classes, and a digest."""
    table, known = source.table, stage.engine.identity['data'][split]
    held, sent = known['columns'], known['sent']
    shapes = {name: shape for name, (shape, _) in held.items()} or dict(sent[0])
    digests = {name: digest for name, (_, digest) in held.items()} or sent[1]
    card = Card(source.name) if table is None else table.card or Card(table.name)
    return {
        'card': card._asdict(),
        'table': source.name if table is None else table.name,
        'rows': None if table is None else len(table),
        'order': source.order + (', each seed its own' if source.order and source.private else ''),
        'drawn': None if source.drawn is None else len(source.drawn(stage.engine.seeds[0])),
        'columns': {} if table is None else {n: _row(x) for n, x in shapes.items() if n != 'mask'},
        'classes': {} if table is None else {n: list(x) for n, x in table.classes.items()},
        'digest': hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:12],
        'of': 'all rows' if held else 'a few batches',
    }


def _row(shape: str) -> str:
    """The shape of a row, from that of all: 'uint8[8,8,1]' of 'uint8[1198,8,8,1]'."""
    return re.sub(r'\[\d+,?', '[', shape).removesuffix('[]')
