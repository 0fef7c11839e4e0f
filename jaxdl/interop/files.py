"""Weights on disk: the state dicts of other implementations, and our own weights files.

A state dict is a .safetensors or .npz file of arrays by name; of others it is said how to make one
of them. A weights file is an .npz file of our
variables by path ('params/conv1/kernel'), with one more entry that says what they are; it is what
`jaxdl convert` writes and `jaxdl run --init-from` reads.
"""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdl.errors import JaxdlError, UsageError
from jaxdl.faults import unread_for
from jaxdl.files import digest_of_arrays, unread, write_bytes

Array = np.ndarray
OWN = ('own', 'jaxdl')  # arch and layout of arrays under the paths that they have here
ABOUT = 'jaxdl'  # the entry that makes an .npz file a weights file
SUFFIXES = ('.safetensors', '.npz')
# What is not read here, and the program that makes of it what is.
TORCH = (
    'import torch, safetensors.torch as s; '
    "s.save_file(torch.load('{path}', map_location='cpu', weights_only=True), '{stem}.safetensors')"
)
KERAS = (
    "import keras, numpy; m = keras.saving.load_model('{path}'); "
    "numpy.savez('{stem}.npz', **{{w.path: w.numpy() for w in m.weights}})"
)
ELSEWHERE = {
    '.pt': ('PyTorch', TORCH),
    '.pth': ('PyTorch', TORCH),
    '.bin': ('PyTorch', TORCH),
    '.keras': ('Keras', KERAS),
    '.h5': ('Keras', KERAS),
    '.hdf5': ('Keras', KERAS),
}
DARKNET = '.weights'


class Weights(NamedTuple):
    """Variables, and the reference they were converted from.

    arch, layout: of the reference; those of `OWN` are a net of ours that has no counterpart.
    without: patterns of paths that were left out on purpose, 'params/fc/*' for a head. What a net
        has there keeps its own initial values.
    """

    variables: Mapping[str, Any]
    arch: str
    layout: str
    config: Mapping[str, Any] = {}
    without: tuple[str, ...] = ()


def read_numbers(path: Path) -> bytes:
    """The content of a file of Darknet. Raises UsageError where there is none."""
    if not path.is_file():
        raise UsageError(f'no file {str(path)!r}')
    with _reading(path, 'numbers'):
        return path.read_bytes()


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays in a .safetensors or .npz file, by name. Raises UsageError where it is neither."""
    _refuse_suffix(path, reading=True)
    if not path.is_file():
        raise UsageError(f'no file {str(path)!r}')
    return _read_npz(path) if path.suffix == '.npz' else _read_safetensors(path)


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name as .safetensors or .npz, whole or not at all, and read them back.

    Raises UsageError for arrays that such a file does not hold, JaxdlError where what is read is
    not what was written.
    """
    _refuse_suffix(path, reading=False)
    for name, array in arrays.items():
        if array.dtype.kind not in 'biuf':
            raise UsageError(f'{path}: array {name!r} is {array.dtype}, which it cannot hold')
    _write(path, arrays)
    found = read_arrays(path)
    if digest_of_arrays(found) != digest_of_arrays(arrays):
        path.unlink()
        raise JaxdlError(f'{path}: what was read back is not what was written; it is removed')


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    if path.suffix == '.npz':
        file = io.BytesIO()
        entries: dict[str, Any] = dict(arrays)
        np.savez(file, **entries)
        write_bytes(path, file.getvalue())
    else:
        from_numpy = _safetensors(path).save
        write_bytes(path, from_numpy({n: np.asarray(x, order='C') for n, x in arrays.items()}))


def is_weights(arrays: Mapping[str, Array]) -> bool:
    """Whether arrays that were read are a weights file."""
    return ABOUT in arrays


def write_weights(path: Path, weights: Weights) -> str:
    """Write a weights file; returns the digest of its arrays."""
    arrays = {n: np.asarray(x) for n, x in flatten_dict(dict(weights.variables), sep='/').items()}
    about = {
        'arch': weights.arch,
        'layout': weights.layout,
        'config': dict(weights.config),
        'without': list(weights.without),
        'digest': digest_of_arrays(arrays),
    }
    entry = np.frombuffer(json.dumps(about).encode(), np.uint8)
    write_arrays(path, {ABOUT: entry, **arrays})
    return str(about['digest'])


def read_weights(path: Path) -> Weights:
    """What a weights file holds. Raises UsageError for another file, and for a damaged one."""
    return as_weights(read_arrays(path), path)


def as_weights(arrays: Mapping[str, Array], path: Path) -> Weights:
    """The weights in the arrays of the file `path`; raises as `read_weights` does."""
    if not is_weights(arrays):
        raise UsageError(
            f'{path} is not a weights file of jaxdl, but '
            f'`jaxdl convert {path} --arch ... --layout ...` makes one of it'
        )
    found = {name: array for name, array in arrays.items() if name != ABOUT}
    try:
        about = json.loads(arrays[ABOUT].tobytes())
        arch, layout, config, without = (about[k] for k in ('arch', 'layout', 'config', 'without'))
        whole = digest_of_arrays(found) == about['digest']
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{path} is damaged: it does not say what it holds') from error
    if not whole:
        raise UsageError(f'{path} is damaged: its arrays are not those that were written')
    return Weights(unflatten_dict(found, sep='/'), arch, layout, config, tuple(without))


def _refuse_suffix(path: Path, *, reading: bool) -> None:
    if path.suffix in SUFFIXES:
        return
    if reading and path.suffix == DARKNET:
        raise UsageError(
            f'{str(path)!r} is a file of Darknet, which `jaxdl convert` reads: it holds numbers '
            'without names, so say whose they are, --arch yolov3 --layout darknet'
        )
    if reading and path.suffix in ELSEWHERE:
        whose, program = ELSEWHERE[path.suffix]
        how = program.format(path=path, stem=path.with_suffix(''))
        more = ''
        if path.name.endswith('.weights.h5'):
            how = how.replace(f"keras.saving.load_model('{path}')", '...')
            how = how.replace('m = ...; ', f"m = ...; m.load_weights('{path}'); ")
            more = ', m the network that it holds the weights of'
        raise UsageError(
            f'{str(path)!r} is a file of {whose}, which is not read here; make another of it where '
            f'{whose} is: python -c "{how}"{more}'
        )
    allowed = ' or '.join(SUFFIXES)
    raise UsageError(f'{str(path)!r} is no file of weights: its name must end in {allowed}')


def _read_npz(path: Path) -> dict[str, Array]:
    with _reading(path, '.npz arrays'):
        # Opened here: numpy leaves a file open that it cannot read.
        with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


def _read_safetensors(path: Path) -> dict[str, Array]:
    load_file = _safetensors(path).load_file
    with _reading(path, '.safetensors'):
        return dict(load_file(path))


@contextlib.contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    """Whatever a reader raises of a file that is damaged, or another one, in one line."""
    try:
        yield
    except Exception as error:
        if why := unread_for(error):
            raise unread(path, why) from error
        lines = str(error).splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise UsageError(f'{path} cannot be read as {kind}: {reason}') from error


def _safetensors(path: Path) -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{path} needs the package safetensors: pip install 'jaxdl[interop]'"
        ) from error
    return safetensors.numpy
