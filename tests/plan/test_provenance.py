"""Which files a step depends on, on a package written for the test and on the real one."""

from pathlib import Path

import pytest

from multistep.plan import provenance

PACKAGE = {
    "pkg/__init__.py": '__version__ = "1"\n',
    "pkg/step.py": (
        "from typing import TYPE_CHECKING\nimport json\nfrom pkg import helper\n"
        "from pkg.sub.leaf import name\nif TYPE_CHECKING:\n    from pkg.types import Only\n"
        "def run():\n    from pkg import late\n    return late\n"
    ),
    "pkg/helper.py": "from .cycle import back\n",
    "pkg/cycle.py": "from pkg import helper as back\n",
    "pkg/late.py": "import pkg.deep.inner\n",
    "pkg/types.py": "Only = int\n",
    "pkg/unused.py": "",
    "pkg/sub/__init__.py": "",
    "pkg/sub/leaf.py": "from ..shared import value as name\n",
    "pkg/shared.py": "value = 1\n",
    "pkg/deep/__init__.py": "",
    "pkg/deep/inner.py": "",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(provenance, "SOURCE", tmp_path)
    monkeypatch.setattr(provenance, "PACKAGE", "pkg")
    provenance._imports.cache_clear()
    provenance._file.cache_clear()
    yield tmp_path
    provenance._imports.cache_clear()
    provenance._file.cache_clear()


def test_imports_are_followed_through_functions_packages_and_cycles(package):
    found = [str(f.relative_to(package)) for f in provenance.sources("pkg.step")]
    assert found == sorted(
        f"pkg/{name}"
        for name in (
            "step.py",
            "helper.py",
            "cycle.py",
            "late.py",
            "deep/__init__.py",
            "deep/inner.py",
            "sub/__init__.py",
            "sub/leaf.py",
            "shared.py",
        )
    )


def test_a_module_alone_counts_without_its_imports(package):
    found = provenance.sources("pkg.unused", alone=("pkg.step",))
    assert [f.name for f in found] == ["step.py", "unused.py"]


def test_an_entry_that_does_not_exist_is_an_error(package):
    with pytest.raises(ModuleNotFoundError, match=r"pkg\.nothing"):
        provenance.sources("pkg.nothing")


def test_a_cell_depends_on_its_own_algorithm_and_no_other():
    def names(algorithm: str) -> set[str]:
        entries = ("multistep.job.train", f"multistep.fewshot.algorithms.{algorithm}")
        files = provenance.sources(*entries)
        return {Path(f).relative_to(provenance.SOURCE / "multistep").as_posix() for f in files}

    exact, first = names("multistep"), names("first_order")
    assert {
        "job/train.py",
        "inner/unroll.py",
        "inner/dynamics.py",
        "job/checkpoint.py",
    } <= exact & first
    assert exact - first == {"fewshot/algorithms/multistep.py"}
    assert first - exact == {"fewshot/algorithms/first_order.py"}
    assert not any(name.startswith("reports/") for name in exact | first)
