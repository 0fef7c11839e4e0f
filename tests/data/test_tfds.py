"""TFDS splits as tables: a small set prepared here without TensorFlow, and MNIST if it is there."""

import importlib.util
import json
import os
import random
import shutil

import numpy as np
import pytest

from jaxdl.data.catalogue import available, prepare, show
from jaxdl.data.prepared import all_prepared, find
from jaxdl.data.rows import UnreadableRowError
from jaxdl.data.stream import shuffled
from jaxdl.data.tfds import _decoded, _opened, cited, tfds
from jaxdl.errors import DataMissingError, JaxdlError, UsageError

BOXES = [np.full((i % 3, 4), i / 20, np.float32) for i in range(20)]


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """A folder with the datasets 'pets' 1.0.0, 20 + 7 rows, and 'grid/one'."""
    import tensorflow_datasets
    from tensorflow_datasets import features

    def rows(n):
        for i in range(n):
            boxes = [{'box': row, 'kind': i % 2} for row in BOXES[i].tolist()]
            yield (
                i,
                {
                    'image': np.full((2, 3, 1), i, np.uint8),
                    'label': i % 2,
                    'text': f'row {i} \u00e9',
                    'words': ['a'] * (i % 3),
                    'objects': [
                        {'box': features.BBox(*each['box']), 'kind': each['kind']} for each in boxes
                    ],
                },
            )

    class Pets(tensorflow_datasets.core.GeneratorBasedBuilder):
        """Numbered pets."""

        VERSION = tensorflow_datasets.core.Version('1.0.0')

        def _info(self):
            label = features.ClassLabel(names=['cat', 'dog'])
            return tensorflow_datasets.core.DatasetInfo(
                builder=self,
                description='Numbered\npets. They are under a kind licence.\n\nMore of them.',
                homepage='https://pets.org',
                citation='@misc{roe, author={Roe, {Jo}}, title={The {Pets}}, year=2001}',
                features=features.FeaturesDict(
                    {
                        'image': features.Tensor(shape=(2, 3, 1), dtype=np.uint8),
                        'label': label,
                        'text': features.Text(),
                        'words': features.Sequence(features.Text()),
                        'objects': features.Sequence(
                            {
                                'box': features.BBoxFeature(),
                                'kind': features.ClassLabel(num_classes=2),
                            }
                        ),
                    }
                ),
            )

        def _split_generators(self, downloads):
            return {'train': self._generate_examples(20), 'test': self._generate_examples(7)}

        def _generate_examples(self, n):
            return rows(n)

    folder = tmp_path_factory.mktemp('tfds')
    builder = Pets(data_dir=str(folder), file_format='array_record')
    builder.download_and_prepare()
    shutil.copytree(folder / 'pets' / '1.0.0', folder / 'grid' / 'one' / '1.10.0')
    return folder


@pytest.fixture(autouse=True)
def _data_dir(prepared, monkeypatch):
    monkeypatch.setenv('TFDS_DATA_DIR', str(prepared))


def numbers(table):
    """Which row each is, from its text; TFDS shuffles what it writes."""
    return [int(text.split()[1]) for text in table.column('text')]


@pytest.mark.parametrize('decode', [True, False, None])
def test_features_are_columns(decode):
    table = tfds('pets', 'train', decode=decode)
    assert table.in_memory == (decode is not False)
    assert table.columns == ('image', 'label', 'objects/box', 'objects/kind', 'text', 'words')
    assert table.classes['label'] == ('cat', 'dog')
    rows = numbers(table)
    assert sorted(rows) == list(range(20)) and len(table) == 20
    assert table[:]['image'].shape == (20, 2, 3, 1) and table[:]['image'].dtype == np.uint8
    np.testing.assert_array_equal(table[:]['image'][:, 1, 2, 0], rows)
    np.testing.assert_array_equal(table[:]['label'], np.array(rows) % 2)
    assert table.column('text')[0] == f'row {rows[0]} \u00e9'
    for row, boxes, words in zip(rows, *table_columns(table, 'objects/box', 'words'), strict=True):
        np.testing.assert_allclose(boxes, BOXES[row])
        assert boxes.shape == (row % 3, 4) and boxes.dtype == np.float32
        assert words.tolist() == ['a'] * (row % 3)


def table_columns(table, *names):
    return [table[:][name] for name in names]


def test_columns_are_chosen_and_renamed():
    table = tfds('pets', 'test', columns={'x': 'image', 'y': 'label'})
    assert table.columns == ('x', 'y') and table.classes == {'y': ('cat', 'dog')}
    batch = next(shuffled(table, batch=3, resident=False).open(0, 0))
    assert {name: column.shape for name, column in batch.items()} == {
        'x': (3, 2, 3, 1), 'y': (3,), 'mask': (3,)
    }  # fmt: skip


