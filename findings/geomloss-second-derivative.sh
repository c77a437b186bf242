#!/usr/bin/env bash
# geomloss 0.3.1 (its newest release; torch 2.15.0, CPU, float64): second derivatives of `SamplesLoss`, distances of
# two sets of points by kernels (MMD) or optimal transport, as one aligns features of domains or of tasks.
# TORCH=2.13.0 before the command takes another version.
#
# Behaviour: value and gradient are those of the formula (by Sinkhorn as far as it has converged). The second
# derivative isn't, without a word, even of the kernels, where nothing is solved. The part within one set, mean k(x,
# x'), is differentiated in its first argument alone, beside a detached copy, by a function that doubles the gradient.
# On the second way back it doubles once more and the copy stays a constant: each point has twice its curvature beside
# a fixed copy of the set, itself included, and the terms between points are missing. So a step that aligns features
# inside an unrolled loop (MLDG, learned alignment weights) gets another meta-gradient. `loss="sinkhorn"`, debiased or
# not, takes the potentials and the other set as constants on the second way back. Kernels in plain operations are
# right, and so is POT's `ot.solve(..., grad="autodiff")` for entropic transport (not debiased). In geomloss's
# documentation and issues we found no word of it.
#
# Seen, 8 points' features by a linear map, against 10 others: error, relative to finite differences', of the
# gradient, of a Hessian-vector product and of the meta-gradient through three steps on the map (the same in 2.13.0)
#   gaussian                        0.00  2.84  0.59
#   gaussian, by formula            0.00  0.00  0.00
#   laplacian                       0.00  0.99  0.06
#   laplacian, by formula           0.00  0.00  0.00
#   energy                          0.00  1.57  0.40
#   energy, by formula              0.00  0.00  0.00
#   sinkhorn, debiased              0.00  1.45  0.49
#   sinkhorn                        0.00  0.38  0.19
#   POT, entropic, autodiff         0.00  0.00  0.00
#
# Fails if one of these becomes right that is wrong, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" 'geomloss==0.3.1' 'pot==0.9.7.post1' 'numpy==2.4.6'
cat > "$dir/distances.py" <<'PY'
import ot
import torch
from geomloss import SamplesLoss

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(0)
support, query, others = torch.randn(8, 4), torch.randn(8, 4), torch.randn(10, 3) + 0.5
start, along = torch.randn(4, 3), torch.randn(4, 3)


def theirs(name, **options):
    return lambda x: SamplesLoss(name, blur=1.0, backend="tensorized", **options)(x, others)


def squared(x, y):
    return (x[:, None] - y).square().sum(2)


def distance(x, y):
    """0, with gradient 0, for equal points."""
    equal = squared(x, y) == 0
    return torch.where(equal, 0, torch.where(equal, 1, squared(x, y)).sqrt())


def kernel(k):
    return lambda x: k(x, x).mean() / 2 + k(others, others).mean() / 2 - k(x, others).mean()


def entropic(x):
    """Transport by half the squared distance; blur 1 is a regularisation of 1."""
    weights = [torch.full((n,), 1 / n) for n in (len(x), len(others))]
    return ot.solve(squared(x, others) / 2, *weights, reg=1.0, grad="autodiff", max_iter=2000, tol=1e-13).value


def errors(of):
    loss = lambda w, x: of((x @ w).tanh())
    slope = lambda f: ((f(start + 1e-5 * along) - f(start - 1e-5 * along)) / 2e-5).detach()
    off = lambda found, right: ((found - right).norm() / right.norm()).item()

    def gradient(w, create=False):
        w = w if w.requires_grad else w.clone().requires_grad_()
        return torch.autograd.grad(loss(w, support), w, create_graph=create)[0]

    def adapted(w, create=False):
        for _ in range(3):
            w = w - 1.0 * gradient(w, create)
        return loss(w, query)

    w = start.clone().requires_grad_()
    first = gradient(w, True)
    product, = torch.autograd.grad((first * along).sum(), w)
    meta, = torch.autograd.grad(adapted(w, True), w)
    return (off((first.detach() * along).sum(), slope(lambda w: loss(w, support))), off(product, slope(gradient)),
            off((meta * along).sum(), slope(adapted)))


rows = {  # and whether the second derivative is wrong
    "gaussian": (theirs("gaussian"), True),
    "gaussian, by formula": (kernel(lambda x, y: (-squared(x, y) / 2).exp()), False),
    "laplacian": (theirs("laplacian"), True),
    "laplacian, by formula": (kernel(lambda x, y: (-distance(x, y)).exp()), False),
    "energy": (theirs("energy"), True),
    "energy, by formula": (kernel(lambda x, y: -distance(x, y)), False),
    "sinkhorn, debiased": (theirs("sinkhorn", scaling=0.99), True),
    "sinkhorn": (theirs("sinkhorn", scaling=0.99, debias=False), True),
    "POT, entropic, autodiff": (entropic, False),
}
print("torch", torch.__version__, "geomloss 0.3.1", "POT", ot.__version__)
values = {}
for name, (of, wrong) in rows.items():
    values[name] = of((support @ start).tanh()).item()
    gradient, product, meta = errors(of)
    print(f"  {name:30}  {gradient:.2f}  {product:.2f}  {meta:.2f}")
    assert gradient < (0.01 if name.startswith("sinkhorn") else 1e-6), (name, gradient)
    assert min(product, meta) > 0.05 if wrong else max(product, meta) < 1e-5, (name, product, meta)
for name in ("gaussian", "laplacian", "energy"):
    assert abs(values[name] - values[f"{name}, by formula"]) < 1e-4, values
PY
"$dir/env/bin/python" -W ignore "$dir/distances.py"
