#!/usr/bin/env bash
# torch 2.15.0 (CPU, float64): `torch.func.vmap` over tasks whose inner loop takes gradients through a norm
# with a learned scale, and the way back through all of it. TORCH=2.13.0 before the command takes another version.
#
# Behaviour: losses, adapted parameters and every first derivative are right. The meta-gradient isn't, without a
# word, where the way back is *outside* of vmap: `vmap(task)(...).sum().backward()` and `grad` of the vmapped
# function, as one batches MAML. Under vmap the gradient for the scale is put together from the mean and the
# deviation that the forward pass has kept, and those are constants on the second way back. So it is in batch,
# instance and layer norm, and where the inner loop leaves the scale alone, or there is none, it is right. So it
# is with `vmap(grad(task))`, the gradient inside, in a Python loop over tasks, in group norm, and in batch
# norm by its formula. A loop beside it, not a look at the losses, shows it.
#
# Seen, error relative to the loop's gradient, which finite differences confirm. First of |dL/d scale|², summed over
# tasks; then of MAML after 5 and 10 steps of rate 0.4 (5-way 2-shot, two convolutions; the same in 2.13.0):
#                                   backward of vmap        vmap of gradient
#   BatchNorm2d                     0.78   0.04   0.09      0.00   0.00   0.00
#   InstanceNorm2d                  0.97   0.02   0.04      0.00   0.00   0.00
#   LayerNorm, last dimension       1.17   0.05   0.05      0.00   0.00   0.00
#   BatchNorm2d, scale not adapted  0.78   0.00   0.00      0.00   0.00   0.00
#   GroupNorm                       0.00   0.00   0.00      0.00   0.00   0.00
#   batch norm by its formula       0.00   0.00   0.00      0.00   0.00   0.00
#
# Fails if one of these becomes right that is wrong, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "torch==${TORCH:-2.15.0}" numpy
cat > "$dir/tasks.py" <<'PY'
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

torch.set_default_dtype(torch.float64)


class Formula(nn.Module):
    """Batch norm in plain operations."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        var, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        scale, shift = (p.view(1, -1, 1, 1) for p in (self.weight, self.bias))
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift


batch_norm = lambda channels, size: nn.BatchNorm2d(channels, track_running_stats=False)
norms = {  # and whether the meta-gradient through vmap is wrong
    "BatchNorm2d": (batch_norm, True),
    "InstanceNorm2d": (lambda channels, size: nn.InstanceNorm2d(channels, affine=True), True),
    "LayerNorm, last dimension": (lambda channels, size: nn.LayerNorm(size), True),
    "BatchNorm2d, scale not adapted": (batch_norm, False),
    "GroupNorm": (lambda channels, size: nn.GroupNorm(2, channels), False),
    "batch norm by its formula": (lambda channels, size: Formula(channels), False),
}
torch.manual_seed(0)
tasks, shots, queries = 4, 2, 3
labels = torch.arange(5).repeat(tasks, 1)
images = lambda n: torch.randn(tasks, 5 * n, 1, 14, 14)
data = images(shots), labels.repeat_interleave(shots, 1), images(queries), labels.repeat_interleave(queries, 1)
flat = lambda tensors: torch.cat([t.flatten() for t in tensors])
off = lambda found, right: ((found - right).norm() / right.norm()).item()


def errors(name, norm, steps):
    """Of the gradient back through vmap, taken in two ways, of that inside vmap, and of finite differences."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), norm(8, 14), nn.Softplus(), nn.AvgPool2d(2),
                        nn.Conv2d(8, 8, 3, padding=1), norm(8, 7), nn.Softplus(), nn.AvgPool2d(2),
                        nn.Flatten(), nn.Linear(72, 5))
    params = {key: p.detach().clone().requires_grad_() for key, p in net.named_parameters()}
    loss = lambda p, x, y: cross_entropy(functional_call(net, p, (x,)), y)
    scales = ("1.weight", "5.weight")
    kept = scales if "not adapted" in name else ()

    def adapted_loss(p, x, y, others, answers):
        w = p
        for _ in range(steps):
            gradient = grad(loss)(w, x, y)
            w = {key: v if key in kept else v - 0.4 * gradient[key] for key, v in w.items()}
        return loss(w, others, answers)

    def scale_gradient(p, x, y, *_):
        gradient = grad(loss)(p, x, y)
        return sum(gradient[key].square().sum() for key in scales)

    task = adapted_loss if steps else scale_gradient
    batched = vmap(task, (None, 0, 0, 0, 0))
    loop = lambda p: sum(task(p, *(of[i] for of in data)) for i in range(tasks))
    back = lambda value: flat(torch.autograd.grad(value, list(params.values())))
    right = back(loop(params))
    assert abs((batched(params, *data).sum() - loop(params)).item()) < 1e-9
    found = (back(batched(params, *data).sum()),
             flat(grad(lambda p: batched(p, *data).sum())(params).values()),
             flat(g.sum(0) for g in vmap(grad(task), (None, 0, 0, 0, 0))(params, *data).values()))
    along = (right / right.norm()).split([p.numel() for p in params.values()])
    moved = lambda by: {key: p.detach() + by * a.view_as(p) for (key, p), a in zip(params.items(), along)}
    slope = (loop(moved(1e-5)) - loop(moved(-1e-5))).item() / 2e-5
    return *(off(one, right) for one in found), abs(slope / right.norm().item() - 1)


print("torch", torch.__version__)
print(" " * 34 + "backward of vmap        vmap of gradient")
for name, (norm, wrong) in norms.items():
    backward, of_vmap, inside, differences = zip(*(errors(name, norm, steps) for steps in (0, 5, 10)))
    print(f"  {name:31}", *(f"{error:.2f}  " for error in backward), "  ", *(f"{error:.2f}  " for error in inside))
    assert max(differences) < 1e-3 and max(inside) < 1e-9, (name, differences, inside)
    assert max(abs(a - b) for a, b in zip(backward, of_vmap)) < 1e-6, (name, backward, of_vmap)
    assert min(backward[1:]) > 0.01 if wrong else max(backward[1:]) < 1e-9, (name, backward)
PY
"$dir/env/bin/python" -W ignore "$dir/tasks.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
