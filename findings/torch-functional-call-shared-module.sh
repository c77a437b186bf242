#!/usr/bin/env bash
# torch 2.15.0 (CPU, float64): `torch.func.functional_call` in MAML's inner loop, of a network that holds one module
# under two names, as recurrent, weight-shared and equilibrium networks do. TORCH=2.13.0 before the command takes
# another version.
#
# Behaviour: the outputs and a first task's meta-gradient are right, but the network isn't put back: after the call
# its shared module holds the tensors that were passed, here adapted weights. By default (`tie_weights=True`) both names
# are filled, one after the other in the same place, and the second one remembers what the first has put there. So who
# reads `named_parameters()` for each task, as one does, starts a task where the last one has ended: in evaluation and
# first order without a word, while with gradients through the steps the task after an outer backward ends in a
# RuntimeError. An optimiser made of the network beforehand has parameters that aren't in it any more: its steps reach
# nothing. `tie_weights=False` is right here, and by default a weight (not a module) under two names, and a module under
# one name that is called twice. It is known: torch's issue 164759 has what is left after a transform, and its open
# pull request 195593 names this cause.
#
# Seen, the same task three times, five steps each without gradients through them: the loss before adapting; parameters
# of the optimiser that are still the network's; a second task after an outer backward (the same in 2.13.0)
#   a module by two names       1.101 1.064 1.022   2 of 4   RuntimeError
#   the same, tie_weights=False 1.101 1.101 1.101   4 of 4   right
#   weights by two names        1.101 1.101 1.101   4 of 4   right
#   a module by one name        1.101 1.101 1.101   4 of 4   right
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" numpy
cat > "$dir/shared.py" <<'PY'
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


class Twice(nn.Module):
    """A layer that is passed twice, and a head."""

    def __init__(self, sharing):
        super().__init__()
        self.head, self.first = nn.Linear(6, 3), nn.Linear(6, 6)
        if sharing == "module":
            self.second = self.first
        elif sharing == "weights":
            self.second = nn.Linear(6, 6)
            self.second.weight, self.second.bias = self.first.weight, self.first.bias

    def forward(self, x):
        again = getattr(self, "second", self.first)
        return self.head(again(self.first(x).tanh()).tanh())


torch.manual_seed(0)
support, labels = torch.randn(12, 6), torch.arange(3).repeat(4)


def adapt(loss, net, differentiable):
    """Parameters as they are read for a task, their loss, and the loss of those adapted to it."""
    params = dict(net.named_parameters())
    read, before = list(params.values()), loss(params).item()
    for _ in range(5):
        gradients = torch.autograd.grad(loss(params), list(params.values()), create_graph=differentiable)
        params = {name: p - 0.5 * g for (name, p), g in zip(params.items(), gradients)}
    return read, before, loss(params)


def trial(sharing, options):
    """Losses before adapting, parameters that the optimiser still has, how a second task of second order ends."""
    def fresh():
        torch.manual_seed(1)
        net = Twice(sharing)
        return net, lambda params: cross_entropy(functional_call(net, params, (support,), **options), labels)

    net, loss = fresh()
    known = torch.optim.SGD(net.parameters(), 0.1).param_groups[0]["params"]
    before = [adapt(loss, net, False)[1] for _ in range(3)]
    left = sum(any(p is q for q in net.parameters()) for p in known)
    net, loss = fresh()
    read, _, after = adapt(loss, net, True)
    meta = torch.cat([g.flatten() for g in torch.autograd.grad(after, read)])
    try:
        adapt(loss, net, True)
    except RuntimeError as error:
        assert "second time" in str(error), error
        return before, left, "RuntimeError", meta
    return before, left, "right", meta


print("torch", torch.__version__)
rows = {"a module by two names": ("module", {}), "the same, tie_weights=False": ("module", {"tie_weights": False}),
        "weights by two names": ("weights", {}), "a module by one name": ("one", {})}
metas = {}
for name, (sharing, options) in rows.items():
    before, left, ending, metas[name] = trial(sharing, options)
    print(f"  {name:27}", *(f"{value:.3f}" for value in before), f"  {left} of 4   {ending}")
    kept = name != "a module by two names"
    assert (left, ending) == ((4, "right") if kept else (2, "RuntimeError")), (name, left, ending)
    assert max(before) - min(before) < 1e-12 if kept else before[0] - before[2] > 0.05, (name, before)
assert torch.allclose(metas["a module by two names"], metas["a module by one name"])
assert torch.allclose(metas["a module by two names"], metas["the same, tie_weights=False"])
PY
"$dir/env/bin/python" -W ignore "$dir/shared.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
