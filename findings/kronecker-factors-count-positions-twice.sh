#!/usr/bin/env bash
# BackPACK 1.7.1, ASDL (asdfghjkl 0.1a4), NNGeometry 0.4, curvlinops 3.0.1, and laplace-torch 0.3 with three of them
# (their newest releases; torch 2.15.0, CPU, float64): Kronecker factors (KFAC) of layers that use a weight at many
# positions. TORCH=... before the command takes another version.
#
# Behaviour: measured where the Gauss-Newton matrix *is* a Kronecker product, so that all approximations meet (a
# squared loss of each output of one layer): BackPACK's factors of a convolution (KFLR, KFRA; KFAC is KFLR's estimate)
# have a product that is the exact matrix times the number of positions, since both factors are sums over them. ASDL,
# right for convolutions, does the same for a linear layer on tokens. Biases and layers with one position are right, so
# that layers of one network have different scales. laplace-torch hands either on: the posterior of the same network
# is right or too narrow by its backend, and the marginal likelihood, by which one chooses priors, is another model's.
# BackPACK documents KFAC as that of Grosse and Martens (2016), whose second factor is a mean over positions; that it
# differs by their number is said in a TODO of its source alone. NNGeometry and curvlinops (kfac_approx="expand", the
# default) are right. In issues we found no word of what laplace-torch makes of it.
#
# Seen: trace over the exact one's for a convolution at 1, 4 and 25 positions, one in one dimension at 4, and a linear
# layer on 6 tokens ("-" is refused)
#   BackPACK KFLR            1.00   4.00  25.00   4.00      -
#   BackPACK KFRA            1.00   4.00  25.00   4.00      -
#   curvlinops               1.00   1.00   1.00      -   1.00
#   NNGeometry               1.00   1.00   1.00   1.00      -
#   Laplace by BackPACK      1.00   4.00  25.00   4.00      -
#   Laplace by ASDL          1.00   1.00   1.00      -   6.00
#   Laplace by curvlinops    1.00   1.00   1.00      -   1.00
# and of Laplace's with Kronecker factors less that with the full matrix, which they equal here: logarithm of the
# marginal likelihood -38.6 (BackPACK, 25 positions) and -10.6 (ASDL, 6 tokens); the mean variance of a prediction is
# 0.04 and 0.17 of the other's
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" 'backpack-for-pytorch==1.7.1' 'nngeometry==0.4' \
  'asdfghjkl==0.1a4' 'curvlinops-for-pytorch==3.0.1' 'laplace-torch==0.3' numpy
cat > "$dir/kronecker.py" <<'PY'
import laplace.curvature
import torch
from backpack import backpack, extend
from backpack.extensions import KFLR, KFRA
from curvlinops import KFACLinearOperator
from laplace import Laplace
from nngeometry.metrics import FIM
from nngeometry.object import PMatKFAC
from torch import nn
from torch.func import functional_call, jacrev
from torch.utils.data import DataLoader, TensorDataset

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
layers = {  # the layer, the shape of an input, the positions
    "conv2d, one position": (lambda: nn.Conv2d(2, 3, 4, bias=False), (2, 4, 4), 1),
    "conv2d, 2x2": (lambda: nn.Conv2d(2, 3, 3, bias=False), (2, 4, 4), 4),
    "conv2d, 5x5": (lambda: nn.Conv2d(2, 3, 2, bias=False), (2, 6, 6), 25),
    "conv1d, 4": (lambda: nn.Conv1d(2, 3, 2, bias=False), (2, 5), 4),
    "tokens, 6": (lambda: nn.Linear(4, 3, bias=False), (6, 4), 6),
}


def task(kind):
    torch.manual_seed(1)
    make, shape, _ = layers[kind]
    net = nn.Sequential(make(), nn.Flatten())
    images = torch.randn(8, *shape)
    return net, images, torch.randn_like(net(images))


