import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from cli_helpers import nothing_left
from PIL import Image

from napari_medicosam.errors import FileError, InputError, MedicoSamError

TINY = ("--model", "sam_test", "--device", "cpu")
BOX = ("--box", "6,8,13,32,37")


def test_labels_have_the_images_very_geometry(medicosam, scan, tmp_path):
    out = tmp_path / "labels.nii.gz"
    medicosam("segment", scan, "-o", out, *TINY, *BOX)
    image, labels = nib.load(scan), nib.load(out)
    assert np.array_equal(labels.affine, image.affine)
    assert labels.shape == image.shape
    assert [int(labels.header[code]) for code in ("qform_code", "sform_code")] == [
        int(image.header[code]) for code in ("qform_code", "sform_code")
    ]
    a, b = sitk.ReadImage(str(scan)), sitk.ReadImage(str(out))
    assert (a.GetOrigin(), a.GetSpacing(), a.GetDirection()) == (
        b.GetOrigin(),
        b.GetSpacing(),
        b.GetDirection(),
    )
    found = np.asanyarray(labels.dataobj)
    assert np.flatnonzero(found.any(axis=(0, 1))).tolist() == [6]


@pytest.mark.parametrize(("axis", "number"), [("1", 1), ("sagittal", 2), ("coronal", 1), ("axial", 0)])
def test_slices_along_any_axis(medicosam, scan, tmp_path, axis, number):
    out = tmp_path / "labels.nii.gz"
    medicosam("segment", scan, "-o", out, *TINY, "--axis", axis, "--point", "6,20,25,+")
    occupied = np.argwhere(np.asanyarray(nib.load(out).dataobj).T)
    assert len(occupied)
    assert set(occupied[:, number]) == {(6, 20, 25)[number]}


def test_propagation_and_the_report(medicosam, scan, tmp_path):
    out, report = tmp_path / "labels.mha", tmp_path / "report.json"
    medicosam("segment", scan, "-o", out, *TINY, *BOX, "--propagate", "--mode", "box", "--iou-threshold", "0",
              "--box-extension", "0", "--min-confidence", "0", "--z-range", "4,10", "--appearance", "0.8",
              "--likeness", "0.3", "--json", report)  # fmt: skip
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    content = json.loads(report.read_text())
    entry = content["objects"][0]
    assert entry["slices"] == np.flatnonzero(labels.any(axis=(1, 2))).tolist()
    assert set(entry["slices"]) <= set(range(4, 10))
    assert len(entry["slices"]) > 1
    assert entry["voxels"] == np.count_nonzero(labels == 1)
    assert entry["mm3"] == pytest.approx(
        entry["voxels"] * abs(np.linalg.det(nib.load(scan).affine)), abs=1e-3
    )
    assert list(entry["iou_predictions"]) == [str(i) for i in entry["slices"]]
    assert content["seconds"] > 0
    assert content["propagation"] == {
        "mode": "box", "iou_threshold": 0.0, "box_extension": 0.0, "min_confidence": 0.0,
        "box_extension_mm": None, "reference_spacing_mm": 2.0, "between": "shapes",
        "appearance": 0.8, "likeness": 0.3,
    }  # fmt: skip
    assert (content["three_planes"], content["clean_up"]) == (False, None)
    assert content["intensity"]["kind"] == "percentile"
    assert "scan" not in report.read_text()  # no file names: they often are patient names


def test_many_objects_from_a_file_and_masks_beside_it(medicosam, scan, tmp_path):
    hint = np.zeros((50, 40, 12), np.uint8)
    hint[30:45, 25:35, 3] = 7
    nib.save(nib.Nifti1Image(hint, nib.load(scan).affine), tmp_path / "hint.nii.gz")
    prompts = tmp_path / "prompts.json"
    prompts.write_text(
        json.dumps(
            {
                "objects": [
                    {"id": 3, "name": "ball", "boxes": [[6, 8, 13, 32, 37]], "points": [[6, 20, 25, "+"]]},
                    {"name": "other", "mask": "hint.nii.gz", "mask_label": 7},
                ]
            }
        )
    )
    out, report = tmp_path / "labels.nrrd", tmp_path / "report.json"
    medicosam("segment", scan, "-o", out, *TINY, "--prompts", prompts, "--json", report, "--overlap", "last")
    entries = json.loads(report.read_text())["objects"]
    assert [(e["id"], e["name"], e["slices"]) for e in entries] == [(3, "ball", [6]), (2, "other", [3])]
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    assert set(np.unique(labels)) == {0, 2, 3}


