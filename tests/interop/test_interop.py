"""Weights by name: what does not fit is named, what fits comes back, and files hold all of it."""

import inspect
import json
import math
import random
import sys
from collections import Counter
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdl import interop
from jaxdl.checkpoint.manager import Saved
from jaxdl.cli.convert import convert
from jaxdl.errors import JaxdlError, UsageError, nearest
from jaxdl.interop.files import (
    Weights,
    is_weights,
    read_arrays,
    read_weights,
    write_arrays,
    write_weights,
)
from jaxdl.interop.reference import (
    KERAS,
    KERNEL,
    TORCH,
    UPWARDS,
    Place,
    Reference,
    decode,
    encode,
    expected,
    flattened,
    layered,
    places,
    reshaped,
    transposed,
)

UNET = 'unet', 'public'
SMALL = {'channels': 2, 'base': 4, 'depth': 1}


def drawn(shapes):
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def state_dict(**config):
    return drawn(interop.tensors(*UNET, **{**SMALL, **config}))


def said(error, function, *args, **more):
    with pytest.raises(error) as raised:
        function(*args, **more)
    assert '\n' not in str(raised.value)
    return str(raised.value)


class Attention(nn.Module):
    """Three kernels of ours that are one tensor of theirs."""

    width: int = 3

    @nn.compact
    def __call__(self, x):
        q, k, v = (nn.Dense(self.width, name=name)(x) for name in ('q', 'k', 'v'))
        return q * k * v


def third(name, leaf):
    axes = transposed(1, 0) if leaf == 'kernel' else transposed(0)
    return Place(f'in_proj_{leaf}', axes, 'qkv'.index(name), 3)


ATTENTION = Reference(
    Attention,
    lambda width=3: ((1, 5),),
    lambda width=3: layered(TORCH, str, places={r'([qkv])/(kernel|bias)': third}),
)


@pytest.mark.slow
@pytest.mark.parametrize('name', interop.list_references(), ids='-'.join)
def test_every_array_has_a_tensor_of_its_own_and_no_element_is_lost(name):
    found = places(interop.reference(*name, {}), {})
    claimed = Counter((place.name, place.part) for _, place in found.values())
    assert claimed and max(claimed.values()) == 1
    for tensor in {place.name for _, place in found.values()}:
        (parts,) = {place.parts for _, place in found.values() if place.name == tensor}
        assert {part for there, part in claimed if there == tensor} == set(range(parts))
    ours = sum(math.prod(shape) for shape, _ in found.values())
    assert sum(math.prod(shape) for shape in expected(found).values()) == ours
    assert interop.options(*name) == list(dict.fromkeys(interop.options(*name)))


def test_variables_come_back_as_the_same_state_dict_and_fit_the_module():
    tensors = state_dict()
    variables = interop.from_state_dict(*UNET, tensors, **SMALL)
    back = interop.to_state_dict(*UNET, variables, **SMALL)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor, err_msg=name)
    module = interop.build(*UNET, **SMALL)
    shapes = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 4, 4, 2), np.float32))
    assert jax.tree.map(np.shape, variables) == jax.tree.map(lambda x: x.shape, dict(shapes))
    assert interop.paths(*UNET, **SMALL) == list(flatten_dict(dict(shapes), sep='/'))
    # A kernel lies [rows, columns, in, out] here and [out, in, rows, columns] there.
    kernel = variables['params']['inc']['conv1']['kernel']
    np.testing.assert_array_equal(
        kernel[2, 0, 1, 3], tensors['inc.double_conv.0.weight'][3, 1, 2, 0]
    )


@pytest.mark.parametrize(
    'name, config, line',
    [
        (('unett', 'public'), {}, "no arch 'unett'; did you mean 'unet'? (allowed: "),
        (('unet', 'publik'), {}, "no layout 'publik' of unet; did you mean 'public'? (allowed: "),
        (UNET, {'chanels': 1}, "unet has no option 'chanels'; did you mean 'channels'? (allowed: "),
    ],
)
def test_an_unknown_name_comes_with_the_nearest(name, config, line):
    for function in (interop.tensors, interop.build, interop.paths):
        assert said(UsageError, function, *name, **config).startswith(line)
    assert said(UsageError, interop.from_state_dict, *name, {}, **config).startswith(line)
    assert said(UsageError, interop.to_state_dict, *name, {}, **config).startswith(line)


