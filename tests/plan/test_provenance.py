"""The code of a step, on a package written for the test and on the real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from multistep.files import UserError
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
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`PACKAGE` in place of the real one; what was read before is forgotten, and afterwards too."""
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(provenance, "SRC", tmp_path)
    monkeypatch.setattr(provenance, "PACKAGE", "pkg")
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    for cached in (provenance.closure, provenance._module, provenance._file):
        cached.cache_clear()


def test_imports_are_followed_through_functions_packages_and_cycles(package: Path) -> None:
    names = "step helper cycle late deep deep.inner sub sub.leaf shared"
    assert provenance.closure("pkg.step") == {f"pkg.{name}" for name in names.split()}


def test_a_module_alone_counts_without_its_imports(package: Path) -> None:
    def code() -> str:
        forget()
        return provenance.code("pkg.unused", alone=("pkg.step",))

    before = code()
    (package / "pkg/helper.py").write_text("changed = True\n")
    assert code() == before
    (package / "pkg/step.py").write_text("changed = True\n")
    assert code() != before


def test_a_template_beside_a_package_counts(package: Path) -> None:
    seen = [provenance.code("pkg.step")]
    for name in ("deep/table.md", "deep/.hidden.md", "deep/more/other.md"):
        (package / "pkg" / name).parent.mkdir(exist_ok=True)
        (package / "pkg" / name).write_text("x")
        forget()
        seen.append(provenance.code("pkg.step"))
    assert seen[0] != seen[1] == seen[2] == seen[3]


def test_names_of_kinds_do_not_count(package: Path) -> None:
    """Beside the top package: what a job says of a wrong file, see `multistep.kinds`."""
    before = provenance.code("pkg.step")
    (package / "pkg/kinds.json").write_text("{}")
    forget()
    assert provenance.code("pkg.step") == before


def test_an_entry_that_does_not_exist_is_an_error(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pkg\.nothing"):
        provenance.closure("pkg.nothing")


@pytest.mark.parametrize("text", [b"x = (", b"# caf\xe9", b"x = 1\0"])
def test_a_module_that_is_no_python_is_told_by_its_file(package: Path, text: bytes) -> None:
    """One that is imported in a function isn't seen by who imports the first."""
    (package / "pkg/late.py").write_bytes(text)
    with pytest.raises(UserError, match=r"/pkg/late\.py: not Python in UTF-8 \(.*\); mend it"):
        provenance.code("pkg.step")


def digest(source: str) -> str:
    return provenance.read(source, "pkg")[0]


PLAIN = '''
class Settings(Model):
    """What it is."""
    rate: float = Field(gt=0)

def step(x, *, n=1):
    return f"{x:>{n}}é" + 'a'
'''


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("rate: float", "# a comment\n    rate:  float", False),
        ("What it is.", "What it does.", False),
        ('    """What it is."""\n', "", False),
        ("x, *, n=1", "x: Tensor, *, n: int = 1", False),
        ("n=1):", "n=1) -> str:", False),
        ("+ 'a'", '+ (\n        "a"\n    )', False),
        ("class", "if TYPE_CHECKING:\n    import torch\n\nclass", False),
        ("gt=0", "ge=0", True),
        ("rate: float", "rate: int", True),
        ("gt=0)", "gt=0)\n    new: float = 0.0", True),
        ("n=1", "n=2", True),
        ("'a'", "'b'", True),
        ("é", "è", True),
        (":>", ":<", True),
    ],
)
def test_what_a_run_sees_counts_and_what_readers_alone_see_does_not(
    old: str, new: str, counts: bool
) -> None:
    assert old in PLAIN
    assert (digest(PLAIN.replace(old, new)) != digest(PLAIN)) is counts


def test_the_digest_is_the_same_for_every_version_of_python() -> None:
    """The value was made with 3.11, 3.12 and 3.13; f-strings are parsed otherwise in 3.12."""
    assert digest(PLAIN)[:16] == "3ad3215faba06ff7"


def modules() -> list[str]:
    """Every module of the real package."""
    files = [f.relative_to(provenance.SRC) for f in provenance.SRC.glob("multistep/**/*.py")]
    return sorted(".".join(f.with_suffix("").parts).removesuffix(".__init__") for f in files)


@pytest.mark.parametrize("module", modules())
def test_in_every_module_a_comment_does_not_count_and_a_statement_does(module: str) -> None:
    file = provenance._file(module)
    assert file is not None
    source = file.read_text(encoding="utf-8")
    assert digest(source + "\n# A remark.\n") == digest(source)
    assert digest(source + "\n_edited = True\n") != digest(source)
