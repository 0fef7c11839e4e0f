"""Recurrent layers: with lengths, in both directions, from given states."""

from functools import partial
from typing import Any

from golden import Case, Exactly

SMALL = {'features': 5, 'units': 4, 'layers': 2}
BOTH = {**SMALL, 'bidirectional': True}
LARGE = {'features': 96, 'units': 256, 'layers': 2, 'bidirectional': True}
STATES = {'lstm': 2}  # of a layer


def steps(arch: str, config: dict[str, Any], rows: int, lengths: tuple[int, ...]) -> Any:
    """What a network is called on: steps, lengths, and the states of all layers in a row."""
    count = STATES.get(arch, 1) * config['layers'] * (1 + config.get('bidirectional', False))
    first = (len(lengths), rows, config['features']), Exactly(lengths)
    return *first, *[(len(lengths), config['units'])] * count


def resumed(module: Any, x: Any, lengths: Any, *states: Any, arch: str, both: bool) -> Any:
    """Our network called on those."""
    rest = iter(states)

    def state() -> Any:
        return tuple(next(rest) for _ in range(STATES.get(arch, 1)))

    initial = [(state(), state()) if both else state() for _ in module.layers]
    return module(x, lengths=lengths, initial=initial)


def case(arch: str, layout: str, config: dict[str, Any], *, full: bool = False) -> Case:
    """A case of seven steps at most, and with PyTorch of another batch of eleven."""
    rows = 50 if full else 7
    return Case(
        arch,
        layout,
        steps(arch, config, rows, (rows, 3, 5)),
        config,
        1e-5,
        train=True,
        again=steps(arch, config, 11, (11, 1, 8, 11)) if layout == 'torch' else (),
        full=full,
        call=partial(resumed, arch=arch, both=bool(config.get('bidirectional'))),
    )


CASES = [
    *(case(arch, 'torch', BOTH) for arch in ('simple_rnn', 'lstm', 'gru')),
    case('simple_rnn', 'torch', {**SMALL, 'nonlinearity': 'relu'}),
    *(case(arch, 'keras', BOTH) for arch in ('simple_rnn', 'lstm', 'gru', 'gru_before')),
    case('gru_before', 'keras', SMALL),
    *(case(arch, 'torch', LARGE, full=True) for arch in ('simple_rnn', 'lstm', 'gru')),
    *(case(arch, 'keras', LARGE, full=True) for arch in ('lstm', 'gru', 'gru_before')),
]
