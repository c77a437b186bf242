"""What all loaders share, each on its stand-in: parts, bytes and faults."""

import importlib
import json
import re
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
from data_sets import EPISODES, SETS, archive, classes_of, described, fault, prepare, tampered
from helpers import PARAMS
from PIL import Image

from multistep.cli import main
from multistep.data import loaders, prepared
from multistep.data.archives import contents_digest, streams
from multistep.data.settings import Archive
from multistep.data.standins import photographs
from multistep.files import UserError

LOADERS = pytest.mark.parametrize("loader", SETS)
PARTS = prepared.PARTS


def test_every_loader_is_here():
    assert sorted([*SETS, "image_folder"]) == sorted(loaders.names())


@LOADERS
def test_archives_of_another_layout_are_told_with_the_loader_that_reads_them(
    drawn, tmp_path, capsys, loader
):
    """Each stand-in is known by its members, and given to a loader that can't read it."""
    names = SETS[loader]["archives"]
    able = loaders.readers(m for name in names for m, _ in streams(drawn[loader] / name))
    own, first = (
        importlib.import_module(f"multistep.data.loaders.{name}").LAYOUT
        for name in (loader, able[0])
    )
    assert own == first
    other = "stl10" if loader != "stl10" else "cifar100"
    spec = SETS[other] | {"loader": other, "title": "Mine", "archives": {n: {} for n in names}}
    command = ["data", "prepare", "--dataset", "mine", "--spec", json.dumps(spec)]
    assert main([*command, "--raw", str(drawn[loader]), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert f"nothing there is what the loader {other} reads: its members are such as" in message
    assert f", as the loader {able[0]} reads them (docs/bringing-your-data.md)" in message


@LOADERS
def test_stand_ins_prepare_to_the_stated_parts(drawn, tmp_path, loader):
    entry = described(loader)
    found = prepare(loader, drawn[loader], tmp_path)
    assert sorted(np.concatenate(list(found.splits.values()))) == list(range(len(found)))
    assert len(found.classes) == entry.classes
    counts = np.bincount(found.labels)
    assert len({found.pixels(i).tobytes() for i in range(len(found))}) == len(found)
    if size := entry.prepare["size"]:
        assert found.images.shape[:3] == (len(found), size, size)
        assert (found.size, found.channels) == (size, 1 if loader == "omniglot" else 3)
    if entry.images:
        assert {part: len(indices) for part, indices in found.splits.items()} == entry.images
    if loader not in EPISODES:
        for part, each in (("train", 4), ("validation", 2), ("test", 2)):
            if loader != "indoor67" or part == "test":  # Indoor's draw is of whatever class
                assert np.bincount(found.labels[found.splits[part]]).tolist() == [each] * 4
        return
    assert found.classes == sorted(found.classes)
    assert (np.diff(found.labels) >= 0).all()
    if loader == "tieredimagenet":
        assert counts.tolist() == [4, 7, 5, 8, 6, 4]
    else:
        assert set(counts) == {entry.images_per_class}
    order = [c for part in ("validation", "test") for c in classes_of(found, part)]
    starts, sizes = found.rows(["validation", "test"])
    assert starts.tolist() == [int(counts[:c].sum()) for c in order]
    assert sizes.tolist() == counts[order].tolist()


@pytest.mark.parametrize(
    ("loader", "side"), [("cifar100", 32), ("stl10", 96), ("tinyimagenet", 64)]
)
def test_every_image_has_its_own_label(drawn, tmp_path, loader, side):
    settings = SETS[loader]["prepare"] | {"size": side}
    found = prepare(loader, drawn[loader], tmp_path, prepare=settings)
    for part, indices in found.splits.items():
        for i in indices:
            same = [
                grey(photographs.image(loader, found.labels[i], n, side, 5))
                for n in (range(6, 8) if part == "test" else range(6))
            ]
            nearest = min(np.abs(grey(found.pixels(i)) - image).mean() for image in same)
            assert nearest < (12 if loader == "tinyimagenet" else 1e-9)  # JPEG loses the grain


def grey(pixels):
    return np.asarray(Image.fromarray(pixels).convert("L"), dtype=float)


@LOADERS
def test_preparing_twice_gives_the_same_bytes(drawn, tmp_path, loader):
    for out in ("one", "two"):
        prepare(loader, drawn[loader], tmp_path / out)
    for file in ("images.npy", "dataset.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert json.loads((tmp_path / "one" / "dataset.json").read_text())["stand_in"] is True


@LOADERS
def test_wrong_counts_are_named(drawn, tmp_path, loader):
    raw, out, entry = drawn[loader], tmp_path / "out", described(loader)
    message = fault(loader, raw, out, classes=2 * entry.classes)
    assert f"datasets.drawn: {entry.classes} classes in the archives, but params.yaml" in message
    assert f"states {2 * entry.classes}" in message
    if least := entry.images_per_class:
        message = fault(loader, raw, out, images_per_class=least + 1)
        assert f"has {least} images, not {least + 1}" in message
    if entry.images:
        more = entry.images | {"test": entry.images["test"] + 1}
        message = fault(loader, raw, out, images=more)
        for sizes in (entry.images, more):
            assert ", ".join(f"{sizes[part]} {part}" for part in PARTS) in message
    if not least:
        assert "datasets.drawn.images" in fault(loader, raw, out, images=None)


@LOADERS
def test_a_truncated_archive_is_named(drawn, tmp_path, loader):
    shutil.copytree(drawn[loader], tmp_path / "raw")
    path = tmp_path / "raw" / archive(loader)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = fault(loader, tmp_path / "raw", tmp_path / "out")
    assert str(path) in message
    # A tar that ends with a member lacks nothing but the images that should follow.
    assert "truncated" in message or "damaged" in message or "lacks" in message


@LOADERS
def test_archives_that_are_absent_or_others_are_named(drawn, tmp_path, loader):
    for name in SETS[loader]["archives"]:
        raw = shutil.copytree(drawn[loader], tmp_path / f"without {name}")
        (raw / name).unlink()
        message = fault(loader, raw, tmp_path / "out")
        assert message.startswith(f"{raw / name}: no such file; download it first")
    archives = SETS[loader]["archives"] | {archive(loader): Archive(contents="0" * 64)}
    message = fault(loader, drawn[loader], tmp_path / "out", archives=archives)
    found = contents_digest(drawn[loader] / archive(loader))
    assert f"datasets.drawn describes (contents digest {found}, expected 0000" in message


@LOADERS
def test_a_prepared_set_stays_when_preparing_anew_fails(drawn, tmp_path, loader):
    found = prepare(loader, drawn[loader], tmp_path)

    def break_an_image(files):
        images = (".jpg", ".JPEG", ".png", "train", "train_X.bin", "images_png.pkl")
        files |= {name: data[:100] for name, data in files.items() if name.endswith(images)}

    raw = tampered(loader, drawn[loader], tmp_path / "raw", break_an_image)
    with pytest.raises(UserError, match=archive(loader)):
        prepare(loader, raw, tmp_path)
    assert prepared.read(tmp_path).digest == found.digest
    assert sorted(p.name for p in tmp_path.glob("*.*")) == ["dataset.json", "images.npy"]


@LOADERS
def test_what_machines_and_packers_leave_behind_changes_nothing(drawn, tmp_path, loader):
    def leave(files):
        for name in list(files):
            folder, _, file = name.rpartition("/")
            files[f"{folder}/._{file}".lstrip("/")] = b"\0\5\x16\7\0\2\0\0Mac OS X        "
            files[f"__MACOSX/{folder}/._{file}"] = b"\0\5\x16\7"
        files[f"{folder}/.DS_Store".lstrip("/")] = b"\0\0\0\1Bud1"
        files[f"{folder}/file.txt~".lstrip("/")] = b""

    raw = tampered(loader, drawn[loader], tmp_path / "raw", leave)
    found = prepare(loader, raw, tmp_path / "out")
    assert found.digest == prepare(loader, drawn[loader], tmp_path / "clean").digest


LISTED = r"{} is a list of {} classes and the data lacks {}, such as .* set it to proportional"


@pytest.mark.parametrize(
    ("loaders", "settings", "message"),
    [
        ("cifar_fs fc100 cifar100 stl10 tinyimagenet", {}, "reads one archive.*, not 2"),
        (
            "cifar100 stl10 cub200 stanford_dogs",
            {"validation": "l2t_ww"},
            r"l2t_ww needs (cifar100|stl10|cub200|dog)-val among datasets\.drawn\.archives",
        ),
        ("miniimagenet", {"split": "ravi"}, r"its train classes \(67 differ\), unlike the publ"),
        ("tieredimagenet", {"split": "ren"}, "has no number of the train classes in synsets.txt"),
        ("cifar_fs", {"split": "bertinetto"}, LISTED.format("bertinetto", 100, 100)),
        ("fc100", {"split": "oreshkin"}, LISTED.format("oreshkin", 100, 100)),
        ("omniglot", {"split": "finn"}, LISTED.format("finn", 1623, 1623)),
        ("omniglot", {"split": "vinyals"}, LISTED.format("vinyals", 1623, 1623)),
        ("omniglot", {"split": "sorted"}, "sorted is a list of 1623 classes and the data has 12"),
    ],
)
def test_other_archives_than_a_loader_reads_and_data_that_are_not_the_published(
    drawn, tmp_path, loaders, settings, message
):
    for loader in loaders.split():
        changes = {"prepare": SETS[loader]["prepare"] | settings}
        if not settings:
            changes["archives"] = {archive(loader): {}, "more.zip": {}}
        found = fault(loader, drawn[loader], tmp_path / "out", **changes)
        assert re.search(message, found), found


@pytest.mark.parametrize("loader", loaders.names())
def test_settings_refuse_what_makes_no_sense(loader):
    module = importlib.import_module(f"multistep.data.loaders.{loader}")
    sound = {"size": 16, "validation": 1, "test": 2, "seed": 0}  # of a folder of images
    wrong = [{"size": 4}, {"ways": 5}]
    if loader == "image_folder":
        wrong += [{"test": 0}, {"validation": 0}]
    else:
        sound = SETS[loader]["prepare"]
        wrong += [{key: "none"} for key in ("validation", "split", "resample") if key in sound]
    if loader in ("indoor67", "stanford40"):  # no list of theirs was ever published
        wrong.append({"validation": "l2t_ww"})
    for change in wrong:
        with pytest.raises(ValueError, match=next(iter(change))):
            module.Settings.model_validate(sound | change)


@LOADERS
def test_the_command_line_draws_prepares_and_names_mistakes(tmp_path, monkeypatch, capsys, loader):
    monkeypatch.chdir(tmp_path)
    entry = described(loader)
    for name, settings in entry.archives.items():
        command = ["data", "download", "--dataset", "drawn", "--archive", name]
        assert main([*command, "--loader", loader, "--spec", settings.model_dump_json()]) == 0
    command = ["data", "prepare", "--dataset", "drawn", "--spec"]
    assert main([*command, entry.model_dump_json()]) == 0
    assert len(prepared.read(tmp_path / "data" / "processed" / "drawn").classes) == entry.classes
    capsys.readouterr()
    mistaken = described(loader, prepare=entry.prepare | {"size": "large"})
    assert main([*command, mistaken.model_dump_json()]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: --spec: prepare.size: ")
    assert message.count("\n") == 1


def prepare_command(drawn, loader, out):
    spec = described(loader).model_dump_json()
    command = ["data", "prepare", "--dataset", "drawn", "--spec", spec]
    return [*command, "--raw", str(drawn[loader]), "--out", str(out)]


def test_by_hand_a_scale_has_its_own_folder_and_nothing_is_left_of_nothing(
    tmp_path, monkeypatch, capsys
):
    (project := tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path)  # from where ever they are called
    scale = ["--params", f"{project}/params.yaml", f"{project}/demo.yaml"]
    for file in (PARAMS, PARAMS.parent / "workflow/scales/demo.yaml"):
        shutil.copy2(file, project)
    of = ["--dataset", "cifar_fs_standin", *scale]
    home, archive = project / "scales/demo/data", "cifar-100-python.tar.gz"
    assert main(["data", "prepare", *of]) == 2
    raw = f"scales/demo/data/raw/cifar_fs_standin/{archive}"
    assert f"{raw}: no such file; download it first" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    assert main(["data", "download", *of, "--archive", archive]) == 0
    assert main(["data", "prepare", *of]) == 0
    made = {file.relative_to(home).parts[:2] for file in home.rglob("*.*")}
    assert made == {("raw", "cifar_fs_standin"), ("processed", "cifar_fs_standin")}
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def prepare(name", r"line 1: SyntaxError: .*; mend it"),
        ("from absent import x", "line 1: ModuleNotFoundError: No module named 'absent'; mend it"),
        ("LAYOUT = ''", r"own.py: lacks prepare, Settings; see docs/adding.md"),
        ("prepare = Settings = dict", "own.py: Settings is no multistep.settings.Model; derive it"),
        (
            "from multistep.data.loaders.omniglot import Settings\nprepare = lambda *_: None",
            "own.py: prepare wrote nothing; it ends in prepared.write",
        ),
    ],
)
def test_a_loader_of_ones_own_says_what_it_lacks(tmp_path, monkeypatch, capsys, text, said):
    (tmp_path / "own.py").write_text(text)
    monkeypatch.setattr(loaders, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "multistep.data.loaders.own", raising=False)
    monkeypatch.chdir(tmp_path)
    spec = described("omniglot").model_copy(update={"loader": "own"}).model_dump_json()
    assert main(["data", "prepare", "--dataset", "drawn", "--spec", spec]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"own.py.*{said}" if "own.py" not in said else said, line)


def test_two_preparations_at_once_leave_the_right_data(drawn, tmp_path):
    command = [sys.executable, "-m", "multistep.cli"]
    command += prepare_command(drawn, "cub200", tmp_path / "out")
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    expected = prepare("cub200", drawn["cub200"], tmp_path / "alone").digest
    assert prepared.read(tmp_path / "out").digest == expected
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["dataset.json", "images.npy"]


def test_a_full_disk_and_a_folder_that_cannot_be_made_are_one_line(drawn, tmp_path, capsys):
    """A file that may not grow, as on a full disk; a file where the folder should be."""
    (tmp_path / "file").write_text("")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        outs = tmp_path / "full", tmp_path / "file" / "out"
        results = [main(prepare_command(drawn, "cub200", out)) for out in outs]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = capsys.readouterr().err
    assert "Traceback" not in told
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    assert results == [2, 2]
    assert len(lines) == 2
    assert lines[0].startswith(f"error: {tmp_path / 'full' / 'images.npy'}: File too large")
    assert lines[1].startswith(f"error: {tmp_path / 'file' / 'out'}: Not a directory")
    assert not (tmp_path / "full").exists()
