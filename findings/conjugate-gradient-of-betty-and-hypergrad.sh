#!/usr/bin/env bash
# betty-ml 0.1.1, hypergrad 0.0.1 and torchopt 0.7.3 (torch 2.13.0, CPU): implicit hypergradients by
# conjugate gradients, as iMAML uses them, on a quadratic with four inner parameters at its optimum.
#
# Behaviour: conjugate gradients solve four equations in four steps, and torchopt's do. Those of betty
# (0.2.1, for Python below 3.11, has the same lines) and of hypergrad (the library of a comparison of
# such methods) build the next direction on the *old* residual. Their first step is right; from there
# on they are far from the true value after four steps, and further with more. betty's `cg_alpha`, which
# should cancel, changes the result besides (its own test of the installation sets 0.1). Both
# libraries' Neumann series arrives on the same problem.
#
# Seen, length of the error relative to the true hypergradient's:
#   steps                    1     2     3     4     8    16
#   torchopt              0.74  0.08  0.00  0.00  0.00  0.00
#   betty                 0.74  0.66  0.49  0.21  1.36  2.05
#   betty, cg_alpha=0.1   0.74  0.48  0.22  0.15  1.43  4.51
#   hypergrad             0.74  0.66  0.49  0.21  1.36  2.05
#   Neumann series of 200 terms: betty 0.00, hypergrad 0.00
#
# Fails if betty's or hypergrad's four steps become exact, or torchopt's stop being so.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
# newer pips refuse what betty-ml 0.1.1 asks of numpy
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'pip==24.0' 2> "$dir/pip.log" \
  || { cat "$dir/pip.log"; exit 1; }
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'torch==2.13.0' numpy 'torchopt==0.7.3' \
  'betty-ml==0.1.1' 2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
# hypergrad asks for torchvision and rich as well, which this part of it doesn't import
"$dir/env/bin/pip" install --quiet --disable-pip-version-check --no-deps 'hypergrad==0.0.1' 2> "$dir/pip.log"
cat > "$dir/implicit.py" <<'PY'
import logging

import torch
import torchopt
from betty.configs import Config, EngineConfig
from betty.engine import Engine
from betty.problems import ImplicitProblem
from hypergrad import approx_hypergrad

logging.disable(logging.CRITICAL)
torch.set_default_dtype(torch.float64)
# inner loss w·Hw/2 - w·Bθ, whose optimum is w = H⁻¹Bθ; outer loss |w - c|²/2
hessian = torch.diag(torch.tensor([1.0, 1.5, 2.5, 4.0])) + 0.3
mixed = torch.tensor([[1.0, 0.0], [0.5, 1.0], [0.0, -1.0], [-0.5, 0.5]])
target, theta = torch.tensor([2.0, -1.0, 0.5, 1.0]), torch.tensor([0.6, -0.8])
optimum = torch.linalg.solve(hessian, mixed @ theta)
true = mixed.T @ torch.linalg.solve(hessian, optimum - target)
inner_loss = lambda w, o: 0.5 * w @ hessian @ w - w @ mixed @ o
outer_loss = lambda w: 0.5 * (w - target).square().sum()


class Vector(torch.nn.Module):
    def __init__(self, values):
        super().__init__()
        self.values = torch.nn.Parameter(values.clone())

    def forward(self):
        return self.values


class Outer(ImplicitProblem):
    def training_step(self, batch):
        return outer_loss(self.inner())


class Inner(ImplicitProblem):
    def training_step(self, batch):
        return inner_loss(self(), self.outer())


def betty(**hypergradient):
    """What one outer step of rate 1 takes off, with the inner parameters kept at the optimum."""
    batches, problems = [(torch.zeros(1), torch.zeros(1))], []
    for kind, name, values, rate, config in ((Outer, "outer", theta, 1.0, Config()),
                                             (Inner, "inner", optimum, 0.0, Config(**hypergradient))):
        module = Vector(values)
        sgd = torch.optim.SGD(module.parameters(), lr=rate)
        problems.append(kind(name=name, module=module, optimizer=sgd, train_data_loader=batches, config=config))
    levels = {"u2l": {problems[0]: [problems[1]]}, "l2u": {problems[1]: [problems[0]]}}
    Engine(config=EngineConfig(train_iters=1), problems=problems, dependencies=levels).run()
    return theta - problems[0].module.values.detach()


def hypergrad(approximation, steps, rate):
    losses = lambda w, o: inner_loss(w[0], o[0]), lambda w, o: outer_loss(w[0])
    return approximation(*losses, (optimum,), (theta,), steps, rate)[0]


def with_torchopt(steps):
    solved = torchopt.linalg.cg(lambda v: hessian @ v, optimum - target, maxiter=steps, rtol=0.0, atol=0.0)
    return mixed.T @ solved


ways = {
    "torchopt": with_torchopt,
    "betty": lambda steps: betty(type="cg", cg_iterations=steps),
    "betty, cg_alpha=0.1": lambda steps: betty(type="cg", cg_iterations=steps, cg_alpha=0.1),
    "hypergrad": lambda steps: hypergrad(approx_hypergrad.conjugate_gradient, steps, 1.0),
}
off = lambda found: ((found - true).norm() / true.norm()).item()
counts, errors = (1, 2, 3, 4, 8, 16), {}
print("torch", torch.__version__)
print("  steps               ", " ".join(f"{steps:5}" for steps in counts))
for name, way in ways.items():
    errors[name] = [off(way(steps)) for steps in counts]
    print(f"  {name:20}", " ".join(f"{error:5.2f}" for error in errors[name]))
series = [off(betty(type="neumann", neumann_iterations=200, neumann_alpha=0.2)),
          off(hypergrad(approx_hypergrad.neumann, 200, 0.2))]
print("  Neumann series of 200 terms: betty {:.2f}, hypergrad {:.2f}".format(*series))
assert max(errors["torchopt"][3:]) < 1e-12 and max(series) < 1e-12, (errors, series)
assert all(abs(errors[name][0] - errors["torchopt"][0]) < 1e-12 for name in ways), errors
assert min(errors["betty"][1:]) > 0.1 and min(errors["hypergrad"][1:]) > 0.1, errors
assert abs(errors["betty, cg_alpha=0.1"][2] - errors["betty"][2]) > 0.1, errors
PY
"$dir/env/bin/python" -W ignore "$dir/implicit.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
