#!/usr/bin/env bash
# torch 2.13.0: torch.optim's `differentiable=True`, meant for inner loops, beside the same steps by
# hand (float64, CPU). TORCH=2.15.0 before the command takes another version.
#
# Behaviour: SGD with momentum fills its velocity with a *detached* copy of the first gradient. The
# first step is then one of first order: after one step the meta-gradient is the gradient at the adapted
# parameters and nothing else, and what later steps inherit of the first through the velocity is cut
# as well (with nesterov=True the part that doesn't go through the velocity is left). The parameters
# are right, and nothing warns. Plain SGD, Adam, RMSprop and Adagrad are right throughout. A velocity
# of zeros put into the optimiser's state beforehand gives the same steps and the right
# meta-gradient (with dampening=0).
#
# Seen, error of the meta-gradient relative to its length after 1, 2 and 6 steps (same in 2.15.0):
#   SGD                                0.00  0.00  0.00
#   SGD momentum=0.9                   0.52  1.04  0.26
#   SGD momentum=0.9, nesterov         0.59  0.75  0.36
#   SGD momentum=0.9, zeros put there  0.00  0.00  0.00
#   Adam, RMSprop, Adagrad             0.00  0.00  0.00
#
# Fails if one of these becomes right that is wrong, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check "torch==${TORCH:-2.13.0}" numpy \
  2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
cat > "$dir/meta_gradient.py" <<'PY'
import torch
from torch import optim

torch.set_default_dtype(torch.float64)
curvature = torch.tensor([[3.0, 0.5, 0.2], [0.5, 2.0, 0.3], [0.2, 0.3, 1.0]])
start = torch.tensor([1.0, -0.7, 0.4])
inner = lambda w: 0.5 * w @ curvature @ w + 0.1 * (w**4).sum()
outer = lambda w: (w**2).sum() + w.sum()


def by_torch(theta, steps, kind, zeros=False, **options):
    w = theta.clone()
    optimiser = kind([w], differentiable=True, **options)
    if zeros:
        optimiser.state[w]["momentum_buffer"] = torch.zeros_like(w)
    for _ in range(steps):
        # the step is in place, so that the loss is of a copy, as in torch's own tests
        (w.grad,) = torch.autograd.grad(inner(w.clone()), w, create_graph=True)
        optimiser.step()
    return w


def by_hand(theta, steps, kind, lr, momentum=0.0, nesterov=False):
    w, v, m2 = theta, torch.zeros(3), torch.zeros(3)
    m1 = torch.zeros(3)
    for t in range(1, steps + 1):
        (g,) = torch.autograd.grad(inner(w), w, create_graph=True)
        if kind is optim.SGD:
            v = momentum * v + g
            update = g + momentum * v if nesterov else v
        elif kind is optim.Adam:
            m1, m2 = 0.9 * m1 + 0.1 * g, 0.999 * m2 + 0.001 * g**2
            update = m1 / (1 - 0.9**t) / ((m2 / (1 - 0.999**t)).sqrt() + 1e-8)
        elif kind is optim.RMSprop:
            m2 = 0.99 * m2 + 0.01 * g**2
            update = g / (m2.sqrt() + 1e-8)
        else:
            m2 = m2 + g**2
            update = g / (m2.sqrt() + 1e-10)
        w = w - lr * update
    return w


def errors(kind, zeros=False, **options):
    for steps in (1, 2, 6):
        theta = start.clone().requires_grad_()
        ours, theirs = by_hand(theta, steps, kind, **options), by_torch(theta, steps, kind, zeros, **options)
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-12)  # the parameters are right
        true, got = (torch.autograd.grad(outer(w), theta)[0] for w in (ours, theirs))
        if steps == 1 and kind is optim.SGD and options.get("momentum") and not (zeros or options.get("nesterov")):
            torch.testing.assert_close(got, 2 * theirs.detach() + 1)  # first order, exactly
        yield ((got - true).norm() / true.norm()).item()


momentum = {"lr": 0.1, "momentum": 0.9}
cases = {
    "SGD": (False, list(errors(optim.SGD, lr=0.1))),
    "SGD momentum=0.9": (True, list(errors(optim.SGD, **momentum))),
    "SGD momentum=0.9, nesterov": (True, list(errors(optim.SGD, nesterov=True, **momentum))),
    "SGD momentum=0.9, zeros put there": (False, list(errors(optim.SGD, zeros=True, **momentum))),
    "Adam": (False, list(errors(optim.Adam, lr=0.1))),
    "RMSprop": (False, list(errors(optim.RMSprop, lr=0.1))),
    "Adagrad": (False, list(errors(optim.Adagrad, lr=0.1))),
}
print("torch", torch.__version__)
for name, (_, found) in cases.items():
    print(f"  {name:34}", "  ".join(f"{e:.2f}" for e in found))
for name, (wrong, found) in cases.items():
    assert all(e > 0.1 for e in found) if wrong else all(e < 1e-7 for e in found), (name, found)
PY
"$dir/env/bin/python" "$dir/meta_gradient.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