def test_a_tensor_that_is_missing_misshapen_or_unknown_is_named():
    tensors = state_dict()
    bias = tensors.pop('outc.conv.bias')
    line = said(UsageError, interop.from_state_dict, *UNET, tensors, **SMALL)
    assert line.startswith("the weights have no tensor 'outc.conv.bias'; did you mean 'outc.conv.")
    tensors['outc.conv.bias'] = bias[:1]
    line = said(UsageError, interop.from_state_dict, *UNET, tensors, **SMALL)
    assert line == "tensor 'outc.conv.bias' has shape [1], not [2]"
    tensors['outc.conv.bias'] = bias
    tensors['outc.conv.bais'] = bias
    line = said(UsageError, interop.from_state_dict, *UNET, tensors, **SMALL)
    assert line.startswith(
        "the network has no tensor 'outc.conv.bais'; did you mean 'outc.conv.bias'?"
    )
    loose = interop.from_state_dict(*UNET, tensors, strict=False, **SMALL)
    np.testing.assert_array_equal(loose['params']['outc']['bias'], bias)
    # What is not strict is what is unknown: what is missing is still an error.
    del tensors['outc.conv.bias']
    with pytest.raises(UsageError, match='no tensor'):
        interop.from_state_dict(*UNET, tensors, strict=False, **SMALL)


def test_of_many_names_only_the_beginning_is_listed():
    many = [f'conv{i}' for i in range(100)]
    line = nearest('conv99.weight', many)
    assert line.startswith("; did you mean 'conv99'? (allowed: conv0, conv1, ")
    assert line.endswith(', conv39, and 60 more)')
    assert nearest('x', many[:41]).endswith(', conv40)')


def test_a_counter_carries_no_weight():
    tensors = {**state_dict(), 'inc.double_conv.1.num_batches_tracked': np.int64(3)}
    assert interop.from_state_dict(*UNET, tensors, **SMALL).keys() == {'params', 'batch_stats'}


def test_an_array_that_is_missing_or_misshapen_on_the_way_out_is_named():
    flat = flatten_dict(interop.from_state_dict(*UNET, state_dict(), **SMALL), sep='/')
    name = 'params/outc/bias'
    wrong = unflatten_dict({**flat, name: flat[name][:1]}, sep='/')
    line = said(UsageError, interop.to_state_dict, *UNET, wrong, **SMALL)
    assert line == "array 'params/outc/bias' has shape [1], not [2]"
    del flat[name]
    line = said(UsageError, interop.to_state_dict, *UNET, unflatten_dict(flat, sep='/'), **SMALL)
    assert line == "the variables have no array 'params/outc/bias'"


def test_several_arrays_can_be_parts_of_one_tensor():
    config = {'width': 4}
    shapes = expected(places(ATTENTION, config))
    assert shapes == {'in_proj_kernel': (12, 5), 'in_proj_bias': (12,)}
    tensors = drawn(shapes)
    variables = decode(ATTENTION, tensors, config, strict=True)
    kernel = variables['params']['k']['kernel']
    np.testing.assert_array_equal(kernel, tensors['in_proj_kernel'][4:8].T)
    back = encode(ATTENTION, variables, config)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor)


