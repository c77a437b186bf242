"""params.yaml and overlays as files: what YAML is read, in which order, under which names."""

from pathlib import Path

import pytest
from helpers import PARAMS

from multistep.files import UserError
from multistep.plan import params


def test_files_have_an_order_and_in_workflow_scales_the_name_of_their_scale(tmp_path: Path) -> None:
    (folder := tmp_path / "workflow/scales").mkdir(parents=True)
    for name in ("demo", "mine", "plain"):
        text = "" if name == "plain" else "scale: demo\ndirectory: scales/demo\n"
        (folder / f"{name}.yaml").write_text(f"{text}seeds: [5]\n")
    demo, mine, plain = (folder / f"{name}.yaml" for name in ("demo", "mine", "plain"))
    (short := folder / "demo.yml").write_text(demo.read_text())  # no report would look for it
    for files, message in (
        ([demo], rf"^{demo}: lacks .*experiments, .*; name params.yaml before overlays$"),
        ([demo, PARAMS], rf"^{PARAMS}: takes back the scale demo of {demo}; name it before"),
        ([PARAMS, mine], rf"^{mine}: of scale demo, but a file in workflow/scales is called as"),
        ([PARAMS, short], rf"^{short}: of scale demo, .* as its scale \(demo.yaml\); rename"),
        ([PARAMS, plain], rf"^{plain}: of scale paper, but a file in workflow/scales"),
    ):
        with pytest.raises(UserError, match=message):
            params.load(*files)
    assert params.load(PARAMS, PARAMS, demo).seeds == [5]
    (over := tmp_path / "plain.yaml").write_text("seeds: [6]")
    assert (params.load(PARAMS, demo, over).scale, params.load(PARAMS, over).seeds) == ("demo", [6])


def test_a_mistake_names_the_overlay_that_was_read(tmp_path: Path) -> None:
    (overlay := tmp_path / "mine.yaml").write_text("seedz: [1]")
    with pytest.raises(UserError, match=rf"^params.yaml \(with {overlay}\) can't be run:\n  seedz"):
        params.load(PARAMS, overlay)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for content, message in (
        (None, "no such file"),
        (b"a: [1", "line 2: not valid YAML"),
        ("seeds: [0]\n".encode("utf-16"), "not valid YAML in UTF-8"),
        (b"\xff\xfe\xfa", "not valid YAML in UTF-8"),
        (b"- 1", "must hold a mapping"),
    ):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UserError, match=rf"^{file}.*{message}"):
            params.load(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 2, c: 3}", "line 2: not valid YAML: c stands there more than once"),
        ("a: [1]\na: [2]", "line 2: not valid YAML: a stands there more than once"),
        *(
            (f"few_shot:\n  iterations: {text}", f"line 2.*iterations: readers .* {right}")
            for text, right in {
                "010": "without the 0",
                "0o17": "without the 0",
                "1_000": "without _",
                "0.1_5": "without _",
                "0x1_F": "without _",
                "1:00": "in quotes",
                "1_0e3": "without _",
                "yes": "true or false",
                "2020-01-01": "in quotes",
            }.items()
        ),
        ("seeds: [0, 010]", "in a list: readers of YAML differ on 010"),
        ("few_shot: {iterations: 1,000}", "as a key: readers of YAML differ on 000"),
        ("no: 1", "as a key: readers of YAML differ on no; write true or false"),
        ("a: 1\n? [b, c]\n: 1", "line 2: not valid YAML: a key that is no word; is a brace"),
        ("a: {{b: 1}: 2}", "line 1: not valid YAML: a key that is no word"),
        ("a: " + 60 * "[" + 60 * "]", "line 1: not valid YAML: nested too deep"),
        ("a:\n  " + 60 * "- " + "b", "line 2: not valid YAML: nested too deep"),
        ("a: &a {b: [*a]}", "line 1: not valid YAML: \\*a stands in what it names"),
    ],
)
def test_what_readers_of_yaml_take_differently_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "over.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        params.read(file)
    file.write_text("a: ['010', \"yes\", 0, 10, -1.5, 1.0e-3, 1.0e+3, .5, null, true, word]")
    assert params.read(file)["a"] == ["010", "yes", 0, 10, -1.5, 1e-3, 1e3, 0.5, None, True, "word"]
    file.write_text("a: [2e-05, -1E3, 5e4, 1.5e4, .5e1, '2e-05', 2e, e5, 1e5x]")
    assert params.read(file)["a"] == [2e-5, -1e3, 5e4, 1.5e4, 5.0, "2e-05", "2e", "e5", "1e5x"]
