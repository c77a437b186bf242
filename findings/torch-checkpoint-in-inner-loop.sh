#!/usr/bin/env bash
# torch 2.13.0 (CPU, float64): `torch.utils.checkpoint` around the network in an inner loop with gradients through its
# steps, as one saves memory elsewhere. TORCH=2.15.0 before the command takes another version.
#
# Behaviour: (1) With `use_reentrant=True` and `.backward(create_graph=True)` the gradients that the steps take have no
# graph: the meta-gradient is MAML's of first order, to rounding, without a word (only `torch.autograd.grad` is
# refused). (2) With `use_reentrant=False` it is right, and nothing is saved: the first way back computes the
# activations again, and its own graph, which `create_graph` keeps, holds them until the outer step. Each step costs three
# forward passes instead of one, and each pass moves the running statistics of batch norm. (3) Around the whole
# step, its gradient included, it is right and saves what it should, for as many passes.
#
# Seen, 8 steps and the outer loss: error of the meta-gradient relative to its length, memory held after the steps
# relative to that without a checkpoint (in four runs), updates of the running mean; the same in 2.15.0:
#   none                            error 0.00   memory 0.97 to 1.00   updates  9
#   network, use_reentrant=True     error 1.23   memory 0.00           updates 17
#   network, use_reentrant=False    error 0.00   memory 1.02 to 1.09   updates 25
#   whole step                      error 0.00   memory 0.01           updates 25
#
# Fails if one of these changes. The memory is read from Linux's /proc.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check "torch==${TORCH:-2.13.0}" numpy \
  2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
cat > "$dir/steps.py" <<'PY'
import gc
import os

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(0)
images, labels = torch.randn(1000, 64), torch.randn(1000, 64)
start = [torch.randn(64, 64) / 8 for _ in range(3)]
others = torch.randn(50, 64), torch.randn(50, 64)


def held():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(way, steps=8):
    """Meta-gradient, that of first order, MB held after the steps, updates of the running mean."""
    norm = torch.nn.BatchNorm1d(64, affine=False)
    theta = [w.clone().requires_grad_() for w in start]

    def net(x, *params):
        for w in params:
            x = F.softplus(norm(x @ w) if w is params[0] else x @ w)
        return x

    def step(*params):
        if way.startswith("network"):
            found = checkpoint(net, images, *params, use_reentrant=way.endswith("True"))
        else:
            found = net(images, *params)
        loss = F.mse_loss(found, labels, reduction="sum") / 1000
        if way.endswith("True"):
            for w in params:
                w.grad = None
                w.retain_grad()
            loss.backward(create_graph=True)
            gradients = [w.grad for w in params]
        else:
            gradients = torch.autograd.grad(loss, params, create_graph=True)
        return tuple(w - 0.1 * g for w, g in zip(params, gradients))

    before, phi = held(), tuple(theta)
    for _ in range(steps):
        phi = checkpoint(step, *phi, use_reentrant=False) if way == "whole step" else step(*phi)
    kept = held() - before
    loss = F.mse_loss(net(others[0], *phi), others[1])
    first = torch.autograd.grad(loss, phi, retain_graph=True)
    meta = torch.autograd.grad(loss, theta)
    flat = lambda parts: torch.cat([part.flatten() for part in parts])
    return flat(meta), flat(first), kept, norm.num_batches_tracked.item()


print("torch", torch.__version__)
checkpoint(torch.sin, torch.ones(1, requires_grad=True), use_reentrant=False)  # what it imports isn't counted
run("none", steps=1)
right, _, memory, _ = run("none")
for way, wrong, keeps, passes in (("none", False, True, 9), ("network, use_reentrant=True", True, False, 17),
                                  ("network, use_reentrant=False", False, True, 25), ("whole step", False, False, 25)):
    meta, first, kept, updates = run(way)
    error, share = ((meta - right).norm() / right.norm()).item(), abs(kept / memory)
    print(f"  {way:29}   error {error:.2f}   memory {share:.2f}   updates {updates:2}")
    assert updates == passes and (share > 0.9 if keeps else share < 0.1), (updates, kept, memory)
    assert torch.allclose(meta, first, rtol=1e-9, atol=0) == wrong and (error > 0.1 if wrong else error < 1e-9)
PY
MALLOC_MMAP_THRESHOLD_=65536 "$dir/env/bin/python" -W ignore "$dir/steps.py" 2> "$dir/errors" \
  || { cat "$dir/errors"; exit 1; }