def exact(net, x, y):
    start = {name: p.detach() for name, p in net.named_parameters()}
    slopes = jacrev(lambda p: functional_call(net, p, (x,)))(start)["0.weight"].flatten(2)
    return torch.einsum("nci,ncj->ij", slopes, slopes)


def by_backpack(net, x, y, extension, attribute):
    with backpack(extension):
        extend(nn.MSELoss(reduction="sum"))(extend(net)(x), y).backward()
    return torch.kron(*getattr(net[0].weight, attribute)) / 2  # of half the square


def by_curvlinops(net, x, y):
    loss = nn.MSELoss(reduction="sum")
    factors = KFACLinearOperator(net, loss, list(net.parameters()), [(x, y)], fisher_type="type-2")
    return factors @ torch.eye(factors.shape[1]) / 2


def by_nngeometry(net, x, y):
    loader = DataLoader(TensorDataset(x, y), batch_size=len(x))
    return len(x) * FIM(net, loader, PMatKFAC, variant="regression").to_torch()


def posterior(net, x, y, backend, structure="kron"):
    options = {"hessian_structure": structure, "backend": getattr(laplace.curvature, backend)}
    of = Laplace(net, "regression", subset_of_weights="all", **options)
    of.fit(DataLoader(TensorDataset(x, y), batch_size=len(x)))
    return of


def by_laplace(net, x, y, backend):
    return posterior(net, x, y, backend).H.to_matrix()


rows = {  # and the layers at which a number of positions too much comes
    "BackPACK KFLR": (lambda *of: by_backpack(*of, KFLR(), "kflr"), ("conv2d", "conv1d")),
    "BackPACK KFRA": (lambda *of: by_backpack(*of, KFRA(), "kfra"), ("conv2d", "conv1d")),
    "curvlinops": (by_curvlinops, ()),
    "NNGeometry": (by_nngeometry, ()),
    "Laplace by BackPACK": (lambda *of: by_laplace(*of, "BackPackGGN"), ("conv2d", "conv1d")),
    "Laplace by ASDL": (lambda *of: by_laplace(*of, "AsdlGGN"), ("tokens",)),
    "Laplace by curvlinops": (lambda *of: by_laplace(*of, "CurvlinopsGGN"), ()),
}
refused = {  # with an error
    "conv1d, 4": ("curvlinops", "Laplace by ASDL", "Laplace by curvlinops"),
    "tokens, 6": ("BackPACK KFLR", "BackPACK KFRA", "NNGeometry", "Laplace by BackPACK"),
}
print("torch", torch.__version__)
for name, (factors, hit) in rows.items():
    cells = []
    for kind, (_, _, positions) in layers.items():
        if name in refused.get(kind, ()):
            cells.append(f"{'-':>7}")
            continue
        found, right = factors(*task(kind)).detach(), exact(*task(kind))
        cells.append(f"{(found.trace() / right.trace()).item():7.2f}")
        assert torch.allclose(found, (positions if kind.startswith(hit) else 1) * right), (name, kind)
    print(f"  {name:22}" + "".join(cells), flush=True)
print("  of Laplace's full matrix: its marginal likelihood's logarithm less that, variance of the prediction over that")
for backend, kind in (("BackPackGGN", "conv2d, 5x5"), ("AsdlGGN", "tokens, 6")):
    full, kron = (posterior(*task(kind), backend, structure) for structure in ("full", "kron"))
    images = task(kind)[1]
    less = (kron.log_marginal_likelihood() - full.log_marginal_likelihood()).item()
    variances = [of(images)[1].diagonal(dim1=1, dim2=2).mean().item() for of in (kron, full)]
    print(f"  {'Laplace by ' + backend:22} {kind:14}{less:7.1f}{variances[0] / variances[1]:7.2f}")
    assert less < -5 and variances[0] < variances[1] / 4, kind
PY
"$dir/env/bin/python" -W ignore "$dir/kronecker.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
