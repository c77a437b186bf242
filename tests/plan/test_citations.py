"""Every value of params.yaml that makes a method or an experiment its own has its citation, and
those that the paper states name the section which states them.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from helpers import PARAMS

# Section or table, path, value: as the paper's text has them.
STATED = """
5.2 few_shot.test_episodes 600
5.2 methods.multistep2.settings.window 2
5.2 methods.multistep4.settings.window 4
5.2 methods.multistep8.settings.window 8
5.2 experiments.mini_5way_1shot.settings.ways 5
F few_shot.hold_out_validation false
F few_shot.inner_steps 8
F few_shot.inner_lr 0.4
F few_shot.momentum 0.9
F few_shot.weight_decay 0.0001
F few_shot.meta_optimizer adam
F few_shot.meta_lr 0.001
F few_shot.iterations 60000
F few_shot.selection last
F methods.fomaml.settings.momentum 0.0
F methods.fomaml.settings.weight_decay 0.0
F experiments.5way_1shot.settings.meta_batch 32
F experiments.5way_5shot.settings.meta_batch 32
F experiments.20way_1shot.settings.meta_batch 16
F experiments.20way_5shot.settings.meta_batch 16
F experiments.mini_5way_1shot.settings.meta_batch 4
F experiments.mini_5way_1shot.choose.values [0.1,0.04,0.01,0.004]
5.1 transfer.source tinyimagenet_resnet32
5.1 transfer.target.name vgg9
5.1 experiments.sgd_224.settings.source imagenet_resnet34
5.1 experiments.sgd_224.settings.target.name resnet18
5.1 transfer.beta 0.5
5.1 methods.l2t.settings.inner_steps 2
5.1 methods.l2t_multistep.settings.window 2
D experiments.sgd_224.settings.size 224
D experiments.resize_crop.settings.augmentation resize_crop
E transfer.batch_size 128
E experiments.sgd_224.settings.batch_size 64
E transfer.epochs 200
E transfer.lr 0.1
E transfer.momentum 0.9
E transfer.adam_betas [0.9,0.999]
E transfer.weight_decay 0.0001
E transfer.meta_lr 0.001
E experiments.sgd_224.settings.meta_lr 0.0001
E transfer.meta_weight_decay 0.0001
E experiments.adam_32.settings.lr 0.001
E experiments.adam_224.settings.lr 0.001
H experiments.steps.settings.optimizer adam
Figure_4 methods.l2t_0.settings.inner_steps 0
Figure_4 methods.l2t_1.settings.inner_steps 1
Figure_4 methods.l2t_3.settings.inner_steps 3
Figure_4 methods.l2t_3_est.settings.window 3
"""

CITATION = re.compile(
    r"paper|appendix|section|equation|Table|Figure|decision|published|code|command|algorithm|\[\d+\]"
    r"|\(\d{4}\)|its table|as above|as at|as in|as learn2learn"
)


def uncited() -> list[str]:
    """Lines with a value under `settings`, `overrides` or `choose` of methods and experiments whose
    own comment, or that above them or above what they stand in, cites nothing.
    """
    section, above = "", ""
    stack: list[tuple[int, str, str]] = []  # (indentation, key, comments that count for it)
    found = []
    for line in PARAMS.read_text(encoding="utf-8").splitlines():
        text, _, comment = line.partition("#")
        if not text.strip():
            above = f"{above} {comment}" if comment else ""
            continue
        indent = len(text) - len(text.lstrip())
        key, _, value = text.strip().partition(":")
        if indent == 0:
            section = key
        while stack and stack[-1][0] >= indent:
            stack.pop()
        told = f"{stack[-1][2] if stack else ''} {above} {comment}"
        inside = any(k in ("settings", "overrides", "choose") for _, k, _ in stack)
        here = inside or key in ("settings", "overrides", "choose")
        here = here and section in ("methods", "experiments")
        value = re.sub(r"^&\w+", "", value.strip()).strip()
        if here and value not in ("", "{}") and not CITATION.search(told):
            found.append(line)
        stack.append((indent, key, told if indent else ""))
        above = ""
    return found


def test_every_override_has_its_citation() -> None:
    assert uncited() == []


@pytest.fixture(scope="module")
def stated() -> Callable[[str], tuple[Any, str]]:
    """A value of params.yaml, and the comment on its line, or else on that of what it stands in."""
    text = PARAMS.read_text(encoding="utf-8")
    root, values, lines = yaml.compose(text), yaml.safe_load(text), text.splitlines()

    def at(path: str) -> tuple[Any, str]:
        node, value, comment = root, values, ""
        for key in path.split("."):
            value = value[key]
            pairs = [pair for pair in node.value if pair[0].value in (key, "<<")]
            name, node = next((p for p in pairs if p[0].value == key), pairs[0])
            comment = lines[name.start_mark.line].partition("#")[2] or comment
        return value, comment

    return at


@pytest.mark.parametrize("line", STATED.split("\n")[1:-1])
def test_what_the_paper_states_is_cited_from_where_it_does(
    stated: Callable[[str], tuple[Any, str]], line: str
) -> None:
    place, path, right = line.split()
    value, comment = stated(path)
    assert value == yaml.safe_load(right)
    assert re.search(rf"(paper|appendix) {place}\b|^ {place.replace('_', ' ')}\b", comment), comment