@pytest.mark.parametrize(
    "points",
    [
        '[[6, 20, 25, "+"], [6, 3, 4, "-"]]',
        '["6,20,25,+", "6,3,4,-"]',
        "[[6, 20, 25, true], [6, 3, 4, false]]",
        "[[6, 20, 25, 1], [6, 3, 4, 0]]",
        '[[6, 20, 25], [6, 3, 4, "-"]]',
    ],
)
def test_points_in_a_file_may_be_written_as_people_do(medicosam, scan, tmp_path, points):
    prompts, out, plain = tmp_path / "prompts.json", tmp_path / "labels.nii.gz", tmp_path / "plain.nii.gz"
    prompts.write_text(f'[{{"points": {points}}}]')
    medicosam("segment", scan, "-o", out, *TINY, "--prompts", prompts)
    medicosam("segment", scan, "-o", plain, *TINY, "--point", "6,20,25,+", "--point", "6,3,4,-")
    assert np.array_equal(np.asanyarray(nib.load(out).dataobj), np.asanyarray(nib.load(plain).dataobj))


@pytest.mark.parametrize("kind", ["grey", "rgb"])
def test_2d_images_leave_out_z(medicosam, tmp_path, kind):
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(image if kind == "rgb" else image[..., 0]).save(tmp_path / "image.png")
    out = tmp_path / "labels.png"
    medicosam("segment", tmp_path / "image.png", "-o", out, *TINY, "--box", "5,6,30,40", "--point", "12,15,+")
    labels = np.asarray(Image.open(out))
    assert labels.shape == (40, 60)
    assert set(np.unique(labels)) == {0, 1}


def test_embeddings_are_reused(medicosam, scan, tmp_path, monkeypatch):
    from napari_medicosam.predict.encoder import SliceEncoder

    store = tmp_path / "store"
    medicosam("embed", scan, "--embeddings", store, *TINY, "--z-range", "5,8")
    encoded = []
    encode = SliceEncoder.encode_batch
    monkeypatch.setattr(
        SliceEncoder, "encode_batch", lambda self, images: encoded.extend(images) or encode(self, images)
    )
    out = tmp_path / "a.nii.gz"
    medicosam("segment", scan, "-o", out, *TINY, *BOX, "--embeddings", store)
    assert encoded == []
    medicosam("embed", scan, "--embeddings", store, *TINY)
    assert len(encoded) == 12 - 3
    medicosam(
        "segment", scan, "-o", tmp_path / "b.nii.gz", *TINY, *BOX, "--embeddings", store, "--window", "0,500"
    )
    assert len(encoded) == 12 - 3 + 1  # another window is another embedding
    medicosam("segment", scan, "-o", tmp_path / "c.nii.gz", *TINY, *BOX)
    a, c = (np.asanyarray(nib.load(tmp_path / f"{n}.nii.gz").dataobj) for n in "ac")
    assert np.array_equal(a, c)


