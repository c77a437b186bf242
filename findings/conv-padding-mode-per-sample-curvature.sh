#!/usr/bin/env bash
# BackPACK 1.7.1, Opacus 1.6.0, NNGeometry 0.4, ASDL (asdfghjkl 0.1a4), curvlinops 3.0.1 and laplace-torch 0.3 (their
# newest releases; torch 2.15.0, CPU, float64): gradients of single samples, Gauss-Newton diagonals and Kronecker
# factors of a convolution with a `padding_mode` other than "zeros". TORCH=... before the command takes another version.
#
# Behaviour: all of them take the layer, and none looks at `padding_mode`. Outputs, loss and `.grad` are right, as torch
# computes them. What the libraries make of the layer's inputs by a formula of their own is that of a layer padded with
# zeros at those outputs, without a word: single gradients don't sum to `.grad` of the same backward pass, and Fisher
# diagonals (EWC), Kronecker factors and posteriors are another network's. So are Laplace's of all weights with its
# default structure and backend, Kronecker by curvlinops; its diagonal by curvlinops is right. So are torch's
# `vmap(grad(...))`, Opacus with `force_functorch=True`, and all of them where images are padded before a layer without
# padding. Opacus' validator finds nothing. The word isn't in the source of these libraries, and in their issues we
# found none of it.
#
# Seen: of the convolution's weight, distance from what the same library gives for images padded beforehand (same
# outputs), relative to that
#                                         zeros  reflect  replicate  circular
#  gradients, torch's vmap                 0.00     0.00       0.00      0.00
#  gradients, Opacus                       0.00     0.42       0.47      0.50
#  gradients, Opacus by functorch          0.00     0.00       0.00      0.00
#  gradients, BackPACK                     0.00     0.42       0.47      0.50
#  diagonal, by its formula                0.00     0.00       0.00      0.00
#  diagonal, BackPACK                      0.00     0.29       0.35      0.35
#  diagonal, NNGeometry                    0.00     0.29       0.35      0.35
#  diagonal, Laplace by ASDL               0.00     0.29       0.35      0.35
#  diagonal, Laplace by curvlinops         0.00     0.00       0.00      0.00
#  Kronecker, NNGeometry                   0.00     0.22       0.26      0.26
#  Kronecker, curvlinops                   0.00     0.22       0.26      0.26
#  Kronecker, Laplace by ASDL              0.00     0.22       0.26      0.26
#  Kronecker, Laplace by curvlinops        0.00     0.22       0.26      0.26
#
# Fails if one of these becomes right that is wrong, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" 'backpack-for-pytorch==1.7.1' 'opacus==1.6.0' \
  'nngeometry==0.4' 'asdfghjkl==0.1a4' 'curvlinops-for-pytorch==3.0.1' 'laplace-torch==0.3' numpy
cat > "$dir/padding.py" <<'PY'
import torch
from backpack import backpack, extend
from backpack.extensions import BatchGrad, DiagGGNExact
from curvlinops import KFACLinearOperator
from laplace import Laplace
from laplace.curvature import AsdlGGN
from nngeometry.metrics import FIM
from nngeometry.object import PMatDiag, PMatKFAC
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import DataLoader, TensorDataset

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(0)
images, labels = torch.randn(6, 2, 6, 6), torch.arange(6) % 3
weights = 2 * 3 * 9  # of the convolution; they come first everywhere


def network(mode=None):
    """Of padded images where no mode is given; the weights are the same."""
    torch.manual_seed(1)
    padding = {} if mode is None else {"padding": 1, "padding_mode": mode}
    return nn.Sequential(nn.Conv2d(2, 3, 3, **padding), nn.Tanh(), nn.Flatten(), nn.Linear(108, 3))


def loader(x):
    return DataLoader(TensorDataset(x, labels), batch_size=len(x))


def start(net):
    return {name: p.detach() for name, p in net.named_parameters()}


def single(net, x):
    one = lambda p, image, label: cross_entropy(functional_call(net, p, (image[None],)), label[None])
    return vmap(grad(one), (None, 0, 0))(start(net), x, labels)["0.weight"]


