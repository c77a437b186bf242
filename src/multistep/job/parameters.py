"""Trained parameters: named tensors in a safetensors file beside the result, and sealed like it.

The header has one record: the cell, what the network is built with besides the settings, digests of
what it was made from and of the tensors. The result carries the latter as well, so that a pair of
two runs is told. Nothing that varies between identical runs is in the file, and nothing here
imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from multistep import kinds, seal
from multistep.files import (
    UserError,
    atomic_write,
    build_command,
    canonical_json,
    one_line,
    parse_json,
    read_json,
)
from multistep.job import results
from multistep.job.record import SCHEMA, CellRecord, Digest, MadeFrom, Record
from multistep.plan.families import module

Arrays = dict[str, np.ndarray]


class Header(Record):
    """What a file says of its tensors. `network`: `size` and `channels` of the images of few-shot
    cells, `classes` of meta-transfer; `digest` is that of `digest_of`.
    """

    schema_: Literal[2] = Field(alias="schema")
    cell: CellRecord
    network: dict[str, int]
    digest: Digest
    made_from: MadeFrom
    seal: str


def beside(result: Path) -> Path:
    """Where the parameters of a result lie."""
    return result.with_suffix(".safetensors")


def of(file: Path) -> Path:
    """The file of parameters that is meant by a result or by its own name. Raises UserError for
    another file, and where a result has none beside it.
    """
    if file.is_dir() or file.suffix not in (".json", ".safetensors"):
        kind = "a folder" if file.is_dir() else "neither"
        raise UserError(f"{file}: {kind}; name a result (.json) or its parameters (.safetensors)")
    path = beside(file)
    if not path.exists() and file != path and file.exists():
        record = read_json(file)
        kinds.check(file, record, kinds.RESULT)
        results.checked(file, record)  # which says it if that is none
        raise UserError(
            f"{file}: no parameters beside it ({path.name}); copy them too, or build it again "
            f"({build_command(path)})"
        )
    if not file.exists():
        raise UserError(f"{file}: no such file; build it first ({build_command(file)})")
    return path


def check_place(path: Path, cell: Mapping[str, Any]) -> None:
    """Raise UserError, before any work, where tensors of others, or of another cell, would be
    written over.
    """
    if path.exists():
        try:
            about, _ = _open(path, tensors=False)
        except UserError:
            raise kinds.in_the_way(path, "and no parameters of a cell") from None
        kinds.check_own(path, about["cell"], cell)


def digest_of(tensors: Mapping[str, np.ndarray]) -> str:
    """Hex SHA-256 of names, types, shapes and values, in the order of the names."""
    found = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        found.update(canonical_json([name, value.dtype.str, value.shape]).encode())
        found.update(value.tobytes())
    return found.hexdigest()


def write(
    path: Path, tensors: Arrays, cell: Any, network: dict[str, int], made_from: Mapping[str, Any]
) -> dict[str, str]:
    """Write them whole or not at all; what the result says of them (`record.Parameters`)."""
    # In memory as they are read: a transposed view would be written in its own order.
    tensors = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    digest = digest_of(tensors)
    head = {"schema": SCHEMA, "cell": cell, "network": network, "digest": digest}
    with atomic_write(path) as file:
        file.write(save(tensors, {"multistep": canonical_json(seal.seal(head, made_from))}))
    return {"file": path.name, "digest": digest}


def read(
    path: Path, expected: results.Expected | None = None
) -> tuple[dict[str, Any], Arrays, dict[str, Any] | None]:
    """The header, the tensors, and the result beside them if it is there. Raises UserError, one
    line, where they aren't as they were written, or aren't what is `expected`.
    """
    result = path.with_suffix(".json")
    about, tensors = _open(path)
    if digest_of(tensors) != about["digest"]:
        raise UserError(f"{path}: its tensors differ from their digest; {results.again(path)}")
    made = results.read(result) if result.is_file() else None
    if expected is not None:
        results.compare(path, about, expected)
    return about, tensors, made


def check(path: Path, record: Mapping[str, Any]) -> None:
    """Raise UserError if the file is there and its header isn't what a result says of it."""
    if path.exists():
        about, _ = _open(path, tensors=False)
        right = {"cell": record["cell"], "made_from": record["made_from"]}
        right["digest"] = record["parameters"]["digest"]
        if right != {key: about[key] for key in right}:
            made = path.with_suffix(".json").name
            raise UserError(f"{path}: {made} is of other parameters; {results.again(path)}")


@contextmanager
def fitting() -> Iterator[None]:
    """While the network that a header tells of is built: UserError if tensors don't fit it."""
    try:
        yield
    except (RuntimeError, TypeError, LookupError) as error:
        raise UserError(
            f"its tensors aren't of the network that it says ({one_line(error)})"
        ) from None


@contextmanager
def named(file: Path | str) -> Iterator[None]:
    """While a file's parameters are used: what is wrong is told with its name."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _open(path: Path, *, tensors: bool = True) -> tuple[dict[str, Any], Arrays]:
    """The header, as it was sealed, and the tensors if they are wanted."""
    if path.is_dir():
        raise UserError(f"{path}: a folder, no file of parameters; {results.again(path)}")
    try:
        with safe_open(path, "numpy") as file:
            about = parse_json((file.metadata() or {}).get("multistep", "{}"))
            names = list(file.keys()) if tensors else []
            found = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; build it first ({build_command(path)})") from None
    except (SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: not a file of parameters ({one_line(error)}); {results.again(path)}"
        ) from None
    seal.check(path, about, results.again(path))
    try:
        Header.model_validate(about)
    except ValidationError as error:
        what = error.errors()[0]["msg"]
        raise UserError(f"{path}: not parameters: {what}; {results.again(path)}") from None
    return about, found


def load(path: Path | str, **settings: Any) -> Any:
    """Trained parameters, ready to use: `path` is their file, or the result beside it.

        learner = multistep.load("results/5way_1shot/omniglot/maml/0.json")
        classify = learner.adapt(images, labels)
        print(classify(others))

    Of a few-shot cell a `multistep.fewshot.trained.Trained`, which adapts to given images; of
    meta-transfer a `multistep.transfer.trained.Trained` with the target network. The `module` of
    each is a plain `torch.nn.Module`. `settings`: what to adapt with in place of the cell's own,
    `test_steps` or `inner_lr` for instance.
    """
    about, tensors, _ = read(of(Path(path)))
    with named(path):
        return module(about["cell"]["family"], "trained").Trained(about, tensors, **settings)