def test_embeddings_in_8_bits_are_others_and_reused(medicosam, scan, tmp_path, monkeypatch):
    from napari_medicosam.predict.encoder import SliceEncoder

    store, small = tmp_path / "store", ("--embedding-dtype", "int8")
    medicosam("embed", scan, "--embeddings", store, *TINY, "--z-range", "6,7")
    encoded = []
    encode = SliceEncoder.encode_batch
    monkeypatch.setattr(
        SliceEncoder, "encode_batch", lambda self, images: encoded.extend(images) or encode(self, images)
    )
    medicosam("embed", scan, "--embeddings", store, *TINY, "--z-range", "6,7", *small)
    assert len(encoded) == 1
    medicosam(
        "segment",
        scan,
        "-o",
        tmp_path / "a.nii.gz",
        *TINY,
        *BOX,
        "--zoom",
        "never",
        "--embeddings",
        store,
        *small,
    )
    assert len(encoded) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to segment"),
        (("--axis", "top", *BOX), "wanted 0, 1, 2, axial, coronal or sagittal"),
        (("--point", "6,20,99,+"), "outside slice 6"),
        (("--point", "12,20,20,+"), r"slice 12 is outside the image, axis 0 has 0\.\.11"),
        (("--point", "6,20,+"), "wanted Z,Y,X,"),
        (("--point", "6,twenty,2,+"), "cannot read"),
        (("--point", "6,20,20,-"), "no prompt that says where it is"),
        (("--box", "6,8,13,8,37"), "y0 < y1"),
        (("--box", "6,8,13,32"), "wanted Z,Y0,X0,Y1,X1"),
        ((*BOX, "--box", "6,1,1,5,5"), "one box a slice"),
        ((*BOX, "--window", "lungs"), "unknown intensity window"),
        ((*BOX, "--propagate", "--mode", "boxes"), "unknown propagation mode"),
        ((*BOX, "--propagate", "--iou-threshold", "2"), "between 0 and 1"),
        ((*BOX, "--propagate", "--z-range", "9,4"), "START < STOP"),
        ((*BOX, "--propagate", "--z-range", "0-4"), "two whole numbers"),
        ((*BOX, "--propagate", "--z-range", "8,10"), "outside the z-range"),
        ((*BOX, "--model", "sam_tset"), "sam_test"),
        ((*BOX, "--model", "missing.pth"), "no checkpoint at"),
        ((*BOX, "--device", "tpu9"), "unknown device"),
        ((*BOX, "--embedding-dtype", "int4"), "float16 or float32 or int8, got 'int4'"),
        ((*BOX, "--propagate", "--between", "lines"), "shapes or neighbours"),
        ((*BOX, "--propagate", "--box-extension-mm", "-1"), "0 mm or more"),
        ((*BOX, "--propagate", "--appearance", "-1"), "appearance must be 0 or more"),
        ((*BOX, "--propagate", "--box-extension-mm", "1", "--box-extension", "2"), "exclude each other"),
        ((*BOX, "--three-planes"), "wanted --propagate, too"),
        ((*BOX, "--fill-holes", "all"), "--fill-holes all: wanted no, slices, volume"),
        ((*BOX, "--smooth", "-1"), "smoothing must be 0 or more mm"),
        ((*BOX, "--overlap", "both"), "wanted error, first or last"),
        (("--prompts", "missing.json"), "cannot read prompts"),
        ((*BOX, "--json", "no/such/folder.json"), "no folder"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(medicosam, scan, tmp_path, words, message):
    out = tmp_path / "labels.nii.gz"
    with pytest.raises(MedicoSamError, match=message):
        medicosam("segment", scan, "-o", out, "--model", "sam_test", *words)
    assert nothing_left(tmp_path, besides={"scan.nii.gz"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read prompts"),
        ('{"objects": []}', "lists no object"),
        ('{"objects": [{"box": [1]}]}', "box"),
        ('{"objects": [{"id": 1, "points": [[6, 9, 9]]}, {"id": 1, "points": [[6, 2, 2, "+"]]}]}', "id 1 is used"),
        ('{"objects": [{"id": 0, "points": [[6, 20, 25, "+"]]}]}', "greater than or equal to 1"),
        ('{"objects": [{"mask": "missing.nii.gz"}]}', "missing.nii.gz"),
        ('{"objects": [{"mask": "other_grid.nii.gz"}]}', "another voxel grid"),
    ],
)  # fmt: skip
def test_bad_prompt_files(medicosam, scan, tmp_path, content, message):
    nib.save(nib.Nifti1Image(np.ones((50, 40, 12), np.uint8), np.eye(4)), tmp_path / "other_grid.nii.gz")
    prompts = tmp_path / "prompts.json"
    prompts.write_text(content)
    with pytest.raises(MedicoSamError, match=message):
        medicosam("segment", scan, "-o", tmp_path / "labels.nii.gz", *TINY, "--prompts", prompts)


def test_volumes_that_cannot_be_segmented(medicosam, tmp_path):
    four = tmp_path / "four.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 7, 3), np.int16), np.eye(4)), four)
    with pytest.raises(FileError, match=r"5, 6, 7, 3|4D"):
        medicosam("segment", four, "-o", tmp_path / "l.nii.gz", *TINY, "--point", "1,1,1,+")
    empty = tmp_path / "empty.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 7), np.int16), np.eye(4)), empty)
    with pytest.raises(InputError, match="empty"):
        medicosam("segment", empty, "-o", tmp_path / "l.nii.gz", *TINY, "--point", "1,1,1,+")


def test_nothing_is_replaced_without_being_asked(medicosam, scan, tmp_path):
    out, report = tmp_path / "labels.nii.gz", tmp_path / "report.json"
    out.write_text("mine")
    with pytest.raises(FileError, match="--overwrite"):
        medicosam("segment", scan, "-o", out, *TINY, *BOX)
    assert out.read_text() == "mine"
    report.write_text("mine")
    with pytest.raises(FileError, match="--overwrite"):
        medicosam("segment", scan, "-o", tmp_path / "new.nii.gz", *TINY, *BOX, "--json", report)
    assert report.read_text() == "mine"
    with pytest.raises(FileError, match="is the image itself"):
        medicosam("segment", scan, "-o", scan, *TINY, *BOX, "--overwrite")
    medicosam("segment", scan, "-o", out, *TINY, *BOX, "--overwrite", "--json", report)
    assert nib.load(out).shape == (50, 40, 12)
    assert json.loads(report.read_text())["objects"]


def test_a_format_that_cannot_hold_the_grid_is_refused_before_any_work(
    medicosam, scan, tmp_path, monkeypatch
):
    from napari_medicosam.predict.encoder import SliceEncoder

    sheared = nib.load(scan).affine.copy()
    sheared[0, 1] += 0.3
    nib.save(nib.Nifti1Image(np.asanyarray(nib.load(scan).dataobj), sheared), scan)
    monkeypatch.setattr(SliceEncoder, "encode_batch", lambda self, images: pytest.fail("worked for nothing"))
    with pytest.raises(FileError, match=r"cannot write .*labels\.nrrd: .*Write NIfTI instead"):
        medicosam("segment", scan, "-o", tmp_path / "labels.nrrd", *TINY, *BOX)
    assert nothing_left(tmp_path, besides={"scan.nii.gz"})
