"""Reference reproduction of "Multi-step Estimation for Gradient-based Meta-learning".

What others build on is named here and imported when it is asked for: `import multistep` and what
Snakemake reads of it cost no torch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # importing typing would be most of what this costs
if TYPE_CHECKING:
    from typing import Any

    from multistep.inner.dynamics import SGD, Adam
    from multistep.inner.unroll import unroll
    from multistep.job.parameters import load
    from multistep.pages.project import frame

__version__ = "0.1.0"
__all__ = ["SGD", "Adam", "__version__", "frame", "load", "unroll"]

_HOMES = {
    "Adam": "multistep.inner.dynamics",
    "SGD": "multistep.inner.dynamics",
    "frame": "multistep.pages.project",
    "load": "multistep.job.parameters",
    "unroll": "multistep.inner.unroll",
}


_MOVED = {"device": "multistep.job.device"}  # modules under their former name, until 1.0


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        return importlib.import_module(_MOVED[name])
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
