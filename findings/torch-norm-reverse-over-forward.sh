#!/usr/bin/env bash
# torch 2.15.0 (CPU, float64): Hessian-vector products of a few-shot loss by reverse over forward mode, the gradient
# of a directional derivative (`grad(lambda p: jvp(loss, (p,), (v,))[1])`, or `torch.autograd.grad` of the tangent
# that `torch.autograd.forward_ad` gives), through torch's norms. TORCH=2.13.0 before the command takes another version.
#
# Behaviour: the directional derivative is right to rounding. Its gradient isn't, without a word, where the loss goes
# through batch norm in training mode, instance norm or layer norm: on the way back through their forward derivatives
# a part of what goes to the weights before them is lost. The matrix that such products make isn't symmetric, so
# conjugate gradients (iMAML) have no ground. Reverse over reverse and forward over reverse (`jvp(grad(loss), ...)`)
# are right for all of them; group norm, RMS norm, batch norm in evaluation mode and batch norm by its formula are
# right in each order. Only finite differences of the gradient, or another order beside it, show it.
#
# Seen, one convolution before the norm, 10 images of 5 classes: error of the product relative to its size, against
# finite differences of the gradient, and asymmetry |u'Hv - v'Hu| / |u'Hv| of reverse over forward; last the
# same product of the outputs' mean square by `torch.autograd.forward_ad`:
#                                rev over rev  fwd over rev  rev over fwd  asymmetry     forward_ad, square
#   BatchNorm2d                          0.00          0.00          0.03      0.003           0.02
#   InstanceNorm2d                       0.00          0.00          0.06      0.058           0.05
#   LayerNorm, an image                  0.00          0.00          0.01      0.019           0.01
#   LayerNorm, channels                  0.00          0.00          0.20      0.552           0.05
#   GroupNorm                            0.00          0.00          0.00      0.000         raises
#   RMSNorm, an image                    0.00          0.00          0.00      0.000           0.00
#   BatchNorm2d, evaluation              0.00          0.00          0.00      0.000           0.00
#   batch norm by its formula            0.00          0.00          0.00      0.000           0.00
#
# Fails if one of these becomes right that is wrong, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" numpy
cat > "$dir/products.py" <<'PY'
import warnings

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp
from torch.nn.functional import cross_entropy

warnings.simplefilter("ignore")
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
CHANNELS, SIZE, STEP = 6, 8, 1e-5


class Formula(nn.Module):
    """Batch norm in plain operations."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(CHANNELS)), nn.Parameter(torch.zeros(CHANNELS))

    def forward(self, x):
        var, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        scale, shift = (p.view(1, -1, 1, 1) for p in (self.weight, self.bias))
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift


class Channels(nn.LayerNorm):
    """Layer norm over the channels of a place."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


norms = {  # and whether reverse over forward is wrong
    "BatchNorm2d": (nn.BatchNorm2d(CHANNELS, track_running_stats=False), True),
    "InstanceNorm2d": (nn.InstanceNorm2d(CHANNELS, affine=True), True),
    "LayerNorm, an image": (nn.LayerNorm([CHANNELS, SIZE, SIZE]), True),
    "LayerNorm, channels": (Channels(CHANNELS), True),
    "GroupNorm": (nn.GroupNorm(2, CHANNELS), False),
    "RMSNorm, an image": (nn.RMSNorm([CHANNELS, SIZE, SIZE]), False),
    "BatchNorm2d, evaluation": (nn.BatchNorm2d(CHANNELS).eval(), False),
    "batch norm by its formula": (Formula(), False),
}
x, labels = torch.randn(10, 3, SIZE, SIZE), torch.arange(10) % 5
for name, (norm, wrong) in norms.items():
    convolution, head = nn.Conv2d(3, CHANNELS, 3, padding=1), nn.Linear(96, 5)
    net = nn.Sequential(convolution, norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), head)
    start = {key: p.detach() for key, p in net.named_parameters()}
    along, other = ({key: torch.randn_like(p) for key, p in start.items()} for _ in range(2))
    outputs = lambda p: functional_call(net, p, (x,))
    loss = lambda p: cross_entropy(outputs(p), labels)
    square = lambda p: (outputs(p) ** 2).mean()
    flat = lambda of: torch.cat([of[key].flatten() for key in start])
    at = lambda step: {key: p + step * along[key] for key, p in start.items()}
    differences = lambda of: (flat(grad(of)(at(STEP))) - flat(grad(of)(at(-STEP)))) / (2 * STEP)
    error = lambda found, right: ((found - right).norm() / right.norm()).item()

    def reverse_over_reverse():
        p = {key: q.clone().requires_grad_() for key, q in start.items()}
        first = torch.autograd.grad(loss(p), list(p.values()), create_graph=True)
        product = sum((g * along[key]).sum() for key, g in zip(p, first, strict=True))
        return torch.cat([g.flatten() for g in torch.autograd.grad(product, list(p.values()))])

    def reverse_over_forward(v):
        return flat(grad(lambda p: jvp(loss, (p,), (v,))[1])(start))

    def dual_numbers():
        p = {key: q.clone().requires_grad_() for key, q in start.items()}
        with forward_ad.dual_level():
            value = square({key: forward_ad.make_dual(q, along[key]) for key, q in p.items()})
            tangent = forward_ad.unpack_dual(value).tangent
            return torch.cat([g.flatten() for g in torch.autograd.grad(tangent, list(p.values()))])

    slope = (flat(grad(loss)(start)) @ flat(along)).item()
    assert abs(jvp(loss, (start,), (along,))[1].item() - slope) < 1e-12, name
    right, found = differences(loss), reverse_over_forward(along)
    both = error(reverse_over_reverse(), right), error(flat(jvp(grad(loss), (start,), (along,))[1]), right)
    swapped = reverse_over_forward(other) @ flat(along), found @ flat(other)
    asymmetry = abs((swapped[0] - swapped[1]) / (right @ flat(other))).item()
    try:
        dual = f"{error(dual_numbers(), differences(square)):9.2f}"
    except NotImplementedError:
        dual = "   raises"
    errors = *both, error(found, right)
    print(f"  {name:27s}" + "".join(f"{e:14.2f}" for e in errors) + f"{asymmetry:11.3f}{dual:>15s}")
    assert max(both) < 1e-5, name
    assert (errors[-1] > 0.01) == (asymmetry > 1e-3) == wrong, name
    assert dual == "   raises" or (float(dual) > 0) == wrong, name
print("torch", torch.__version__)
PY
"$dir/env/bin/python" "$dir/products.py"
