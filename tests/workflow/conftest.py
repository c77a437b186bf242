"""One project, built once by `dvc repro`, and cheap copies of it for each test."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import workspace


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the tiny plan is built; not to be changed."""
    folder = workspace.create(tmp_path_factory.mktemp("built") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # jobs write to their logs what they import
        workspace.dvc(folder, "repro")
    workspace.git(folder, "add", ".")
    workspace.git(folder, "commit", "-q", "-m", "built")
    return folder


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    """A command that a failed test left running fails no other one."""
    yield
    workspace.stop()


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A copy of the built project that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "project", symlinks=True))


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], Path]:
    """Make a copy of the sources in which nothing is built."""
    return lambda: workspace.create(tmp_path / "a clone")  # its path has a blank