class Tied(nn.Module):
    """Two kernels side by side in one tensor of theirs, which they have a second time."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, use_bias=False, name='a')(x) * nn.Dense(3, use_bias=False, name='b')(x)


def test_parts_lie_along_any_axis_and_a_tensor_may_be_another_again():
    sides = {'([ab])/kernel': lambda name: Place('ab', part='ab'.index(name), parts=2, axis=1)}
    reference = Reference(
        Tied, lambda: ((1, 5),), lambda: layered(TORCH, str, places=sides), tied={'again': 'ab'}
    )
    assert expected(places(reference, {})) == {'ab': (5, 6)}
    whole = np.arange(30, dtype=np.float32).reshape(5, 6)
    found = decode(reference, {'ab': whole, 'again': whole}, {}, strict=True)
    np.testing.assert_array_equal(found['params']['b']['kernel'], whole[:, 3:])
    (name, back), *others = encode(reference, found, {}).items()
    assert name == 'ab' and not others
    np.testing.assert_array_equal(back, whole)
    line = said(UsageError, decode, reference, {'ab': whole, 'again': -whole}, {}, strict=True)
    assert line == "tensor 'again' is not 'ab', which it is in the network"


def test_an_array_without_a_word_of_theirs_needs_a_place():
    rule = layered(TORCH, lambda path: path)
    with pytest.raises(KeyError, match='cls needs a place of its own'):
        rule('cls', (1, 1, 8))
    assert layered(KERAS, str, separator='/')('a/scale', (3,)).name == 'a/gamma'


@pytest.mark.parametrize(
    'axes, theirs, ours',
    [
        (KERNEL, (5, 2, 3, 4), (3, 4, 2, 5)),
        (UPWARDS, (5, 2, 3, 4), (3, 4, 5, 2)),
        (flattened(2, 3, 4), (5, 24), (24, 5)),
        (reshaped((2, 3, 4), (4, 6), transposed(1, 0)), (4, 6), (2, 3, 4)),
    ],
    ids=['kernel', 'upwards', 'flattened', 'reshaped'],
)
def test_axes_are_inverse_to_each_other(axes, theirs, ours):
    x = np.arange(math.prod(theirs)).reshape(theirs)
    assert axes.ours(x).shape == ours
    np.testing.assert_array_equal(axes.theirs(axes.ours(x)), x)


def test_a_dense_kernel_on_a_flattened_image_is_permuted_with_the_image():
    rng = np.random.default_rng(0)
    image, kernel = rng.normal(size=(2, 3, 4)), rng.normal(size=(5, 24))
    want = kernel @ image.reshape(-1)  # theirs: channels first
    got = image.transpose(1, 2, 0).reshape(-1) @ flattened(2, 3, 4).ours(kernel)
    np.testing.assert_allclose(got, want)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64', '>f4'])
def test_floats_are_held_as_float32(dtype):
    dtype = jnp.bfloat16 if dtype == 'bfloat16' else np.dtype(dtype)
    tensors = {name: x.astype(dtype) for name, x in state_dict().items()}
    variables = interop.from_state_dict(*UNET, tensors, **SMALL)
    for leaf in jax.tree.leaves(variables):
        assert leaf.dtype == np.float32 and leaf.dtype.isnative
    back = interop.to_state_dict(*UNET, variables, **SMALL)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor.astype(np.float32))


@pytest.mark.parametrize(
    'dtype', ['int8', 'int64', 'uint8', 'bool', 'complex64', 'float8_e4m3fn', 'int4']
)
def test_what_is_no_float_is_no_weight(dtype):
    tensors = state_dict()
    tensors['outc.conv.bias'] = tensors['outc.conv.bias'].astype(jnp.dtype(dtype))
    line = said(UsageError, interop.from_state_dict, *UNET, tensors, **SMALL)
    assert line == f"tensor 'outc.conv.bias' is {dtype}; weights are floats of 16 to 64 bits"


@pytest.mark.parametrize('value', [np.nan, np.inf, 1e300])
def test_weights_are_finite(value):
    tensors = {name: x.astype(np.float64) for name, x in state_dict().items()}
    tensors['outc.conv.bias'][1] = value
    line = said(UsageError, interop.from_state_dict, *UNET, tensors, **SMALL)
    assert line == f"tensor 'outc.conv.bias' holds {value} at [1]: no float32 number"
    variables = interop.from_state_dict(*UNET, state_dict(), **SMALL)
    variables['params']['outc']['bias'] = np.array([0, value])
    line = said(UsageError, interop.to_state_dict, *UNET, variables, **SMALL)
    assert line.startswith("tensor 'params/outc/bias' holds ")


# Darknet


TINY = 'yolov3_tiny', 'darknet'
TINY_CONFIG = {'classes': 1, 'width': 2}


def darknet_file(layers, version=(0, 2, 5)):
    """A file of Darknet, written as its parser.c does: layers of (bias, norm or None, kernel)."""
    seen = np.int64(7) if version[0] * 10 + version[1] >= 2 else np.int32(7)
    numbers = [np.array(version, '<i4').tobytes(), seen.tobytes()]
    for bias, norm, kernel in layers:
        numbers += [x.astype('<f4').tobytes() for x in (bias, *(norm or ()), kernel)]
    return b''.join(numbers)


def tiny_layers():
    """The layers of yolov3-tiny.cfg that have weights, by number, in the order of the file."""
    shapes, rng, layers = interop.tensors(*TINY, **TINY_CONFIG), np.random.default_rng(0), {}
    for number in (0, 2, 4, 6, 8, 10, 12, 13, 14, 15, 18, 21, 22):
        kernel = rng.normal(size=shapes[f'module_list.{number}.conv_{number}.weight'])
        bias, *norm = rng.normal(size=(4, len(kernel)))
        layers[number] = bias, None if number in (15, 22) else norm, kernel
    return layers


@pytest.mark.parametrize('version', [(0, 1, 0), (0, 2, 5)])
def test_files_of_darknet_are_read(version, tmp_path):
    layers = tiny_layers()
    path = tmp_path / 'tiny.weights'
    path.write_bytes(darknet_file(layers.values(), version))
    names = {'arch': TINY[0], 'layout': TINY[1], 'config': ('classes=1', 'width=2')}
    convert(path, **names)
    variables = read_weights(tmp_path / 'tiny.jaxdl.npz').variables
    tensors = interop.to_state_dict(*TINY, variables, **TINY_CONFIG)
    for number, (bias, norm, kernel) in layers.items():
        conv, scale = f'module_list.{number}.conv_{number}', f'batch_norm_{number}'
        found = [tensors.pop(f'{conv}.weight')]
        want = [kernel, bias, *(norm or ())]
        kinds = ('bias', 'weight', 'running_mean', 'running_var')
        if norm is None:
            found.append(tensors.pop(f'{conv}.bias'))
        else:
            found += [tensors.pop(f'module_list.{number}.{scale}.{kind}') for kind in kinds]
        for a, b in zip(found, want, strict=True):
            np.testing.assert_array_equal(a, b.astype(np.float32))
    assert not tensors


def test_mistakes_with_files_of_darknet(tmp_path):
    path = tmp_path / 'tiny.weights'
    whole = darknet_file(tiny_layers().values())
    path.write_bytes(whole)
    names = {'arch': TINY[0], 'layout': TINY[1], 'config': ('classes=1', 'width=2')}
    line = said(UsageError, convert, path, **{**names, 'config': ('classes=2', 'width=2')})
    assert line.startswith(f'{path} is not of yolov3_tiny: it has ') and 'the network has' in line
    assert said(UsageError, convert, path).startswith('--arch: say which')
    line = said(UsageError, convert, path, arch='unet', layout='public')
    assert line == f"--layout: {path} is of 'darknet', not of 'public'"
    for cut in (0, 7, 19, 20, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert str(path) in said(UsageError, convert, path, **names)
    assert 'no file' in said(UsageError, convert, tmp_path / 'gone.weights', **names)
    line = said(UsageError, read_arrays, path)
    assert line.endswith('so say whose they are, --arch yolov3 --layout darknet')


# Files


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
def test_arrays_come_back_from_a_file(suffix, tmp_path):
    path = tmp_path / f'x{suffix}'
    arrays = {'a.weight': np.arange(6, dtype=np.float32).reshape(2, 3).T, 'b': np.float16([1, 2])}
    write_arrays(path, arrays)
    found = read_arrays(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_safetensors_of_sixteen_bits_are_read(tmp_path):
    header = json.dumps({'a': {'dtype': 'BF16', 'shape': [2], 'data_offsets': [0, 4]}}).encode()
    path = tmp_path / 'x.safetensors'
    path.write_bytes(len(header).to_bytes(8, 'little') + header + b'\x80\x3f\x00\x40')
    np.testing.assert_array_equal(read_arrays(path)['a'].astype(np.float32), [1, 2])


@pytest.mark.parametrize(
    'name, content, line',
    [
        ('x.onnx', b'', "x.onnx' is no file of weights: its name must end in .safetensors or .npz"),
        ('x.pth', b'', "s.save_file(torch.load('"),
        ('x.pt', b'', "x.pt' is a file of PyTorch, which is not read here; make another of it"),
        ('x.keras', b'', "x.keras' is a file of Keras, which is not read here; make another of it"),
        ('x.h5', b'', 'python -c "import keras, numpy; m = keras.saving.load_model('),
        ('x.weights.h5', b'', 'm = ...; m.load_weights('),
        ('x.npz', None, "x.npz'"),
        ('x.npz', b'', 'x.npz cannot be read as .npz arrays'),
        ('x.npz', b'PK\x03\x04 and no more', 'x.npz cannot be read as .npz arrays'),
        ('x.safetensors', b'nothing of the kind', 'x.safetensors cannot be read as .safetensors'),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name, content, line, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert line in said(UsageError, read_arrays, tmp_path / name)


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
def test_every_damage_of_a_file_is_one_line_that_names_it(suffix, tmp_path):
    path, rng = tmp_path / f'x{suffix}', random.Random(0)
    write_arrays(path, {'a': np.arange(30, dtype=np.float32), 'b': np.ones((3, 4), np.float32)})
    whole = path.read_bytes()
    for _ in range(300):
        cut = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        if cut and rng.random() < 0.8:
            at = rng.randrange(len(cut))
            cut[at : at + 4] = rng.randbytes(4)
        path.write_bytes(bytes(cut))
        try:
            read_arrays(path)
        except UsageError as error:
            assert str(error).startswith(f'{path} cannot be read as ') and '\n' not in str(error)


def test_a_weights_file_that_says_nothing_is_damaged(tmp_path):
    path = tmp_path / 'w.npz'
    for about in (b'{', b'[]', b'{"arch": "unet"}', b'\xff'):
        write_arrays(path, {'jaxdl': np.frombuffer(about, np.uint8), 'a': np.ones(2)})
        assert said(UsageError, read_weights, path).startswith(f'{path} is damaged')


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
def test_what_is_written_is_read_back(suffix, tmp_path, monkeypatch):
    path = tmp_path / f'x{suffix}'
    with pytest.raises(UsageError, match="array 'a' is bfloat16, which it cannot hold"):
        write_arrays(path, {'a': np.ones(2, jnp.bfloat16)})
    assert not path.exists()

    def flipped(path, content):
        path.write_bytes(content.replace(np.float32(7).tobytes(), np.float32(8).tobytes()))

    monkeypatch.setattr('jaxdl.interop.files.write_bytes', flipped)
    monkeypatch.setattr('zipfile.ZipExtFile._update_crc', lambda self, data: None)
    with pytest.raises(JaxdlError, match='what was read back is not what was written'):
        write_arrays(path, {'a': np.float32([7])})
    assert not path.exists()


def test_python_objects_and_single_arrays_are_no_weights(tmp_path):
    np.savez(tmp_path / 'objects.npz', a=np.array([{}]))
    assert 'objects.npz cannot be read' in said(UsageError, read_arrays, tmp_path / 'objects.npz')
    np.savez_compressed(tmp_path / 'cut.npz', a=np.arange(100), b=np.ones((3, 3)))
    whole = (tmp_path / 'cut.npz').read_bytes()
    for size in range(0, len(whole), 29):
        for part in (whole[:size], whole[:size] + b'\xff' * 9 + whole[size + 9 :]):
            (tmp_path / 'cut.npz').write_bytes(part)
            try:
                found = read_arrays(tmp_path / 'cut.npz')
            except UsageError as error:
                assert 'cut.npz cannot be read' in str(error) and '\n' not in str(error)
            else:  # a byte that carries nothing, or a name
                assert {float(x.sum()) for x in found.values()} <= {4950.0, 9.0}
    with (tmp_path / 'one.npz').open('wb') as file:
        np.save(file, np.zeros(3))
    assert 'one.npz cannot be read' in said(UsageError, read_arrays, tmp_path / 'one.npz')


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / 'x.safetensors'
    path.touch()
    monkeypatch.setitem(sys.modules, 'safetensors.numpy', None)
    assert "pip install 'jaxdl[interop]'" in said(UsageError, read_arrays, path)


def test_a_weights_file_says_what_it_is_and_that_it_is_whole(tmp_path):
    path = tmp_path / 'w.npz'
    variables = interop.from_state_dict(*UNET, state_dict(), **SMALL)
    write_weights(path, Weights(variables, *UNET, SMALL, ('params/outc/*',)))
    found = read_weights(path)
    assert found[1:] == (*UNET, SMALL, ('params/outc/*',))
    jax.tree.map(np.testing.assert_array_equal, found.variables, variables)
    arrays = read_arrays(path)
    arrays['params/outc/bias'] = arrays['params/outc/bias'] + 1
    write_arrays(path, arrays)
    assert said(UsageError, read_weights, path) == (
        f'{path} is damaged: its arrays are not those that were written'
    )
    del arrays['jaxdl']
    write_arrays(path, arrays)
    assert f'`jaxdl convert {path} --arch' in said(UsageError, read_weights, path)


# Conversion


@pytest.fixture
def theirs(tmp_path):
    """A state dict of a small U-Net on disk."""
    path = tmp_path / 'unet.safetensors'
    write_arrays(path, state_dict())
    return path


WORDS = ('channels=2', 'base=4', 'depth=1')


def test_a_file_goes_in_and_comes_out_again(theirs, tmp_path):
    line = convert(theirs, arch='unet', layout='public', config=WORDS)
    ours = tmp_path / 'unet.jaxdl.npz'
    assert line.startswith(f'wrote {ours}: ') and f'--init-from {ours}' in line
    assert read_weights(ours)[1:] == (*UNET, SMALL, ())
    line = convert(ours, out=tmp_path / 'back.npz')  # it knows what it is
    assert f'of unet (public), from {ours}' in line
    back, want = read_arrays(tmp_path / 'back.npz'), read_arrays(theirs)
    assert back.keys() == want.keys()
    for name, tensor in want.items():
        np.testing.assert_array_equal(back[name], tensor)


def test_a_head_is_left_out(theirs, tmp_path):
    out = tmp_path / 'trunk.npz'
    names = {'arch': 'unet', 'layout': 'public', 'config': WORDS}
    convert(theirs, **names, out=out, without=['params/outc/*'])
    assert 'outc' not in read_weights(out).variables['params']
    line = said(UsageError, convert, out, out=tmp_path / 'x.npz')
    assert line == f'{out} was made --without params/outc/*: it is partial'
    line = said(UsageError, convert, theirs, **names, without=['params/outk/*'])
    assert line.startswith("--without: 'params/outk/*' matches no array; did you mean")


@pytest.mark.parametrize(
    'more, line',
    [
        ({'arch': None}, '--arch: say which; `jaxdl convert --list`'),
        ({'layout': None}, '--layout: say which'),
        ({'arch': 'unit'}, "no arch 'unit'; did you mean 'unet'?"),
        ({'config': ['base']}, "--config: 'base' is not allowed; it must be NAME=VALUE"),
        ({'config': ['bas=4']}, "unet has no option 'bas'; did you mean 'base'?"),
        ({'config': ['base=four']}, "--config base: 'four' is not allowed; it must be a whole"),
        ({'config': ['channels=2', 'base=8', 'depth=1']}, 'has shape [8], not [16]'),
        ({'out': 'x.safetensors'}, "--out: '"),
        ({'out': 'x.pth'}, "x.pth' is not allowed; it must be another file, .npz"),
        ({'seed': 1}, "--seed: it is for an arm's folder"),
        ({'net': 'net'}, "--net: it is for an arm's folder"),
    ],
    ids=str,
)
def test_a_mistake_in_a_conversion_is_one_line(more, line, theirs, tmp_path):
    if 'out' in more:
        more = {'out': tmp_path / more['out']}
    names = {'arch': 'unet', 'layout': 'public', 'config': WORDS, **more}
    assert line in said(JaxdlError, convert, theirs, **names)
    assert [path.name for path in tmp_path.iterdir()] == ['unet.safetensors']


def test_a_file_is_not_written_over_itself(tmp_path):
    path = tmp_path / 'unet.npz'
    write_arrays(path, state_dict())
    names = {'arch': 'unet', 'layout': 'public', 'config': WORDS}
    assert 'it must be another file' in said(UsageError, convert, path, **names, out=path)
    assert not is_weights(read_arrays(path))


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
def test_a_net_without_a_counterpart_keeps_its_own_paths(suffix, tmp_path, monkeypatch):
    kernel = np.arange(12, dtype=np.float32).reshape(2, 2, 3)  # of two seeds
    params = {'params': {'fc': {'kernel': kernel}}}
    net = {**params, 'memory': {'batch_stats': {'norm': {'mean': kernel[:, 0] + 1}}}}
    saved = Saved(3, 0, {'states': {'net': {'net': net, 'opt': {}}}})
    monkeypatch.setattr('jaxdl.cli.convert.load_weights', lambda folder: saved)
    monkeypatch.setattr(
        'jaxdl.cli.convert.read_config', lambda folder: SimpleNamespace(seeds=[0, 5])
    )
    (tmp_path / 'config.json').touch()
    out = tmp_path / f'net{suffix}'
    line = convert(tmp_path, out=out, seed=5)
    assert line.startswith(f'wrote {out}: 2 arrays by their own paths, from {tmp_path}, net/net of')
    arrays = {n: x for n, x in read_arrays(out).items() if n != 'jaxdl'}
    assert arrays.keys() == {'params/fc/kernel', 'batch_stats/norm/mean'}
    np.testing.assert_array_equal(arrays['params/fc/kernel'], kernel[1])
    # And in again: to a weights file, and from that to a state dict.
    ours = out if suffix == '.npz' else tmp_path / 'net.jaxdl.npz'
    if suffix != '.npz':
        assert 'arrays of own (jaxdl)' in convert(out)
    weights = read_weights(ours)
    np.testing.assert_array_equal(
        weights.variables['batch_stats']['norm']['mean'], kernel[1, 0] + 1
    )
    convert(ours, out=tmp_path / 'again.safetensors')
    again = read_arrays(tmp_path / 'again.safetensors')
    np.testing.assert_array_equal(again['params/fc/kernel'], kernel[1])
    assert 'for a network of --arch' in said(UsageError, convert, tmp_path, out=out, config=['a=1'])
    assert '--out: say where to' in said(UsageError, convert, tmp_path)


def test_mistakes_on_the_way_out(theirs, tmp_path):
    convert(theirs, arch='unet', layout='public', config=WORDS)
    ours = tmp_path / 'unet.jaxdl.npz'
    assert said(UsageError, convert, ours).startswith('--out: say where to')
    assert '--without: ' in said(UsageError, convert, ours, without=['x'], out=tmp_path / 'y.npz')
    line = said(UsageError, convert, tmp_path, arch='unet', layout='public', out=tmp_path / 'y.npz')
    assert line == f'{tmp_path} is not the folder of an arm, runs/NAME/ARM'


def test_a_classifier_has_the_options_of_its_trunk_and_its_classes():
    own = inspect.signature(interop.reference('bert', 'hf', {}).build).parameters
    for name in ('bert_sequence', 'bert_tokens'):
        shown = inspect.signature(interop.reference(name, 'hf', {}).build).parameters
        assert {**shown} == {'classes': shown['classes'], **own}
        assert (shown['classes'].annotation, shown['classes'].default) == (int, 2)
        module = interop.build(name, 'hf', classes=5, width=8, heads=2, epsilon=1e-3)
        assert (module.classes, module.bert.width, module.bert.vocabulary) == (5, 8, 30_522)
        assert module.bert.norm.keywords == {'epsilon': 1e-3}
