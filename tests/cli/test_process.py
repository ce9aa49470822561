"""The command as a process: exit codes, what it prints, Ctrl-C and kill -9 in the middle of its work."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cli_helpers import still_runs

TINY = ["--model", "sam_test", "--device", "cpu"]
NUM_SLICES = 300


def start(*words, **more):
    command = [sys.executable, "-c", "from napari_medicosam.cli.app import main; main()", *map(str, words)]
    # A shell that runs the tests in the background has made its children deaf to Ctrl-C.
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **more,
    )


@pytest.fixture
def long_scan(tmp_path):
    array = np.random.default_rng(0).integers(0, 500, (30, 40, NUM_SLICES)).astype(np.int16)
    nib.save(nib.Nifti1Image(array, np.diag([1, 1, 2.5, 1])), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def chunk_files(store: Path):
    """Files of the embeddings array that are in place, in groups that are in place."""
    return [path for path in store.glob("[!.]*/embeddings/c*") if not path.name.endswith(".partial")]


def chunks(store: Path):
    """Chunk name -> (digest, time of the last change), of a store that nobody writes to."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in chunk_files(store)
    }


def nothing_done_twice(before, after):
    """The chunk whose mark was not written yet when the process ended is the only one that may be done again."""
    changed = [name for name, (digest, _) in before.items() if after[name][0] != digest]
    touched = [name for name, state in before.items() if after[name] != state]
    return not changed and len(touched) <= 1


def interrupt(process, store, how, num_chunks):
    """Send a signal once so many slices are stored; what the process then still says."""
    while len(chunk_files(store)) < num_chunks and still_runs(process):
        pass
    process.send_signal(how)
    return process.communicate(timeout=120)


def test_killed_at_any_moment_it_goes_on_where_it_was(long_scan, tmp_path, medicosam):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    medicosam("embed", long_scan, "--embeddings", whole, *TINY)

    before = {}
    for _ in range(2):
        process = start("embed", long_scan, "--embeddings", killed, *TINY)
        interrupt(process, killed, signal.SIGKILL, len(before) + 20)
        after = chunks(killed)
        assert len(after) < NUM_SLICES, "it finished before it could be killed"
        assert nothing_done_twice(before, after)
        before = after
    notes = medicosam("embed", long_scan, "--embeddings", killed, *TINY).stderr
    assert {name: digest for name, (digest, _) in chunks(killed).items()} == {
        name: digest for name, (digest, _) in chunks(whole).items()
    }
    assert nothing_done_twice(before, chunks(killed))
    done = int(notes.split("encoded ")[1].split()[0])
    assert done <= NUM_SLICES - len(before) + 1


def test_ctrl_c_leaves_a_resumable_store_and_no_half_file(long_scan, tmp_path):
    store, out = tmp_path / "store", tmp_path / "labels.nii.gz"
    words = ["segment", long_scan, "-o", out, *TINY, "--box", "200,5,5,30,25", "--propagate", "--mode", "box",
             "--iou-threshold", "0", "--min-confidence", "0", "--embeddings", store]  # fmt: skip
    _, notes = interrupt(process := start(*words), store, signal.SIGINT, 20)
    assert process.returncode == 130, notes
    assert "nothing written" in notes
    assert f"kept in {store}" in notes.replace("\n", "")
    assert "Traceback" not in notes
    assert {path.name for path in tmp_path.iterdir()} == {"scan.nii.gz", "store"}
    kept = chunks(store)
    process = start(*words)
    _, notes = process.communicate(timeout=240)
    assert process.returncode == 0, notes
    assert nib.load(out).shape == (30, 40, NUM_SLICES)
    assert nothing_done_twice(kept, chunks(store))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["segment", "missing.nii.gz", "-o", "out.nii.gz", "--point", "1,1,1,+"], "medicosam: missing.nii.gz does not"),
        (["models", "info", "sam_b"], "medicosam: "),
        (["embed", "missing.png", "--embeddings", "store"], "medicosam: missing.png does not"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_exit_code_1(words, message, tmp_path):
    process = start(*words, cwd=tmp_path)
    printed, notes = process.communicate(timeout=120)
    assert process.returncode == 1
    assert printed == ""
    assert notes.startswith(message)
    assert "Traceback" not in notes
    assert list(tmp_path.iterdir()) == []


def test_version_and_list():
    printed, _ = start("--version").communicate(timeout=120)
    assert printed.strip()
    printed, _ = start("models", "--json", env=os.environ | {"NAPARI_MEDICOSAM_OFFLINE": "1"}).communicate(
        timeout=120
    )
    names = {entry["name"] for entry in json.loads(printed)}
    assert {"medicosam_lite", "litemedsam", "vit_b", "vit_t", "medicosam_vit_b", "sam_test"} <= names
