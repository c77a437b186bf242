#!/usr/bin/env bash
# torch 2.15.0 (CPU, float64): `torch.func.linearize` of a few-shot loss's gradient with dropout, whose linear map is
# the Hessian at one point, as conjugate gradients (iMAML) need it. TORCH=... before the command takes another version.
#
# Behaviour: the documentation has it return a function for the products at the point, with intermediate results saved
# for many tangents. The dropout mask isn't among them: drawing stays in the traced graph and is done again at each
# call. So the map isn't one: the same tangent has another image each time, none of them the slope of the gradient that
# `linearize` returned, and seeding before `linearize` doesn't help. Conjugate gradients, which take steps of one
# matrix, don't arrive, and nothing warns. With the same seed before each call all of it is right. The documentation
# says that `linearize` evaluates the function twice, and nothing of randomness.
#
# Seen, the damped Hessian of a 5-way 4-shot task: distance of two products of one tangent; of a product from finite
# differences of the gradient with the mask that `linearize` was called with; what conjugate gradients leave
#   no dropout                 0.00  0.00  0.00
#   dropout                    0.14  0.11  0.08
#   dropout, each call seeded  0.00  0.00  0.00
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" numpy
cat > "$dir/linear.py" <<'PY'
import torch
from torch import nn
from torch.func import functional_call, grad, linearize
from torch.nn.functional import cross_entropy

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(0)
images, labels = torch.randn(20, 6), torch.arange(5).repeat(4)
off = lambda found, right: ((found - right).norm() / right.norm()).item()


def hessian(*layers, seed=False):
    """The map of linearize at a network's parameters, damped; the same by finite differences; the map's size."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 8), *layers, nn.Tanh(), nn.Linear(8, 5))
    names, start = zip(*((name, p.detach()) for name, p in net.named_parameters()))
    sizes, shapes = [p.numel() for p in start], [p.shape for p in start]
    unflatten = lambda p: {n: part.view(s) for n, part, s in zip(names, p.split(sizes), shapes)}
    loss = lambda p: cross_entropy(functional_call(net, unflatten(p), (images,)), labels)
    start = torch.cat([p.flatten() for p in start])
    torch.manual_seed(2)
    _, product = linearize(grad(loss), start)

    def damped(v):
        if seed:
            torch.manual_seed(2)
        return product(v) + 2 * v

    def slope(v):
        sides = []
        for step in (1e-5, -1e-5):
            torch.manual_seed(2)
            sides.append(grad(loss)(start + step * v))
        return (sides[0] - sides[1]) / 2e-5 + 2 * v

    return damped, slope, sum(sizes)


def solve(matrix, right, steps=60):
    """By conjugate gradients."""
    x, r = torch.zeros_like(right), right
    p = r
    for _ in range(steps):
        image = matrix(p)
        rate = r @ r / (p @ image)
        x, before, r = x + rate * p, r, r - rate * image
        p = r + (r @ r) / (before @ before) * p
        if r.norm() < 1e-12:
            break
    return x


print("torch", torch.__version__)
rows = {  # layers, whether each call is seeded, and whether all is right
    "no dropout": ([], False, True),
    "dropout": ([nn.Dropout(0.5)], False, False),
    "dropout, each call seeded": ([nn.Dropout(0.5)], True, True),
}
for name, (layers, seed, right) in rows.items():
    matrix, slope, size = hessian(*layers, seed=seed)
    torch.manual_seed(3)
    along = torch.randn(size)
    apart, wrong = off(matrix(along), matrix(along)), off(matrix(along), slope(along))
    left = off(matrix(solve(matrix, along)), along)
    print(f"  {name:26} {apart:.2f}  {wrong:.2f}  {left:.2f}")
    assert all((error < 1e-6) if right else (error > 0.01) for error in (apart, wrong, left)), name
PY
"$dir/env/bin/python" -W ignore "$dir/linear.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
