"""The package as a whole: what an import costs, what it offers, and that its floors hold."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import napari_medicosam

ROOT = Path(__file__).parents[1]

QT = {"qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "superqt", "magicgui", "vispy"}
HEAVY = {"torch", "torchvision", "segment_anything", "napari", "zarr", "pooch", "pydantic", "requests"} | QT
IMAGING = {"numpy", "scipy", "skimage", "SimpleITK", "nibabel"}


def loaded_by(code: str, folder: Path) -> set[str]:
    """Top-level modules in `sys.modules` after `code` ran in a fresh process."""
    report = "import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    answer = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        cwd=folder,  # so that nothing is found only because it lies in the current folder
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return set(json.loads(answer.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import napari_medicosam",
        "import napari_medicosam; napari_medicosam.__version__; dir(napari_medicosam)",
        "from napari_medicosam import MedicoSamError; MedicoSamError('got this, wanted that')",
    ],
)
def test_import_is_light(code: str, tmp_path: Path) -> None:
    modules = loaded_by(code, tmp_path)
    assert "napari_medicosam" in modules
    assert not modules & (HEAVY | IMAGING)


def test_command_line_starts_without_torch_or_a_window(tmp_path: Path) -> None:
    modules = loaded_by("import napari_medicosam.cli.app", tmp_path)
    assert "typer" in modules
    assert not modules & ({"torch", "torchvision", "segment_anything", "napari", "zarr"} | QT)


def test_loading_a_model_needs_no_window(tmp_path: Path) -> None:
    modules = loaded_by("import napari_medicosam as m; m.load_model('sam_test', device='cpu')", tmp_path)
    assert "torch" in modules
    assert not modules & ({"napari"} | QT)


def test_core_is_numbers_only(tmp_path: Path) -> None:
    rooms = sorted((ROOT / "src" / "napari_medicosam" / "core").glob("[!_]*.py"))
    assert rooms
    code = "\n".join(f"import napari_medicosam.core.{room.stem}" for room in rooms)
    assert not loaded_by(code, tmp_path) & (HEAVY | {"SimpleITK", "nibabel"})


def test_version_is_that_of_the_installed_distribution() -> None:
    assert napari_medicosam.__version__ == metadata.version("napari-medicosam")


@pytest.mark.parametrize("name", napari_medicosam.__all__)
def test_public_names_resolve(name: str) -> None:
    assert name in dir(napari_medicosam)
    value = getattr(napari_medicosam, name)
    assert name == "__version__" or (value.__name__ == name and value.__doc__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"napari_medicosam.*no_such_thing"):
        napari_medicosam.no_such_thing  # noqa: B018


def test_imports_only_go_down() -> None:
    pytest.importorskip("importlinter", reason="import-linter comes with the extra `dev`")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def imported_by(path: Path) -> set[str]:
    """Top-level names of all absolute imports in a file, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_every_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = {
        normalised(re.split(r"[\[<>=!~; ]", requirement)[0])
        for requirement in [*project["dependencies"], *extras["train"], *extras["remote"], *extras["cluster"]]
    }
    providers = metadata.packages_distributions()
    undeclared: dict[str, set[str]] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for name in imported_by(path) - sys.stdlib_module_names - {"napari_medicosam"}:
            if not {normalised(distribution) for distribution in providers.get(name, [name])} & declared:
                undeclared.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    assert not undeclared


def normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
