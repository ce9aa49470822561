"""Many images with one command: what is done, skipped, failed, tried again; a worker that dies loses nothing."""

import csv
import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_medicosam.cli import batch
from napari_medicosam.cli.app import app
from napari_medicosam.cli.batch_cluster import local_shape, run_on_cluster
from napari_medicosam.cli.batch_inputs import items_of, read_batch_list
from napari_medicosam.cli.batch_records import sweep_attempts
from napari_medicosam.cli.batch_tasks import EmbedTask, Machinery, Terms, run_task
from napari_medicosam.cli.job import JobOptions
from napari_medicosam.errors import ClusterError, FileError, InputError

TINY = ("--model", "sam_test", "--device", "cpu", "--threads", "1")
BOX = ("--box", "6,8,13,32,37", "--propagate")
HERE = (*TINY, "--workers", "0")


def scan_file(path, seed=0, num_slices=12):
    """A ball in noise, (z, y, x) = (num_slices, 40, 50)."""
    z, y, x = np.mgrid[:num_slices, :40, :50]
    array = np.random.default_rng(seed).normal(100, 10, z.shape)
    array[((z - 6) * 3) ** 2 + (y - 20) ** 2 + (x - 25) ** 2 < 12**2] += 300
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.int16).T, np.diag([1, 1, 2.5, 1])), path)
    return path


@pytest.fixture
def scans(tmp_path):
    """A folder with two scans and a damaged one, one of them in a folder of its own."""
    folder = tmp_path / "scans"
    scan_file(folder / "a.nii.gz", 1)
    scan_file(folder / "late" / "a.nii.gz", 2)
    (folder / "bad.nii.gz").write_bytes(b"no scan")
    return folder


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def rows_of(path):
    with path.open() as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


def contents(folder, pattern="*"):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob(pattern)
        if path.is_file()
    }


def test_a_failed_image_does_not_stop_the_others_and_is_tried_again(scans, tmp_path):
    out, summary = tmp_path / "out", tmp_path / "summary.csv"
    result = run("segment", scans, "-o", out, *HERE, *BOX, "--retries", "2", "--summary", summary)
    assert result.exit_code == 1
    rows = rows_of(summary)
    assert {name: (row["state"], row["tries"]) for name, row in rows.items()} == {
        "a.nii.gz": ("done", "1"),
        "bad.nii.gz": ("failed", "3"),
        "late/a.nii.gz": ("done", "1"),
    }
    assert "not a NIfTI file" in rows["bad.nii.gz"]["detail"]
    assert "not a NIfTI file" in result.output
    assert "window" not in result.output  # the notes of single images
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert made == [f"{folder}a_labels.nii.gz{end}" for folder in ("", "late/") for end in ("", ".json")]
    alone = tmp_path / "alone.nii.gz"
    run("segment", scans / "late" / "a.nii.gz", "-o", alone, "--model", "sam_test", "--device", "cpu", *BOX)
    assert (out / "late" / "a_labels.nii.gz").read_bytes() == alone.read_bytes()


def test_what_is_done_is_skipped_and_what_is_not_is_done_again(scans, tmp_path):
    out, summary = tmp_path / "out", tmp_path / "summary.json"
    (scans / "bad.nii.gz").unlink()

    def states(*more):
        run("segment", scans, "-o", out, *HERE, *BOX, "--summary", summary, *more)
        return [row["state"] for row in json.loads(summary.read_text())["rows"]]

    assert states() == ["done", "done"]
    first = contents(out)
    assert states() == ["skipped", "skipped"]
    assert contents(out) == first
    (out / "a_labels.nii.gz").unlink()  # as when a worker dies between the record and the labels
    assert states() == ["done", "skipped"]
    assert contents(out, "*.gz") == {name: data for name, data in first.items() if name.endswith(".gz")}
    (out / "a_labels.nii.gz").write_bytes(b"corrected by hand")
    assert states() == ["failed", "skipped"]
    assert (out / "a_labels.nii.gz").read_bytes() == b"corrected by hand"
    assert states("--overwrite") == ["done", "skipped"]
    scan_file(scans / "a.nii.gz", 7)
    assert states() == ["failed", "skipped"]  # labels of another image lie there
    assert states("--zoom", "never") == ["failed", "failed"]  # and of other settings
    assert states("--zoom", "never", "--overwrite") == ["done", "done"]


