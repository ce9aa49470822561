"""Look into a built wheel: what must be inside is, what must not be is not.

    python tools/check_wheel.py dist/napari_medicosam-*.whl

The package in the wheel must be the package in the source tree, file by file, with the registry beside it.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "napari_medicosam"
REGISTRY = f"{PACKAGE}/weights_registry.json"
REQUIRED = (f"{PACKAGE}/py.typed", f"{PACKAGE}/napari.yaml", REGISTRY)
LICENCES = ("LICENSE", "NOTICE", "LICENSES/Apache-2.0.txt")
ENTRY_POINTS = (
    "medicosam = napari_medicosam.cli.app:main",
    "napari-medicosam = napari_medicosam:napari.yaml",
)
CODE_AND_TEXT = {".py", ".yaml", ".json", ".typed", ".safetensors", ".zip"}
SAMPLE_DATA = {".gz", ".json", ".md", ".txt"}
MAX_BYTES = 40_000_000
"""Twice the bundled weights: more than that is something that slipped in."""


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(f"wanted one wheel, got {len(arguments)}: {' '.join(arguments)}", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    with zipfile.ZipFile(path) as wheel:
        names = {info.filename for info in wheel.infolist() if not info.is_dir()}
        problems = [
            *check_required(names),
            *check_foreign(names),
            *check_against_source(wheel, names),
            *check_weights(wheel, names),
            *check_metadata(wheel, names),
        ]
    if path.stat().st_size > MAX_BYTES:
        problems.append(f"{path.stat().st_size:,} bytes are too much: wanted at most {MAX_BYTES:,}")
    for problem in problems:
        print(f"{path.name}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB, all as it should be")
    return 1 if problems else 0


def check_required(names: set[str]) -> list[str]:
    problems = [f"{name} is missing" for name in REQUIRED if name not in names]
    if not any(name.startswith(f"{PACKAGE}/sample_data/") for name in names):
        problems.append("there is no sample data")
    return problems


def check_foreign(names: set[str]) -> list[str]:
    """Names that belong in no wheel of ours, wherever they come from."""
    problems = []
    for name in sorted(names):
        path = PurePosixPath(name)
        top = path.parts[0]
        if top.startswith(f"{PACKAGE}-") and top.endswith(".dist-info"):
            continue
        wanted = SAMPLE_DATA | CODE_AND_TEXT if "sample_data" in path.parts else CODE_AND_TEXT
        is_test = path.name == "conftest.py" or path.name.startswith("test_") or "tests" in path.parts
        is_hidden = any(part.startswith((".", "__pycache__")) for part in path.parts)
        if top != PACKAGE or is_test or is_hidden or (path.suffix or path.name) not in wanted:
            problems.append(f"{name} does not belong here")
    return problems


def check_against_source(wheel: zipfile.ZipFile, names: set[str]) -> list[str]:
    source = {
        path.relative_to(ROOT / "src").as_posix(): path
        for path in (ROOT / "src" / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    source[REGISTRY] = ROOT / "weights_registry.json"
    packed = {name for name in names if name.startswith(f"{PACKAGE}/")}
    problems = [f"{name} is in the source tree only" for name in sorted(source.keys() - packed)]
    problems += [f"{name} is in the wheel only" for name in sorted(packed - source.keys())]
    for name in sorted(packed & source.keys()):
        if wheel.read(name) != source[name].read_bytes():
            problems.append(f"{name} differs from the source tree: build again")
    return problems


def check_weights(wheel: zipfile.ZipFile, names: set[str]) -> list[str]:
    """Every bundled entry of the registry in the wheel has its file, with the hash and size stated."""
    if REGISTRY not in names:
        return []
    entries = json.loads(wheel.read(REGISTRY))["entries"]
    bundled = {entry["source"]["file"]: entry for entry in entries if entry["source"]["kind"] == "bundled"}
    quantised = {entry["int8"]["file"]: entry["int8"] for entry in entries if entry.get("int8")}
    packed = {PurePosixPath(name).name for name in names if name.endswith((".safetensors", ".zip"))}
    known = {
        file: {"sha256": entry["hashes"]["sha256"], "size_bytes": entry["size_bytes"]}
        for file, entry in bundled.items()
    } | {file: {key: int8[key] for key in ("sha256", "size_bytes")} for file, int8 in quantised.items()}
    problems = [f"weights {file} are in no entry of the registry" for file in sorted(packed - known.keys())]
    if not bundled:
        problems.append("the registry bundles no weights")
    for file, wanted in known.items():
        name = f"{PACKAGE}/weights/{file}"
        if name not in names:
            problems.append(f"{name} is missing, which the registry names")
            continue
        content = wheel.read(name)
        got = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        if got != wanted:
            problems.append(f"{name} is {got}, the registry wants {wanted}")
    return problems


def check_metadata(wheel: zipfile.ZipFile, names: set[str]) -> list[str]:
    folder = next((name.split("/")[0] for name in names if name.endswith(".dist-info/METADATA")), None)
    if folder is None:
        return ["there is no METADATA"]
    metadata = BytesParser().parsebytes(wheel.read(f"{folder}/METADATA"))
    problems = []
    if metadata["License-Expression"] != "BSD-3-Clause":
        problems.append(f"the licence is {metadata['License-Expression']}, wanted BSD-3-Clause")
    if not metadata.get_payload():
        problems.append("there is no long description: README.md is empty or was left out")
    for licence in LICENCES:
        name = f"{folder}/licenses/{licence}"
        if name not in names or wheel.read(name) != (ROOT / licence).read_bytes():
            problems.append(f"{name} is missing or not the {licence} of the source tree")
    entry_points = wheel.read(f"{folder}/entry_points.txt").decode().splitlines()
    problems += [f"entry point {line!r} is missing" for line in ENTRY_POINTS if line not in entry_points]
    return problems


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
