"""CSV and JSON lines: the values, and every error with its place."""

import errno
import random
from pathlib import Path

import numpy as np
import pytest

from jaxdl.data.table import csv, jsonl
from jaxdl.errors import DataMissingError, JaxdlError, UsageError

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
        (
            'a\n99999999999999999999\n',
            {'a': int},
            r'people\.csv, columns a: an integer exceeds 64 bits',
        ),
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
        ('[' * 100_000, {'a': int}, 'line 1: no valid JSON: maximum recursion'),
        ('{"a": ' + '9' * 5000 + '}', {'a': int}, 'line 1: no valid JSON: Exceeds the limit'),
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


@pytest.mark.parametrize('read', [csv, jsonl])
def test_a_machine_that_cannot_read_names_the_file(tmp_path, read, monkeypatch):
    path = written(tmp_path, 'a\n1\n')

    def opening(path, *how):
        raise OSError(errno.EMFILE, 'Too many open files')

    monkeypatch.setattr(Path, 'open', opening)
    with pytest.raises(
        JaxdlError, match=r'people\.csv cannot be read: Too many open files'
    ) as error:
        read(path, columns={'a': int})
    assert error.value.code == 1


@pytest.mark.parametrize(('read', 'text'), [(csv, CSV), (jsonl, '{"a": 1}\n{"a": 2}\n')])
def test_every_damage_of_a_file_is_one_line_that_names_it(tmp_path, read, text):
    whole, rng = text.encode(), random.Random(0)
    for _ in range(200):
        cut = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.5 else whole)
        if cut and rng.random() < 0.7:
            cut[rng.randrange(len(cut))] = rng.randrange(256)
        path = written(tmp_path, bytes(cut))
        try:
            read(path, columns={'age': int, 'score': float} if read is csv else {'a': int})
        except UsageError as error:
            assert str(path) in str(error) and '\n' not in str(error)
