"""`params.yaml`: read, merge overlays, and check before any job.

`validate` turns the merged configuration into typed, frozen settings, or raises one `UserError`
that has a line for every mistake: the path of the key, what is wrong, and what would be right.
Nothing here imports torch: it runs inside Snakemake.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError

from multistep.files import UserError, one_line
from multistep.plan import checks, families
from multistep.plan.layers import Layers, merge
from multistep.plan.mistakes import explain
from multistep.plan.schema import Params

PAPER = "paper"  # the scale of params.yaml itself
NEEDED = {name for name, field in Params.model_fields.items() if field.is_required()}


def load(*files: Path) -> Params:
    """Read params.yaml and overlays, merge them in order, validate."""
    return merged(files, layers(*files))


def layers(*files: Path) -> list[dict[str, Any]]:
    """What params.yaml and its overlays say, each read once. Raises UserError, too, for those in
    another order and for one of workflow/scales that has the name of another scale.
    """
    found = [read(file) for file in files]
    scale, of = PAPER, files[0]
    for file, layer in zip(files, found, strict=True):
        said = layer.get("scale", scale)
        here = file.absolute().parts[-3:-1] == ("workflow", "scales")
        if here and file.name != f"{said}.yaml":
            raise UserError(
                f"{file}: of scale {said}, but a file in workflow/scales is called as its scale "
                f"({said}.yaml); rename it or its `scale`, or keep it elsewhere"
            )
        if said == PAPER != scale:
            raise UserError(f"{file}: takes back the scale {scale} of {of}; name it before that")
        scale, of = said, file
    if lacking := sorted(NEEDED - set().union(*found)):
        raise UserError(f"{files[0]}: lacks {', '.join(lacking)}; name params.yaml before overlays")
    return found


def merged(files: Sequence[Path], layers: Iterable[dict[str, Any]]) -> Params:
    """The parameters of these files, of which `layers` are the contents."""
    try:
        return validate(functools.reduce(merge, layers))
    except UserError as error:  # where several overlays are read, as of all scales: of which one
        named = f"(with {', '.join(map(str, files[1:])) or 'its overlays'})"
        raise UserError(str(error).replace("(with its overlays)", named, 1)) from None


def read(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file, not yet validated. Raises UserError, one line, for another."""
    if Path(file).suffix == ".json":  # which YAML readers take for YAML, but for its numbers
        raise UserError(f"{file}: not YAML; name params.yaml, or it and overlays")
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{file}: no such file{_elsewhere(Path(file))}") from None
    except IsADirectoryError:
        raise UserError(f"{file}: a folder; name a YAML file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not valid YAML in UTF-8: {one_line(error)}") from None
    return _mapping(text, file)


def _elsewhere(file: Path) -> str:
    """What to give where there is no params.yaml: who reads it wants a project."""
    if file.name != "params.yaml":
        return ""
    homes = (folder for folder in file.absolute().parents[1:] if (folder / file.name).is_file())
    return f"; give the project that is meant, {next(homes, 'the folder with its params.yaml')}"


def arguments(pairs: Iterable[str]) -> dict[str, Any]:
    """What `snakemake --config KEY=VALUE ...` says, each value read as in an overlay: Snakemake
    hands on the numbers in a list or a mapping as text.
    """
    layers = (_mapping(pair.replace("=", ": ", 1), f"--config {pair}") for pair in pairs)
    return functools.reduce(merge, layers, {})


def _mapping(text: str, name: object) -> dict[str, Any]:
    """The mapping that YAML text of that name holds."""
    try:
        _shallow(text)
        layer = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{name}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{name}: not valid YAML in UTF-8: {one_line(error)}") from None
    if not isinstance(layer, dict):
        raise UserError(f"{name}: must hold a mapping of keys, like params.yaml")
    return layer


_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, ten times faster


def _shallow(text: str) -> None:
    """Refuse a text so deeply nested that loading it would run out of stack, or without an end."""
    around: list[str | None] = []
    for event in yaml.parse(text, _Parser):
        if isinstance(event, yaml.CollectionStartEvent):
            around.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            around.pop()
        elif isinstance(event, yaml.AliasEvent) and event.anchor in around:
            _refuse(event, f"*{event.anchor} stands in what it names")
        if len(around) > 50:
            _refuse(event, "nested too deep")


