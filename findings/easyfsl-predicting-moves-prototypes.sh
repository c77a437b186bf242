#!/usr/bin/env bash
# easyfsl 1.5.0 (its newest release; torch 2.15.0, CPU): classifiers that have been given a support set, asked for
# the labels of the same queries more than once, or of a few at a time.
#
# Behaviour: Finetune, TransductiveFinetuning, TIM, BDCSPN and LaplacianShot adapt within `forward`, and leave the
# moved prototypes in the classifier, where the next call starts. So the answer for a query depends on how often
# and in which batches others were asked before, until `process_support_set` is called again. That is so for
# Finetune too, which is inductive: its 10 steps on the support set become 10 a batch, and 75 queries asked one by
# one are labelled after 10 to 750 steps. Prototypical networks and SimpleShot answer the same each time. Who
# evaluates in batches, or validates before testing on one task, measures another method; nothing warns.
#
# Seen, largest change of a score (cosine or distance) at the second call with the same 75 queries of a 5-way 1-shot
# task; of inductive ones, also of the scores if they are asked in batches of 15, and one by one:
#   PrototypicalNetworks    inductive     0.000
#   SimpleShot              inductive     0.000   0.000   0.000
#   Finetune                inductive     0.005   0.019   0.117
#   TransductiveFinetuning  transductive  0.007
#   TIM                     transductive  0.002
#   BDCSPN                  transductive  0.092
#   LaplacianShot           transductive  0.973
#
# Fails if one of these stays where it moves, or the other way round.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" 'torch==2.15.0' 'torchvision==0.29.2' 'easyfsl==1.5.0'
cat > "$dir/asked.py" <<'PY'
import torch
from easyfsl import methods
from torch import nn

ways, queries, size = 5, 75, 64


class Features(nn.Module):
    """Images whose first numbers are the features."""

    def forward(self, x):
        return x.flatten(1)[:, :size]


def images(features):
    filled = torch.zeros(len(features), 3 * 32 * 32)
    filled[:, :size] = features
    return filled.view(-1, 3, 32, 32)


torch.manual_seed(0)
centres = 0.4 * torch.randn(ways, size)
support, labels = images(centres + torch.randn(ways, size)), torch.arange(ways)
asked = images(centres.repeat(queries // ways, 1) + torch.randn(queries, size))
moves = {"PrototypicalNetworks": False, "SimpleShot": False, "Finetune": True, "TransductiveFinetuning": True,
         "TIM": True, "BDCSPN": True, "LaplacianShot": True}
print("easyfsl 1.5.0, torch", torch.__version__)
for name, moved in moves.items():
    classifier = getattr(methods, name)(Features()).eval()

    def scores(batch):
        """Of all queries, asked in batches of this size after the support set was given anew."""
        classifier.process_support_set(support, labels)
        return torch.cat([classifier(part) for part in asked.split(batch)])

    change = lambda found: (found - first).abs().max().item()
    with torch.no_grad():
        first = scores(queries)
        again = change(classifier(asked))
        apart = [change(scores(batch)) for batch in (15, 1)] if name in ("SimpleShot", "Finetune") else []
    kind = "transductive" if classifier.is_transductive() else "inductive"
    print(f"  {name:23} {kind:13} {again:.3f}", *(f"  {by:.3f}" for by in apart))
    assert (again > 1e-3) == moved and all((by > 1e-3) == moved for by in apart), (name, again, apart)
PY
"$dir/env/bin/python" -W ignore "$dir/asked.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
