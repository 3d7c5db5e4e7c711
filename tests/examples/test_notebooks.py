"""The notebooks run from top to bottom with short trainings, and are kept with their outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat: pip install 'mbo-gym[dev]'")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient: pip install 'mbo-gym[dev]'")
pytest.importorskip("ipykernel", reason="needs ipykernel: pip install 'mbo-gym[dev]'")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'mbo-gym[report]'")

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples" / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "d3rlpy" in path.stem:
        pytest.importorskip("d3rlpy", reason="needs d3rlpy: pip install 'mbo-gym[rl]'")
    monkeypatch.setenv("MBO_GYM_NOTEBOOK_STEPS", "10")
    monkeypatch.setenv("MBO_GYM_NOTEBOOK_ROWS", "200")
    monkeypatch.setenv("MBO_GYM_NOTEBOOK_SURROGATE", "quadratic")
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources=resources
    ).execute()


@each
def test_a_notebook_is_kept_with_its_outputs_and_a_picture(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    data = [output.get("data", {}) for cell in cells for output in cell.outputs]
    assert any("image/png" in found for found in data)
    streams = [output.name for cell in cells for output in cell.outputs if "name" in output]
    assert "stderr" not in streams  # warnings of libraries name folders of the machine


def test_there_are_three_small_notebooks() -> None:
    assert len(NOTEBOOKS) == 3
    assert max(path.stat().st_size for path in NOTEBOOKS) < 150_000
