#!/usr/bin/env bash
# torchopt 0.7.3 beside higher 0.2.1 (torch 2.13.0, CPU, float64): meta-gradients through Adam when one
# parameter's gradient is exactly zero in the inner loop, as that of a weight behind a dead ReLU or
# an input pixel that is always black.
#
# Behaviour: two inner steps of torchopt's MetaAdam, MetaRMSProp and MetaAdaGrad with their default
# arguments give a meta-gradient of NaN for *every* parameter, since the derivative of the square root
# of the second moment is infinite at 0 and is multiplied by 0. `eps_root=1e-16` or
# `use_accelerated_op=True` gives MetaAdam's finite value, which is higher's to 1e-9; higher's
# differentiable Adam, RMSprop and Adagrad are finite by default. The inner parameters
# themselves are finite in all of them, so that nothing shows before the outer step.
#
# Seen:
#   higher Adam                            [5.5802, 5.6024]
#   higher RMSprop                         [-2.2247, 5.4178]
#   higher Adagrad                         [5.567, 5.6751]
#   torchopt MetaSGD                       [3.6096, 5.64]
#   torchopt MetaAdam                      [nan, nan]
#   torchopt MetaRMSProp                   [nan, nan]
#   torchopt MetaAdaGrad                   [nan, nan]
#   torchopt MetaAdam eps_root=1e-16       [5.5802, 5.6024]
#   torchopt MetaAdam use_accelerated_op   [5.5802, 5.6024]
#
# Fails if a NaN becomes finite or the reverse.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check \
  'torch==2.13.0' 'higher==0.2.1' 'torchopt==0.7.3' numpy 2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
"$dir/env/bin/python" -W ignore - <<'PY'
import higher, torch, torchopt
torch.set_default_dtype(torch.float64)
print("torch", torch.__version__.split("+")[0], "higher 0.2.1 torchopt", torchopt.__version__)
inputs = torch.tensor([[1.0, 0.0]])  # the second is always 0: its weight has gradient 0

def model():
    net = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 2.0]]))
    return net

inner = lambda net: ((net(inputs) - 0.5) ** 2).sum()
outer = lambda net: (net(torch.ones(1, 2)) ** 2).sum()

def by_higher(make):
    net = model()
    with higher.innerloop_ctx(net, make(net.parameters()), copy_initial_weights=False) as (f, opt):
        for _ in range(2):
            opt.step(inner(f))
        return torch.autograd.grad(outer(f), list(net.parameters()))[0]

def by_torchopt(make):
    net = model()
    opt, start = make(net), list(net.parameters())[0]
    for _ in range(2):
        opt.step(inner(net))
    assert torch.isfinite(list(net.parameters())[0]).all()
    return torch.autograd.grad(outer(net), start)[0]

o, t = torch.optim, torchopt
found = {
    "higher Adam": by_higher(lambda p: o.Adam(p, lr=0.1)),
    "higher RMSprop": by_higher(lambda p: o.RMSprop(p, lr=0.1)),
    "higher Adagrad": by_higher(lambda p: o.Adagrad(p, lr=0.1)),
    "torchopt MetaSGD": by_torchopt(lambda n: t.MetaSGD(n, lr=0.1)),
    "torchopt MetaAdam": by_torchopt(lambda n: t.MetaAdam(n, lr=0.1)),
    "torchopt MetaRMSProp": by_torchopt(lambda n: t.MetaRMSProp(n, lr=0.1)),
    "torchopt MetaAdaGrad": by_torchopt(lambda n: t.MetaAdaGrad(n, lr=0.1)),
    "torchopt MetaAdam eps_root=1e-16": by_torchopt(lambda n: t.MetaAdam(n, lr=0.1, eps_root=1e-16)),
    "torchopt MetaAdam use_accelerated_op": by_torchopt(
        lambda n: t.MetaAdam(n, lr=0.1, use_accelerated_op=True)
    ),
}
for name, gradient in found.items():
    print(f"{name:38s} {[round(g, 4) for g in gradient.flatten().tolist()]}")
nan = {name for name, gradient in found.items() if gradient.isnan().all()}
assert nan == {"torchopt MetaAdam", "torchopt MetaRMSProp", "torchopt MetaAdaGrad"}, nan
for name in ("eps_root=1e-16", "use_accelerated_op"):
    torch.testing.assert_close(
        found[f"torchopt MetaAdam {name}"], found["higher Adam"], rtol=0, atol=1e-6
    )
PY
