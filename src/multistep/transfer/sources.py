"""Source networks: published checkpoints read, networks written to a folder and opened again.

The folder holds `weights.pt`, a state dict of the network that `multistep.networks.build` builds,
and `network.json`, which says what it is and has the digest of the weights. The networks are
frozen: every method and seed transfers from the same bytes.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multistep.files import UserError, atomic_write, read_json, sha256, write_json
from multistep.networks.build import Backbone, build
from multistep.networks.settings import Architecture
from multistep.stats import Z95
from multistep.transfer.settings import SourceNetwork

SCHEMA = 1
WEIGHTS, DESCRIPTION = "weights.pt", "network.json"
State = dict[str, Tensor]


def load_published(
    path: Path, layout: str, architecture: Architecture, classes: int
) -> tuple[State, dict[str, Any]]:
    """State dict and facts (epoch, accuracies as its authors noted them) of a checkpoint file.

    `layout`: "torchvision", a bare state dict with our names, or "l2t_ww", the files of L2T-ww.
    Nothing in the file is executed. Raises UserError where it isn't a network of that architecture.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; fetch it first (snakemake {path})") from None
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path}: can't be read as weights ({reason}); get the checkpoint again"
        ) from None
    wrapped = isinstance(content, dict) and isinstance(content.get("state_dict"), dict)
    state = content["state_dict"] if wrapped else content
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: it holds no state dict; give the checkpoint of a network")
    facts = {k: v for k, v in content.items() if _plain(v)} if wrapped else {}
    state = {k.removeprefix("module."): v for k, v in state.items()}
    if layout == "l2t_ww":
        state = {_from_l2t_ww(k): v for k, v in state.items()}
    return fitted(state, architecture, classes, path), facts


def fitted(state: State, architecture: Architecture, classes: int, path: Path) -> State:
    """`state` in the order and types of the network's own; UserError if names or shapes differ."""
    own = build(architecture, classes, None).state_dict()
    for key, value in own.items():
        # Old files don't count batches, and nothing here uses the count.
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, torch.zeros_like(value))
    wrong = [f"it lacks {k}" for k in own if k not in state]
    wrong += [f"it has {k}" for k in state if k not in own]
    wrong += [
        f"{k} is {list(state[k].shape)}, not {list(v.shape)}"
        for k, v in own.items()
        if k in state and state[k].shape != v.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"{path}: not a {architecture.name} of width {architecture.width} with {classes} "
            f"classes: {'; '.join(wrong[:3])}{more} (its first names: "
            f"{', '.join(list(state)[:3])}); correct architecture, classes or layout of the "
            "source network, or give another checkpoint"
        )
    return {k: state[k].to(v.dtype).contiguous().clone() for k, v in own.items()}


def save(
    folder: Path,
    name: str,
    spec: SourceNetwork,
    state: State,
    origin: str,
    metrics: dict[str, Any],
    history: list[dict[str, Any]],
    environment: dict[str, Any],
) -> str:
    """Write a network's folder and return the digest of its weights."""
    buffer = io.BytesIO()  # a file's name would become part of the bytes
    torch.save({k: v.detach().cpu().contiguous() for k, v in state.items()}, buffer)
    # The description goes first and comes last: a pair with only one half new is never read.
    (folder / DESCRIPTION).unlink(missing_ok=True)
    with atomic_write(folder / WEIGHTS) as file:
        file.write(buffer.getvalue())
    digest = sha256(folder / WEIGHTS)
    write_json(
        folder / DESCRIPTION,
        {
            "schema": SCHEMA,
            "name": name,
            "title": spec.title,
            "architecture": spec.architecture.model_dump(),
            "classes": spec.classes,
            "digest": digest,
            "origin": origin,
            "settings": spec.model_dump(),
            "metrics": metrics,
            "history": history,
            "environment": environment,
        },
    )
    return digest


def open_network(folder: Path) -> tuple[Backbone, str, dict[str, Any]]:
    """The network, in eval mode and frozen, the digest of its weights, and its description."""
    about = read_json(folder / DESCRIPTION)
    path = folder / WEIGHTS
    again = "delete the folder and build it again"
    try:
        if about["schema"] != SCHEMA:
            raise ValueError(f"schema {about['schema']}, not {SCHEMA}")
        architecture = Architecture.model_validate(about["architecture"])
        classes, digest = int(about["classes"]), str(about["digest"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / DESCRIPTION}: not the description of a source network ({error!r}); {again}"
        ) from None
    if not path.is_file():
        raise UserError(f"{path}: no such file; {again}")
    if sha256(path) != digest:
        raise UserError(f"{path}: its bytes differ from the digest in {DESCRIPTION}; {again}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = build(architecture, classes, None)
    network.load_state_dict(fitted(state, architecture, classes, path))
    return network.eval().requires_grad_(False), digest, about


def wilson(correct: int, count: int) -> tuple[float, float]:
    """95% interval of an accuracy in percent, from `correct` of `count` images (Wilson 1927)."""
    p, z2 = correct / count, Z95**2
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * math.sqrt(p * (1 - p) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def _from_l2t_ww(key: str) -> str:
    """Our name of a tensor there: `block3.…` opens the second stage, `blocks4.0.…` goes on."""
    match = re.fullmatch(r"block(?:s(?=\d+\.\d))?(\d+)\.(?:(\d+)\.)?(.+)", key)
    if match is None:
        return key
    number, position, rest = match.groups()
    block = 0 if position is None else int(position) + 1
    return f"stages.{(int(number) - 1) // 2}.{block}.{rest}"


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | str)
