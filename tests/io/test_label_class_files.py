"""Files of label classes: every format read and written, told apart by content, and refused with a reason."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medicosam.core.label_classes import LabelClass, LabelClasses, default_colour
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io import label_class_files
from napari_medicosam.io.label_class_files import FORMATS, read_label_classes, write_label_classes

LIVER, TUMOUR = LabelClass(1, "liver", (221, 130, 101)), LabelClass(7, "liver tumour", (144, 238, 144))
CLASSES = LabelClasses((TUMOUR, LIVER))  # not in order of their ids: the file's order counts

ITK_SNAP = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
    7   144  238  144     0.55  1  0    "liver tumour"
    1   221  130  101        1  1  1    "liver"
"""
SLICER = """\
# Color table file C:/somewhere/table.ctbl
# 4 values
0 Background 0 0 0 0
7 liver_tumour 144 238 144 255
1 liver 221 130 101 255
2 (none) 0 0 0 0
"""
SLICER_CSV = """\
LabelValue,Name,Color_R,Color_G,Color_B,Color_A,Category_CodeMeaning,Type_CodeMeaning,TypeModifier_CodeMeaning
7,"liver, tumour",144,238,144,255,Morphologically Altered Structure,Mass,
1,,221,130,101,255,Anatomical Structure,Kidney,Left
3,,1,2,3,255,,,
"""


