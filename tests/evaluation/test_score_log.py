from dataclasses import astuple

import pytest
from evaluation_helpers import score

from napari_medicosam.errors import FileError, InputError
from napari_medicosam.evaluation.score_log import (
    COLUMNS,
    EvaluationRecord,
    open_log,
    read_record,
    read_scores,
)

RECORD = EvaluationRecord({"num_corrections": 8, "seeds": [0]}, {"a": "11"}, {"d": {"images": 2}})
UNITS = {
    ("a", "d", "001"): [score(round=n, dice=n / 7) for n in range(3)],
    ("a", "d", "empty, really"): [],
    ("a", "NA", "002"): [score(dataset="NA", image="002", object=n, modality="") for n in range(2)],
}


def add(log, keys=UNITS):
    for key in keys:
        if log.num_objects(*key) is None:
            log.append(*key, UNITS[key])


def test_scores_come_back_as_they_were(tmp_path):
    with open_log(tmp_path / "new" / "results", RECORD) as log:
        add(log)
        assert [log.num_objects(*key) for key in UNITS] == [1, 0, 2]
    rows = read_scores(tmp_path / "new" / "results")
    assert tuple(rows.columns) == COLUMNS
    expected = [astuple(s) for scores in UNITS.values() for s in scores]
    for found, wanted in zip(rows.itertuples(index=False, name=None), expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-6)
    assert rows["mask_prompt"].dtype == bool
    assert read_record(tmp_path / "new" / "results") == RECORD


def test_not_a_number_is_one(tmp_path):
    with open_log(tmp_path, RECORD) as log:
        log.append("a", "d", "001", [score(iou_prediction=float("nan"))])
    assert read_scores(tmp_path)["iou_prediction"].isna().all()


def test_torn_at_any_byte_it_goes_on_and_ends_the_same(tmp_path):
    whole = tmp_path / "whole"
    with open_log(whole, RECORD) as log:
        add(log)
    scores, marks = ((whole / name).read_bytes() for name in ("scores.csv", "finished.csv"))
    ends = [int(line.split(b",")[-2]) for line in marks.splitlines()[1:]]
    lines = [len(line) for line in marks.splitlines(keepends=True)]
    cuts = [(cut, sum(lines[: 1 + sum(end <= cut for end in ends)])) for cut in range(0, len(scores), 61)]
    cuts += [(len(scores), cut) for cut in (*range(0, len(marks), 13), len(marks) - 1, len(marks))]
    for number, (cut_scores, cut_marks) in enumerate(cuts):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "settings.json").write_bytes((whole / "settings.json").read_bytes())
        (folder / "scores.csv").write_bytes(scores[:cut_scores])
        (folder / "finished.csv").write_bytes(marks[:cut_marks])
        with open_log(folder, RECORD) as log:
            kept = [key for key in UNITS if log.num_objects(*key) is not None]
            assert kept == list(UNITS)[: max(marks[:cut_marks].count(b"\n") - 1, 0)]
            add(log)
        assert (folder / "scores.csv").read_bytes() == scores
        assert (folder / "finished.csv").read_bytes() == marks


def test_a_process_that_stops_between_scores_and_mark_does_that_image_again(tmp_path):
    first, second, third = UNITS
    with open_log(tmp_path, RECORD) as log:
        add(log, [first])
    with (tmp_path / "scores.csv").open("a") as file:
        file.write("a,d,002,half of a li")
    with open_log(tmp_path, RECORD) as log:
        assert log.num_objects(*second) is None
        add(log, [second, third])
    assert len(read_scores(tmp_path)) == 5


@pytest.mark.parametrize("change", ["shorter", "edited", "columns"])
def test_files_that_somebody_changed_are_refused(tmp_path, change):
    with open_log(tmp_path, RECORD) as log:
        add(log)
    path = tmp_path / "scores.csv"
    before = path.read_text()
    after = {
        "shorter": before[:-5],
        "edited": before.replace("0.142857", "0.999999"),
        "columns": before.replace("model,", "network,", 1),
    }[change]
    assert after != before
    path.write_text(after)
    with pytest.raises(FileError, match=r"scores\.csv"), open_log(tmp_path, RECORD):
        pass
    assert path.read_text() == after


def test_other_settings_are_named_and_nothing_is_touched(tmp_path):
    with open_log(tmp_path, RECORD) as log:
        add(log)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = EvaluationRecord({"num_corrections": 9, "seeds": [0]}, {"a": "22"}, {"d": {"images": 3}})
    with pytest.raises(InputError) as error, open_log(tmp_path, other):
        pass
    message = str(error.value)
    assert "num_corrections was 8 and is 9" in message
    assert 'weights of model a were "11" and are "22"' in message
    assert 'images of data set d were {"images": 2} and are {"images": 3}' in message
    assert "seeds" not in message
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_models_and_data_sets_may_be_added(tmp_path):
    with open_log(tmp_path, RECORD) as log:
        add(log)
    more = EvaluationRecord(RECORD.settings, {"b": "33"}, {"e": {"images": 1}})
    with open_log(tmp_path, more) as log:
        assert list(log.record.models) == ["a", "b"]
        assert list(log.record.datasets) == ["d", "e"]
        assert log.num_objects("a", "NA", "002") == 2
    assert read_record(tmp_path) == log.record


def test_one_process_at_a_time_and_no_strange_folders(tmp_path):
    with (
        open_log(tmp_path / "one", RECORD),
        pytest.raises(FileError, match="another evaluation"),
        open_log(tmp_path / "one", RECORD),
    ):
        pass
    with open_log(tmp_path / "one", RECORD):
        pass
    (tmp_path / "scores.csv").write_text("my own\n")
    with pytest.raises(FileError, match=r"no settings\.json"), open_log(tmp_path, RECORD):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot keep results"), open_log(tmp_path / "file", RECORD):
        pass
    with pytest.raises(FileError, match="cannot read"):
        read_scores(tmp_path / "nothing")
