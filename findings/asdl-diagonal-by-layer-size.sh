#!/usr/bin/env bash
# ASDL (asdfghjkl 0.1a4) and laplace-torch 0.3 with it, beside BackPACK 1.7.1, NNGeometry 0.4 and curvlinops 3.0.1
# (their newest releases; torch 2.15.0, CPU, float64): diagonals of the Gauss-Newton and of the empirical Fisher matrix,
# as EWC and Laplace's posteriors take them. TORCH=... before the command takes another version.
#
# Behaviour: what ASDL gives for a convolution is by the layer's *sizes* one of two things. In each sample it sums the
# gradient over positions and squares it, as the definition has it, or it squares first and sums then, as if positions
# were samples. The second is taken wherever positions * (outputs + inputs * kernel) < outputs * inputs * kernel: by its
# comment it is the way of less memory. Hence the late layers of a network are too small and the early ones right,
# and more channels change what is computed: with 3x3 kernels from 28 channels on for maps of 5x5, and of Conv-4 with
# 64 channels on Omniglot all after the second layer. A linear layer on tokens is always treated so. At equal slopes the
# entries are lower by the number of positions. Nothing warns, and neither library's documentation or issues had a word
# of it that we found.
#
# Seen: sum of the diagonal over that of the formula, for the first and second layer (8x8, 4x4 positions, then a mean
# over positions) with 8 channels, the same with 32, and a linear layer on 6 tokens ("-" is refused)
#   Gauss-Newton, BackPACK                 1.00   1.00   1.00   1.00      -
#   Gauss-Newton, NNGeometry               1.00   1.00   1.00   1.00      -
#   Gauss-Newton, Laplace by curvlinops    1.00   1.00   1.00   1.00   1.00
#   Gauss-Newton, Laplace by ASDL          1.00   1.00   1.00   0.13   0.23
#   Gauss-Newton, ASDL                     1.00   1.00   1.00   0.13   0.23
#   empirical, Laplace by curvlinops       1.00   1.00   1.00   1.00   1.00
#   empirical, Laplace by BackPACK         1.00   1.00   1.00   1.00   1.00
#   empirical, Laplace by ASDL             1.00   1.00   1.00   0.13   0.22
#   empirical, ASDL                        1.00   1.00   1.00   0.13   0.22
#
# Fails if one of these becomes right that is wrong, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" 'backpack-for-pytorch==1.7.1' 'nngeometry==0.4' \
  'asdfghjkl==0.1a4' 'curvlinops-for-pytorch==3.0.1' 'laplace-torch==0.3' numpy
cat > "$dir/diagonal.py" <<'PY'
import laplace.curvature
import torch
from asdl import FisherConfig, get_fisher_maker
from backpack import backpack, extend
from backpack.extensions import DiagGGNExact
from laplace import Laplace
from nngeometry.metrics import FIM
from nngeometry.object import PMatDiag
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
labels = torch.arange(10) % 5


class Mean(nn.Module):
    """Of tokens."""

    def forward(self, x):
        return x.mean(1)


