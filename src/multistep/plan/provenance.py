"""Which source files a step of the workflow runs: the rules list them as inputs of its jobs.

Snakemake notices changed files, not changes in an imported package. So the imports of a step's
entry modules are followed through the package's sources, with `ast`: nothing is imported, which
keeps torch out of Snakemake's process. A module that is only named in a registry and imported at
run time isn't found that way; the rules name it as a further entry, so that a job depends on its
own method or dataset and on no other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from multistep.plan.families import package

SOURCE = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).resolve().parents[1].name


def cell_modules(family: str, algorithm: str) -> list[str]:
    """The modules that a cell runs; with their imports they are all its code."""
    home = package(family)
    return ["multistep.job.train", f"{home}.run", f"{home}.algorithms.{algorithm}"]


def measurement_modules(family: str, algorithms: Iterable[str]) -> list[str]:
    """The same for a measurement of several methods."""
    home = package(family)
    methods = [f"{home}.algorithms.{algorithm}" for algorithm in sorted(set(algorithms))]
    return ["multistep.job.measure", f"{home}.measure", *methods]


def sources(*entries: str, alone: tuple[str, ...] = ()) -> list[Path]:
    """The files of the modules `entries` and of all that they import, sorted.

    Modules in `alone` count without their imports: a command line that knows every kind of table
    imports more than the one that a job draws. Only this package's own files. Its top
    `__init__.py` holds the version and is left out: a release makes no result stale.
    """
    for entry in (*entries, *alone):
        if _file(entry) is None:
            raise ModuleNotFoundError(f"no module {entry} under {SOURCE}")
    seen: set[str] = set()
    todo = list(entries)
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += _imports(module)
    return sorted(
        file for m in seen.union(alone) if m != PACKAGE and (file := _file(m)) is not None
    )


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of this package that `module` imports or that are imported on the way to it."""
    file = _file(module)
    assert file is not None
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found = {parent for parent in _parents(module) if parent}
    for node in _statements(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] == PACKAGE and _file(name) is not None:
                found |= {name, *_parents(name)}
    return tuple(sorted(found - {module}))


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, but not those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _statements(node)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that `from ... import` names, written in full."""
    if node.level == 0:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _parents(module: str) -> list[str]:
    """The packages around a module: importing it runs their `__init__.py`."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


@cache
def _file(module: str) -> Path | None:
    """A module's source, or None if it is none of ours (a name imported from a module, say)."""
    path = SOURCE.joinpath(*module.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None
