"""Clean-up, interpolation and measurements of objects."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from napari_medicosam.errors import InputError
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME
from napari_medicosam.ui.segment_widget import SegmentWidget


def test_slices_between_are_filled_from_shapes_without_the_model(make_session, service):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    session.add_box(6, (15, 15, 25, 25))
    service.requests.clear()
    session.interpolate()
    assert not service.requests
    edited = viewer.layers[OBJECT_NAME].data
    assert np.flatnonzero(edited.any(axis=(1, 2))).tolist() == [2, 3, 4, 5, 6]
    middle = np.argwhere(edited[4])
    np.testing.assert_allclose(middle.mean(axis=0), (14.5, 14.5), atol=1)
    assert session.review[2].iou_prediction is None
    session.undo()
    assert np.flatnonzero(edited.any(axis=(1, 2))).tolist() == [2, 6]
    session.redo()
    session.propagate()
    assert [request.plane.index for request in service.requests][:3] == [3, 4, 5]


def test_interpolating_leaves_what_was_propagated_beyond(make_session):
    viewer, session = make_session()
    session.add_box(4, (5, 5, 25, 25))
    session.add_box(6, (5, 5, 25, 25))
    session.propagate(mode="box", box_extension=0.0)
    session.interpolate()
    assert np.flatnonzero(viewer.layers[OBJECT_NAME].data.any(axis=(1, 2))).tolist() == list(range(12))


def test_clean_up_is_one_step_and_knows_the_spacing(make_session):
    viewer, session = make_session(scale=(5, 1, 1), units="mm")
    edited = viewer.layers
    session.add_box(2, (5, 5, 15, 15))
    edited = viewer.layers[OBJECT_NAME].data
    edited[2, 9, 9] = 0
    edited[2, 30:32, 30:32] = 1  # 20 mm3
    before = edited.copy()
    session.clean_up(fill_holes="slices")
    assert edited[2, 9, 9] == 1
    session.clean_up(min_size_mm3=19)
    assert edited[2, 30, 30] == 1
    session.clean_up(min_size_mm3=21)
    assert not edited[2, 30:, 30:].any()
    for _ in range(3):
        session.undo()
    np.testing.assert_array_equal(edited, before)
    with pytest.raises(InputError, match="no, slices or volume"):
        session.clean_up(fill_holes="all")


def test_clean_up_opens_a_committed_object_and_leaves_others_alone(make_session):
    viewer, session = make_session()
    session.add_box(2, (10, 10, 12, 12))
    session.new_object()
    session.add_box(2, (5, 5, 20, 20))
    session.commit()
    session.clean_up(fill_holes="slices")
    assert (viewer.layers[LABELS_NAME].data[2, 10:12, 10:12] == 1).all()
    assert not viewer.layers[OBJECT_NAME].data[2, 10:12, 10:12].any()
    assert viewer.layers[OBJECT_NAME].data[2, 6, 6] == 2
    session.new_object()
    with pytest.raises(InputError, match="nothing to clean up"):
        session.clean_up(largest_component=True)


def test_a_mask_that_changes_meanwhile_is_left_as_it_is(make_session, service, notices):
    viewer, session = make_session(synchronous=False)
    session.add_box(2, (5, 5, 15, 15))
    assert session.wait(60)
    service.hold()
    session.add_box(3, (5, 5, 15, 15))  # keeps the worker busy
    session.clean_up(largest_component=True)
    viewer.layers[OBJECT_NAME].data[2, 9, 9] = 0
    service.gate.set()
    assert session.wait(60)
    assert viewer.layers[OBJECT_NAME].data[2, 9, 9] == 0
    assert any("left as it is" in said for said in notices)


def test_measurements_are_written(make_session, tmp_path):
    _, session = make_session(np.full((12, 40, 50), 7, np.uint8), scale=(5, 2, 2), units="mm")
    session.change_object(1, name="liver")
    session.add_box(2, (5, 5, 15, 15))
    session.new_object("lesion")
    session.add_box(4, (5, 5, 15, 25))
    saved = []
    session.events.saved.connect(saved.append)
    session.save_measurements(tmp_path / "sizes.csv")
    assert saved == [str(tmp_path / "sizes.csv")]
    rows = list(csv.DictReader((tmp_path / "sizes.csv").open(newline="", encoding="utf-8")))
    assert [(row["name"], float(row["volume_ml"])) for row in rows] == [("liver", 2.0), ("lesion", 4.0)]
    assert {float(row["mean_intensity"]) for row in rows} == {7.0}


def test_effort_is_counted_by_object(make_session, tmp_path):
    _, session = make_session()
    with pytest.raises(InputError, match="nothing to save"):
        session.save_effort(tmp_path / "effort.csv")
    session.change_object(1, name="liver")
    session.add_box(2, (5, 5, 15, 15))
    session.add_point((2, 12, 12), positive=False)
    session.undo()
    session.new_object("lesion")
    session.add_scribble(4, [(5, 5), (5, 15)])
    session.save_effort(tmp_path / "effort.csv")
    rows = {
        row["name"]: row
        for row in csv.DictReader((tmp_path / "effort.csv").open(newline="", encoding="utf-8"))
    }
    liver, lesion = rows["liver"], rows["lesion"]
    assert (liver["box_count"], liver["point_count"], liver["corrections"], liver["undo_count"]) == (
        "1",
        "1",
        "1",
        "1",
    )
    assert (lesion["scribble_count"], lesion["box_count"], lesion["corrections"]) == ("1", "0", "0")
    assert float(liver["active_seconds"]) >= 0


def test_the_menu_does_what_it_says(make_session):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    entries = {action.text(): action for action in widget._refine.menu().actions() if action.text()}
    refining = ("Interpolate between slices", "Clean up …", "Three planes vote")
    assert not any(entries[text].isEnabled() for text in refining)
    session.add_box(2, (5, 5, 15, 15))
    session.add_box(4, (5, 5, 15, 15))
    assert all(entries[text].isEnabled() for text in refining)
    assert all(action.toolTip() != text for text, action in entries.items())
    entries["Interpolate between slices"].trigger()
    assert viewer.layers[OBJECT_NAME].data[3].any()
    widget.close()


def test_a_correction_of_a_propagated_slice_is_asked_in_the_box_around_its_mask(make_session, service):
    """A mask and a click without a box ruin what was good (docs/tuning.md, Corrections)."""
    _, session = make_session()
    session.add_box(4, (10, 10, 20, 30))
    session.propagate(z_range=(3, 7), mode="box", box_extension=0.0, min_confidence=0)
    session.add_point((6, 25, 20))
    asked = service.requests[-1].prompts
    assert asked.mask[15, 15]
    assert asked.box.bounds == (9.5, 9, 26, 31), "five percent around the mask, and the click"
    session.add_point((6, 12, 12), positive=False)
    again = service.requests[-1]
    assert again.previous_logits is not None
    assert again.prompts.box == asked.box, "logits are fed back with the box that they were made in"
    session.add_point((5, 0, 0))
    session.clear_prompts(everywhere=True)
    session.add_point((5, 20, 20))
    session.add_point((5, 22, 22))
    assert service.requests[-1].prompts.box is None, "a slice that was only clicked on has none"


def test_not_here_removes_the_mask_and_stops_propagation(make_session, service):
    viewer, session = make_session()
    session.add_box(4, (10, 10, 20, 30))
    how = {"mode": "box", "box_extension": 0.0, "min_confidence": 0}
    session.propagate(**how)
    edited = viewer.layers[OBJECT_NAME].data
    assert edited.any(axis=(1, 2)).all()
    viewer.dims.set_current_step(0, 8)
    session.mark_absent()
    assert not edited[8].any()
    session.propagate(**how)
    assert np.flatnonzero(edited.any(axis=(1, 2))).tolist() == list(range(8)), "nor is it beyond"
    session.undo()
    session.undo()
    assert edited.any(axis=(1, 2)).all()
    session.add_point((9, 30, 30))
    session.redo()
    session.change_object(1, is_locked=True)
    with pytest.raises(InputError, match="locked"):
        session.mark_absent()


def test_a_slice_that_the_user_erased_stops_propagation_too(make_session):
    viewer, session = make_session()
    session.add_box(4, (10, 10, 20, 30))
    how = {"mode": "box", "box_extension": 0.0, "min_confidence": 0}
    session.propagate(z_range=(4, 7), **how)
    viewer.dims.set_current_step(0, 6)
    viewer.layers[OBJECT_NAME].fill((6, 15, 15), 0)
    assert not viewer.layers[OBJECT_NAME].data[6].any()
    session.propagate(**how)
    assert np.flatnonzero(viewer.layers[OBJECT_NAME].data.any(axis=(1, 2))).tolist() == list(range(6))


def test_what_is_being_saved_is_saved_whatever_is_cancelled(make_session, service, tmp_path):
    _, session = make_session(synchronous=False)
    session.add_box(4, (10, 10, 20, 30))
    assert session.wait(30)
    service.hold()
    session.add_box(6, (10, 10, 20, 30))
    assert service.entered.wait(30)
    paths = [tmp_path / "one.nii.gz", tmp_path / "two.nii.gz", tmp_path / "sizes.csv"]
    session.save_labels(paths[0])
    session.save_labels(paths[1])
    session.save_measurements(paths[2])
    session.cancel()
    session.set_image(None)
    service.gate.set()
    assert session.wait(60)
    assert [path.exists() for path in paths] == [True, True, True]


def test_a_click_beside_a_mask_tells_where_the_object_is_there(make_session, service):
    _, session = make_session()
    session.add_box(4, (10, 10, 20, 30))
    session.add_point((6, 25, 20))
    asked = service.requests[-1]
    assert asked.prompts.box is None
    assert asked.nearby_box.bounds == (9.5, 9, 26, 31)
    session.add_point((10, 25, 20))
    assert service.requests[-1].nearby_box is None, "too far away to say anything"


def test_a_negative_click_counts_whatever_the_model_says(make_session, service, monkeypatch):
    viewer, session = make_session()
    answer = service.segment

    def stubborn(request):
        return answer(replace(request, prompts=replace(request.prompts, points=())))

    monkeypatch.setattr(service, "segment", stubborn)
    session.add_box(4, (5, 5, 25, 25))
    edited = viewer.layers[OBJECT_NAME].data
    session.add_point((4, 8, 8), positive=False)
    assert not edited[4, 7:10, 7:10].any()
    assert edited[4, 20, 20]
    session.add_point((4, 20, 20), positive=False)
    assert not edited[4, 8, 8], "an earlier click still counts"
    assert not edited[4, 20, 20]
    session.undo()
    assert edited[4, 20, 20]
