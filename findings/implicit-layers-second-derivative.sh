#!/usr/bin/env bash
# torchopt 0.7.3 and qpth 0.0.18 (their newest releases; torch 2.15.0, CPU, float64): second derivatives through layers
# that solve a problem to its end and give the implicit gradient: torchopt's `custom_root`, as for iMAML or a
# regularised head, and qpth's QPFunction, the quadratic program of MetaOptNet's SVM head.
#
# Behaviour: values and gradients are right to rounding. Whatever is differentiated once more isn't, without a word:
# inner steps on features below such a head, a penalty on its gradient, a Hessian-vector product of the meta-loss.
# custom_root keeps detached copies of its arguments, so that on the second way back they are constants (the way through
# the solution alone is followed), with any solver; and with its conjugate gradients, of which the one on the normal
# equations is the default, the way back through *their* iterations, run past their end, adds many times the right
# value. qpth keeps solution, multipliers and factors of the matrix as constants. Newton's method in plain
# operations, with the last steps recorded, is right. In both libraries' issues we found no word of it; torch's issue
# 76185 says of autograd functions in general that double backward through what they keep is silently wrong.
#
# Seen, a 3-way 2-shot task, features by a linear map: error, relative to finite differences', of the gradient in the
# map, of a Hessian-vector product and of the meta-gradient through three inner steps on the map
#   logistic regression, Newton's steps in torch     0.00   0.00   0.00
#   the same, custom_root, solve_inv                 0.00   0.57   0.23
#   the same, custom_root, solve_cg                  0.00  > 100  > 100
#   the same, custom_root, the default               0.00  > 100  > 100
#   SVM, qpth                                        0.00   1.43   0.34
#
# Needs a Python below 3.13, as qpth wants numpy below 2. Fails if one of these becomes right that is wrong, or the
# other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" 'torch==2.15.0' 'torchopt==0.7.3' 'qpth==0.0.18' 'cvxpy==1.7.5' \
  'numpy==1.26.4'
cat > "$dir/layers.py" <<'PY'
import torch
import torchopt
from qpth.qp import QPFunction
from torch.nn.functional import cross_entropy
from torchopt.diff.implicit import custom_root
from torchopt.linear_solve import solve_cg, solve_inv, solve_normal_cg

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(0)
ways, size, width = 3, 5, 4
labels, answers = torch.arange(ways).repeat(2), torch.arange(ways).repeat(4)
centres, onehot = torch.randn(ways, size), torch.eye(ways)[labels]
support, query = (centres[of] + 0.7 * torch.randn(len(of), size) for of in (labels, answers))
start = torch.eye(size)[:, :width] + 0.3 * torch.randn(size, width)


def stationary(w, features):
    """Gradient of a logistic regression's regularised loss, zero at its solution."""
    return features.T @ ((features @ w).softmax(1) - onehot) / len(labels) + 0.3 * w


def newton(w, features):
    for _ in range(30):
        jacobian = torch.func.jacrev(stationary)(w, features).reshape(w.numel(), -1)
        w = w - torch.linalg.solve(jacobian, stationary(w, features).flatten()).view_as(w)
    return w


def logistic(solver):
    nothing = torch.zeros(width, ways)
    return lambda embed: cross_entropy(query @ embed @ solver(nothing, support @ embed), answers)


def implicit(solve):
    return logistic(custom_root(stationary, argnums=1, solve=solve)(newton))


def svm(embed):
    """The dual of Crammer and Singer's multi-class SVM on the features."""
    features, count = support @ embed, len(labels)
    kernel = torch.kron(features @ features.T, torch.eye(ways)) + torch.eye(ways * count)
    dual = QPFunction(verbose=-1, maxIter=40)(
        kernel, -onehot.view(1, -1), torch.eye(ways * count), 0.4 * onehot.view(1, -1),
        torch.kron(torch.eye(count), torch.ones(1, ways)), torch.zeros(1, count))
    return cross_entropy(query @ embed @ features.T @ dual.view(count, ways), answers)


off = lambda found, right: ((found - right).norm() / right.norm()).item()
torch.manual_seed(1)
along = torch.randn_like(start)


def errors(loss):
    """Of the gradient, the Hessian-vector product and the meta-gradient along one direction."""
    def gradient(embed, create=False):
        embed = embed if embed.requires_grad else embed.detach().requires_grad_()
        return torch.autograd.grad(loss(embed), embed, create_graph=create)[0]

    def adapted(embed, create=False):
        for _ in range(3):
            embed = embed - gradient(embed, create)
        return loss(embed)

    slope = lambda f: ((f(start + 1e-5 * along) - f(start - 1e-5 * along)) / 2e-5).detach()
    embed = start.clone().requires_grad_()
    first = gradient(embed, True)
    product, = torch.autograd.grad((first * along).sum(), embed)
    meta, = torch.autograd.grad(adapted(embed, True), embed)
    return (off((first.detach() * along).sum(), slope(loss)), off(product, slope(gradient)),
            off((meta * along).sum(), slope(adapted)))


rows = {  # and whether what is differentiated twice is wrong
    "logistic regression, Newton's steps in torch": (logistic(newton), False),
    "the same, custom_root, solve_inv": (implicit(solve_inv()), True),
    "the same, custom_root, solve_cg": (implicit(solve_cg()), True),
    "the same, custom_root, the default": (implicit(solve_normal_cg()), True),
    "SVM, qpth": (svm, True),
}
print("torch", torch.__version__, "torchopt", torchopt.__version__, "qpth 0.0.18")
shown = lambda error: f"{error:6.2f}" if error < 100 else " > 100"
for name, (loss, wrong) in rows.items():
    gradient, product, meta = errors(loss)
    print(f"  {name:46}", *map(shown, (gradient, product, meta)))
    assert gradient < 1e-4, (name, gradient)
    assert min(product, meta) > 0.1 if wrong else max(product, meta) < 1e-4, (name, product, meta)
PY
"$dir/env/bin/python" -W ignore "$dir/layers.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