@pytest.mark.parametrize(
    ('split', 'rows'),
    [('train[:15]', slice(15)), ('train[15:]', slice(15, 20)), ('train[50%:]', slice(10, 20))],
)
def test_slices_are_tfds_own(split, rows):
    assert numbers(tfds('pets', split)) == numbers(tfds('pets', 'train'))[rows]


def test_splits_add():
    table = tfds('pets', 'train+test')
    assert numbers(table) == numbers(tfds('pets', 'train')) + numbers(tfds('pets', 'test'))


def test_the_card_is_what_tfds_says_and_stays_with_every_part():
    card = tfds('pets', 'train').card
    assert card == (
        'pets/1.0.0',
        'https://pets.org (TFDS)',
        'They are under a kind licence.',
        'Roe, Jo 2001: The Pets',
        'Numbered pets. They are under a kind licence.',
    )
    lazy = tfds('pets', 'train', columns={'x': 'image'}, decode=False)
    assert lazy.card == card and lazy.take([1]).load().card == card


@pytest.mark.parametrize(
    ('entry', 'said'),
    [
        ('@a{b,\n  title={{GLUE}: A {Bench}},\n  year={2019}\n}', '2019: GLUE: A Bench'),
        ('@ONLINE {b,\n author = "S",\n title  = "B D",\n year   = "2017"\n}', 'S 2017: B D'),
        ('no\n  BibTeX', 'no BibTeX'),
    ],
)
def test_an_entry_of_bibtex_in_a_line(entry, said):
    assert cited(entry) == said


def test_decoding_is_done_once():
    first, again = (tfds('pets', 'train', columns={'x': 'image'}) for _ in range(2))
    assert first.arrays['x'] is again.arrays['x']


def test_versions_and_configurations(prepared):
    assert find('pets:1.0.0').folder == prepared / 'pets' / '1.0.0'
    assert find('grid').name == find('grid/one').name == 'grid/one'
    assert [(each.name, each.version) for each in all_prepared(prepared)] == [
        ('grid/one', '1.10.0'),
        ('pets', '1.0.0'),
    ]


def test_the_newest_version_is_taken_by_number(prepared, tmp_path):
    for version in ('1.9.0', '1.10.0', '1.2.0'):
        shutil.copytree(prepared / 'pets' / '1.0.0', tmp_path / 'pets' / version)
    assert all_prepared(tmp_path)[0].version == '1.10.0'


@pytest.mark.parametrize(
    ('name', 'split', 'columns', 'kind', 'message'),
    [
        ('pest', 'train', None, DataMissingError, "'pest' is not prepared under TFDS_DATA_DIR=.*; "
         "did you mean 'pets'.*jaxdl data prepare pest$"),
        ('pets:2.0.0', 'train', None, DataMissingError, 'in version 1.0.0, not 2.0.0; run: jaxdl'),
        ('pets', 'trian', None, UsageError, "no split 'trian'; did you mean 'train'"),
        ('pets', 'train[:99]', None, UsageError, r'Requested slice \[:99\] incompatible with 20'),
        ('pets', 'train[5:5]', None, UsageError, r"split 'train\[5:5\]': there are no rows"),
        ('pets', 'train[5', None, UsageError, r"split 'train\[5': Error parsing split"),
        ('pets', 'train', {'x': 'imag'}, UsageError, "no column 'imag'; did you mean 'image'"),
    ],
)  # fmt: skip
def test_errors(name, split, columns, kind, message):
    with pytest.raises(kind, match=message) as error:
        tfds(name, split, columns=columns)
    assert '\n' not in str(error.value)


def test_unset_folder(monkeypatch):
    monkeypatch.delenv('TFDS_DATA_DIR')
    with pytest.raises(DataMissingError, match='TFDS_DATA_DIR is not set; .*data prepare mnist'):
        tfds('mnist', 'train')
    with pytest.raises(DataMissingError, match='TFDS_DATA_DIR is not set'):
        prepare('mnist')


def test_damaged_description(prepared, tmp_path, monkeypatch):
    shutil.copytree(prepared / 'pets', tmp_path / 'pets')
    (tmp_path / 'pets' / '1.0.0' / 'dataset_info.json').write_text('{')
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
    with pytest.raises(
        UsageError, match=r'dataset_info\.json is damaged .*remove its folder and prepare'
    ):
        tfds('pets', 'train')


SHARD = 'pets-train.array_record-00000-of-00001'
FILES = ['dataset_info.json', 'features.json', 'label.labels.txt', SHARD]


@pytest.fixture
def copied(prepared, tmp_path, monkeypatch):
    """A copy of the dataset 'pets', to be damaged."""
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
    shutil.copytree(prepared / 'pets', tmp_path / 'pets')
    return tmp_path / 'pets' / '1.0.0'