class _Loader(_Parser):
    """Refuses what readers of YAML take differently: equal keys, and words of YAML 1.1 and 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping. PyYAML keeps the last of two equal keys, others refuse them."""
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse(key, "a key that is no word; is a brace or a bracket too many?")
            if key.value in seen:
                _refuse(key, f"{key.value} stands there more than once; leave one")
            seen.add(key.value)
            self._plain(key, "as a key")
            self._plain(value, key.value)
        return super().construct_mapping(node, deep)

    def construct_sequence(self, node: yaml.SequenceNode, deep: bool = False) -> list[Any]:
        for value in node.value:
            self._plain(value, "in a list")
        return super().construct_sequence(node, deep)

    def _plain(self, node: yaml.Node, key: str) -> None:
        """Refuse what YAML 1.1 (PyYAML, Snakemake) and 1.2 (DVC) read as different values."""
        if isinstance(node, yaml.ScalarNode) and not node.style:  # not in quotes
            for pattern, right in _AMBIGUOUS:
                if re.fullmatch(pattern, node.value):
                    _refuse(node, f"{key}: readers of YAML differ on {node.value}; write {right}")


def _refuse(node: Any, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


# Text to PyYAML, but nobody means that: `dvc exp run -S meta_lr=0.00002` writes 2e-05.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
_AMBIGUOUS = {
    r"[-+]?0[0-9_]+|0o[0-7]+": "the number without the 0 before it",
    r"[-+]?(?=.*_)(\d[\d_]*(\.[\d_]*)?([eE][-+]?\d+)?|\.\d[\d_]*|0x[\da-fA-F_]+)|[-+]?0b[01_]+": (
        "the number without _, in base ten"
    ),
    r"[-+]?\d+(:[0-5]?\d)+(\.\d*)?": "the number itself, or the text in quotes",
    r"(?i:yes|no|on|off|y|n)": "true or false, or the word in quotes",
    r"\d{4}-\d\d?-\d\d?([Tt ].*)?": "the text in quotes",
}.items()


def validate(config: dict[str, Any]) -> Params:
    """The typed parameters, or one `UserError` with a line per mistake."""
    for form in ("tables", "figures"):
        if form in config:
            names = ", ".join(map(str, config[form])) if isinstance(config[form], dict) else ""
            raise UserError(
                f"{form}: no part of params.yaml; a page is a file workflow/report/{form}/NAME.yaml"
                f" (here: {names})"
            )
    try:
        params = Params.model_validate(config)
        mistakes = list(checks.references(params)) or list(checks.data(params)) or _cells(params)
    except ValidationError as error:
        mistakes = explain(error, Params)
    if mistakes:
        lines = "\n".join(f"  {m}" for m in dict.fromkeys(mistakes))
        raise UserError(f"params.yaml (with its overlays) can't be run:\n{lines}")
    return params


def cell_settings(
    params: Params, experiment: str, method: str, candidate: float | None = None
) -> Any:
    """The typed settings of a cell (of the candidate that tries a value), validated once."""
    return Layers(params, experiment, method, candidate).settings()


def _cells(params: Params) -> list[str]:
    """Mistakes in the settings of cells, and cells that can't be run."""
    wrong: list[str] = []
    possible: list[str] = []
    for name, experiment in params.experiments.items():
        timed = experiment.measured
        made = {*experiment.methods, *(timed.methods if timed and timed.datasets else [])}
        known = [*experiment.methods, *(timed.methods if timed else []), *experiment.overrides]
        for method in dict.fromkeys(known):
            choose = experiment.choice(method)
            for value in [None, *(choose.values if choose else [])]:
                layers = Layers(params, name, method, value)
                try:
                    settings = layers.settings()
                except UserError as error:
                    wrong += str(error).splitlines()
                    continue
                if name in params.run and experiment.datasets and method in made:
                    possible += checks.impossible(layers, settings)
    return wrong or [*possible, *_measurements(params)]


def _measurements(params: Params) -> Iterator[str]:
    """Methods that are measured together, and can't be."""
    for name, experiment in params.run.items():
        timed, methods = experiment.measured or experiment, {}
        for method in timed.methods if {*timed.datasets} & {*experiment.datasets} else ():
            methods[method] = cell_settings(params, name, method).model_dump()
            if "source" in methods[method]:
                methods[method]["source"] = params.used(methods[method]["source"])
        for wrong in families.module(experiment.family, "checks").unlike(methods):
            yield f"experiments.{name}.measured.methods: {wrong}"
