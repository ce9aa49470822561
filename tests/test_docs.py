"""The papers beside the code say what the code does: names, floors, links, commands, attributions."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "napari_medicosam"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_architecture_names_every_module() -> None:
    modules = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
    }
    named = set(re.findall(r"`([\w/]+\.py)`", ARCHITECTURE))
    missing = sorted(modules - named)
    gone = sorted(name for name in named if not ((PACKAGE / name).is_file() or (ROOT / name).is_file()))
    assert not missing, "docs/architecture.md does not name these modules"
    assert not gone, "docs/architecture.md names modules that do not exist"


def test_architecture_shows_the_floors_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    floors = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    picture = ARCHITECTURE.split("```text\n", 1)[1].split("```", 1)[0]
    assert [re.split(r"\s{2,}", line)[0] for line in picture.splitlines()] == floors


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text) + re.findall(
        r'src="(?!https?:)([^"]+)"', text
    )
    broken = [target for target in targets if not (document.parent / target).exists()]
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", document.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


def test_notice_names_everything_that_comes_from_elsewhere() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    entries = json.loads((ROOT / "weights_registry.json").read_text(encoding="utf-8"))["entries"]
    bundled = [entry for entry in entries if entry["source"]["kind"] == "bundled"]
    assert bundled
    for entry in bundled:
        assert f"src/napari_medicosam/weights/{entry['source']['file']}" in notice
    samples = [
        path for path in (PACKAGE / "sample_data").glob("*") if path.name.endswith((".nii.gz", ".nii"))
    ]
    for sample in samples:
        assert sample.name in notice


def test_the_walk_through_shows_the_pictures_that_its_script_takes() -> None:
    """.ci/run runs the script, which fails where a step does not do what the page says."""
    page = (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")
    script = (ROOT / "tools" / "take_screenshots.py").read_text(encoding="utf-8")
    shown = re.findall(r"\(images/([\w-]+)\.png\)", page)
    taken = re.findall(r"(?:take|keep)\((?:[^\"]*, )?\"([\w-]+)\"\)", script)
    assert shown == taken
    assert len(shown) == 9
    assert "make screenshots" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
