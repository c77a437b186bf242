"""How methods look, whatever else there is, and where the labels of their lines stand."""

import itertools

import numpy as np
import pytest
from scipy import optimize

from multistep.pages import style
from multistep.pages.context import Context

FEW_SHOT = [f"few_shot_{i}" for i in range(12)]
TRANSFER = [f"transfer_{i}" for i in range(9)]


def context(few_shot: list[str], transfer: list[str], order: list[str] | None = None) -> Context:
    families = dict.fromkeys(few_shot, "few_shot") | dict.fromkeys(transfer, "transfer")
    methods = {name: name for name in order or [*few_shot, *transfer]}
    return Context(scale="paper", datasets={}, methods=methods, families=families)


def test_twelve_methods_differ_in_colour_or_dashes_and_print_without_colour() -> None:
    names = context(FEW_SHOT, TRANSFER)
    looks = [style.look(names, method) for method in FEW_SHOT]
    assert len({(look.colour, look.dashes is None) for look in looks}) == 12
    assert len({(look.marker, look.dashes is None) for look in looks}) == 12
    assert [look.dashes is None for look in looks] == [True] * 5 + [False] * 7
    drawn = looks[7].line
    assert (drawn["color"], drawn["marker"]) == (looks[0].colour, looks[0].marker)
    assert (drawn["markerfacecolor"], drawn["linestyle"]) == ("none", (0, looks[7].dashes))
    assert looks[0].line == {"color": looks[0].colour, "marker": looks[0].marker}


def test_a_new_method_changes_no_look_of_the_other_family() -> None:
    before, after = context(FEW_SHOT[:5], TRANSFER), context(FEW_SHOT, TRANSFER)
    mixed = context(FEW_SHOT, TRANSFER, [*FEW_SHOT[:5], *TRANSFER, *FEW_SHOT[5:]])
    for method in [*FEW_SHOT[:5], *TRANSFER]:
        assert style.look(before, method) == style.look(after, method) == style.look(mixed, method)
    assert style.look(before, TRANSFER[0]).colour != style.look(before, FEW_SHOT[0]).colour


@pytest.mark.parametrize("seed", range(5))
def test_labels_move_no_further_than_they_must(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = np.sort(rng.random(8) ** 2)
    found = np.array(style.apart(wanted.tolist(), spacing=0.1))
    best = optimize.minimize(
        lambda x: np.sum((x - wanted) ** 2),
        np.linspace(0, 1, 8),
        bounds=[(0, 1)] * 8,
        constraints={"type": "ineq", "fun": lambda x: np.diff(x) - 0.1},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert found == pytest.approx(best.x, abs=1e-4)


def test_labels_fit_even_if_they_are_many() -> None:
    places = style.apart([0.4] * 30, spacing=0.085)
    assert (places[0], places[-1]) == (pytest.approx(0), pytest.approx(1))
    assert all(high > low for low, high in itertools.pairwise(places))
    assert style.apart([], spacing=0.1) == []
    assert style.apart([0.2, 0.7], spacing=0.1) == [0.2, 0.7]
