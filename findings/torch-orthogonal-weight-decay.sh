#!/usr/bin/env bash
# torch 2.13.0 (CPU): `parametrizations.orthogonal` of a layer that isn't square, with an optimiser that
# decays weights. TORCH=2.15.0 before the command takes another version.
#
# Behaviour: its default for such a weight (`householder`) keeps signs on the diagonal of the raw parameter,
# -1 at first, and casts them to integers at every forward pass. Weight decay turns -1 into -0.99995,
# which as an integer is 0: after the *first* step the weight is a matrix of zeros and the layer gives its
# bias to whatever comes in. The zeros multiply the gradient too, so that it never comes back, with decay
# or without. AdamW decays by default. Nothing warns. A square weight (`matrix_exp`) keeps its norm.
#
# Seen, norm of the weight at the start, after 1 step and after 20 more without decay (the square root
# of the smaller side is right; the same in 2.15.0):
#   Linear(64, 5)   SGD                         2.24  2.24  2.24
#   Linear(64, 5)   SGD, weight_decay=5e-4      2.24  0.00  0.00
#   Linear(64, 5)   Adam                        2.24  2.24  2.24
#   Linear(64, 5)   AdamW                       2.24  0.00  0.00
#   Linear(5, 64)   AdamW                       2.24  0.00  0.00
#   Linear(5, 5)    AdamW                       2.24  2.24  2.24
#
# Fails if a norm becomes right that is wrong, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check "torch==${TORCH:-2.13.0}" numpy \
  2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
cat > "$dir/decay.py" <<'PY'
import torch
from torch import nn, optim
from torch.nn.utils import parametrizations

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def raw(net):
    return net.parametrizations.weight.original


def by_hand(net):
    """A fixed orthogonal matrix times reflections I - 2vv'/v'v, v below the diagonal, times the signs."""
    tall, turn = raw(net).detach(), net.parametrizations.weight[0].base
    wide = tall.shape[0] < tall.shape[1]
    tall = tall.T if wide else tall
    for column in range(tall.shape[1]):
        v = torch.cat([torch.zeros(column), torch.ones(1), tall[column + 1 :, column]])
        turn = turn @ (torch.eye(len(v)) - 2 * torch.outer(v, v) / (v @ v))
    weight = turn[:, : tall.shape[1]] * tall.diagonal().sign()
    return weight.T if wide else weight


def norms(inputs, outputs, kind, **options):
    torch.manual_seed(0)
    net = parametrizations.orthogonal(nn.Linear(inputs, outputs))
    images, targets = torch.randn(50, inputs), torch.randn(50, outputs)
    seen = [net.weight.norm().item()]
    for optimiser, steps in ((kind(net.parameters(), **options), 1), (optim.SGD(net.parameters(), lr=0.1), 20)):
        for _ in range(steps):
            optimiser.zero_grad()
            (net(images) - targets).square().mean().backward()
            optimiser.step()
        seen.append(net.weight.norm().item())
        if seen[-1] == 0:  # while the raw parameter still says what the weight should be
            assert abs(by_hand(net).norm() - 5**0.5) < 1e-9
            assert torch.equal(net(images), net.bias.expand(50, -1))
        elif inputs != outputs:
            torch.testing.assert_close(by_hand(net), net.weight.detach(), rtol=0, atol=1e-12)
    return seen


print("torch", torch.__version__)
for (inputs, outputs), name, kind, options, kept in (
    ((64, 5), "SGD", optim.SGD, {"lr": 0.1}, True),
    ((64, 5), "SGD, weight_decay=5e-4", optim.SGD, {"lr": 0.1, "weight_decay": 5e-4}, False),
    ((64, 5), "Adam", optim.Adam, {}, True),
    ((64, 5), "AdamW", optim.AdamW, {}, False),
    ((5, 64), "AdamW", optim.AdamW, {}, False),
    ((5, 5), "AdamW", optim.AdamW, {}, True),
):
    seen = norms(inputs, outputs, kind, **options)
    print(f"  {f'Linear({inputs}, {outputs})':15} {name:26} ", "  ".join(f"{n:.2f}" for n in seen))
    right = [5**0.5] * 3 if kept else [5**0.5, 0.0, 0.0]
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(right), rtol=0, atol=1e-9)
PY
"$dir/env/bin/python" "$dir/decay.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
