"""The settings of a cell, laid over each other: merged and validated once, each key traceable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from multistep.files import UserError
from multistep.plan.families import algorithm, settings_of, widest
from multistep.plan.mistakes import explain
from multistep.plan.schema import Params
from multistep.settings import Model


def merge(base: dict[str, Any], over: dict[str, Any], *, drop: bool = False) -> dict[str, Any]:
    """`over` laid over `base`, as Snakemake does: mappings key by key, the rest replaced. `drop`:
    null takes away what `base` has.
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = merge(old, value, drop=drop)
        elif drop and key in result and value is None:
            del result[key]
        else:
            result[key] = value
    return result


class Layers:
    """The family's settings, then the experiment's, the method's, and the method's there.

    A candidate has two more: the settings of all candidates, and the value that it tries.
    """

    def __init__(
        self, params: Params, experiment: str, method: str, candidate: float | None = None
    ) -> None:
        self.params, self.name, self.method = params, experiment, method
        self.experiment = of = params.experiments[experiment]
        self.algorithm = params.methods[method].algorithm
        self.datasets = [params.used(name) for name in of.datasets]
        self.layers: dict[str, dict[str, Any]] = {
            of.family: getattr(params, of.family),
            f"experiments.{experiment}.settings": of.settings,
            f"methods.{method}.settings": params.methods[method].settings,
            f"experiments.{experiment}.overrides.{method}": of.overrides.get(method, {}),
        }
        self.choose = None if candidate is None else of.choose
        if self.choose is not None and candidate is not None:
            path = f"experiments.{experiment}.choose"
            self.layers[f"{path}.settings"] = self.choose.settings
            field = widest(of.family).model_fields.get(self.choose.setting)
            whole = field is not None and field.annotation is int and candidate == int(candidate)
            self.layers[path] = {self.choose.setting: int(candidate) if whole else candidate}
        self.kind = "cell" if self.choose is None else "candidate"
        self._key = (experiment, method, candidate)

    def path(self, *keys: str, else_in: str | None = None) -> str:
        """The last layer that sets what `keys` lead to, or where it belongs, and the keys."""
        setting = [name for name, layer in self.layers.items() if _sets(layer, keys)]
        return ".".join((setting[-1] if setting else else_in or self.experiment.family, *keys))

    def settings(self) -> Any:
        """The typed settings. Raises UserError with a line for each mistake, where it stands."""
        settled = self.params.settled
        if self._key not in settled:
            settled[self._key] = self._validated()
        return settled[self._key]

    def _validated(self) -> Model:
        merged: dict[str, Any] = {}
        for layer in self.layers.values():
            merged = merge(merged, layer)
        of = (self.experiment.family, self.algorithm, self.kind)
        model, known = settings_of(*of), widest(of[0])
        # What the family knows and this cell doesn't read is left out.
        unread = known.model_fields.keys() - model.model_fields.keys()
        own = model.model_fields.keys() - known.model_fields.keys()  # of this algorithm alone
        place = f"methods.{self.method}.settings"
        try:
            settings = model.model_validate({k: v for k, v in merged.items() if k not in unread})
        except ValidationError as error:
            told = explain(
                error, model,
                lambda *keys: self.path(*keys, else_in=place if keys[0] in own else None), known,
            )  # fmt: skip
            options = getattr(algorithm(of[0], of[1]), "Options", Model).model_fields
            for i, e in enumerate(error.errors()):
                if e["type"] == "extra_forbidden" and len(e["loc"]) == 1 and e["loc"][0] in options:
                    of_it = f"an option of {self.algorithm}; put it under options"
                    told[i] = f"{told[i].partition(': ')[0]}: {of_it}"
            raise UserError("\n".join(told)) from None
        wrong: list[str] = []
        for name, layer in self.layers.items():  # also what another layer stands over
            if name not in (place, f"experiments.{self.name}.overrides.{self.method}"):
                of_it = f"a setting of {self.algorithm} alone; put it under {place}"
                wrong += [f"{name}.{key}: {of_it}" for key in layer if key in own]
            try:
                known.model_validate({k: v for k, v in layer.items() if k not in own})
            except ValidationError as error:
                wrong += explain(error, known, f"{name}.", part=True)
        if wrong:
            raise UserError("\n".join(wrong))
        return settings


def overruled(
    params: Params, base: dict[str, Any], over: dict[str, Any], wanted: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """A line for each value that the overlays `over` lay over `base` and that cells don't have:
    others stand over it, or validation chooses it. `wanted`: of these methods, experiments alone.
    """
    found: dict[str, dict[str, str]] = {}
    for name, experiment in params.run.items():
        own = wanted.get("experiment", [name]), wanted.get("method", experiment.methods)
        for method in experiment.methods if experiment.datasets and name in own[0] else ():
            layers, choice = list(Layers(params, name, method).layers), experiment.choice(method)
            for i, place in enumerate(layers) if method in own[1] else ():
                for keys, value in _leaves(at(over, place.split("."))):
                    over_it = [f"{upper}.{'.'.join(keys)}" for upper in layers[i + 1 :]]
                    if choice and keys == (choice.setting,):
                        over_it.append(f"experiments.{name}.choose.values")
                    if at(base, [*place.split("."), *keys]) == value:
                        continue
                    if any(at(over, path.split(".")) is not None for path in over_it):
                        continue
                    stay = [(p, v) for p in over_it if (v := at(base, p.split("."))) is not None]
                    if stay and stay[-1][1] != value:
                        told = f"{'.'.join((place, *keys))}: {value}"
                        found.setdefault(told, {})[method] = "{}: {}".format(*stay[-1])
    for told, of in found.items():
        first = [f"{method} ({stays})" for method, stays in of.items()][:3]
        more = f" and {len(of) - 3} more" if len(of) > 3 else ""
        yield f"{told}, but not for {', '.join(first)}{more}"


def at(layer: Any, keys: Sequence[str]) -> Any:
    """What a layer says under these keys, one in the other; None where it has none of it."""
    for key in keys:
        layer = layer.get(key) if isinstance(layer, dict) else None
    return layer


def _leaves(layer: Any, *keys: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What a layer says that isn't a mapping itself, with the keys that lead there."""
    for key, value in layer.items() if isinstance(layer, dict) else ():
        nested = isinstance(value, dict)
        yield from _leaves(value, *keys, key) if nested else [((*keys, key), value)]


def _sets(layer: Any, keys: Sequence[str]) -> bool:
    """Whether a layer says what `keys` lead to; a list is said as a whole."""
    for key in keys:
        if not isinstance(layer, dict):
            return True
        if key not in layer:
            return False
        layer = layer[key]
    return True
