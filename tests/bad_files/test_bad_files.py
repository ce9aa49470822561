"""Every bad file gives a clear error or a sound load: no crash, no hang, no more memory than its voxels need.

The readers run in processes of their own, so that one that crashes or hangs names its file and spares the others.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bad_corpus import BAD, SOUND, corpus

if TYPE_CHECKING:
    from bad_case import BadFile

RUNNER = Path(__file__).with_name("bad_readers.py")
SLACK_BYTES = 32 << 20
"""What a library may take for itself, whatever it reads."""

LONGEST_MESSAGE = 1000


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return corpus(tmp_path_factory.mktemp("bad"))


@pytest.fixture(scope="module")
def outcomes(paths: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """What became of every file, by its name."""
    found: dict[str, dict[str, Any]] = {}
    for _, cases in groupby(sorted((*SOUND, *BAD), key=is_weights), key=is_weights):
        todo = list(cases)
        while todo:
            found |= _read_until_one_ends_the_process(todo, paths)
            todo = [case for case in todo if case.name not in found]
    return found


def is_weights(case: BadFile) -> bool:
    return case.reader == "weights"  # torch is not needed for the others


def _read_until_one_ends_the_process(
    cases: list[BadFile], paths: dict[str, Path]
) -> dict[str, dict[str, Any]]:
    sound = [case for case in SOUND if case.reader in {case.reader for case in cases}]
    lines = [
        {"name": case.name, "reader": case.reader, "path": str(paths[case.name]), "warm_up": case in sound}
        for case in (*sound, *(case for case in cases if case not in sound))
    ]
    run = subprocess.run(
        [sys.executable, str(RUNNER)],
        input="\n".join(map(json.dumps, lines)),
        capture_output=True,
        text=True,
        errors="replace",
        cwd=paths[cases[0].name].parent,
    )
    told = [json.loads(line) for line in run.stdout.splitlines()]
    found = {line["name"]: line for line in told if "name" in line}
    last = next((line["begins"] for line in reversed(told) if "begins" in line), None)
    assert last is not None, run.stderr
    if last not in found:
        found[last] = {
            "outcome": f"the process ended with {run.returncode}",
            "peak": 0,
            "message": run.stderr[-500:],
        }
    return found


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name.encode("ascii", "replace").decode())
def test_a_bad_file(case: BadFile, outcomes: dict[str, dict[str, Any]]) -> None:
    found = outcomes[case.name]
    outcome, message = found["outcome"], found.get("message", "")
    assert outcome in ("read", "refused"), message
    assert case.wanted != "refused" or outcome == "refused"
    assert case.wanted != "read" or outcome == "read", message
    if case.wanted == "same or refused" and outcome == "read":
        assert found["digest"] == _sound_outcome(case, outcomes)["digest"]
    if outcome == "refused":
        assert re.search(case.says, message)
        assert 10 < len(message) < LONGEST_MESSAGE
        assert not re.search(r"Traceback|MemoryError|allocat|bad_alloc|\(0x", message)
    assert found["peak"] <= 2 * case.declared + SLACK_BYTES


def _sound_outcome(case: BadFile, outcomes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of the file that `case` was made of: the one with the longest ending that both have."""
    endings = [sound.name.removeprefix("sound") for sound in SOUND]
    ending = max((ending for ending in endings if case.name.endswith(ending)), key=len)
    return outcomes[f"sound{ending}"]


@pytest.mark.parametrize("case", SOUND, ids=lambda case: case.name)
def test_what_they_were_made_of_is_sound(case: BadFile, outcomes: dict[str, dict[str, Any]]) -> None:
    assert outcomes[case.name]["outcome"] == "read", outcomes[case.name]


def test_no_pickle_was_run(outcomes: dict[str, dict[str, Any]], paths: dict[str, Path]) -> None:
    assert not (paths["sound.pth"].parent / "exploded").exists()


def test_nothing_was_written_outside(outcomes: dict[str, dict[str, Any]], paths: dict[str, Path]) -> None:
    folder = paths["sound.pth"].parent
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        n for n in paths if paths[n].is_file()
    }


def test_the_corpus_is_large_and_always_the_same(paths: dict[str, Path], tmp_path: Path) -> None:
    assert len(BAD) >= 200
    assert len({case.name for case in (*SOUND, *BAD)}) == len(SOUND) + len(BAD)
    assert min(Counter(case.reader for case in BAD).values()) >= 10
    for case in BAD[::40]:
        case.make(tmp_path / case.name)
        assert _content(tmp_path / case.name) == _content(paths[case.name])


def _content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}
