"""The commands of trained networks: weights from elsewhere and back, and the texts they write."""

from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from jaxdl.blame import blaming_own
from jaxdl.cli.options import Option, flag
from jaxdl.cli.words import parse_words, positional, run_folder, say, show
from jaxdl.errors import UsageError, nearest
from jaxdl.study import Count, Natural, Rate

Share = Annotated[float, Interval(gt=0, le=1)]
CONVERT_OPTIONS = [
    Option('hf', str | None, None, 'instead of FILE: a model folder of transformers, or its name'),
    Option('arch', str | None, None, 'which network it is, by the names of --list'),
    Option('layout', str | None, None, 'whose names its tensors have there'),
    Option('config', tuple[str, ...], (), 'options of the network: classes=10'),
    Option('out', Path | None, None, 'the file to write; FILE.jaxdl.npz for weights that come in'),
    Option('without', tuple[str, ...], (), "arrays to leave out: 'params/fc/*', a head"),
    Option('strict', bool, True, 'refuse tensors that the network has no place for'),
    Option('seed', int | None, None, 'which seed of an arm; its first if you do not say'),
    Option('net', str | None, None, 'which net of an arm, where several fit'),
    Option('list', bool, False, 'show the networks and whose weights they take'),
]
SAMPLE_OPTIONS = [
    Option('arm', str | None, None, 'which arm; its first if you do not say'),
    Option('seed', Natural, 0, 'trained with which seed'),
    Option('tokenizer', Path | None, None, 'of a weights file: its tokenizer.json'),
    Option('prompt', str | None, None, 'text to go on with, or to answer to'),
    Option('length', Count, 200, 'tokens at most'),
    Option('count', Count, 1, 'how many texts'),
    Option('temperature', Rate, 1.0, 'below 1 likelier texts, above 1 stranger ones'),
    Option('top_k', Count | None, None, 'draw from so many likeliest tokens'),
    Option('top_p', Share, 1.0, 'draw from the likeliest tokens that have this probability'),
    Option('greedy', bool, False, 'take the likeliest token each time'),
    Option('beam', Count | None, None, 'search the likeliest text, so many at a time'),
    Option('key', Natural, 0, 'another draws other texts'),
]
DRAWS = ('temperature', 'top_k', 'top_p', 'count', 'key')  # what only drawing has a use for


def convert(words: list[str]) -> None:
    """Bring another implementation's weights in, or write ours as another has them."""
    if words == ['--list']:
        show(_architectures())
        return
    if words and words[0].split('=')[0] == '--hf':
        word, rest = '', words
    else:
        word, rest = positional(
            'convert', words, CONVERT_OPTIONS, 'resnet50.safetensors --arch resnet50 --layout ...'
        )
    values = parse_words('convert', CONVERT_OPTIONS, rest).values
    if values.pop('list'):
        raise UsageError('--list: it stands alone, as in: jaxdl convert --list')
    values.pop('debug')
    name = values.pop('hf')
    if name is not None and word:
        raise UsageError(f'--hf: it stands instead of {word!r}, as in: jaxdl convert --hf FOLDER')

    from jaxdl.cli.convert import convert, convert_hub

    if name is None:
        print(convert(Path(word), **values))
        return
    for option in ('layout', 'config', 'seed', 'net'):
        if values.pop(option) not in (None, ()):
            raise UsageError(f'--{option}: it does not go with --hf, which says it itself')
    print(convert_hub(name, **values))


def _architectures() -> Any:
    """The networks whose weights are converted, as a table."""
    from rich.table import Table

    from jaxdl import interop

    layouts: dict[str, list[str]] = {}
    for arch, layout in interop.list_references():
        layouts.setdefault(arch, []).append(layout)
    table = Table('arch', 'layouts', 'options')
    for arch, names in layouts.items():
        table.add_row(arch, ', '.join(names), ', '.join(interop.options(arch, names[0])))
    return table


@blaming_own()
def sample(words: list[str]) -> None:
    """Print texts by a trained language model."""
    word, rest = positional('sample', words, SAMPLE_OPTIONS, 'char_lm --prompt "To be"')
    values, given = parse_words('sample', SAMPLE_OPTIONS, rest)
    searching = [name for name in ('greedy', 'beam') if name in given]
    for name in (*searching[1:], *(name for name in DRAWS if searching and name in given)):
        raise UsageError(f'{flag(name)}: it has no use with {flag(searching[0])}')

    of_file = Path(word).suffix == '.npz'
    for name in ('arm', 'seed') if of_file else ('tokenizer',):
        if name in given:
            raise UsageError(f'{flag(name)}: a {"file" if of_file else "run"} has its own')
    if of_file and 'tokenizer' not in given:
        raise UsageError('--tokenizer: say which, as in --tokenizer FOLDER/tokenizer.json')

    from jaxdl.cli import sampling

    if of_file:
        speaker, place = sampling.of_file(Path(word), values['tokenizer']), word
    else:
        arm = _trained_arm(run_folder(word)[0], values['arm'])
        speaker, place = sampling.of_run(arm, values['seed']), f'{arm}, seed {values["seed"]}'
    way = sampling.Way(
        values['length'],
        values['beam'],
        0.0 if values['greedy'] else values['temperature'],
        values['top_k'],
        values['top_p'],
        values['key'],
    )
    texts, remarks = sampling.sample(
        speaker, prompt=values['prompt'], count=values['count'], way=way
    )
    for remark in (place, *remarks):
        say(remark)
    print('\n---\n'.join(texts))


def _trained_arm(folder: Path, asked: str | None) -> Path:
    """An arm of a run that is no baseline, the first if none is asked for."""
    from jaxdl.cli.standing import arms_in
    from jaxdl.run.config import read_config

    arms = [arm for arm in arms_in(folder) if read_config(folder / arm).phases]
    arm = asked or next(iter(arms), '')
    if arm not in arms:
        raise UsageError(f'--arm: no trained arm {arm!r} in {folder}{nearest(arm, arms)}')
    return folder / arm
