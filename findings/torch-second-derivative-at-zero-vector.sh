#!/usr/bin/env bash
# torch 2.13.0 and 2.15.0: derivatives of what cosine heads and metric learners are made of, at a vector that
# is zero, as features after a ReLU can be for a whole image.
#
# Behaviour: the gradients of `F.normalize` and `F.cosine_similarity` are finite there, since both
# divide by no less than their `eps` (so near zero the function is linear, and its second derivative is
# 0). Their second derivative is NaN all the same, so that training in first order runs and the same
# model inside an unrolled inner loop gives a meta-gradient of NaN. `pairwise_distance` of two equal
# vectors has a finite gradient and second derivative. The Euclidean `cdist` has no second derivative
# at all in 2.13.0; in 2.15.0 it has one, and it is 0 for two equal vectors.
#
# Seen, as gradient | second derivative along (1, 1):
#   normalize          1e+12 1e+12 | nan nan
#   cosine_similarity  4.47e+07 8.94e+07 | nan nan
#   cdist              0 0 | no derivative of _cdist_backward (2.13.0), 0 0 (2.15.0)
#   pairwise_distance  0.707 0.707 | -1.16e-10 -1.16e-10
#
# Fails if one of these becomes finite that wasn't, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cat > "$dir/at_zero.py" <<'PY'
import torch
import torch.nn.functional as F

zero = torch.zeros(2, dtype=torch.float64)
other = torch.tensor([1.0, 2.0], dtype=torch.float64)
of = {
    "normalize": lambda x: F.normalize(x, dim=0).sum(),
    "cosine_similarity": lambda x: F.cosine_similarity(x, other, dim=0),
    "cdist": lambda x: torch.cdist(x[None], zero[None]).sum(),
    "pairwise_distance": lambda x: F.pairwise_distance(x, zero),
}
finite = {}
text = lambda values: " ".join(f"{v:.3g}" for v in values.tolist())
for name, f in of.items():
    x = zero.clone().requires_grad_()
    (first,) = torch.autograd.grad(f(x), x, create_graph=True)
    assert first.isfinite().all(), first
    try:
        (second,) = torch.autograd.grad(first.sum(), x)
        finite[name], shown = bool(second.isfinite().all()), text(second)
    except NotImplementedError as error:
        finite[name], shown = None, "no derivative of _cdist_backward"
        assert "_cdist_backward" in str(error), error
    print(f"  {name:18} {text(first)} | {shown}")
old = torch.__version__ < "2.14"
assert finite == {"normalize": False, "cosine_similarity": False,
                  "cdist": None if old else True, "pairwise_distance": True}, finite
PY
for version in 2.13.0 2.15.0; do
  python3 -m venv "$dir/$version"
  "$dir/$version/bin/pip" install --quiet --disable-pip-version-check "torch==$version" numpy \
    2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
  echo "torch $version"; "$dir/$version/bin/python" "$dir/at_zero.py"
done
