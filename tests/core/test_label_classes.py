"""Classes of a label map: what is one, and how they are found, numbered and coloured."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from napari_medicosam.core.label_classes import LabelClass, LabelClasses, default_colour
from napari_medicosam.errors import InputError

LIVER, SPLEEN, TUMOUR = LabelClass(1, "liver"), LabelClass(5, "spleen", (10, 20, 30)), LabelClass(3, "tumour")
CLASSES = LabelClasses((LIVER, SPLEEN, TUMOUR))

# Deuteranopia in linear RGB (Vienot, Brettel and Mollon 1999): what red-green blind eyes make of a colour.
DEUTERANOPIA = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])


def test_a_class_is_frozen_and_keeps_what_it_was_given():
    assert (SPLEEN.class_id, SPLEEN.name, SPLEEN.colour) == (5, "spleen", (10, 20, 30))
    assert SPLEEN.colour_hex == "#0a141e"
    assert SPLEEN.colour_rgba == (10 / 255, 20 / 255, 30 / 255, 1.0)
    assert str(SPLEEN) == "5 spleen"
    with pytest.raises(FrozenInstanceError):
        SPLEEN.name = "liver"


def test_numbers_of_numpy_and_lists_become_plain_values():
    item = LabelClass(np.uint16(7), " left kidney ", [np.uint8(1), 2, 3])
    assert item == LabelClass(7, "left kidney", (1, 2, 3))
    assert type(item.class_id) is int
    assert [type(value) for value in item.colour] == [int, int, int]


@pytest.mark.parametrize("class_id", [0, -1, 65536, 1.0, "1", True, None])
def test_ids_that_are_none(class_id):
    with pytest.raises(InputError, match=r"whole number 1\.\.65535 .*got " + repr(class_id)):
        LabelClass(class_id, "liver")


@pytest.mark.parametrize("name", ["", "   ", None, 5])
def test_a_name_is_not_empty(name):
    with pytest.raises(InputError, match="class 4 needs a name"):
        LabelClass(4, name)


@pytest.mark.parametrize("name", ["two\nlines", "tab\there", "nul\0", "two\u2028lines", "half a pair \ud800"])
def test_a_name_is_one_line_of_text(name):
    with pytest.raises(InputError, match="class 4 must be one line"):
        LabelClass(4, name)


@pytest.mark.parametrize(
    "colour", [(1, 2), (1, 2, 3, 4), (0, 0, 256), (-1, 0, 0), (0.5, 0, 0), "#010203", 7, (True, 0, 0)]
)
def test_colours_that_are_none(colour):
    with pytest.raises(InputError, match=r"colour of class 4 must be \(red, green, blue\)"):
        LabelClass(4, "liver", colour)


def test_default_colours_depend_on_the_id_alone():
    assert LIVER.colour == LabelClass(1, "another", None).colour == default_colour(1) == (230, 159, 0)
    assert len({default_colour(class_id) for class_id in range(1, 22)}) == 21
    assert default_colour(22) == default_colour(1)
    for class_id in range(1, 65536, 1009):
        LabelClass(class_id, "x", default_colour(class_id))  # a colour that is one


def test_the_first_colours_are_told_apart_without_green_cones():
    colours = np.array([default_colour(class_id) for class_id in range(1, 8)]) / 255
    seen = colours**2.2 @ DEUTERANOPIA.T
    distance = np.linalg.norm(seen[:, None].clip(0) ** (1 / 2.2) - seen[None].clip(0) ** (1 / 2.2), axis=-1)
    assert distance[np.triu_indices(7, 1)].min() > 0.1


def test_order_is_kept_and_classes_are_found():
    assert len(CLASSES) == 3
    assert list(CLASSES) == [LIVER, SPLEEN, TUMOUR]
    assert CLASSES.ids == (1, 5, 3)
    assert CLASSES.names == ("liver", "spleen", "tumour")
    assert 5 in CLASSES
    assert 2 not in CLASSES
    assert CLASSES.by_id(3) is TUMOUR
    assert CLASSES.by_name(" spleen") is SPLEEN


def test_what_is_not_there_is_said_with_what_is():
    with pytest.raises(InputError, match="no class has id 2: wanted one of 1 liver, 5 spleen, 3 tumour"):
        CLASSES.by_id(2)
    with pytest.raises(InputError, match="no class is called 'Liver': wanted one of 1 liver"):
        CLASSES.by_name("Liver")
    with pytest.raises(InputError, match="there are no classes"):
        LabelClasses().by_id(1)
    with pytest.raises(InputError, match="10 j and 2 more"):
        LabelClasses.from_names("abcdefghijkl").by_name("z")


def test_an_id_is_one_class_but_names_may_repeat():
    with pytest.raises(InputError, match="ids must differ, got 1 for both 'liver' and 'spleen'"):
        LabelClasses((LIVER, LabelClass(1, "spleen")))
    both = LabelClasses((LIVER, LabelClass(2, "liver")))
    with pytest.raises(InputError, match="2 classes are called 'liver': choose by id, one of 1, 2"):
        both.by_name("liver")


def test_the_next_id_is_above_all_others_while_there_is_one():
    assert LabelClasses().next_free_id() == 1
    assert CLASSES.next_free_id() == 6
    assert CLASSES.without(1).next_free_id() == 6  # label maps may still hold a 1
    assert LabelClasses((LIVER, LabelClass(65535, "last"))).next_free_id() == 2
    full = LabelClasses(tuple(LabelClass(class_id, "x") for class_id in range(1, 65536)))
    with pytest.raises(InputError, match="all 65535 class ids are taken"):
        full.next_free_id()


def test_changes_give_a_new_collection():
    renamed = CLASSES.with_class(LabelClass(5, "big spleen"))
    assert renamed.names == ("liver", "big spleen", "tumour")
    assert CLASSES.with_class(LabelClass(2, "aorta")).ids == (1, 5, 3, 2)
    assert CLASSES.without(5).ids == (1, 3)
    assert CLASSES.ids == (1, 5, 3)
    with pytest.raises(InputError, match="no class has id 9"):
        CLASSES.without(9)
