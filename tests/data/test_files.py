"""CSV, JSON lines and image folders: the values, and every error with its place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.rows import UnreadableRowError
from jaxdl.data.table import csv, image_folder, jsonl
from jaxdl.errors import DataMissingError, UsageError

CSV = 'name,age,score,ok\nAda,36,1.5,true\n"Lovelace, A",37,,No\nBob,38,-2e3,1\n'
TYPES = {'name': str, 'age': int, 'score': float, 'ok': bool}


def written(tmp_path, text, name='people.csv'):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize('text', [CSV, '\ufeff' + CSV, CSV.replace('\n', '\r\n'), CSV + '\n'])
def test_csv_is_typed(tmp_path, text):
    table = csv(written(tmp_path, text), columns=TYPES)
    assert (table.name, table.columns, len(table)) == ('people', tuple(TYPES), 3)
    assert table.column('name').tolist() == ['Ada', 'Lovelace, A', 'Bob']
    assert table.column('age').dtype == np.int64 and table.column('age').tolist() == [36, 37, 38]
    np.testing.assert_array_equal(table.column('score'), [1.5, np.nan, -2000])
    assert table.column('ok').tolist() == [True, False, True]
    assert str(table.clean()[1]) == '3 rows: 1 missing, 0 duplicate, 0 invalid; 2 kept'


def test_csv_reads_only_what_is_asked_for(tmp_path):
    path = written(tmp_path, 'a;b\n1;x\n2;y\n')
    assert csv(path, columns={'a': int}, delimiter=';').columns == ('a',)


@pytest.mark.parametrize(
    ('text', 'columns', 'message'),
    [
        ('', {'a': int}, 'the file is empty, a header line is needed'),
        ('a,b\n1,2\n', {'c': int}, r"there is no column 'c'; \(allowed: a, b\)"),
        ('age,b\n1,2\n', {'aeg': int}, r"no column 'aeg'; did you mean 'age'\?"),
        ('a,a\n1,2\n', {'a': int}, "column 'a' stands twice"),
        ('a,b\n1,2\n3\n', {'a': int}, 'line 3: 1 cells, but the header has 2'),
        ('a,b\n1,2\n"x\ny",2\n', {'a': int}, r"line 4, column 'a': 'x\\ny' is no int"),
        ('a\n1.5\n', {'a': int}, "line 2, column 'a': '1.5' is no int"),
        ('a\n1_0\n', {'a': float}, "line 2, column 'a': '1_0' is no float"),
        ('a\nmaybe\n', {'a': bool}, "line 2, column 'a': 'maybe' is no bool"),
        ('a,b\n,1\n', {'a': int}, "line 2, column 'a': empty, and int has no missing value"),
        ('a\n"x\n', {'a': str}, 'line 2: unexpected end of data'),
        (b'a\nx\n\xff\n', {'a': str}, 'line 3: no valid UTF-8'),
        ('a\n1\n', {'a': list}, r'is no column type \(bool, float, int, str\)'),
        ('a\n1\n', {}, 'no columns given'),
        ('a\n99999999999999999999\n', {'a': int}, 'an integer exceeds 64 bits'),
    ],
)
def test_csv_errors(tmp_path, text, columns, message):
    path = written(tmp_path, text)
    with pytest.raises(UsageError, match=message) as error:
        csv(path, columns=columns)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('read', 'text'), [(csv, 'a\nx\n'), (jsonl, '{"a": "x"}\n')])
def test_a_file_with_an_error_is_closed(tmp_path, read, text, monkeypatch):
    opened, original = [], Path.open

    def opening(path, *how):
        opened.append(original(path, *how))
        return opened[-1]

    path = written(tmp_path, text)
    monkeypatch.setattr(Path, 'open', opening)
    with pytest.raises(UsageError) as error:
        read(path, columns={'a': int})
    assert error.traceback and [file.closed for file in opened] == [True]


def test_jsonl_is_typed(tmp_path):
    lines = '{"a": 1, "b": 2, "ids": [1, 2]}\n\n{"a": 3, "b": null, "ids": [3], "c": {}}\n{"a": 4}'
    table = jsonl(written(tmp_path, lines), columns={'a': int, 'b': float, 'ids': list})
    assert table.column('a').tolist() == [1, 3, 4]
    np.testing.assert_array_equal(table.column('b'), [2, np.nan, np.nan])
    assert [ids.tolist() for ids in table.column('ids')] == [[1, 2], [3], []]
    assert str(table.clean()[1]) == '3 rows: 2 missing, 0 duplicate, 0 invalid; 1 kept'


@pytest.mark.parametrize(
    ('text', 'columns', 'message'),
    [
        ('{"a": 1}\n{"a": \n', {'a': int}, 'line 2: no valid JSON'),
        ('[1]\n', {'a': int}, r"line 1: a JSON object is needed, not '\[1\]'"),
        ('{"a": "1"}\n', {'a': int}, 'line 1, column \'a\': "1" is no int'),
        ('{"a": true}\n', {'a': int}, "line 1, column 'a': true is no int"),
        ('{"a": null}\n', {'a': bool}, 'empty, and bool has no missing value'),
        ('{"label": "x"}\n', {'lable': str}, r"no column 'lable'; did you mean 'label'\?"),
    ],
)
def test_jsonl_errors(tmp_path, text, columns, message):
    with pytest.raises(UsageError, match=message):
        jsonl(written(tmp_path, text), columns=columns)


@pytest.mark.parametrize('read', [csv, jsonl])
def test_no_such_file(tmp_path, read):
    with pytest.raises(DataMissingError, match=r'gone\.x: there is no such file'):
        read(tmp_path / 'gone.x', columns={'a': int})


def pictures(tmp_path, sizes=((4, 6), (4, 6), (4, 6))):
    root = tmp_path / 'animals'
    for index, (height, width) in enumerate(sizes):
        folder = root / ('dog' if index % 2 else 'cat')
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((height, width, 3), [10 * index, 1, 2], np.uint8)
        Image.fromarray(pixels).save(folder / f'{index}.png')
    (root / 'cat' / 'notes.txt').write_text('not an image')
    return root


def test_image_folder(tmp_path):
    table = image_folder(pictures(tmp_path))
    assert table.classes == {'y': ('cat', 'dog')}
    assert not table.in_memory and len(table) == 3
    assert table[:]['x'].shape == (3, 4, 6, 3) and table[:]['x'].dtype == np.uint8
    assert table[:]['x'][:, 0, 0, 0].tolist() == [0, 20, 10]
    assert table.column('y').tolist() == [0, 0, 1] and table.column('y').dtype == np.int32


def test_image_folder_resizes_and_greys(tmp_path):
    table = image_folder(pictures(tmp_path, [(4, 6), (8, 3)]), size=(5, 7), mode='L')
    assert table[:]['x'].shape == (2, 5, 7, 1)
    # ITU-R 601-2 luma of (10, 1, 2): 0.299 * 10 + 0.587 * 1 + 0.114 * 2 = 3.8
    assert set(table[:]['x'][1].ravel().tolist()) <= {3, 4}


def test_image_of_another_size_is_an_error(tmp_path):
    table = image_folder(pictures(tmp_path, [(4, 6), (8, 3)]))
    with pytest.raises(UnreadableRowError, match=r'1\.png: 3x8 pixels, the first has 6x4; give'):
        table.load()


@pytest.mark.parametrize('damage', [b'', b'\x89PNG no', None])
def test_damaged_image_is_named_and_can_be_cleaned_away(tmp_path, damage):
    root = pictures(tmp_path)
    path = root / 'cat' / '0.png'
    path.write_bytes(path.read_bytes()[:50] if damage is None else damage)
    table = image_folder(root)
    with pytest.raises(UnreadableRowError, match=r'cat/0\.png: no readable image'):
        table.load()
    kept, report = table.clean()
    assert str(report) == '3 rows: 0 missing, 0 duplicate, 1 invalid; 2 kept'
    assert '0.png' in report.unreadable[0]
    assert kept.load()[:]['y'].tolist() == [0, 1]


def test_image_folder_errors(tmp_path):
    with pytest.raises(DataMissingError, match='there is no such folder'):
        image_folder(tmp_path / 'gone')
    with pytest.raises(UsageError, match='one sub-folder for each class is needed'):
        image_folder(tmp_path)
    (tmp_path / 'cat').mkdir()
    with pytest.raises(UsageError, match='cat: no images here'):
        image_folder(tmp_path)
    with pytest.raises(UsageError, match=r"mode 'RGBB'; did you mean 'RGBA'|'RGB'"):
        image_folder(tmp_path, mode='RGBB')