def test_embeddings_are_found_by_pixels_whatever_files_are_called(scans, tmp_path):
    kept, summary = tmp_path / "kept", tmp_path / "summary.csv"
    (scans / "bad.nii.gz").unlink()
    run("embed", scans, "--embeddings", kept, *HERE, "--summary", summary)
    assert [row["detail"] for row in rows_of(summary).values()] == ["12 slices encoded, 0 were there"] * 2
    before = contents(kept)
    (scans / "late" / "a.nii.gz").rename(scans / "other.nii.gz")
    run("embed", scans, "--embeddings", kept, *HERE, "--summary", summary)
    assert [row["state"] for row in rows_of(summary).values()] == ["skipped"] * 2
    result = run(
        "segment", scans, "-o", tmp_path / "out", *HERE, *BOX, "--zoom", "never", "--embeddings", kept
    )
    assert result.exit_code == 0
    assert contents(kept) == before
    assert {len(path.name) for path in kept.iterdir()} == {32}  # digests, no names


def test_a_list_says_prompts_and_outputs(scans, tmp_path):
    (tmp_path / "late.json").write_text(
        '[{"id": 4, "points": ["6,20,25,+"]}, {"id": 5, "boxes": ["2,1,1,9,9"]}]'
    )
    listed = tmp_path / "list.csv"
    listed.write_text(
        "image,boxes,points,prompts,output\n"
        'scans/a.nii.gz,"6,8,13,32,37 5,8,13,32,37","6,20,25,+",,\n'
        "scans/late/a.nii.gz,,,late.json,second/labels.mha\n"
    )
    with pytest.raises(InputError, match=r"would both be a\.nii\.gz"):
        read_batch_list(listed)
    listed.write_text(listed.read_text().replace("image,", "name,image,").replace("\nscans", "\n,scans", 1))
    listed.write_text(listed.read_text().replace("\nscans/late", "\nlate,scans/late"))
    assert run("segment", "--batch", listed, "-o", tmp_path / "out", *HERE).exit_code == 0
    first = np.asanyarray(nib.load(tmp_path / "out" / "a_labels.nii.gz").dataobj)
    assert np.flatnonzero(first.any(axis=(0, 1))).tolist() == [5, 6]
    record = json.loads((tmp_path / "out" / "second" / "labels.mha.json").read_text())
    assert [entry["id"] for entry in record["report"]["objects"]] == [4, 5]
    assert "late" not in json.dumps(record)  # no names of files: they often are patient names


def test_labels_never_replace_a_scan_of_the_list(scans, tmp_path):
    listed = tmp_path / "list.json"
    rows = [
        {"image": "scans/a.nii.gz", "name": "1", "output": "late/a.nii.gz"},
        {"image": "scans/late/a.nii.gz"},
    ]
    listed.write_text(json.dumps(rows))
    before = contents(scans)
    with pytest.raises(FileError, match="labels never replace a scan"):
        run("segment", "--batch", listed, "-o", scans, *HERE, *BOX, "--overwrite")
    assert contents(scans) == before


def test_a_file_at_the_place_of_a_record_stays(scans, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_labels.nii.gz.json").write_text('{"mine": 1}')
    result = run("segment", scans / "a.nii.gz", "-o", out, *HERE, *BOX)
    assert result.exit_code == 1
    assert contents(out) == {"a_labels.nii.gz.json": b'{"mine": 1}'}


def test_prompts_of_a_folder_by_name(scans, tmp_path):
    (scans / "bad.nii.gz").unlink()
    prompts = tmp_path / "prompts"
    (prompts / "late").mkdir(parents=True)
    (prompts / "late" / "a.json").write_text('[{"id": 9, "boxes": ["6,8,13,32,37"]}]')
    result = run("segment", scans, "-o", tmp_path / "out", *HERE, "--prompts", prompts, "--retries", "0")
    assert "cannot read prompts" in result.output  # of the other one
    labels = np.asanyarray(nib.load(tmp_path / "out" / "late" / "a_labels.nii.gz").dataobj)
    assert set(np.unique(labels)) == {0, 9}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "lists no image"),
        ('{"image": "a.nii"}', "lists no image"),
        ("[{}]", "image 1: image"),
        ('[{"image": "a.nii", "out": "x.nii"}]', "image 1: out"),
        ('[{"image": "a.nii", "output": "../x.nii"}]', "without .."),
        ('[{"image": "a.nii", "name": "/x"}]', "without .."),
        ('[{"image": "a.nii"}, {"image": "B.nii", "name": "A.nii"}]', "would both be"),
        ("[", "cannot read"),
    ],
)
def test_lists_that_are_refused(tmp_path, text, message):
    listed = tmp_path / "list.json"
    listed.write_text(text)
    with pytest.raises((InputError, FileError), match=message):
        read_batch_list(listed)


