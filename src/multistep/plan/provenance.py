"""One digest of the code that a step of the workflow runs: its jobs rerun when that changes.

Snakemake notices changed files, not changes in an imported package. So the imports of a step's
entry modules are followed through the package, and what stands in its modules is digested:
statements, not comments, docstrings, formatting or the annotations of functions; with a package's
`__init__.py` the files beside it that aren't Python, such as templates. Nothing is imported, which
keeps torch out of Snakemake's process. A module that is only named in a registry and imported at
run time isn't found that way; who asks names it as a further entry, so that a job depends on its
own algorithm or dataset and on no other.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from multistep.files import UserError
from multistep.plan.families import package

SRC = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).resolve().parents[1].name
PAGE_COMMAND = ("multistep.pages.cli",)  # it knows every kind of page, so it counts alone


def cell_modules(family: str, algorithm: str) -> list[str]:
    """The modules that a cell runs; with their imports they are all its code."""
    home = package(family)
    modules = ("run", "record", f"algorithms.{algorithm}")
    return ["multistep.job.train", *(f"{home}.{module}" for module in modules)]


def measurement_modules(family: str, algorithms: Iterable[str]) -> list[str]:
    """The same for a measurement of several methods."""
    home = package(family)
    modules = ("measure", "record", *(f"algorithms.{a}" for a in sorted(set(algorithms))))
    return ["multistep.job.measure", *(f"{home}.{module}" for module in modules)]


def evaluation_modules(family: str, algorithm: str) -> list[str]:
    """The same for a test of trained parameters."""
    home = package(family)
    return ["multistep.job.evaluate", f"{home}.trained", f"{home}.algorithms.{algorithm}"]


def page_modules(form: str, kind: str, families: Iterable[str]) -> list[str]:
    """What draws a page of that kind from records of these families."""
    reading = [f"{package(family)}.record" for family in sorted(set(families))]
    return [f"multistep.pages.{form}", f"multistep.pages.{form}.{kind}", *reading]


def code(*entries: str, alone: tuple[str, ...] = ()) -> str:
    """Hex SHA-256 of what the modules `entries` and all that they import do.

    Modules in `alone` count without their imports: a command line that knows every kind of table
    imports more than the one that a job draws. The same for every supported version of Python.
    """
    found = closure(*entries).union(alone)
    lines = [f"{module} {_module(module)[0]}\n" for module in sorted(found)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@cache
def closure(*entries: str) -> frozenset[str]:
    """The modules `entries` and all of this package that they import, in functions too.

    The package's top `__init__.py` is left out: it names what others import, and the version.
    """
    seen: set[str] = set()
    todo = list(entries)
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += _module(module)[1]
    return frozenset(seen - {PACKAGE})


@cache
def _module(name: str) -> tuple[str, frozenset[str]]:
    """The digest of a module's statements, and the modules of this package that it imports."""
    file = _file(name)
    if file is None:
        raise ModuleNotFoundError(f"no module {name} under {SRC}")
    inside = name if file.name == "__init__.py" else name.rpartition(".")[0]
    try:
        digest, imports = read(file.read_text(encoding="utf-8"), inside, str(file))
    except (SyntaxError, ValueError) as error:  # the latter of bytes that are no UTF-8, and of NUL
        raise UserError(f"{file}: not Python in UTF-8 ({error}); mend it") from None
    if file.name == "__init__.py":
        others = sorted(f for f in file.parent.glob("[!.]*.*") if f.is_file() and f.suffix != ".py")
        digest += "".join(hashlib.sha256(other.read_bytes()).hexdigest() for other in others)
    # Importing a module runs the `__init__.py` of the packages around it.
    around = {m.rsplit(".", n)[0] for m in imports | {name} for n in range(1, m.count(".") + 1)}
    return digest, frozenset(imports | around) - {name}


def read(text: str, inside: str, file: str = "") -> tuple[str, set[str]]:
    """The digest of a module's statements, and what it imports; `inside`: the package it is in."""
    imports: set[str] = set()
    written = _written(ast.parse(text, file), inside, imports)
    return hashlib.sha256(written.encode()).hexdigest(), imports


def _written(node: Any, inside: str, imports: set[str]) -> str:
    """What a node says, the same for every version of Python; what it imports goes to `imports`."""
    if isinstance(node, list):
        return ",".join(filter(None, (_written(item, inside, imports) for item in node)))
    if not isinstance(node, ast.AST):
        return ascii(node)  # not repr: which characters are printable differs between versions
    if _only_for_readers(node):
        return ""
    imports.update(_imported(node, inside))
    fields = []
    for key in node._fields:
        value = getattr(node, key, None)
        if isinstance(node, ast.JoinedStr):  # Python 3.12 ends some with an empty string
            value = [v for v in node.values if getattr(v, "value", None) != ""]
        # Versions differ in which fields there are, empty ones among them.
        # Nor do annotations of functions count (those of classes are settings), nor spelling.
        annotates = isinstance(node, ast.arg) and key == "annotation"
        if value is None or annotates or key in ("returns", "kind"):
            continue
        if text := _written(value, inside, imports):
            fields.append(f"{key}={text}")
    return f"{type(node).__name__}({' '.join(fields)})"


def _only_for_readers(node: ast.AST) -> bool:
    """Docstrings (any statement that is only a string) and what only a type checker sees."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _imported(node: ast.AST, inside: str) -> Iterator[str]:
    """Modules of this package that a statement in the package `inside` imports."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = inside.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
        names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return (n for n in names if n.split(".")[0] == PACKAGE and _file(n) is not None)


@cache
def _file(module: str) -> Path | None:
    """A module's file, or None if it is none of ours (a name imported from a module, say)."""
    path = SRC.joinpath(*module.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None
