#!/usr/bin/env bash
# easyfsl 1.5.0 (its newest release; torch 2.15.0, CPU): PTMAP, its transductive classifier by optimal transport, with
# its default arguments, on the same tasks with features of another length.
#
# Behaviour: where features are long, every score of every query is NaN, whose largest is the first, so that all
# queries are called class 0: accuracy is chance to the digit, and nothing warns. The transport plan starts from
# exp(-10 * squared distance) in float32, which is 0 for all pairs where the smallest squared distance is above 10.4,
# and is then divided by its sum. The authors' code (yhu01/PT-MAP, test_standard.py) divides each feature by its length
# after the power transform, so that squared distances are at most 4; PTMAP's transform is the power alone. Dividing
# after it, or before it by `feature_normalization=2.0`, is right at both lengths.
#
# Seen, two 5-way 5-shot tasks of 75 queries, drawn features of 640 numbers >= 0; accuracy by mean length of a feature:
#   length                           0.9    1.9
#   PrototypicalNetworks            1.00   1.00
#   PTMAP                           1.00   0.20
#   PTMAP, feature_normalization=2  1.00   1.00
#   PTMAP, divided after the power  1.00   1.00
#   PTMAP, scores that are NaN      0.00   1.00
#
# Fails if PTMAP leaves chance at the larger length, or another accuracy falls under 0.9.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" 'torch==2.15.0' 'torchvision==0.29.2' 'easyfsl==1.5.0'
cat > "$dir/lengths.py" <<'PY'
import torch
from easyfsl.methods import PTMAP, PrototypicalNetworks
from torch import nn
from torch.nn.functional import normalize

torch.set_num_threads(1)
ways, shots, queries, numbers = 5, 5, 15, 640


class Divided(PTMAP):
    def compute_features(self, images):
        return normalize(super().compute_features(images), dim=1)


def tasks(scale):
    draw = torch.Generator().manual_seed(0)
    for _ in range(2):
        centres = 0.35 * torch.randn(ways, 1, numbers, generator=draw)
        yield (centres + torch.randn(ways, shots + queries, numbers, generator=draw)).relu() * scale


kinds = {
    "PrototypicalNetworks": (PrototypicalNetworks, {}),
    "PTMAP": (PTMAP, {}),
    "PTMAP, feature_normalization=2": (PTMAP, {"feature_normalization": 2.0}),
    "PTMAP, divided after the power": (Divided, {}),
}
rows = {name: [] for name in ("length", *kinds, "PTMAP, scores that are NaN")}
labels = torch.arange(ways)
for scale in (0.05, 0.1):
    rows["length"].append(torch.stack(list(tasks(scale))).norm(dim=-1).mean().item())
    for name, (kind, options) in kinds.items():
        scores = []
        for features in tasks(scale):
            method = kind(nn.Identity(), **options)
            method.process_support_set(features[:, :shots].flatten(0, 1), labels.repeat_interleave(shots))
            scores.append(method(features[:, shots:].flatten(0, 1)))
        scores = torch.stack(scores)
        rows[name].append((scores.argmax(2) == labels.repeat_interleave(queries)).float().mean().item())
        if name == "PTMAP":
            rows["PTMAP, scores that are NaN"].append(scores.isnan().float().mean().item())
print("torch", torch.__version__.split("+")[0], "easyfsl 1.5.0")
for name, values in rows.items():
    print(f"  {name:30}", "  ".join(f"{value:5.{1 if name == 'length' else 2}f}" for value in values))
for name in kinds:
    for at, value in enumerate(rows[name]):
        assert abs(value - 0.2) < 1e-6 if name == "PTMAP" and at else value > 0.9, (name, at, value)
assert rows["PTMAP, scores that are NaN"][1] == 1
PY
"$dir/env/bin/python" -W ignore "$dir/lengths.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
