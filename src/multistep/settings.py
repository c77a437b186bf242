"""The base of all settings: typed, frozen, unknown keys refused; each family's are beside its code.

Nothing here imports torch: it is read inside Snakemake.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from multistep.files import UserError, parse_json

LARGEST = 2**53  # up to here every integer is a float too, so that any reader of JSON has it right
FLOAT32 = (2.0**-126, (2 - 2.0**-23) * 2.0**127)  # what computation has: the smallest, the largest


class Model(BaseModel):
    """Unknown keys, silent conversions and numbers that no computation has are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def clashes(self, path: Callable[[str], str] = str) -> Iterator[str]:
        """A line for each setting that can't be run beside another; `path`: how they are called."""
        yield from ()

    @field_validator("*")
    @classmethod
    def _has_numbers_that_exist(cls, value: Any) -> Any:
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) > LARGEST:
                raise ValueError("integers end at 2^53 here")
            if isinstance(number, float) and not FLOAT32[0] <= abs(number or 1.0) <= FLOAT32[1]:
                raise ValueError("float32 has no such number")
        return value


def _plain(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{,63}", name):
        raise ValueError(
            "names are of a-z, 0-9, _ and -, at most 64: they become paths, wildcards and words"
        )
    return name


def _once(values: list[Any]) -> list[Any]:
    if twice := repeated(values):
        raise ValueError(f"{twice[0]!r} stands there more than once")
    return values


def repeated(values: Iterable[Any]) -> list[Any]:
    """What is in `values` more than once."""
    counts = Counter(values)
    return [value for value in counts if counts[value] > 1]


Name = Annotated[str, AfterValidator(_plain)]
Once = AfterValidator(_once)  # of a list that repeats nothing
# What people read, in tables too: something, and one line of it.
Title = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$")]
Seed = Annotated[int, Field(ge=0)]


def json_of(option: str, text: str) -> Any:
    """What an option of a command line says in JSON. Raises UserError, one line, with its name."""
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{option}: not valid JSON ({error})") from None


def broken_windows(
    s: Any, path: Callable[[str], str] = str, keys: Iterable[str] = ("inner_steps", "test_steps")
) -> Iterator[str]:
    """Of `Model.clashes`: steps that are no whole number of windows."""
    for key in keys:
        if (steps := getattr(s, key, 0)) % s.window:
            yield (
                f"{path(key)}: {steps} steps are not divisible by "
                f"{path('window')}={s.window}; choose a multiple of the window"
            )


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