def network(kind):
    """Of so many channels, or of tokens."""
    torch.manual_seed(1)
    if kind == "tokens":
        return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), Mean(), nn.Linear(12, 5))
    layers = [nn.Conv2d(3, kind, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(kind, kind, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(kind, 5))


def diagonals(net, x, name):
    """Of the Gauss-Newton matrix and of the empirical Fisher matrix, by their formulas, of one weight."""
    start = {name: p.detach() for name, p in net.named_parameters()}
    of = lambda w, x: functional_call(net, start | {name: w}, (x,))
    slopes = jacrev(of)(start[name], x).flatten(2)
    shares = of(start[name], x).softmax(1)
    curvature = torch.diag_embed(shares) - shares[:, :, None] * shares[:, None]
    one = lambda w, image, label: cross_entropy(of(w, image[None]), label[None])
    single = vmap(grad(one), (None, 0, 0))(start[name], x, labels).flatten(1)
    return torch.einsum("nci,ncd,ndi->i", slopes, curvature, slopes), single.square().sum(0)


def place(net, name):
    """Of one parameter among all, flattened."""
    start = 0
    for other, p in net.named_parameters():
        if other == name:
            return slice(start, start + p.numel())
        start += p.numel()


def by_asdl(net, x, name, kind):
    options = {"fisher_shapes": ["diag"], "data_size": 1, "loss_type": "cross_entropy"}
    maker = get_fisher_maker(net, FisherConfig(fisher_type=kind, **options))
    scores = maker.setup_model_call(net, x)
    if kind == "fisher_emp":
        maker.setup_loss_call(nn.CrossEntropyLoss(reduction="sum"), scores, labels)
    maker.forward_and_backward()
    return net.get_submodule(name.removesuffix(".weight")).fisher.diag.weight.flatten()


def by_laplace(net, x, name, backend):
    options = {"hessian_structure": "diag", "backend": getattr(laplace.curvature, backend)}
    posterior = Laplace(net, "classification", subset_of_weights="all", **options)
    posterior.fit(DataLoader(TensorDataset(x, labels), batch_size=len(x)))
    return posterior.H[place(net, name)]


def by_backpack(net, x, name):
    with backpack(DiagGGNExact()):
        extend(nn.CrossEntropyLoss(reduction="sum"))(extend(net)(x), labels).backward()
    return net.get_parameter(name).diag_ggn_exact.flatten()


def by_nngeometry(net, x, name):
    loader = DataLoader(TensorDataset(x, labels), batch_size=len(x))
    return len(x) * FIM(net, loader, PMatDiag, variant="classif_logits").get_diag()[place(net, name)]


rows = {  # the function, whether of the empirical Fisher matrix, whether positions can be taken for samples
    "Gauss-Newton, BackPACK": (by_backpack, False, False),
    "Gauss-Newton, NNGeometry": (by_nngeometry, False, False),
    "Gauss-Newton, Laplace by curvlinops": (lambda *of: by_laplace(*of, "CurvlinopsGGN"), False, False),
    "Gauss-Newton, Laplace by ASDL": (lambda *of: by_laplace(*of, "AsdlGGN"), False, True),
    "Gauss-Newton, ASDL": (lambda *of: by_asdl(*of, "fisher_exact"), False, True),
    "empirical, Laplace by curvlinops": (lambda *of: by_laplace(*of, "CurvlinopsEF"), True, False),
    "empirical, Laplace by BackPACK": (lambda *of: by_laplace(*of, "BackPackEF"), True, False),
    "empirical, Laplace by ASDL": (lambda *of: by_laplace(*of, "AsdlEF"), True, True),
    "empirical, ASDL": (lambda *of: by_asdl(*of, "fisher_emp"), True, True),
}
layers = {  # channels or "tokens", the weight, and whether ASDL takes its positions for samples
    "8 channels, first layer": (8, "0.weight", False),
    "8 channels, second layer": (8, "3.weight", False),
    "32 channels, first layer": (32, "0.weight", False),
    "32 channels, second layer": (32, "3.weight", True),
    "tokens": ("tokens", "0.weight", True),
}
print("torch", torch.__version__)
for name, (function, empirical, by_position) in rows.items():
    cells = []
    for kind, weight, hit in layers.values():
        if kind == "tokens" and function in (by_backpack, by_nngeometry):
            cells.append(f"{'-':>7}")  # refused
            continue
        torch.manual_seed(0)
        x = torch.rand(10, 6, 8) if kind == "tokens" else torch.rand(10, 3, 8, 8)
        right = diagonals(network(kind), x, weight)[empirical]
        found = function(network(kind), x, weight).detach()
        cells.append(f"{(found.sum() / right.sum()).item():7.2f}")
        error = ((found - right).norm() / right.norm()).item()
        assert (error > 0.5) if by_position and hit else (error < 1e-9), (name, kind, weight)
    print(f"  {name:36}" + "".join(cells), flush=True)
PY
"$dir/env/bin/python" -W ignore "$dir/diagonal.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