def diagonal(net, x):
    """Of the Gauss-Newton matrix, by its formula."""
    outputs = lambda p: functional_call(net, p, (x,))
    slopes = jacrev(outputs)(start(net))["0.weight"].flatten(2)
    shares = outputs(start(net)).softmax(1)
    curvature = torch.diag_embed(shares) - shares[:, :, None] * shares[:, None]
    return torch.einsum("nci,ncd,ndi->i", slopes, curvature, slopes)


def by_backpack(net, x, extension, attribute):
    with backpack(extension):
        extend(nn.CrossEntropyLoss(reduction="sum"))(extend(net)(x), labels).backward()
    return getattr(net[0].weight, attribute)


def by_opacus(net, x, **options):
    net = GradSampleModule(net, loss_reduction="sum", **options)
    cross_entropy(net(x), labels, reduction="sum").backward()
    weight = next(net.parameters())
    summed.append(torch.allclose(weight.grad_sample.sum(0), weight.grad))
    return weight.grad_sample


def by_nngeometry(net, x, kind):
    return len(x) * FIM(net, loader(x), kind, variant="classif_logits").get_diag()[:weights]


def by_laplace(net, x, **options):
    posterior = Laplace(net, "classification", subset_of_weights="all", **options)
    posterior.fit(loader(x))
    return (posterior.H if options.get("hessian_structure") == "diag" else posterior.H.diag())[:weights]


def by_curvlinops(net, x):
    loss = nn.CrossEntropyLoss(reduction="sum")
    factors = KFACLinearOperator(net, loss, list(net.parameters()), [(x, labels)], fisher_type="type-2")
    return (factors @ torch.eye(factors.shape[1])).diag()[:weights]


rows = {  # and whether padding_mode is overlooked
    "gradients, torch's vmap": (single, False),
    "gradients, Opacus": (by_opacus, True),
    "gradients, Opacus by functorch": (lambda *of: by_opacus(*of, force_functorch=True), False),
    "gradients, BackPACK": (lambda *of: by_backpack(*of, BatchGrad(), "grad_batch"), True),
    "diagonal, by its formula": (diagonal, False),
    "diagonal, BackPACK": (lambda *of: by_backpack(*of, DiagGGNExact(), "diag_ggn_exact").flatten(), True),
    "diagonal, NNGeometry": (lambda *of: by_nngeometry(*of, PMatDiag), True),
    "diagonal, Laplace by ASDL": (lambda *of: by_laplace(*of, hessian_structure="diag", backend=AsdlGGN), True),
    "diagonal, Laplace by curvlinops": (lambda *of: by_laplace(*of, hessian_structure="diag"), False),
    "Kronecker, NNGeometry": (lambda *of: by_nngeometry(*of, PMatKFAC), True),
    "Kronecker, curvlinops": (by_curvlinops, True),
    "Kronecker, Laplace by ASDL": (lambda *of: by_laplace(*of, backend=AsdlGGN), True),
    "Kronecker, Laplace by curvlinops": (by_laplace, True),
}
modes = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
padded = {mode: pad(images, (1, 1, 1, 1), mode=kind) for mode, kind in modes.items()}
for mode, x in padded.items():
    assert torch.allclose(network(mode)(images), network()(x)), mode
    assert not ModuleValidator.validate(network(mode)), mode
print("torch", torch.__version__)
for name, (of, wrong) in rows.items():
    errors, summed = [], []  # and whether Opacus' gradients sum to `.grad`
    for mode, x in padded.items():
        right = of(network(), x).detach()
        errors.append(((of(network(mode), images).detach() - right).norm() / right.norm()).item())
        exact = single if name.startswith("gradients") else diagonal if name.startswith("diagonal") else None
        assert exact is None or torch.allclose(right, exact(network(), x)), (name, mode)
    print(f"  {name:36}" + "{:8.2f}{:9.2f}{:11.2f}{:10.2f}".format(*errors))
    assert errors[0] < 1e-9 and all((error > 0.01) == wrong for error in errors[1:]), name
    # in each mode first the images padded beforehand, then the layer's own padding
    assert not summed or summed == [True, True] + 3 * [True, not wrong], name
PY
"$dir/env/bin/python" -W ignore "$dir/padding.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
