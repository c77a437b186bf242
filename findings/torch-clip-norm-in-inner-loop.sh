#!/usr/bin/env bash
# torch 2.13.0 and torchopt 0.7.3: the meta-gradient through inner steps whose gradient is clipped by norm
# (float64, CPU). TORCH=2.15.0 before the command takes another version.
#
# Behaviour: three answers for the same parameters. `torch.nn.utils.clip_grad_norm_` multiplies
# `.grad` in place with autograd off: the values are scaled and the graph isn't told, so the way back
# of an SGD with `differentiable=True` is that of the *unclipped* gradient, at the clipped parameters.
# torchopt's `clip_grad_norm` scales in the graph, but by a Python number: the factor's own
# dependence on the parameters is missing. `clip_grad_value_` is like the first: entries at the bound
# have derivative 0 and get that of an unclipped one. Nothing is raised and nothing is warned of.
#
# Seen, three steps of rate 0.1, norm at most 0.5 (the same in 2.15.0):
#   norm, by hand                          2.6962 -0.3940  1.6760
#   norm, factor constant                  2.2048 -0.3579  1.6424
#   norm, torchopt's clip_grad_norm        2.2048 -0.3579  1.6424
#   norm, torch's clip_grad_norm_          0.5441 -0.4122  1.1479
#   value, by hand                         2.6158 -0.2263  1.0897
#   value, torch's clip_grad_value_        0.5336 -0.3143  1.0193
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check "torch==${TORCH:-2.13.0}" 'torchopt==0.7.3' numpy \
  2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
cat > "$dir/clipped.py" <<'PY'
import torch
import torchopt
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

torch.set_default_dtype(torch.float64)
curvature = torch.tensor([[3.0, 0.5, 0.2], [0.5, 2.0, 0.3], [0.2, 0.3, 1.0]])
inner = lambda w: 0.5 * w @ curvature @ w + 0.1 * (w**4).sum()
outer = lambda w: (w**2).sum() + w.sum()


def by_hand(theta, clip):
    w = theta
    for _ in range(3):
        (g,) = torch.autograd.grad(inner(w), w, create_graph=True)
        w = w - 0.1 * clip(g)
    return w


def by_torch(theta, clip_):
    w = theta.clone()
    optimiser = torch.optim.SGD([w], lr=0.1, differentiable=True)
    for _ in range(3):
        (w.grad,) = torch.autograd.grad(inner(w.clone()), w, create_graph=True)
        clip_([w], 0.5)
        optimiser.step()
    return w


def by_torchopt(theta):
    clipped = torchopt.chain(torchopt.clip.clip_grad_norm(0.5), torchopt.sgd(0.1))
    optimiser, params = torchopt.FuncOptimizer(clipped), (theta,)
    for _ in range(3):
        params = optimiser.step(inner(params[0]), params)
    return params[0]


factor = lambda g: (0.5 / (g.norm() + 1e-6)).clamp(max=1.0)
ways = {
    "norm, by hand": lambda t: by_hand(t, lambda g: g * factor(g)),
    "norm, factor constant": lambda t: by_hand(t, lambda g: g * factor(g).detach()),
    "norm, torchopt's clip_grad_norm": by_torchopt,
    "norm, torch's clip_grad_norm_": lambda t: by_torch(t, clip_grad_norm_),
    "value, by hand": lambda t: by_hand(t, lambda g: g.clamp(-0.5, 0.5)),
    "value, torch's clip_grad_value_": lambda t: by_torch(t, clip_grad_value_),
}
print("torch", torch.__version__, "torchopt", torchopt.__version__)
end, seen = {}, {}
for name, adapt in ways.items():
    theta = torch.tensor([1.0, -0.7, 0.4], requires_grad=True)
    w = adapt(theta)
    end[name], seen[name] = w.detach(), torch.autograd.grad(outer(w), theta)[0]
    print(f"  {name:38}", " ".join(f"{value:7.4f}" for value in seen[name].tolist()))
uncut = lambda f: by_hand(theta, lambda g: g + (f(g) - g).detach())  # clipped values, unclipped way back
for kind, true, torchs in (("norm", "norm, by hand", "norm, torch's clip_grad_norm_"),
                           ("value", "value, by hand", "value, torch's clip_grad_value_")):
    torch.testing.assert_close(end[torchs], end[true])
    assert (seen[torchs] - seen[true]).norm() > 1, seen
    clip = (lambda g: g * factor(g)) if kind == "norm" else (lambda g: g.clamp(-0.5, 0.5))
    torch.testing.assert_close(seen[torchs], torch.autograd.grad(outer(uncut(clip)), theta)[0])
torch.testing.assert_close(end["norm, torchopt's clip_grad_norm"], end["norm, by hand"])
torch.testing.assert_close(seen["norm, torchopt's clip_grad_norm"], seen["norm, factor constant"])
assert (seen["norm, factor constant"] - seen["norm, by hand"]).norm() > 0.4
PY
"$dir/env/bin/python" "$dir/clipped.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
