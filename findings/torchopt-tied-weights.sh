#!/usr/bin/env bash
# torchopt 0.7.3 (its newest release; torch 2.15.0, CPU, float64): its meta-optimisers (`MetaSGD`, `MetaAdam`) in an
# inner loop over a network with tied weights, one parameter under two names as embedding and output layer, encoder and
# decoder or a recurrent block have.
#
# Behaviour: the weights are untied by the first step, without a word. A step puts a new tensor in each place that
# the parameter has, not one in both. The first step gives both the whole gradient, so after one step everything is
# right, parameters, loss and meta-gradient. From the second on each place has its own part of the gradient, and the
# two weights go apart: a network with more parameters is adapted, and loss and meta-gradient are its own. higher 0.2.1
# and `torch.func.functional_call` keep weights tied and agree with torch.optim. In torchopt's issues we found no word
# of it.
#
# Seen, after 1, 2 and 8 inner steps: distance of the two weights; loss less torch.optim's; error of the meta-gradient
# relative to finite differences' through torch.optim
#   functional_call, SGD  0.00 0.00 0.00   +0.0000 +0.0000 +0.0000   0.00 0.00 0.00
#   higher, SGD           0.00 0.00 0.00   +0.0000 +0.0000 +0.0000   0.00 0.00 0.00
#   torchopt, MetaSGD     0.00 0.17 1.17   +0.0000 +0.0003 +0.0084   0.00 0.11 1.59
#   torchopt, MetaAdam    0.00 0.12 1.01   +0.0000 +0.0009 -0.0149   0.00 0.16 0.02
#
# Fails if torchopt keeps them tied, or another one doesn't.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" 'torch==2.15.0' 'torchopt==0.7.3' 'higher==0.2.1' numpy
cat > "$dir/tied.py" <<'PY'
import copy

import higher
import torch
import torchopt
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(0)


class Twice(nn.Module):
    """Two layers with one weight, and a head."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(self.second(self.first(x).tanh()).tanh())


labels = torch.arange(3).repeat(4)
support, query = torch.randn(2, 12, 6)
net = Twice()
inner = {"SGD": (torch.optim.SGD, torchopt.MetaSGD, 1.0), "Adam": (torch.optim.Adam, torchopt.MetaAdam, 0.03)}
apart = lambda at: (at.first.weight - at.second.weight).norm().item()
start = list(net.parameters())


def with_torch(kind, steps, move):
    """The loss after torch.optim's steps from parameters moved by `move`."""
    at = copy.deepcopy(net)
    for p, by in zip(at.parameters(), move, strict=True):
        p.data += by
    optimiser = inner[kind][0](at.parameters(), lr=inner[kind][2])
    for _ in range(steps):
        optimiser.zero_grad()
        cross_entropy(at(support), labels).backward()
        optimiser.step()
    return cross_entropy(at(query), labels).item()


def with_functional_call(kind, steps):
    at = dict(net.named_parameters())
    for _ in range(steps):
        gradient = torch.autograd.grad(cross_entropy(functional_call(net, at, (support,)), labels), list(at.values()),
                                       create_graph=True)
        at = {name: p - inner[kind][2] * g for (name, p), g in zip(at.items(), gradient)}
    return cross_entropy(functional_call(net, at, (query,)), labels), 0.0


def with_higher(kind, steps):
    optimiser = inner[kind][0](net.parameters(), lr=inner[kind][2])
    with higher.innerloop_ctx(net, optimiser, copy_initial_weights=False) as (at, step):
        for _ in range(steps):
            step.step(cross_entropy(at(support), labels))
        return cross_entropy(at(query), labels), apart(at)


def with_torchopt(kind, steps):
    before = torchopt.extract_state_dict(net, by="reference")
    optimiser = inner[kind][1](net, lr=inner[kind][2])
    for _ in range(steps):
        optimiser.step(cross_entropy(net(support), labels))
    found = cross_entropy(net(query), labels), apart(net)
    torchopt.recover_state_dict(net, before)
    return found


print("torch", torch.__version__, "torchopt", torchopt.__version__)
along = [torch.randn_like(p) for p in start]
rows = {"functional_call, SGD": (with_functional_call, "SGD"), "higher, SGD": (with_higher, "SGD"),
        "torchopt, MetaSGD": (with_torchopt, "SGD"), "torchopt, MetaAdam": (with_torchopt, "Adam")}
for name, (adapt, kind) in rows.items():
    found = []
    for steps in (1, 2, 8):
        loss, distance = adapt(kind, steps)
        gradient = torch.autograd.grad(loss, start)
        slope = sum((g * by).sum() for g, by in zip(gradient, along)).item()
        moved = [with_torch(kind, steps, [by * size for by in along]) for size in (1e-5, -1e-5)]
        right = (moved[0] - moved[1]) / 2e-5
        found.append((distance, loss.item() - with_torch(kind, steps, [0] * len(start)), abs(slope / right - 1)))
    distances, losses, errors = zip(*found)
    print(f"  {name:21}", *(f"{d:.2f}" for d in distances), " ", *(f"{by:+.4f}" for by in losses), " ",
          *(f"{e:.2f}" for e in errors))
    wrong = name.startswith("torchopt")
    assert found[0][0] < 1e-9 and abs(found[0][1]) < 1e-9 and found[0][2] < 1e-4, (name, found)
    for distance, by, error in found[1:]:
        assert distance > 1e-2 and error > 1e-3 if wrong else max(distance, abs(by), error) < 1e-4, (name, found)
PY
"$dir/env/bin/python" -W ignore "$dir/tied.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
