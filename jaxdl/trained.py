"""Trained networks, outside of a study."""

from pathlib import Path

import jax

from jaxdl.cli.library import find_of, load, phases_of
from jaxdl.cli.standing import recall
from jaxdl.errors import UsageError, nearest
from jaxdl.net import Net, is_net
from jaxdl.run.arm import restore_arm
from jaxdl.run.config import folder_of_seed, read_config
from jaxdl.run.stage import Options
from jaxdl.study import Phase


def load_net(folder: Path | str, seed: int = 0, *, net: str | None = None) -> Net:
    """The network that an arm has trained, in its newest valid checkpoint.

    It is the outcome: the best one, where the arm keeps a best one. A slow copy is its `shadow`.

    folder: of the arm, 'runs/digits/lenet'; its experiment must be found as when it ran.
    seed: which of those it was trained with.
    net: of which player, where there are several.
    Raises UsageError where there is no such arm, seed or net, CheckpointError where no checkpoint
    is valid.
    """
    _, found = load_outcome(folder, seed)
    if net is None and len(found) == 1:
        return next(iter(found.values()))
    if net not in found:
        raise UsageError(f'{folder}: which net? {net!r} is none of them{nearest(str(net), found)}')
    return found[net]


def load_outcome(folder: Path | str, seed: int = 0) -> tuple[Phase, dict[str, Net]]:
    """The phase in which an arm's newest valid checkpoint is, and the networks there by player.

    Arguments and errors as of `load_net`.
    """
    folder = Path(folder)
    if not (folder / 'config.json').is_file():
        raise UsageError(f'{folder} is no arm of a run: it has no config.json')
    folder = folder_of_seed(folder, seed)
    config = read_config(folder)
    if not config.phases:
        raise UsageError(f'{folder} is a baseline: there is no network in it')
    _, study = load(find_of(folder))
    phases = phases_of(study, recall(study, config))
    stage, saved = restore_arm(folder, phases, config, options=Options(layout='vmap'))
    index, task = config.seeds.index(seed), stage.phase.task
    state = jax.tree.map(lambda x: x[index], saved.state['states'])
    nets = task.nets(task.outcome(state))
    return stage.phase, {str(name): each for name, each in dict(nets).items() if is_net(each)}
