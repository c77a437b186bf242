#!/usr/bin/env bash
# higher 0.2.1 (its newest release) with an optimiser of torch 2.13.0, after one step from 0.
#
# Behaviour: higher makes a differentiable copy of the optimiser that it is given, by its class and its
# groups. (1) `maximize=True`, an option that torch's optimisers have had since, is dropped without a
# word: the inner loop descends. (2) Its Adam is the one of older torch: ε is added before the second
# moment is corrected for its start, so after one step it weighs 1/sqrt(1 - 0.999) = 31.6 times as
# much, and steps of parameters with small gradients are shorter. A warm start with torch.optim.Adam and
# an inner loop of higher's are two algorithms. (3) AdamW, Adam's next of kin, is refused by name.
#
# Seen, the parameter after a step of rate 0.1:
#   SGD, maximize=True, gradient 1:   torch +0.1000   higher -0.1000
#   Adam, gradient 1e-02:             torch -0.1000   higher -0.1000
#   Adam, gradient 1e-06:             torch -0.0990   higher -0.0760
#   Adam, gradient 1e-08:             torch -0.0500   higher -0.0031
#   AdamW: ValueError, not supported
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'torch==2.13.0' 'higher==0.2.1' numpy \
  2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
cat > "$dir/one_step.py" <<'PY'
import higher
import torch

torch.set_default_dtype(torch.float64)


class Weight(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))


def one_step(kind, gradient, **options):
    plain = Weight()
    optimiser = kind(plain.parameters(), lr=0.1, **options)
    (gradient * plain.w).sum().backward()
    optimiser.step()
    model = Weight()
    with higher.innerloop_ctx(model, kind(model.parameters(), lr=0.1, **options)) as (copy, inner):
        inner.step((gradient * copy.w).sum())
        return plain.w.item(), copy.w.item()


rows = [("SGD, maximize=True, gradient 1:", one_step(torch.optim.SGD, 1.0, maximize=True))]
for gradient in (1e-2, 1e-6, 1e-8):
    rows.append((f"Adam, gradient {gradient:.0e}:", one_step(torch.optim.Adam, gradient)))
for name, (ours, theirs) in rows:
    print(f"  {name:33} torch {ours:+.4f}   higher {theirs:+.4f}")
seen = [[round(value, 4) for value in pair] for _, pair in rows]
assert seen == [[0.1, -0.1], [-0.1, -0.1], [-0.099, -0.076], [-0.05, -0.0031]], seen
try:
    one_step(torch.optim.AdamW, 1.0)
except ValueError as error:
    assert "not supported" in str(error), error
    print("  AdamW: ValueError, not supported")
else:
    raise SystemExit("AdamW is supported")
PY
"$dir/env/bin/python" "$dir/one_step.py" 2> "$dir/warnings" || { cat "$dir/warnings"; exit 1; }