def write(tmp_path, content, name="classes.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("file_format", FORMATS)
def test_round_trip(tmp_path, file_format):
    path = tmp_path / "classes.any"
    write_label_classes(path, CLASSES, file_format=file_format)
    found = read_label_classes(path)
    assert found.format == file_format
    assert found.skipped == ()
    names = ("liver_tumour", "liver") if file_format == "slicer" else CLASSES.names
    assert found.classes.names == names
    assert found.classes.ids == (7, 1)
    assert [item.colour for item in found.classes] == [TUMOUR.colour, LIVER.colour]
    assert [p.name for p in tmp_path.iterdir()] == ["classes.any"]


FEWER = settings(max_examples=50)  # each writes a file and waits for the disk
NAMES = st.text(min_size=1, max_size=30).map(str.strip).filter(bool)


@st.composite
def label_classes(draw):
    ids = draw(st.lists(st.integers(1, 65535), min_size=1, max_size=6, unique=True))
    classes = []
    for class_id in ids:
        colour = draw(st.tuples(*[st.integers(0, 255)] * 3))
        try:
            classes.append(LabelClass(class_id, draw(NAMES), colour))
        except InputError:  # control characters
            classes.append(LabelClass(class_id, "#,;\"' \\ é 肝", colour))
    return LabelClasses(tuple(classes))


@FEWER
@given(classes=label_classes(), file_format=st.sampled_from(["json", "csv", "tsv"]))
def test_any_name_survives_where_names_are_quoted(tmp_path_factory, classes, file_format):
    path = tmp_path_factory.mktemp("classes") / "classes"
    write_label_classes(path, classes, file_format=file_format)
    assert read_label_classes(path).classes == classes


@FEWER
@given(classes=label_classes(), file_format=st.sampled_from(["itk-snap", "slicer", "slicer-csv"]))
def test_other_formats_keep_names_or_refuse_them(tmp_path_factory, classes, file_format):
    path = tmp_path_factory.mktemp("classes") / "classes"
    if file_format != "slicer" and any('"' in name for name in classes.names):
        with pytest.raises(FileError, match="holds no quotation marks"):
            write_label_classes(path, classes, file_format=file_format)
        assert not path.exists()
        return
    write_label_classes(path, classes, file_format=file_format)
    written = read_label_classes(path).classes
    assert (written.ids, [c.colour for c in written]) == (classes.ids, [c.colour for c in classes])
    if file_format != "slicer":
        assert written.names == classes.names


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_whatever_is_in_a_file_the_answer_is_classes_or_a_reason(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("classes") / "classes.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    reason = ""
    try:
        classes = read_label_classes(path).classes
    except FileError as error:
        classes, reason = None, str(error)
    assert classes or reason.count("classes.txt") == 1


@pytest.mark.parametrize(
    ("suffix", "file_format"),
    [(".json", "json"), (".csv", "csv"), (".TSV", "tsv"), (".txt", "itk-snap"), (".label", "itk-snap"),
     (".ctbl", "slicer")],
)  # fmt: skip
def test_the_ending_says_what_is_written(tmp_path, suffix, file_format):
    write_label_classes(tmp_path / f"a{suffix}", CLASSES)
    assert read_label_classes(tmp_path / f"a{suffix}").format == file_format


@pytest.mark.parametrize("name", ["a.txt", "a.label", "a.ctbl", "a.csv", "a"])
@pytest.mark.parametrize("with_comments", [True, False])
def test_the_format_is_seen_from_the_content_not_from_the_name(tmp_path, name, with_comments):
    def kept(text):
        return text if with_comments else "\n".join(line for line in text.split("\n") if line[:1] != "#")

    snap = read_label_classes(write(tmp_path, kept(ITK_SNAP), name))
    assert (snap.format, snap.classes) == ("itk-snap", CLASSES)
    slicer = read_label_classes(write(tmp_path, kept(SLICER), name))
    assert (slicer.format, slicer.classes.names) == ("slicer", ("liver_tumour", "liver"))
    assert slicer.skipped == ("1 colours without a name, (none)",)


def test_names_of_other_tools_are_kept_as_they_are(tmp_path):
    text = '1 255 0 0 1 1 1 "a, "b"; #c"\n'
    assert read_label_classes(write(tmp_path, text)).classes.names == ('a, "b"; #c',)
    text = "1 Left-Cerebral,Exterior 70 130 180 0\n\n2  two words 1 2 3 255\n"
    assert read_label_classes(write(tmp_path, text)).classes.names == (
        "Left-Cerebral,Exterior",
        "two words",
    )


def test_a_csv_of_slicer(tmp_path):
    found = read_label_classes(write(tmp_path, SLICER_CSV))
    assert found.format == "slicer-csv"
    assert found.classes.names == ("liver, tumour", "Left Kidney", "label 3")
    assert found.classes.by_id(1).colour == (221, 130, 101)


@pytest.mark.parametrize(
    "text",
    [
        "id,name,color\n7,liver tumour,#90EE90\n1,liver,#dd8265\n",
        "\ufeffID;Name;Color\r\n7;liver tumour;90ee90\r\n1;liver;#dd8265\r\n",
        "Class_ID\tName\tR\tG\tB\n7\tliver tumour\t144\t238\t144\n1\tliver\t221\t130\t101\n",
        "# a comment\nlabel, name, Red, Green, Blue\n\n7, liver tumour, 144, 238, 144\n# 2,x,1,2,3\n"
        "1.0,liver,221,130,101\n",
        "id,label,color\r7,liver tumour,#90ee90\r1,liver,#dd8265\r",
        "color,index,name,abbreviation\n#90ee90,7,liver tumour,T\n#dd8265,1,liver,L\n",
        'name;id;colour\n"liver tumour";7;#90ee90\nliver;1;#dd8265\n',
        "id,name,color\n0,background,\n7,liver tumour,#90ee90\n1,liver,#dd8265\n",
    ],
)
def test_tables_of_many_makers(tmp_path, text):
    assert read_label_classes(write(tmp_path, text, "a.csv")).classes == CLASSES


def test_classes_without_a_colour_get_that_of_their_id(tmp_path):
    for text in ("id,name\n3,a\n5,b\n", "id,name,color\n3,a\n5,b,\n", "id,name,r,g,b\n3,a,,,\n5,b\n"):
        classes = read_label_classes(write(tmp_path, text)).classes
        assert [item.colour for item in classes] == [default_colour(3), default_colour(5)]


@pytest.mark.parametrize(
    ("content", "names", "skipped"),
    [
        ({"labels": {"background": 0, "liver": 1, "ignore": 9}}, {1: "liver", 9: "ignore"}, 0),
        ({"labels": {"0": "background", "1": "liver", "2": "2"}, "modality": {"0": "CT"}}, {1: "liver", 2: "2"}, 0),
        ({"1": "liver"}, {1: "liver"}, 0),
        ({"liver": 1}, {1: "liver"}, 0),
        ({"labels": {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}}, {2: "tumor"}, 2),
        ({"labels": {"whole": [1, 2], "core": [2]}}, {2: "core"}, 1),
        ({"labels": {"core": [2], "tumor": 2}}, {2: "tumor"}, 1),
        ([{"id": 2, "name": "b", "color": [1, 2, 3]}, {"label": 1, "name": "a", "color": None}], {2: "b", 1: "a"}, 0),
        ({"labels": [{"id": 0}, {"class_id": 2, "name": "b"}]}, {2: "b"}, 0),
    ],
)  # fmt: skip
def test_json_of_ours_and_others(tmp_path, content, names, skipped):
    found = read_label_classes(write(tmp_path, json.dumps(content), "dataset.json"))
    assert {item.class_id: item.name for item in found.classes} == names
    assert found.format == "json"
    assert len(found.skipped) == skipped


def test_regions_are_named_when_they_are_left_out(tmp_path):
    content = {"labels": {"whole tumour": [1, 2], "core": 2}}
    (message,) = read_label_classes(write(tmp_path, json.dumps(content))).skipped
    assert message == "'whole tumour' is a region of the ids 1, 2 and no class of its own"


BAD_LINES = {
    "snap id": (ITK_SNAP.replace("    1   221", "    x   221"), "line 8: got the id 'x', wanted a whole number"),
    "snap id range": (ITK_SNAP.replace("    7", "70000"), "line 7: got the id 70000, wanted a whole number 0..65535"),
    "snap negative": ('-1 1 2 3 1 1 1 "a"\n', "line 1: got the id '-1'"),
    "snap colour": (ITK_SNAP.replace("130", "256"), "line 8: got the colour 221, 256, 101, wanted red, green, blue"),
    "snap quote": (ITK_SNAP.replace('"liver"', "liver"), "line 8: got '1   221 .*wanted IDX R G B A VIS MSH \"LABEL\""),
    "snap fields": (ITK_SNAP.replace("1  1  1  ", "1  1 "), "line 8: .*wanted IDX"),
    "snap opacity": (ITK_SNAP.replace("0.55", "half"), "line 7: .*wanted IDX"),
    "snap twice": (ITK_SNAP.replace("    7", "    1"), "line 8: got the id 1 again, which line 7 has already"),
    "snap name": (ITK_SNAP.replace('"liver"', '" "'), "line 8: class 1 needs a name"),
    "slicer fields": ("1 liver 221 130 101\n", "line 1: got '1 liver 221 130 101', wanted id name r g b a"),
    "slicer colour": (SLICER.replace("221", "-221"), "line 5: got the colour -221, 130, 101"),
    "slicer float": (SLICER.replace("221", "0.5"), "line 5: got the colour 0.5, 130, 101"),
    "slicer id": (SLICER.replace("7 l", "1e3 l"), "line 4: got the id '1e3'"),
    "slicer twice": (SLICER.replace("7 l", "1 l"), "line 5: got the id 1 again, which line 4 has"),
    "slicer curve": ("# Color procedural file a\n# 2 points\n0 0 0 0\n255 1 1 1\n", "continuous colour map"),
    "csv id": ("id,name\n1,a\n\n1.5,b\n", "line 4: got the id '1.5', wanted a whole number 0..65535"),
    "csv no id": ("id,name\n,b\n", "line 2: got the id ''"),
    "csv id range": ("id,name\n99999999999999999999,b\n", "line 2: got the id '9{20}'"),
    "csv name": ("id,name\n1,\n", "line 2: got no name for the id 1, wanted a text that is not empty"),
    "csv colour": ("id,name,color\n1,a,red\n", "line 2: got the colour 'red', wanted #rrggbb"),
    "csv rgb": ("id,name,r,g,b\n1,a,1,,3\n", "line 2: got the colour 1, nothing, 3, wanted red, green, blue"),
    "csv rgb range": ("id,name,r,g,b\n1,a,1,300,3\n", "line 2: got the colour 1, 300, 3"),
    "csv two channels": ("id,name,r,g\n1,a,1,2\n", "line 1: got 2 of the columns r, g, b, wanted all three or none"),
    "csv cells": ("id,name\n1,a,b\n", "line 2: got 3 values for 2 columns"),
    "csv quotes": ('id,name\n1,"a\n2,b\n', "line [34]: got cells that cannot be told apart"),
    "csv two lines": ('id,name\n1,"a\nb"\n', "line 3: the name of class 1 must be one line"),
    "csv header": ("Number,what\n1,a\n", "line 1: got no column for the id in the header 'Number, what'"),
    "csv header name": ("label,color\n1,#ffffff\n", "line 1: got no column for the name"),
    "csv header twice": ("id,name,Name\n1,a,b\n", "line 1: got two columns 'name'"),
    "csv no header": ("1,liver\n2,spleen\n", "cannot tell the format .*begins with '1,liver', wanted JSON, CSV"),
    "csv twice": ("id,name\n1,a\n1,b\n", "line 3: got the id 1 again, which line 2 has already"),
    "csv empty": ("id,name\n", "holds no class"),
    "json text": ('{"labels": {\n"a": 1,\n}}', "line 3: got text that is no JSON .*wanted a list of"),
    "json cut": ('[{"id": 1', "line 1: got text that is no JSON"),
    "json depth": ("[" * 100_000, "objects in objects without end"),
    "json key twice": ('{"labels": {"a": 1, "a": 2}}', "got the key 'a' twice"),
    "json id twice": ('{"labels": {"a": 1, "b": 1}}', "label 'b': got the id 1 again, which label 'a' has already"),
    "json id text": ('{"labels": {"liver": "one", "b": 1}}', "label 'liver': got the id \"one\", wanted a whole"),
    "json key": ('{"labels": {"one": "liver"}}', "label 'one': got the id 'one', wanted a whole number"),
    "json id range": ('{"labels": {"a": 65536}}', "label 'a': got the id 65536"),
    "json id bool": ('{"labels": {"a": true}}', "label 'a': got the id true"),
    "json id float": ('[{"id": 1.5, "name": "a"}]', "entry 1: got the id 1.5"),
    "json regions": ('{"labels": {"background": 0, "a": [1, 2]}}', "holds only regions"),
    "json nothing": ('{"labels": {"background": 0}}', "holds no class"),
    "json kind": ('{"labels": 5}', "got 5, wanted a list of"),
    "json entry": ("[1]", "entry 1: got 1, wanted"),
    "json no id": ('[{"name": "a"}]', 'entry 1: got no id in {"name": "a"}, wanted an "id"'),
    "json no name": ('[{"id": 1}]', 'entry 1: got the name "", wanted a text that is not empty'),
    "json colour": ('[{"id": 1, "name": "a", "color": "red"}]', "entry 1: got the colour 'red', wanted #rrggbb"),
    "json colours": ('[{"id": 1, "name": "a", "color": [0, 0]}]', "entry 1: got the colour 0, 0, wanted red"),
    "json colour range": ('[{"id": 1, "name": "a", "color": [0, 0, 256]}]', "entry 1: got the colour 0, 0, 256"),
    "empty": ("", "is empty"),
    "blank": (" \n\t\n", "is empty"),
    "mark only": ("\ufeff", "is empty or has only comments"),
    "comments": ("# nothing\n# here\n", "is empty or has only comments"),
    "prose": ("liver\nspleen\n", "cannot tell the format of classes.txt: it begins with 'liver'"),
    "utf-16": ("id,name\n1,a\n".encode("utf-16"), "is UTF-16 text: wanted UTF-8"),
    "utf-16 without mark": ("id,name\n1,a\n".encode("utf-16-le"), "zero bytes"),
    "latin-1": ("id,name\n1,Leber\n2,Drüse\n".encode("latin-1"), "line 3: got the byte 0xfc, .*again as UTF-8"),
    "image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is no text"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LINES)
def test_what_is_wrong_is_said_with_file_and_line(tmp_path, case):
    content, message = BAD_LINES[case]
    path = write(tmp_path, content)
    with pytest.raises(FileError, match=rf"(?s){message}") as caught:
        read_label_classes(path)
    assert "classes.txt" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "classes.csv"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)  # a hole: no disk is used
    with pytest.raises(FileError, match=r"classes.csv is larger than 4 MB"):
        read_label_classes(path)


def test_a_line_of_megabytes_is_no_trouble(tmp_path):
    for text in ("1 " * 1_000_000 + "x", "1 " + "a" * 2_000_000, '1 2 "' + '" ' * 1_000_000):
        with pytest.raises(FileError, match="line 1: got"):
            read_label_classes(write(tmp_path, text))


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileError, match=r"none\.csv does not exist"):
        read_label_classes(tmp_path / "none.csv")
    with pytest.raises(FileError, match="is a folder"):
        read_label_classes(tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write(tmp_path, ITK_SNAP)
    path.chmod(0)
    with pytest.raises(FileError, match=r"cannot read classes\.txt: Permission denied"):
        read_label_classes(path)


def test_an_old_file_is_only_replaced_when_asked(tmp_path):
    path = write(tmp_path, "mine", "a.csv")
    with pytest.raises(FileError, match="overwrite"):
        write_label_classes(path, CLASSES)
    assert path.read_text() == "mine"
    write_label_classes(path, CLASSES, overwrite=True)
    assert read_label_classes(path).classes == CLASSES
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_leaves_everything_as_it_was(tmp_path, monkeypatch, error):
    path = write(tmp_path, "mine", "a.csv")

    def half(temporary, data):
        temporary.write_bytes(data[:10])
        raise error("stopped here")

    monkeypatch.setattr(label_class_files, "_write", half)
    with pytest.raises(FileError if error is OSError else error, match="stopped here"):
        write_label_classes(path, CLASSES, overwrite=True)
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_what_was_written_is_read_back(tmp_path, monkeypatch):
    other = label_class_files.table_text(LabelClasses((LIVER,)), ",").encode()
    monkeypatch.setattr(label_class_files, "_write", lambda temporary, data: temporary.write_bytes(other))
    with pytest.raises(FileError, match=r"a.csv: read back, its classes are others"):
        write_label_classes(tmp_path / "a.csv", CLASSES)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="got no classes"):
        write_label_classes(tmp_path / "a.csv", LabelClasses())
    with pytest.raises(FileError, match=r"cannot tell the format of a.xyz: wanted a name ending in .json"):
        write_label_classes(tmp_path / "a.xyz", CLASSES)
    with pytest.raises(InputError, match="unknown format of label classes 'xml': wanted one of json, csv"):
        write_label_classes(tmp_path / "a.csv", CLASSES, file_format="xml")
    quoted = LabelClasses((LabelClass(3, 'a "b"'),))
    for name, file_format in (("a.txt", None), ("a.csv", "slicer-csv")):
        with pytest.raises(FileError, match=r"holds no quotation marks, got the name .* of class 3.*\.json"):
            write_label_classes(tmp_path / name, quoted, file_format=file_format)
    assert not list(tmp_path.iterdir())
