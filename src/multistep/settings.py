"""The base of all settings: typed, frozen, unknown keys refused; each family's are beside its code.

Nothing here imports torch: it is read inside Snakemake.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from multistep.files import UserError


class Model(BaseModel):
    """Unknown keys and silent conversions are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


ModelT = TypeVar("ModelT", bound=BaseModel)


def parse(model: type[ModelT], value: Any, where: str) -> ModelT:
    """`value` as `model`, or a UserError with the path to each wrong key, `where` before it."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UserError("; ".join(where + problem for problem in problems)) from None
