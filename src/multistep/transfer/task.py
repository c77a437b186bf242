"""The task optimiser of the ordinary update: in place, fused, and open to the inner loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from multistep.dynamics import State, Tensors
from multistep.settings import Transfer


class TaskOptimizer:
    """φ and the state o of SGD or Adam, with the same steps as `multistep.dynamics` takes.

    `phi`: leaves that require a gradient; `state`: o as the dynamics of the inner loop want it,
    the very tensors that `step` updates in place.
    """

    def __init__(self, phi: Tensors, s: Transfer) -> None:
        self.phi = {name: p.requires_grad_() for name, p in phi.items()}
        self.steps = 0
        leaves = list(self.phi.values())
        slots: dict[str, str] = {}  # the optimiser's names of its tensors to those of the dynamics
        self.optimizer: torch.optim.Optimizer
        if s.optimizer == "sgd":
            slots = {"momentum_buffer": "velocity"}
            self.optimizer = torch.optim.SGD(
                leaves, s.lr, s.momentum, weight_decay=s.weight_decay, fused=True
            )
        else:
            slots = {"exp_avg": "mean", "exp_avg_sq": "variance"}
            beta1, beta2 = s.adam_betas
            self.optimizer = torch.optim.Adam(
                leaves, s.lr, (beta1, beta2), s.adam_eps, s.weight_decay, fused=True
            )
        self.moments: dict[str, Tensors] = {}
        for theirs, ours in slots.items():
            self.moments[ours] = {
                name: torch.zeros_like(p).detach() for name, p in self.phi.items()
            }
            for name, p in self.phi.items():
                self.optimizer.state[p][theirs] = self.moments[ours][name]
        if s.optimizer == "adam":
            for p in leaves:
                self.optimizer.state[p]["step"] = torch.zeros((), device=p.device)

    @property
    def state(self) -> State:
        """O, to be read only."""
        counted = {"step": self.steps} if "variance" in self.moments else {}
        return {**self.moments, **counted}

    def step(self, loss: Tensor, lr: float) -> None:
        """One step on `loss`, which every parameter must be part of."""
        leaves = list(self.phi.values())
        for p, g in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
            p.grad = g
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
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
            if "step" in self.optimizer.state[p]:
                self.optimizer.state[p]["step"].fill_(saved["steps"])
        for slot, moments in self.moments.items():
            for name, m in moments.items():
                m.copy_(saved["moments"][slot][name])
        self.steps = saved["steps"]
