"""What the examples say is what they do."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
EXPECTED = {
    "one_box.py": r"spleen on slice 10: \d+ pixels, Dice 0\.9[5-9]\d",
    "sam_predictor.py": r"spleen: \d{4} pixels, predicted IoU [01]\.\d\d",
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert re.search(EXPECTED[path.name], printed), printed
