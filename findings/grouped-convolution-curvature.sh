#!/usr/bin/env bash
# ASDL (asdfghjkl 0.1a4), NNGeometry 0.4, curvlinops 3.0.1, BackPACK 1.7.1, and laplace-torch 0.3 with three of them
# (their newest releases; torch 2.15.0, CPU, float64): curvature of a convolution with `groups`, as the depthwise ones
# of MobileNet, EfficientNet and ConvNeXt are. TORCH=... before the command takes another version.
#
# Behaviour: three of the four take the layer for another one, without a word. (1) ASDL pairs each output with the
# inputs of all groups. The diagonal by it, Laplace's too, is too large, in sum by the number of groups (its Kronecker
# factors fail). (2) So is NNGeometry's, and it has that many entries for each weight, so that those of all later layers
# are at other places than the parameters. (3) curvlinops' Kronecker factors, which laplace-torch takes by default, are
# of the inputs' *mean over groups*: of independent groups one part in their number is left, of groups that cancel
# nothing, so that weights on which the loss depends have no curvature. So in EKFAC, whose trace ought to be the exact
# one. A docstring of a function inside says that patches are averaged; the operators' don't. BackPACK's diagonal is
# right, and it refuses Kronecker factors of such layers; curvlinops' exact matrices are right. Without groups all of
# them are. In these libraries' issues we found no word of it; in einconv, which curvlinops stands on, the factor of the
# inputs has a dimension for groups.
#
# Seen: trace over the exact one's for a 3x3 convolution of 4 channels in 1, 2 and 4 groups, images of independent
# pixels, where the matrix is a Kronecker product but for chance; last in 2 groups with opposite images
#   diagonal, BackPACK                   1.00   1.00   1.00   1.00
#   diagonal, NNGeometry                 1.00   2.00   4.00   2.00
#   diagonal, Laplace by BackPACK        1.00   1.00   1.00   1.00
#   diagonal, Laplace by curvlinops      1.00   1.00   1.00   1.00
#   diagonal, Laplace by ASDL            1.00   2.00   4.00   2.00
#   full, curvlinops                     1.00   1.00   1.00   1.00
#   full, Laplace by curvlinops          1.00   1.00   1.00   1.00
#   Kronecker, curvlinops                1.00   0.51   0.24   0.00
#   its EKFAC                            1.00   0.51   0.24   0.00
#   Kronecker, Laplace by curvlinops     1.00   0.51   0.24   0.00
#
# Fails if one of these becomes right that is wrong, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" 'backpack-for-pytorch==1.7.1' 'nngeometry==0.4' \
  'asdfghjkl==0.1a4' 'curvlinops-for-pytorch==3.0.1' 'laplace-torch==0.3' numpy
cat > "$dir/groups.py" <<'PY'
import laplace.curvature
import torch
from backpack import backpack, extend
from backpack.extensions import DiagGGNExact
from curvlinops import EKFACLinearOperator, GGNLinearOperator, KFACLinearOperator
from laplace import Laplace
from nngeometry.metrics import FIM
from nngeometry.object import PMatDiag
from torch import nn
from torch.func import functional_call, jacrev
from torch.utils.data import DataLoader, TensorDataset

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(0)
images = torch.randn(40, 4, 4, 4)
opposite = torch.cat([images[:, :2], -images[:, :2]], 1)
columns = {"4 in 1 group": (1, images), "2": (2, images), "4": (4, images), "2, opposite": (2, opposite)}


def task(groups, x):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(4, 4, 3, groups=groups, bias=False), nn.Flatten())
    return net, x, torch.randn_like(net(x))


def exact(net, x, y):
    """The diagonal of the Gauss-Newton matrix."""
    start = {name: p.detach() for name, p in net.named_parameters()}
    slopes = jacrev(lambda p: functional_call(net, p, (x,)))(start)["0.weight"].flatten(2)
    return slopes.square().sum((0, 1))


def by_backpack(net, x, y):
    with backpack(DiagGGNExact()):
        extend(nn.MSELoss(reduction="sum"))(extend(net)(x), y).backward()
    return net[0].weight.diag_ggn_exact.flatten() / 2  # of half the square


def by_curvlinops(net, x, y, operator, **options):
    matrix = operator(net, nn.MSELoss(reduction="sum"), list(net.parameters()), [(x, y)], **options)
    return (matrix @ torch.eye(matrix.shape[1])).diag() / 2


def by_nngeometry(net, x, y):
    loader = DataLoader(TensorDataset(x, y), batch_size=len(x))
    return len(x) * FIM(net, loader, PMatDiag, variant="regression").get_diag()


def by_laplace(net, x, y, backend, structure):
    options = {"hessian_structure": structure, "backend": getattr(laplace.curvature, backend)}
    posterior = Laplace(net, "regression", subset_of_weights="all", **options)
    posterior.fit(DataLoader(TensorDataset(x, y), batch_size=len(x)))
    return posterior.H if structure == "diag" else torch.as_tensor(posterior.H.diag())


def of_laplace(*options):
    return lambda *of: by_laplace(*of, *options)


rows = {  # and by which power of the number of groups it is off; None where it depends on the images
    "diagonal, BackPACK": (by_backpack, 0),
    "diagonal, NNGeometry": (by_nngeometry, 1),
    "diagonal, Laplace by BackPACK": (of_laplace("BackPackGGN", "diag"), 0),
    "diagonal, Laplace by curvlinops": (of_laplace("CurvlinopsGGN", "diag"), 0),
    "diagonal, Laplace by ASDL": (of_laplace("AsdlGGN", "diag"), 1),
    "full, curvlinops": (lambda *of: by_curvlinops(*of, GGNLinearOperator), 0),
    "full, Laplace by curvlinops": (of_laplace("CurvlinopsGGN", "full"), 0),
    "Kronecker, curvlinops": (lambda *of: by_curvlinops(*of, KFACLinearOperator, fisher_type="type-2"), None),
    "its EKFAC": (lambda *of: by_curvlinops(*of, EKFACLinearOperator, fisher_type="type-2"), None),
    "Kronecker, Laplace by curvlinops": (of_laplace("CurvlinopsGGN", "kron"), None),
}
print("torch", torch.__version__)
for name, (function, power) in rows.items():
    cells = []
    for column, (groups, x) in columns.items():
        right = exact(*task(groups, x))
        found = function(*task(groups, x)).detach()
        ratio = (found.sum() / right.sum()).item()
        cells.append(f"{ratio:7.2f}")
        if power == 0 or groups == 1:
            # of an approximation by factors the trace alone is exact
            assert torch.allclose(found, right) or (power is None and abs(ratio - 1) < 1e-9), (name, column)
        elif power == 1:
            assert abs(ratio - groups) < 1e-6 * groups, (name, column)
            # NNGeometry's has that many more entries
            assert found.numel() == (groups if "NNGeometry" in name else 1) * right.numel(), (name, column)
        else:
            assert ratio < (1e-9 if x is opposite else 1.2 / groups), (name, column)
    print(f"  {name:34}" + "".join(cells), flush=True)
PY
"$dir/env/bin/python" -W ignore "$dir/groups.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
