"""The task optimiser of the ordinary update: in place, fused, and open to the inner loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from multistep.inner.dynamics import State, Tensors
from multistep.job.optimizers import SGD, Adam
from multistep.transfer.settings import Transfer


class TaskOptimizer:
    """φ and the state o of SGD or Adam, with the same steps as `multistep.inner.dynamics` takes.

    `phi`: leaves that require a gradient; `state`: o as the dynamics of the inner loop want it,
    the very tensors that `step` updates in place.
    """

    def __init__(self, phi: Tensors, s: Transfer) -> None:
        self.phi = {name: p.requires_grad_() for name, p in phi.items()}
        self.steps = 0
        leaves = list(self.phi.values())
        self.optimizer: SGD | Adam
        if s.optimizer == "sgd":
            self.optimizer = SGD(leaves, s.lr, s.momentum, s.weight_decay, fused=True)
        else:
            beta1, beta2 = s.adam_betas
            betas = (beta1, beta2)
            self.optimizer = Adam(leaves, s.lr, betas, s.adam_eps, s.weight_decay, fused=True)
        slots = ["velocity"] if s.optimizer == "sgd" else ["mean", "variance"]
        self.moments: dict[str, Tensors] = {
            slot: dict(zip(self.phi, getattr(self.optimizer, slot), strict=True)) for slot in slots
        }

    @property
    def state(self) -> State:
        """O, to be read only."""
        counted = {"step": self.steps} if "variance" in self.moments else {}
        return {**self.moments, **counted}

    def step(self, loss: Tensor, lr: float) -> None:
        """One step on `loss`, which every parameter must be part of."""
        leaves = list(self.phi.values())
        self.optimizer.lr = lr
        self.optimizer.step(torch.autograd.grad(loss, leaves))
        self.steps += 1

    def copy(self) -> dict[str, Any]:
        """Copies of φ and o."""
        return {
            "phi": {name: p.detach().clone() for name, p in self.phi.items()},
            "moments": {
                slot: {name: m.clone() for name, m in moments.items()}
                for slot, moments in self.moments.items()
            },
            "steps": self.steps,
        }

    @torch.no_grad()
    def restore(self, saved: dict[str, Any]) -> None:
        """The inverse of `copy`."""
        for name, p in self.phi.items():
            p.copy_(saved["phi"][name])
        for count in self.optimizer.steps if isinstance(self.optimizer, Adam) else []:
            count.fill_(saved["steps"])
        for slot, moments in self.moments.items():
            for name, m in moments.items():
                m.copy_(saved["moments"][slot][name])
        self.steps = saved["steps"]
