#!/usr/bin/env bash
# torch 2.13.0 and 2.14.1: the gradient of `clamp` for an input that lies exactly on a bound, as pixels
# at 0 and 255, probabilities at 0 and 1 and saturated gates do.
#
# Behaviour: 2.13.0 gives 1 at both bounds, whether they are numbers or tensors. 2.14.1 gives 0 at
# both where the bounds are numbers (one or two of them), and 1/2 where they are tensors. `hardtanh`
# with the same bounds gives 0 at them in both. So code that trains through a clamp takes other
# steps after an upgrade, without a warning, whenever values lie on the bound.
#
# Seen, for inputs 0, 1, 2 and bounds 0, 1 (two numbers; min alone; tensors; hardtanh):
#   torch 2.13.0  [[1, 1, 0], [1, 1, 1], [1, 1, 0], [0, 0, 0]]
#   torch 2.14.1  [[0, 0, 0], [0, 1, 1], [0.5, 0.5, 0], [0, 0, 0]]
#
# Fails if one of these values changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cat > "$dir/at_bound.py" <<'PY'
import torch
x = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
by = lambda y: torch.autograd.grad(y.sum(), x)[0].tolist()
low, high = torch.tensor(0.0), torch.tensor(1.0)
print([by(x.clamp(0, 1)), by(x.clamp(min=0)), by(x.clamp(low, high)), by(torch.nn.functional.hardtanh(x, 0.0, 1.0))])
PY
for version in 2.13.0 2.14.1; do
  python3 -m venv "$dir/$version"
  "$dir/$version/bin/pip" install --quiet --disable-pip-version-check "torch==$version" numpy \
    2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
  "$dir/$version/bin/python" "$dir/at_bound.py" > "$dir/$version.txt"
  echo "torch $version at 0, 1, 2 (two numbers; min alone; tensors; hardtanh): $(cat "$dir/$version.txt")"
done
[ "$(cat "$dir/2.13.0.txt")" = '[[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]' ]
[ "$(cat "$dir/2.14.1.txt")" = '[[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]' ]
