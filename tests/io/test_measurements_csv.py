import csv

import numpy as np
import pandas as pd
import pytest

from napari_medicosam.core.measurements import measure_label_map, measurements_table
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.measurements_csv import write_measurements_csv


@pytest.fixture
def rows():
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[1:3, 2:5, 2] = 1
    labels[3, 3, 3] = 2
    return measurements_table(
        measure_label_map(labels, (0.3, 0.7, 1.1)), names={1: 'Läsion, "links"\r\nunten\r'}
    )


def test_a_table_reads_back_in_full_precision(tmp_path, rows):
    path = tmp_path / "measured.csv"
    write_measurements_csv(path, rows)
    with path.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["name"] for row in read] == ['Läsion, "links"\r\nunten\r', ""]
    assert list(read[0]) == list(rows[0])
    assert [float(row["volume_ml"]) for row in read] == [row["volume_ml"] for row in rows]
    table = pd.read_csv(path)
    assert table["mean_intensity"].isna().all()
    assert table["num_voxels"].tolist() == [6, 1]
    assert [child.name for child in tmp_path.iterdir()] == ["measured.csv"]


def test_an_old_file_is_replaced_only_when_asked(tmp_path, rows):
    path = tmp_path / "measured.csv"
    path.write_text("precious")
    with pytest.raises(FileError, match="exists already"):
        write_measurements_csv(path, rows)
    assert path.read_text() == "precious"
    write_measurements_csv(str(path), rows, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("object_id,name,class,volume_ml,longest_diameter_mm")


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-x", "@x", "\tx"])
def test_names_never_become_formulas(tmp_path, name):
    path = tmp_path / "measured.csv"
    write_measurements_csv(path, [{"name": name, "balance": -1.5}])
    assert path.read_bytes().decode() == f"name,balance\r\n'{name},-1.5\r\n"


def test_rows_that_are_no_table_are_errors(tmp_path, rows):
    path = tmp_path / "measured.csv"
    with pytest.raises(InputError, match="no measurements"):
        write_measurements_csv(path, [])
    with pytest.raises(InputError, match="columns"):
        write_measurements_csv(path, [rows[0], {"object_id": 3}])
    with pytest.raises(FileError, match="does not exist"):
        write_measurements_csv(tmp_path / "missing" / "measured.csv", rows)
    assert not list(tmp_path.iterdir())
