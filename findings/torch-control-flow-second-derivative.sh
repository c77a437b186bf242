#!/usr/bin/env bash
# torch 2.15.0 (CPU, float64): its control flow operators (`torch.cond`; `scan`, `while_loop`, `map` and
# `associative_scan` of `torch._higher_order_ops`) in an inner loop with gradients through its steps, called as in the
# examples of their documentation. TORCH=... before the command takes another version.
#
# Behaviour: all values are right. Derivatives go by the operator, without a word. (1) The gradient through `cond` is
# right and has no graph, whatever `create_graph` says: of a Hessian-vector product the weight decay's part is left, and
# MAML is MAML of first order, to rounding. With a Python bool for predicate the branch is taken as it is, and all is
# right. (2) The gradient through `scan` is right and has a graph that lacks a part. (3) `while_loop` goes back from one
# turn to the one before only where its *initial* state requires a gradient. Where it doesn't, as images or zeros
# don't, already the first derivative is the last turn's alone, that of truncated backpropagation, and constant as
# cond's. Where it does the gradient is right, and what is differentiated once more isn't. (4) `map` and
# `associative_scan` are right throughout. So a model that trains as its Python twin does is adapted otherwise as soon
# as something is differentiated through the adaptation.
# The documentation calls the operators prototypes, of which "some may not fully support training", and of while_loop a
# docstring says that it doesn't; of second derivatives there is nothing, nor did we find anything in torch's issues
# (184528 was (3) for scan, where it is mended).
#
# Seen: error, relative to plain Python's (whose Hessian-vector products finite differences confirm), of the gradient,
# of a Hessian-vector product with weight decay in the loss, of the meta-gradient through three inner steps; last what
# first order's meta-gradient is off
#   cond, predicate a tensor            0.00  0.84  0.99  0.99
#   cond, predicate a bool              0.00  0.00  0.00  0.99
#   scan                                0.00  0.95  0.70  1.04
#   while_loop                          0.87  0.99  1.22  1.57
#   while_loop, state with gradient     0.00  0.26  1.29  1.57
#   map                                 0.00  0.00  0.00  0.99
#   associative_scan                    0.00  0.00  0.00  0.72
#
# Fails if one of these becomes right that is wrong, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" numpy
cat > "$dir/control.py" <<'PY'
import torch
from torch._higher_order_ops import associative_scan, map, scan, while_loop
from torch.autograd import grad
from torch.nn.functional import cross_entropy

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(0)
images, labels = torch.randn(2, 6, 3), torch.arange(6) % 3  # support and query
start, along = torch.randn(9) / 2, torch.randn(9)
turns = torch.randn(4, 6, 3) / 2


def loss(scores):
    return cross_entropy(3 * scores, labels)


def branch(x, w):
    return torch.tanh(x @ w)


def other(x, w):
    return torch.sin(x @ w)


def by_cond(x, w):
    return torch.cond(x.abs().sum() > 0, branch, other, (x, w.view(3, 3)))


def by_bool(x, w):
    return torch.cond(True, branch, other, (x, w.view(3, 3)))


def one_branch(x, w):
    return branch(x, w.view(3, 3))


def by_scan(x, w):
    weight = w.view(3, 3)
    return scan(lambda state, step: (torch.tanh(state @ weight + step), step.clone()), x, turns)[0]


def recurrent(x, w):
    for step in turns:
        x = torch.tanh(x @ w.view(3, 3) + step)
    return x


def by_while(x, w):
    weight = w.view(3, 3)
    return while_loop(lambda i, _: i < 3, lambda i, state: (i + 1, torch.tanh(state @ weight)), (torch.tensor(0), x))[1]


def by_while_from_parameter(x, w):
    return by_while(x.clone().requires_grad_(), w)


def loop(x, w):
    for _ in range(3):
        x = torch.tanh(x @ w.view(3, 3))
    return x


def last_turn(x, w):
    for turn in range(3):
        x = torch.tanh((x if turn == 0 else x.detach()) @ w.view(3, 3))
    return x


def by_map(x, w):
    return map(lambda image, weight: torch.tanh(image @ weight), x, w.view(3, 3))


def by_associative_scan(x, w):
    return associative_scan(torch.mul, torch.tanh(x @ w.view(3, 3)) + 1, 0, combine_mode="generic")


def product(x, w):
    return torch.cumprod(torch.tanh(x @ w.view(3, 3)) + 1, 0)


def meta(network, first_order=False):
    leaf = start.clone().requires_grad_()
    w = leaf
    for _ in range(3):
        (slope,) = grad(loss(network(images[0], w)), w, create_graph=True)
        w = w - 0.3 * (slope.detach() if first_order else slope)
    return grad(loss(network(images[1], w)), leaf)[0]


def derivatives(network):
    """The gradient, a Hessian-vector product and the meta-gradient."""
    w = start.clone().requires_grad_()
    (slope,) = grad(loss(network(images[0], w)) + 0.05 * w @ w, w, create_graph=True)
    return slope.detach(), grad(slope @ along, w)[0], meta(network)


def differences(network, step=1e-5):
    sides = []
    for w in (start + step * along, start - step * along):
        w = w.clone().requires_grad_()
        sides += grad(loss(network(images[0], w)) + 0.05 * w @ w, w)
    return (sides[0] - sides[1]) / (2 * step)


def off(found, right):
    return ((found - right).norm() / right.norm()).item()


print("torch", torch.__version__)
rows = {  # the operator, the same in plain Python, and which of the three are right
    "cond, predicate a tensor": (by_cond, one_branch, (True, False, False)),
    "cond, predicate a bool": (by_bool, one_branch, (True, True, True)),
    "scan": (by_scan, recurrent, (True, False, False)),
    "while_loop": (by_while, loop, (False, False, False)),
    "while_loop, state with gradient": (by_while_from_parameter, loop, (True, False, False)),
    "map": (by_map, one_branch, (True, True, True)),
    "associative_scan": (by_associative_scan, product, (True, True, True)),
}
for name, (network, plain, right) in rows.items():
    assert torch.allclose(network(images[0], start), plain(images[0], start)), name
    of, first = derivatives(plain), meta(plain, first_order=True)
    assert off(differences(plain), of[1]) < 1e-6, name
    found = derivatives(network)
    errors = [off(*pair) for pair in zip(found, of)]
    print(f"  {name:34}" + "".join(f"{error:6.2f}" for error in [*errors, off(first, of[2])]), flush=True)
    assert all((error < 1e-9) if fine else (error > 0.01) for error, fine in zip(errors, right)), name
    if name == "while_loop":
        assert off(found[0], derivatives(last_turn)[0]) < 1e-9
    constant = torch.allclose(found[1], 0.1 * along) and torch.allclose(found[2], meta(network, first_order=True))
    assert constant == (name in ("cond, predicate a tensor", "while_loop")), name  # the decay's part; first order
PY
"$dir/env/bin/python" -W ignore "$dir/control.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
