#!/usr/bin/env bash
# torch 2.15.0 (CPU, float64): `torch.nn.utils.vector_to_parameters` to put a network back to its start before each
# task, as in Reptile, iMAML or a federated round. TORCH=2.13.0 before the command takes another version.
#
# Behaviour: its documentation says that it copies slices of the vector into the parameters. It doesn't: each
# parameter's data becomes a view *of the vector*, and any optimiser, which steps in place, moves the vector along. So
# the start that one keeps is the adapted network: the next task begins where the last one has ended; the distance from
# the start is 0 and so is its gradient, so that a proximal term (iMAML, FedProx) is off whatever its weight; Reptile's
# difference of adapted network and start is 0, so that its outer rate does nothing and tasks are fine-tuned one after
# the other; and a second network filled from the vector is trained with the first. Nothing warns, and losses fall. With
# `start.clone()` all of it is right, as with `load_state_dict`, which does copy. In torch's issues we found no word of
# it; where the function was asked for (2794), shared memory wasn't wanted, for the subtle bugs that it brings.
#
# Seen: the loss of a task before adapting, put back three times; distance from the start after adapting without and
# with a proximal term; how far Reptile moves the start in three tasks at outer rates 0, 0.1 and 1; how far a second
# network moves when the first is trained (the same in 2.13.0)
#   vector_to_parameters(start)           8.94 4.04 2.63   0.00 0.00   2.43 2.43 2.43   1.58
#   vector_to_parameters(start.clone())   8.94 8.94 8.94   1.58 1.08   0.00 0.30 2.43   0.00
#   load_state_dict                       8.94 8.94 8.94   1.58 1.08   0.00 0.30 2.43   0.00
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" numpy
cat > "$dir/start.py" <<'PY'
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.nn.utils import parameters_to_vector, vector_to_parameters

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(0)
tasks = [(torch.randn(8, 3), 2 * torch.randn(8, 2)) for _ in range(3)]
first = torch.randn(8)


def with_load_state_dict(start, net):
    parts = start.split([p.numel() for p in net.parameters()])
    net.load_state_dict({name: part.view_as(p) for (name, p), part in zip(net.named_parameters(), parts)})


def adapt(put, start, task, weight=0.0):
    """The network, its loss before five steps on a task from the start, and the distance from there after them."""
    net = nn.Linear(3, 2)
    put(start, net)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        losses.append(mse_loss(net(task[0]), task[1]))
        (losses[-1] + weight * (parameters_to_vector(net.parameters()) - start).square().sum()).backward()
        optimiser.step()
    return net, losses[0].item(), (parameters_to_vector(net.parameters()) - start).norm().item()


def trial(put):
    start = first.clone()
    losses = [adapt(put, start, tasks[0])[1] for _ in range(3)]
    distances = [adapt(put, first.clone(), tasks[0], weight)[2] for weight in (0.0, 1.0)]
    moved = []
    for rate in (0.0, 0.1, 1.0):
        start = first.clone()
        for task in tasks:
            net = adapt(put, start, task)[0]
            start = start + rate * (parameters_to_vector(net.parameters()).detach() - start)
        moved.append((start - first).norm().item())
    start, teacher = first.clone(), nn.Linear(3, 2)
    put(start, teacher)
    adapt(put, start, tasks[0])
    return losses, distances, moved, (parameters_to_vector(teacher.parameters()) - first).norm().item()


rows = {
    "vector_to_parameters(start)": lambda start, net: vector_to_parameters(start, net.parameters()),
    "vector_to_parameters(start.clone())": lambda start, net: vector_to_parameters(start.clone(), net.parameters()),
    "load_state_dict": with_load_state_dict,
}
shown = lambda values: " ".join(f"{value:.2f}" for value in values)
found = {}
for name, put in rows.items():
    losses, distances, moved, second = found[name] = trial(put)
    print(f"  {name:37} {shown(losses)}   {shown(distances)}   {shown(moved)}   {second:.2f}")
print("torch", torch.__version__)
shared, copied, loaded = found.values()
assert copied == loaded, found
losses, distances, moved, second = copied
assert max(losses) - min(losses) < 1e-12 and second == 0, copied
assert distances[0] > distances[1] + 0.1 > 0.2, copied
assert moved[0] == 0 < moved[1] < moved[2] / 2, copied
losses, distances, moved, second = shared
assert losses[0] > losses[1] + 0.1 > losses[2] + 0.2, shared
assert distances == [0, 0] and second > 0.1, shared
assert moved[0] == moved[1] == moved[2] == copied[2][2], shared
PY
"$dir/env/bin/python" "$dir/start.py"
