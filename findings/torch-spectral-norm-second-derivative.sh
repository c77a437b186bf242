#!/usr/bin/env bash
# torch 2.15.0 (CPU, float64): second derivatives through `parametrizations.spectral_norm`, once its power iteration
# has converged, beside W / σ(W) with the exact σ. TORCH=2.13.0 before the command takes another version.
#
# Behaviour: value and gradient are right to rounding. The second derivative isn't, without a word, in train and in
# eval mode: the singular vectors come from a power iteration without gradient, so that σ = u·Wv is *linear* in W
# for autograd and its curvature is missing. The gradient hides that, since at the right u and v their own
# derivatives cancel in it, and only there. So gradcheck passes, and a gradient penalty on a spectrally normalised
# critic or a meta-gradient through such a layer is off. In eval mode the vectors also stay those of the weights
# before adapting, so that the adapted weight hasn't the norm 1; in train mode they move in place with every
# forward pass, also in `functional_call`, so that the next task begins with the last one's vectors: the same
# weights have another loss after a task than before it.
#
# Seen, error relative to the exact one's length (the same in 2.13.0); then the norm of the weight that the
# layer uses after three steps of rate 1, and its loss at the first weights before and after these steps:
#   Linear, train   gradient 0.00   Hessian-vector product 0.28   meta-gradient of one step 0.20
#   Linear, eval    gradient 0.00   Hessian-vector product 0.28   meta-gradient of one step 0.92
#   Conv2d, train   gradient 0.00   Hessian-vector product 0.78   meta-gradient of one step 0.23
#   Conv2d, eval    gradient 0.00   Hessian-vector product 0.78   meta-gradient of one step 0.54
#   Linear, train   norm 1.02   loss 4.73 4.88
#   Linear, eval    norm 1.37   loss 4.73 4.73
#
# Fails if one of these becomes right that is wrong, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" numpy
cat > "$dir/second.py" <<'PY'
import torch
from torch import nn
from torch.autograd import grad
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize

torch.set_default_dtype(torch.float64)
raw = "parametrizations.weight.original"


class Exact(nn.Module):
    def forward(self, weight):
        return weight / torch.linalg.matrix_norm(weight.flatten(1), 2)


def layers(kind, mode):
    made = []
    for wrap in (parametrizations.spectral_norm,
                 lambda m: (parametrize.register_parametrization(m, "weight", Exact()), m)[1]):
        torch.manual_seed(0)
        made.append(wrap(nn.Linear(6, 4) if kind == "Linear" else nn.Conv2d(3, 4, 3)))
    theirs, exact = made
    with torch.no_grad():
        exact.get_parameter(raw).copy_(theirs.get_parameter(raw))
        for _ in range(500):  # one power iteration each
            theirs.weight
    return theirs.train(mode == "train"), exact


def derivatives(layer, inputs):
    """Loss, gradient, Hessian-vector product and the meta-gradient of one step, with respect to the raw weight."""
    params = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}
    value = functional_call(layer, params, (inputs,)).tanh().square().sum()
    gradient = dict(zip(params, grad(value, list(params.values()), create_graph=True)))
    weight = params[raw]
    along = torch.linspace(-1, 1, weight.numel()).view_as(weight)
    (second,) = grad((gradient[raw] * along).sum(), weight, retain_graph=True)
    step = {name: p - 0.1 * gradient[name] for name, p in params.items()}
    target = torch.linspace(0, 1, len(weight)).view(-1, *[1] * (inputs.dim() - 2))
    (meta,) = grad((functional_call(layer, step, (inputs,)) - target).square().mean(), weight)
    return value.detach(), gradient[raw].detach(), second, meta


def after_task(mode):
    """Norm of the weight that is used after three steps, and the loss at the start before and after them."""
    torch.manual_seed(1)
    layer, inputs = layers("Linear", mode)[0], torch.randn(5, 6)
    loss = lambda p: functional_call(layer, p, (inputs,)).tanh().square().sum()
    params = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}
    before, w = loss(params).item(), params
    for _ in range(3):
        w = {name: p - g for (name, p), g in zip(w.items(), grad(loss(w), list(w.values())))}
    used = functional_call(layer.parametrizations.weight, {"original": w[raw]}, ())
    return torch.linalg.matrix_norm(used.flatten(1), 2).item(), before, loss(params).item()


print("torch", torch.__version__)
off = lambda a, b: ((a - b).norm() / b.norm()).item()
for kind in ("Linear", "Conv2d"):
    for mode in ("train", "eval"):
        torch.manual_seed(1)
        inputs = torch.randn(5, 6) if kind == "Linear" else torch.randn(2, 3, 5, 5)
        value, first, second, meta = (off(a, b) for a, b in zip(*(derivatives(m, inputs) for m in layers(kind, mode))))
        print(f"  {kind}, {mode:5}   gradient {first:.2f}   Hessian-vector product {second:.2f}"
              f"   meta-gradient of one step {meta:.2f}")
        assert max(value, first) < 1e-12 and min(second, meta) > 0.1, (value, first, second, meta)
for mode in ("train", "eval"):
    norm, before, after = after_task(mode)
    print(f"  Linear, {mode:5}   norm {norm:.2f}   loss {before:.2f} {after:.2f}")
    assert norm > 1.01 and (abs(after - before) > 0.1) == (mode == "train"), (norm, before, after)
PY
"$dir/env/bin/python" "$dir/second.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