def opened(way):
    """What a user does with a dataset."""
    if way == 'show':
        return show('pets', 'train').plain
    table = tfds('pets', 'train', decode=way == 'decoded')
    return {name: column.tolist() for name, column in table[:].items()}


def said(path, way):
    with pytest.raises(JaxdlError) as error:
        opened(way)
    assert str(path) in str(error.value) and '\n' not in str(error.value)
    return str(error.value)


DAMAGE = {
    'missing': lambda path, whole: path.unlink(),
    'empty': lambda path, whole: path.write_bytes(b''),
    'cut': lambda path, whole: path.write_bytes(whole[: len(whole) // 2]),
    'last byte': lambda path, whole: path.write_bytes(whole[:-1]),
    'zeros': lambda path, whole: path.write_bytes(bytes(len(whole))),
    'noise': lambda path, whole: path.write_bytes(random.Random(0).randbytes(len(whole))),
    'a folder': lambda path, whole: (path.unlink(), path.mkdir()),
    'another type': lambda path, whole: path.write_text('[1, "x"]'),
}


@pytest.mark.parametrize('way', ['decoded', 'asked', 'show'])
@pytest.mark.parametrize('file', FILES)
@pytest.mark.parametrize('damage', DAMAGE)
def test_every_damage_of_a_file_is_one_line_that_names_it(copied, file, damage, way):
    path = copied / file
    DAMAGE[damage](path, path.read_bytes())
    if (file, damage) == ('label.labels.txt', 'missing'):
        opened(way)  # as of a dataset whose classes have no names
        return
    line = said(path, way)
    assert line.startswith(f'{path} is damaged (') and line.endswith(
        '; remove its folder and prepare the dataset again'
    )


def places(value):
    """Every container of a JSON value, and each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


@pytest.mark.parametrize('other', ['left out', None, [], {}, 'x', -3])
@pytest.mark.parametrize('file', ['dataset_info.json', 'features.json'])
def test_every_other_value_in_a_description_is_one_line_or_changes_nothing(copied, file, other):
    path, want = copied / file, opened('decoded')
    whole = path.read_text()
    count = sum(1 for _ in places(json.loads(whole)))
    for index in range(0, count, 1 if file == 'dataset_info.json' else 4):
        info = json.loads(whole)
        parent, key = list(places(info))[index]
        if other == 'left out':
            del parent[key]
        else:
            parent[key] = other
        path.write_text(json.dumps(info))
        _opened.cache_clear(), _decoded.cache_clear()
        try:
            found = opened('asked')
        except JaxdlError as error:
            assert '\n' not in str(error)
            assert str(copied) in str(error) or 'no split' in str(error)
        else:
            # A feature that is described no more is no column any more.
            assert all(repr(want[name]) == repr(column) for name, column in found.items())


def test_a_file_of_rows_has_as_many_as_are_described(copied):
    path = copied / 'dataset_info.json'
    path.write_text(path.read_text().replace('"20"', '"19"'))
    assert f'{SHARD} is damaged (it has 20 rows, and dataset_info.json says 19)' in said(
        '', 'asked'
    )


def test_names_are_as_many_as_classes(copied):
    path = copied / 'label.labels.txt'
    path.write_text('cat\n')
    assert 'is damaged (1 names of 2 classes)' in said(path, 'asked')
    path.write_text('cat\ncat\n')
    assert 'is damaged (these are no names of classes, a line each)' in said(path, 'asked')


def test_damaged_rows_are_named_with_their_file_and_can_be_cleaned_away(copied, monkeypatch):
    table = tfds('pets', 'test+train', decode=False)

    def broken(self, leaf, examples):
        raise ValueError('no such array\nat all')

    monkeypatch.setattr('jaxdl.data.tfds._Features._column', broken)
    with pytest.raises(UnreadableRowError, match=rf'{SHARD} is damaged \(no such array\)'):
        table[[7]]
    with pytest.raises(UnreadableRowError, match='pets-test.* is damaged'):
        table[[6]]
    assert table.clean()[1].invalid == 27


def test_a_machine_that_cannot_read_damages_nothing(copied, monkeypatch):
    table = tfds('pets', 'train', decode=False)

    def busy(self, leaf, examples):
        raise RuntimeError('open() failed: Too many open files; opening x')

    monkeypatch.setattr('jaxdl.data.tfds._Features._column', busy)
    with pytest.raises(JaxdlError, match=rf'{SHARD} cannot be read: Too many open files') as error:
        table.clean()
    assert error.value.code == 1


def test_another_damaged_dataset_is_not_in_the_way(copied):
    shutil.copytree(copied, copied.parents[1] / 'other' / '1.0.0')
    (copied.parents[1] / 'other' / '1.0.0' / 'dataset_info.json').write_text('{')
    assert len(tfds('pets', 'train')) == 20
    assert prepare('pets').startswith('pets 1.0.0 is prepared in ')
    with pytest.raises(UsageError, match=r'other/1.0.0/dataset_info.json is damaged'):
        available()


@pytest.fixture
def waves(tmp_path, monkeypatch):
    """A dataset 'waves' of int64 rows of 0 .. 3 numbers; called, they become an Audio feature."""
    import tensorflow_datasets
    from tensorflow_datasets import features

    class Waves(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
        """Short waves."""

        VERSION = tensorflow_datasets.core.Version('1.0.0')

        def _info(self):
            wave = features.Tensor(shape=(None,), dtype=np.int64)
            return tensorflow_datasets.core.DatasetInfo(
                builder=self, features=features.FeaturesDict({'audio': wave})
            )

        def _split_generators(self, downloads):
            return {'train': [(i, {'audio': np.arange(i) * 1000}) for i in range(4)]}

        def _generate_examples(self):
            raise NotImplementedError

    Waves(data_dir=str(tmp_path), file_format='array_record').download_and_prepare()
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    path = tmp_path / 'waves' / '1.0.0' / 'features.json'

    def stored(lazy):
        described = json.loads(path.read_text())
        audio = {'dtype': 'int64', 'encoding': 'NONE', 'fileFormat': 'wav', 'lazyDecode': lazy}
        described['featuresDict']['features']['audio'] = {
            'audio': {**audio, 'sampleRate': '8000', 'shape': {'dimensions': ['-1']}},
            'pythonClassName': 'tensorflow_datasets.core.features.audio_feature.Audio',
        }
        path.write_text(json.dumps(described))

    return stored


def test_audio_is_read_without_tensorflow(waves):
    from tensorflow_datasets.core.features import audio_feature

    before = audio_feature._AudioDecoder.__init__
    waves(lazy=False)
    found = sorted(row['audio'].tolist() for row in tfds('waves', 'train'))
    assert found == [[], [0], [0, 1000], [0, 1000, 2000]]
    assert audio_feature._AudioDecoder.__init__ is before


def test_audio_in_its_own_format_needs_tensorflow(waves):
    if importlib.util.find_spec('tensorflow'):
        pytest.skip('TensorFlow is here')
    waves(lazy=True)
    with pytest.raises(UsageError, match='features.json: TFDS needs TensorFlow'):
        tfds('waves', 'train')


def test_available_lists_it_without_importing_tfds(prepared):
    entries = {entry.name: entry for entry in available()}
    assert entries['pets'].splits == {'train': 20, 'test': 7}
    assert (entries['pets'].where, entries['pets'].state) == ('TFDS_DATA_DIR', 'prepared')


def test_prepare_finds_what_is_there(prepared):
    assert prepare('pets') == f'pets 1.0.0 is prepared in {prepared / "pets" / "1.0.0"}'


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('mnits', "no dataset 'mnits'; did you mean 'mnist'"),
        ('mnist:9.9.9', 'mnist:9.9.9 cannot be prepared: .*cannot be loaded at version 9.9.9'),
        ('fashion_mnist', r"images to encode; .*pip install 'jaxdl\[tensorflow\]'"),
        ('spoken_digit', r'spoken_digit cannot be prepared here; TFDS needs TensorFlow'),
    ],
)
def test_prepare_errors(name, message, capsys):
    import importlib.util

    if 'TensorFlow' in message and importlib.util.find_spec('tensorflow'):
        pytest.skip('TensorFlow is installed')
    with pytest.raises(Exception, match=message) as error:
        prepare(name)
    assert '\n' not in str(error.value)
    assert 'Failed to import' not in capsys.readouterr().out


def test_show():
    text = show('pets', 'test').plain
    assert 'pets test: 7 rows' in text and 'splits: train 20, test 7' in text
    assert 'classes of label: cat 4, dog 3' in text
    assert 'uint8 [2, 3, 1]  0 .. 6, mean 3' in text
    with pytest.raises(DataMissingError, match="no dataset 'pest' here; did you mean 'pets'"):
        show('pest')


def test_mnist(monkeypatch):
    monkeypatch.undo()
    if 'mnist' not in {entry.name for entry in available()}:
        pytest.skip('mnist is not prepared under TFDS_DATA_DIR')
    table = tfds('mnist', 'test[:2000]', columns={'x': 'image', 'y': 'label'})
    assert os.environ['TFDS_DATA_DIR'] and table.in_memory
    assert table.arrays['x'].shape == (2000, 28, 28, 1) and table.arrays['x'].dtype == np.uint8
    # 0.1325 is the known mean of MNIST's test pixels / 255.
    assert abs(table.arrays['x'].mean() / 255 - 0.1325) < 0.003
    assert np.bincount(table.arrays['y'], minlength=10).min() > 150
