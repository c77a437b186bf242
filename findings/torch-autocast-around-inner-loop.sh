#!/usr/bin/env bash
# torch 2.13.0 (CPU, bfloat16): one `torch.autocast` around the steps that adapt a network to a task and
# the predictions that follow. TORCH=2.15.0 before the command takes another version.
#
# Behaviour: autocast keeps its low-precision copy of each parameter until the outermost `with` ends, also
# when an optimiser (or `load_state_dict`, or `copy_`) changes the parameter in between. All steps then
# see the first weights: T steps are T times the *first* gradient, and the predictions within the `with`
# are those of the unadapted network, to the bit. Loss and accuracy stand still and nothing warns. It is
# right with autocast around each forward pass, with `cache_enabled=False`, with
# `torch.clear_autocast_cache()` after each step, and for steps out of place (`w - lr * g`, as MAML with
# gradients through the steps takes them), since only leaves are kept. An inner `with` changes nothing.
#
# Seen, accuracy on the support set of a 5-way 5-shot task after 20 steps (0.20 is chance; the same in 2.15.0):
#   around each forward pass         1.00
#   around the loop                  0.20   before adapting: 0.20
#   around both                      0.20
#   the loop, cache_enabled=False    1.00
#   the loop, cache cleared          1.00
#   the loop, steps out of place     1.00
#   the loop: what moved, relative to 20 times the first gradient: 1.000
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check "torch==${TORCH:-2.13.0}" numpy \
  2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
cat > "$dir/adapt.py" <<'PY'
from contextlib import nullcontext

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

LR, STEPS = 0.5, 20
torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 5))
start = {name: p.detach().clone() for name, p in net.named_parameters()}
images, labels = torch.randn(25, 16), torch.arange(5).repeat(5)
autocast = lambda **options: torch.autocast("cpu", torch.bfloat16, **options)


def accuracy(logits):
    return (logits.argmax(1) == labels).float().mean().item()


def adapt(around_loop, around_pass=nullcontext, clear=False, functional=False):
    """Logits of the adapted network as the code sees them, and its parameters."""
    net.load_state_dict(start)
    optimiser = torch.optim.SGD(net.parameters(), lr=LR)
    params = dict(net.named_parameters())
    with around_loop():
        for _ in range(STEPS):
            with around_pass():
                loss = cross_entropy(functional_call(net, params, (images,)), labels)
            if functional:
                gradients = torch.autograd.grad(loss, list(params.values()))
                params = {name: p - LR * g for (name, p), g in zip(params.items(), gradients)}
            else:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            if clear:
                torch.clear_autocast_cache()
        with torch.no_grad(), around_pass():
            logits = functional_call(net, params, (images,))
    return logits, {name: p.detach().clone() for name, p in params.items()}


with torch.no_grad(), autocast():
    before = net(images)
print("torch", torch.__version__)
ways = {
    "around each forward pass": (adapt(nullcontext, autocast), True),
    "around the loop": (adapt(autocast), False),
    "around both": (adapt(autocast, autocast), False),
    "the loop, cache_enabled=False": (adapt(lambda: autocast(cache_enabled=False)), True),
    "the loop, cache cleared": (adapt(autocast, clear=True), True),
    "the loop, steps out of place": (adapt(autocast, functional=True), True),
}
for name, ((logits, _), right) in ways.items():
    told = f"   before adapting: {accuracy(before):.2f}" if name == "around the loop" else ""
    print(f"  {name:32} {accuracy(logits):.2f}{told}")
    assert accuracy(logits) == 1.0 if right else torch.equal(logits, before), name
# the first gradient by hand, outside of any loop
net.load_state_dict(start)
with autocast():
    loss = cross_entropy(net(images), labels)
first = torch.autograd.grad(loss, list(net.parameters()))
(_, moved), _ = ways["around the loop"]
flat = lambda tensors: torch.cat([t.flatten() for t in tensors]).double()
path = flat(start[name] - moved[name] for name in start) / (STEPS * LR)
print(f"  the loop: what moved, relative to 20 times the first gradient: {path.norm() / flat(first).norm():.3f}")
torch.testing.assert_close(path, flat(first), rtol=0, atol=1e-6)
PY
"$dir/env/bin/python" "$dir/adapt.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
