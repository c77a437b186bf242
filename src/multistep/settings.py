"""The base of all settings: typed, frozen, unknown keys refused; each family's are beside its code.

Nothing here imports torch: it is read inside Snakemake.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from multistep.files import UserError


class Model(BaseModel):
    """Unknown keys and silent conversions are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def json_of(option: str, text: str) -> Any:
    """What an option of a command line says in JSON. Raises UserError, one line, with its name."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{option}: not valid JSON ({error})") from None


ModelT = TypeVar("ModelT", bound=BaseModel)


def parse(model: type[ModelT], value: Any, where: str) -> ModelT:
    """`value` as `model`, or a UserError with the path to each wrong key, `where` before it."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        places = [".".join(map(str, e["loc"])) for e in error.errors()]
        told = zip(places, error.errors(), strict=True)
        problems = [f"{place}: {e['msg']}" if place else e["msg"] for place, e in told]
        raise UserError("; ".join(where + problem for problem in problems)) from None
