#!/usr/bin/env bash
# betty-ml 0.1.1 (torch 2.13.0, CPU): its default hypergradient, `Config(type="darts")`, and the
# inner parameters. From Python 3.11 on pip 24.0 (3.11 and 3.12 brought it or an older one) takes 0.1.1
# for `betty-ml`, since the newest release, 0.2.1, says that it is for Python below 3.11. uv takes
# 0.2.1 all the same; pips from 24.1 on refuse both.
#
# Behaviour: the finite difference moves the inner parameters there and back along the gradient of
# the *outer* loss, and in 0.1.1 they are not put back: the last move is computed and dropped. So each
# outer step moves the inner parameters by `darts_alpha` (0.01) straight down the outer loss, whatever
# the inner optimiser does. Here its rate is 0 and the inner parameters start at the inner
# optimum, (1, 2): after 500 outer steps they are at the optimum of the outer loss, (3, 3).
# A validation loss falls by training on the validation data. `neumann` and `cg` leave them alone, and
# 0.2.1 puts them back.
#
# Seen, inner parameters after 1, 100 and 500 outer steps:
#   darts    (1.01, 2.00)  (1.89, 2.45)  (3.00, 3.00)
#   neumann  (1.00, 2.00)  (1.00, 2.00)  (1.00, 2.00)
#   cg       (1.00, 2.00)  (1.00, 2.00)  (1.00, 2.00)
#   pip 24.0 on Python 3.11.7 takes betty_ml-0.1.1-py3-none-any.whl
#
# Fails if one of these changes; what pip 24.0 takes is looked at from Python 3.11 on.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'pip==24.0' 2> "$dir/pip.log" \
  || { cat "$dir/pip.log"; exit 1; }
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'torch==2.13.0' numpy 'betty-ml==0.1.1' \
  2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
cat > "$dir/outer_steps.py" <<'PY'
import logging

import torch
from betty.configs import Config, EngineConfig
from betty.engine import Engine
from betty.problems import ImplicitProblem

logging.disable(logging.CRITICAL)


class Vector(torch.nn.Module):
    def __init__(self, values):
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(values))

    def forward(self):
        return self.values


class Outer(ImplicitProblem):
    def training_step(self, batch):
        return (self.inner() - torch.tensor([3.0, 3.0])).square().sum()


class Inner(ImplicitProblem):
    def training_step(self, batch):
        return (self.outer().exp() * (self() - torch.tensor([1.0, 2.0])).square()).sum()


def inner_after(steps, hypergradient):
    batches = [(torch.zeros(1), torch.zeros(1))]  # betty wants some; the losses don't look at them
    problems = []
    for kind, name, values, config in ((Outer, "outer", [0.0, 0.0], Config()),
                                       (Inner, "inner", [1.0, 2.0], Config(**hypergradient))):
        module = Vector(values)
        frozen = torch.optim.SGD(module.parameters(), lr=0.0)
        problems.append(kind(name=name, module=module, optimizer=frozen, train_data_loader=batches, config=config))
    outer, inner = problems
    levels = {"u2l": {outer: [inner]}, "l2u": {inner: [outer]}}
    Engine(config=EngineConfig(train_iters=steps), problems=problems, dependencies=levels).run()
    return tuple(round(value, 2) for value in inner.module.values.tolist())


assert Config().type == "darts"
found = {}
for name, hypergradient in (("darts", {}), ("neumann", {"type": "neumann"}), ("cg", {"type": "cg"})):
    found[name] = [inner_after(steps, hypergradient) for steps in (1, 100, 500)]
    print(f"  {name:8}", "  ".join(f"({a:.2f}, {b:.2f})" for a, b in found[name]))
assert found["darts"] == [(1.01, 2.0), (1.89, 2.45), (3.0, 3.0)], found
assert found["neumann"] == found["cg"] == [(1.0, 2.0)] * 3, found
PY
"$dir/env/bin/python" -W ignore "$dir/outer_steps.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  "$dir/env/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$dir/taken" betty-ml \
    2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
  taken=$(cd "$dir/taken"; echo betty_ml-*); version=$(python3 --version)
  echo "  pip 24.0 on $version takes $taken"
  case $taken in betty_ml-0.1.1-*) ;; *) exit 1 ;; esac
fi
