"""A small workspace and its report, made once for all tests of a worker."""

from pathlib import Path

import pytest
import report_project


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied, not to be changed."""
    root = tmp_path_factory.mktemp("workspace")
    report_project.fill_workspace(root)
    return root


@pytest.fixture(scope="session")
def page(workspace: Path) -> str:
    return report_project.render(workspace, workspace, more="# <script>alert(1)</script>\n")
