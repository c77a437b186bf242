"""What `make` says of a Python before anything is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("version", "compiler", "said"),
    [
        ((3, 10), True, "error: Python 3.11 to 3.14 is needed; try: make PYTHON=python3.12"),
        ((3, 15), True, "error: Python 3.11 to 3.14 is needed; try: make PYTHON=python3.12"),
        (
            (3, 14),
            False,
            "error: for Python 3.14 a C compiler (cc) and Python's headers are needed",
        ),
        ((3, 14), True, None),
        ((3, 11), False, None),
    ],
)
def test_a_python_that_will_not_do_is_refused_before_anything_is_installed(
    tmp_path: Path, version: tuple[int, int], compiler: bool, said: str | None
) -> None:
    for file in ("Makefile", "pyproject.toml", "requirements.lock"):
        (tmp_path / file).symlink_to(ROOT / file)
    tools = tmp_path / "tools"
    tools.mkdir()
    if compiler:
        (tools / "cc").symlink_to("/bin/true")
    asked = tmp_path / "asked"
    python = tools / "python"
    python.write_text(
        f"#!/bin/sh\n[ $1 = -m ] && echo install >> '{asked}' && exit 1\n"
        f"exec '{sys.executable}' -c \"import os, sys, sysconfig; sys.version_info = {version}; "
        f'os.path.exists = lambda path: {compiler}; exec(sys.argv[2])" "$@"\n'
    )
    python.chmod(0o755)
    make = shutil.which("make")
    assert make is not None
    made = subprocess.run(
        [make, "env", f"PYTHON={python}"],
        cwd=tmp_path, env={"PATH": str(tools)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode
    assert asked.exists() is (said is None)  # it would make the environment now
    if said:
        assert any(line.startswith(said) for line in made.stderr.splitlines())
    assert not (tmp_path / ".venv").exists()


def test_the_image_is_made_as_the_environment_is_everywhere() -> None:
    """By `make env`, of all that it reads, and Snakemake's jobs find it."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    files = {"Makefile", "pyproject.toml", "requirements.lock", "README.md", "LICENSE"}
    assert copied == files | {"src"}
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{name}" for name in copied} < {*kept}
    assert "RUN make env VENV=/opt/multistep" in lines
    assert "ENV PATH=/opt/multistep/bin:$PATH" in lines
    make = subprocess.run(
        ["make", "-n", "env", "VENV=/opt/multistep"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert 'VIRTUAL_ENV="/opt/multistep" /opt/multistep/bin/uv pip install' in make.stdout
    assert 'relpath(ROOT / "multistep.sif", HOME)' in (ROOT / "Snakefile").read_text()
