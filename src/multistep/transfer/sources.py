"""Source networks: published weights read, networks written to a folder and opened again.

The folder holds `weights.pt`, a state dict of the network that `multistep.networks.build` builds,
and `network.json`, which says what it is and has the digest of the weights. The networks are
frozen: every method and seed transfers from the same bytes.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multistep import seal
from multistep.files import UserError, atomic_write, build_command, one_line, sha256, write_json
from multistep.job.record import SCHEMA
from multistep.networks.backbone import Backbone
from multistep.networks.build import build
from multistep.networks.settings import Architecture
from multistep.transfer import source_record
from multistep.transfer.source_record import DESCRIPTION, WEIGHTS
from multistep.transfer.source_settings import SourceNetwork

State = dict[str, Tensor]


def load_published(
    path: Path, layout: str, architecture: Architecture, classes: int
) -> tuple[State, dict[str, Any]]:
    """State dict and facts (epoch, accuracies as its authors noted them) of published weights.

    `layout`: "torchvision", a bare state dict with our names, or "l2t_ww", the files of L2T-ww.
    Nothing in the file is executed. Raises UserError where it isn't a network of that architecture.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; fetch it first ({build_command(path)})") from None
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(
            f"{path}: can't be read as weights ({one_line(error)}); get the file again"
        ) from None
    wrapped = isinstance(content, dict) and isinstance(content.get("state_dict"), dict)
    state = content["state_dict"] if wrapped else content
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: it holds no state dict; give the weights of a network")
    notes = content.items() if wrapped else ()
    facts = {k: v for k, v in notes if isinstance(v, int | float | str)}
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
            "source network, or give other weights"
        )
    return {k: state[k].to(v.dtype).contiguous().clone() for k, v in own.items()}


def save(
    folder: Path, name: str, spec: SourceNetwork, state: State, made: dict[str, Any],
    made_from: dict[str, Any],
) -> None:  # fmt: skip
    """Write a network's folder, sealed. `made`: its metrics, history and environment."""
    buffer = io.BytesIO()  # a file's name would become part of the bytes
    torch.save({k: v.detach().cpu().contiguous() for k, v in state.items()}, buffer)
    # The description goes first and comes last: a pair with only one half new is never read.
    with atomic_write(folder / WEIGHTS, outdated=folder / DESCRIPTION) as file:
        file.write(buffer.getvalue())
    digest = sha256(folder / WEIGHTS)
    about = {"schema": SCHEMA, "name": name, "digest": digest, "settings": spec.model_dump()}
    write_json(folder / DESCRIPTION, seal.seal(about | made, made_from))


def open_network(folder: Path) -> tuple[Backbone, str]:
    """The network, in eval mode and frozen, and the digest of its weights."""
    found, _ = source_record.read(folder)
    weights = folder / WEIGHTS
    state = torch.load(weights, map_location="cpu", weights_only=True)
    spec = found.settings
    network = build(spec.architecture, spec.classes, None)
    network.load_state_dict(fitted(state, spec.architecture, spec.classes, weights))
    return network.eval().requires_grad_(False), found.digest


def _from_l2t_ww(key: str) -> str:
    """Our name of a tensor there: `block3.…` opens the second stage, `blocks4.0.…` goes on."""
    match = re.fullmatch(r"block(?:s(?=\d+\.\d))?(\d+)\.(?:(\d+)\.)?(.+)", key)
    if match is None:
        return key
    number, position, rest = match.groups()
    block = 0 if position is None else int(position) + 1
    return f"stages.{(int(number) - 1) // 2}.{block}.{rest}"