def test_folders_that_are_one_image_count_once(tmp_path):
    for name in ("b10.png", "b2.png", "b2_labels.png", "notes.txt", ".hidden.png", "x.ome.zarr/0/zarr.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for series in ("ward/ct", "ward/mr"):
        (tmp_path / series).mkdir(parents=True)
        for number in range(2):
            (tmp_path / series / f"IM{number}").write_bytes(bytes(128) + b"DICM")
    names = [item.name for item in items_of([tmp_path])]
    assert names == ["b2.png", "b10.png", "x.ome.zarr", "ward/ct", "ward/mr"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a.nii", "--batch", "list.csv"), "both IMAGE"),
        ((), "no image"),
        (("a.nii", "--scheduler", "tcp://x:1", "--workers", "1"), "one of them"),
        (("a.nii", "b.nii", "--summary", "s.txt"), r"\.csv or \.json"),
        (("a.nii", "b.nii", "--json", "r.json"), "--summary lists all"),
        (("a.nii", "a.mhd", "--model", "no such model"), "no such model"),
        (("a.png", "a.jpg"), "labels of a.png and a.jpg"),
    ],
)
def test_batches_that_are_refused_before_any_work(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    workers = () if "--scheduler" in words else ("--workers", "0")
    with pytest.raises(Exception, match=message):
        run("segment", *words, "-o", "out", *workers, "--box", "1,2,3,4,5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["list.csv", "list.json"])
def test_a_summary_replaces_nothing_but_a_summary(scans, tmp_path, name):
    other = tmp_path / name
    other.write_text("image,name\na.nii,a\n" if name.endswith("csv") else '[{"image": "a.nii"}]')
    before = other.read_bytes()
    with pytest.raises(FileError, match="no summary of ours"):
        run("embed", scans, "--embeddings", tmp_path / "kept", *HERE, "--summary", other)
    assert other.read_bytes() == before


@pytest.mark.parametrize(
    ("given", "cores", "gigabytes", "expected"),
    [
        ((None, None, False), 16, 256, (16, 1)),
        ((None, None, False), 16, 33, (8, 2)),
        ((None, 4, False), 16, 256, (4, 4)),
        ((3, None, False), 16, 256, (3, 5)),
        ((None, None, False), 1, 1, (1, 1)),
        ((None, None, True), 16, 256, (1, 16)),
    ],
)
def test_processes_share_out_the_cores_of_the_machine(monkeypatch, given, cores, gigabytes, expected):
    pytest.importorskip("distributed")
    monkeypatch.setattr("dask.system.CPU_COUNT", cores)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", gigabytes * 1024**3)
    assert local_shape(*given) == expected


def test_stopped_it_says_so_and_goes_on_later(scans, tmp_path, monkeypatch):
    (scans / "bad.nii.gz").unlink()
    summary = tmp_path / "summary.csv"
    words = ("embed", scans, "--embeddings", tmp_path / "kept", *HERE, "--summary", summary)

    def interrupted(task, terms):
        if task.name != "a.nii.gz":
            raise KeyboardInterrupt
        return run_task(task, terms)

    with monkeypatch.context() as patch:
        patch.setattr(batch, "run_task", interrupted)
        result = run(*words)
    assert result.exit_code
    assert "1 done, 0 skipped, 0 failed; what is done is kept" in result.output
    assert list(rows_of(summary)) == ["a.nii.gz"]
    run(*words)
    assert [row["state"] for row in rows_of(summary).values()] == ["skipped", "done"]


def test_without_dask_one_image_and_one_after_another_still_work(scans, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    image, words = (
        scans / "a.nii.gz",
        ("--embeddings", tmp_path / "kept", "--model", "sam_test", "--device", "cpu"),
    )
    assert run("embed", image, *words).exit_code == 0
    assert run("embed", image, *words, "--workers", "0").exit_code == 0
    with pytest.raises(ClusterError, match=r"napari-medicosam\[cluster\]"):
        run("embed", scans, *words)


@dataclass(frozen=True)
class Flaky:
    """Fails until `marks` holds so many files."""

    name: str
    marks: Path
    failures: int

    def work(self, terms):
        count = len(list(self.marks.iterdir()))
        if count < self.failures:
            (self.marks / str(count)).touch()
            raise ValueError("Doe^Jane")
        return "done", ""


@pytest.fixture
def terms():
    return Terms.of_here("run", Machinery("sam_test", "cpu"), 1)


@pytest.fixture
def threads_cluster():
    """A cluster of one thread of this process."""
    distributed = pytest.importorskip("distributed")
    options = {
        "n_workers": 1,
        "threads_per_worker": 1,
        "processes": False,
        "protocol": "tcp",
        "dashboard_address": None,
        "host": "127.0.0.1",
    }
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


def test_a_cluster_tries_again_and_tells_no_names(threads_cluster, terms, tmp_path):
    names = ("Doe_twice", "Doe_often")
    for name in names:
        (tmp_path / name).mkdir()
    image = scan_file(tmp_path / "Doe.nii.gz")
    wanted = JobOptions("sam_test", None, tmp_path / "kept", "cpu", is_shared=True)
    tasks = [
        Flaky("Doe_twice", tmp_path / "Doe_twice", 2),
        Flaky("Doe_often", tmp_path / "Doe_often", 99),
        EmbedTask("Doe_image", image, wanted, "0", None),
        EmbedTask("Doe_gone", tmp_path / "Doe_gone.nii.gz", wanted, "0", None),
    ]
    found = {one.name: one for one in run_on_cluster(threads_cluster, tasks, terms, retries=2)}
    assert {name: (one.state, one.tries) for name, one in found.items()} == {
        "Doe_twice": ("done", 3),
        "Doe_often": ("failed", 3),
        "Doe_image": ("done", 1),
        "Doe_gone": ("failed", 3),
    }
    assert "Doe^Jane" not in found["Doe_often"].detail  # words of a library: who knows what they quote
    assert "ValueError in test_batch.py, line " in found["Doe_often"].detail
    logs = [threads_cluster.get_worker_logs(), threads_cluster.get_scheduler_logs()]
    assert "Doe" not in str(logs)


@pytest.mark.parametrize(
    ("changed", "message"), [({"version": "0.0"}, "wanted 0.0"), ({"weights_sha256": "00"}, "00")]
)
def test_a_worker_that_is_not_like_the_others_does_nothing(terms, tmp_path, changed, message):
    outcome = run_task(Flaky("any", tmp_path, 0), replace(terms, **changed))
    assert outcome.state == "failed"
    assert message in outcome.detail


def test_leftovers_of_other_runs_stay_for_a_day(tmp_path):
    mine, other, old = (tmp_path / f".medicosam-batch-{name}" for name in ("run-1", "other-1", "old-1"))
    for folder in (mine, other, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    sweep_attempts([tmp_path], "run")
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_worker_loses_nothing(tmp_path, monkeypatch):
    """Killed in mid-run, two processes leave what one that is left alone leaves, byte for byte."""
    pytest.importorskip("distributed")
    scans, killed = tmp_path / "scans", []
    for seed in range(6):
        scan_file(scans / f"{seed}.nii.gz", seed, num_slices=60)

    def kill_once(client):
        busy = [address for address, keys in client.processing().items() if keys]
        if busy and not killed:
            killed.append(client.run(os.getpid, workers=busy[:1])[busy[0]])
            os.kill(killed[0], signal.SIGKILL)
        return 2

    def results(name, *how):
        out, kept = tmp_path / name / "out", tmp_path / name / "kept"
        result = run("segment", scans, "-o", out, *TINY, *how, *BOX, "--embeddings", kept)
        assert result.exit_code == 0, result.output
        assert not list(out.rglob(".*"))
        records = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
        assert len(records) == 6
        return contents(out, "*.gz"), contents(kept, "c*")

    monkeypatch.setattr(batch, "num_workers", kill_once)
    with_kill = results("cluster", "--workers", "2")
    assert killed
    assert with_kill == results("alone", "--workers", "0")
