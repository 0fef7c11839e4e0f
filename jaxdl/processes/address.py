"""Where the processes of a run meet: in three variables that a launcher sets, or found by jax.

    JAXDL_COORDINATOR=10.0.0.1:7777   where rank 0 listens; any free port of its machine
    JAXDL_PROCESSES=8                 how many there are
    JAXDL_PROCESS=3                   which this one is, from 0

All three, or none. `jaxdl run --distributed` leaves it to jax, which asks SLURM, Open MPI, the TPU
pod or Kubernetes. Beside either:

    JAXDL_HEARTBEAT=30                seconds after which a silent process counts as lost
    JAXDL_PATIENCE=300                seconds that the processes wait for each other at the start
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxdl.errors import UsageError

COORDINATOR, PROCESSES, PROCESS = 'JAXDL_COORDINATOR', 'JAXDL_PROCESSES', 'JAXDL_PROCESS'
HEARTBEAT, PATIENCE = 'JAXDL_HEARTBEAT', 'JAXDL_PATIENCE'
NAMES = (COORDINATOR, PROCESSES, PROCESS)
SECONDS = {HEARTBEAT: 30, PATIENCE: 300}


class Address(NamedTuple):
    """How a process meets the others.

    coordinator: 'host:port' of rank 0; None leaves all three to jax. processes: how many there
    are. process: which this one is. heartbeat, patience: in seconds.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    heartbeat: int = SECONDS[HEARTBEAT]
    patience: int = SECONDS[PATIENCE]


def read_address(environment: Mapping[str, str], *, detect: bool) -> Address | None:
    """What the environment says; None for a process that is alone.

    detect: whether jax is to find the others. Raises UsageError for a part of the variables, for
    values that cannot be, and where both ways are asked for.
    """
    given = {name: environment[name] for name in NAMES if environment.get(name)}
    if not given and not detect:
        return None
    seconds = {name: _seconds(environment, name) for name in SECONDS}
    known: dict[str, Any] = {'heartbeat': seconds[HEARTBEAT], 'patience': seconds[PATIENCE]}
    if not given:
        return Address(**known)
    if detect:
        raise UsageError(
            f'--distributed has jax find the processes, and {next(iter(given))} says where they '
            'are; take one of the two'
        )
    if missing := [name for name in NAMES if name not in given]:
        raise UsageError(
            f'{" and ".join(given)} without {" and ".join(missing)}; set all three '
            f'({COORDINATOR}=host:port {PROCESSES}=n {PROCESS}=i), or none'
        )
    processes = _whole(given, PROCESSES, least=1, most=None)
    process = _whole(given, PROCESS, least=0, most=processes - 1)
    return Address(_endpoint(given[COORDINATOR]), processes, process, **known)


def _endpoint(text: str) -> str:
    host, _, port = text.rpartition(':')
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(
            f'{COORDINATOR}: {text!r} is no host:port, as in 10.0.0.1:7777 or [::1]:7777'
        )
    return text


def _whole(given: Mapping[str, str], name: str, *, least: int, most: int | None) -> int:
    text = given[name].strip()
    if text.isdecimal() and int(text) >= least and (most is None or int(text) <= most):
        return int(text)
    range = f'at least {least}' if most is None else f'from {least} to {most}'
    raise UsageError(f'{name}: {text!r} is not allowed; it must be a whole number, {range}')


def _seconds(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name)
    return _whole({name: text}, name, least=1, most=None) if text else SECONDS[name]
