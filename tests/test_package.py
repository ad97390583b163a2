"""What people import from `cvd` stays there, and the notebook that shows it runs."""

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

import cvd

ROOT = Path(__file__).resolve().parent.parent
TOUR = ROOT / "notebooks/tour.ipynb"
NAMES = [
    "Augmentation", "align_maps", "ascend_filters", "augment_images", "build_plain", "decode_photo", "draw_curves",
    "draw_picture", "explain_images", "overlay_heat", "read_runs", "resize_image", "tabulate_curves",
]  # fmt: skip


def test_the_names_that_people_import_are_there() -> None:
    assert cvd.__all__ == NAMES
    assert all(callable(getattr(cvd, name)) for name in NAMES)
    assert set(NAMES) <= set(dir(cvd))


def test_other_names_are_refused_with_those_that_are_there() -> None:
    with pytest.raises(AttributeError, match="'explain_image': it has Augmentation, align_maps"):
        _ = cvd.explain_image


def test_the_package_loads_nothing_until_it_is_asked() -> None:
    script = "import sys, cvd; print(*(n for n in ('numpy', 'tensorflow', 'matplotlib', 'pandas') if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


def test_the_notebook_is_in_step_with_its_script() -> None:
    script = jupytext.read(TOUR.with_suffix(".py"))
    notebook = nbformat.read(TOUR, 4)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in script.cells
    ]


def test_the_notebook_runs_and_tells_its_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(TOUR, 4)
    NotebookClient(notebook, timeout=1500, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    gaps = next(output.text for output in outputs if "validation" in output.get("text", "") and "gap" in output.text)
    plain, augmented = (int(line.rpartition("gap")[2].split()[0]) for line in gaps.splitlines())
    assert plain > 20 > augmented
