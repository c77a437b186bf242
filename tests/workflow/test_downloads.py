"""A verified archive survives every edit, failure and rerun; only another digest replaces it."""

import hashlib
import shutil

import pytest
import workspace

NAME = "images_background.zip"
TARGET = "data/processed/drawn_first/dataset.json"


def archive(plan):
    return plan["datasets"]["drawn_first"]["archives"][NAME]


@pytest.fixture(scope="module")
def brought(built, tmp_path_factory):
    """A project with one archive from a folder of the user's own, which is then gone."""
    folder = tmp_path_factory.mktemp("brought") / "project"
    shutil.copytree(built, folder, symlinks=True)
    mine = folder.parent / "mine"
    mine.mkdir()
    for file in ("images_background.zip", "images_evaluation.zip"):
        shutil.move(folder / "data/raw/drawn_first" / file, mine / file)
    shutil.rmtree(folder / "data/raw/drawn_first")

    def bring(plan):
        plan["sources"] = {"drawn_first": str(mine)}
        for entry in plan["datasets"]["drawn_first"]["archives"].values():
            entry.clear()
            entry.update(unverified=True)

    workspace.change(folder, bring)
    workspace.snakemake(folder, "--cores", "1", TARGET)
    shutil.move(mine, folder.parent / "gone")
    return folder


@pytest.fixture
def copy(brought, tmp_path):
    return shutil.copytree(brought, tmp_path / "project", symlinks=True)


def held(folder):
    """The bytes of all that lies under the archive's name, by file."""
    return {p.name: p.read_bytes() for p in (folder / "data/raw/drawn_first").glob(f"{NAME}*")}


def test_code_titles_addresses_and_a_pinned_digest_make_no_download_stale(copy):
    before = held(copy)

    def edit(plan):
        plan["datasets"]["drawn_first"]["title"] = "Another title"
        archive(plan).update(urls=["http://127.0.0.1:9/moved"])

    workspace.change(copy, edit)
    assert workspace.pending(copy, TARGET) == {}
    digest = hashlib.sha256(before[NAME]).hexdigest()
    workspace.change(copy, lambda p: archive(p).update(sha256=digest))
    for module in (copy / "src/multistep/data").rglob("*.py"):
        workspace.append(copy, str(module.relative_to(copy / "src/multistep")))
    with open(copy / "src/multistep/data/settings.py", "a") as file:
        file.write("\n\nclass Another(Model):\n    setting: int = 0\n")

    assert workspace.pending(copy, TARGET) == {"prepare": 1}
    workspace.snakemake(copy, "--cores", "1", TARGET)
    assert held(copy) == before
    # Asked for by force, it is there already.
    workspace.snakemake(copy, "--cores", "1", "--forcerun", "download", "--", TARGET)
    assert held(copy)[NAME] == before[NAME]
    assert workspace.pending(copy, TARGET) == {}


@pytest.mark.fault(
    "a source folder gone, then another digest pinned", "the verified archive is kept"
)
def test_another_digest_fetches_anew_and_keeps_the_old_file(copy, record_property):
    before, folder = held(copy), copy.parent / "mine"
    workspace.change(copy, lambda p: archive(p).update(sha256="0" * 64))
    output = workspace.snakemake(copy, "--cores", "1", TARGET, status=1)
    assert f"{NAME}: no such file, though `sources: {{drawn_first:" in output
    assert held(copy) == before
    # With the old entry there is nothing to do: what was verified is still there.
    workspace.change(copy, lambda p: archive(p).pop("sha256"))
    assert workspace.pending(copy, TARGET) == {}

    shutil.copytree(copy / "data/raw/drawn_second", folder)
    new = (folder / NAME).read_bytes()

    def edit(plan):
        plan["sources"] = {"drawn_first": str(folder)}
        plan["datasets"]["drawn_first"]["classes"] = 24 + 4
        archive(plan).update(sha256=hashlib.sha256(new).hexdigest())

    workspace.change(copy, edit)
    # The other archive has no digest, and is another one in that folder: it is taken anew, too.
    assert workspace.pending(copy, TARGET) == {"download": 2, "prepare": 1}
    output = workspace.snakemake(copy, "--cores", "1", TARGET, status=None)
    after = held(copy)
    assert after[NAME] == new
    (aside,) = [name for name in after if name.startswith(f"{NAME}.")]
    assert after[aside] == before[NAME]
    assert f"it is kept as {aside}" in output
    record_property("injected", 2)


@pytest.mark.fault("an archive cut, then deleted", "fetched again")
def test_a_lost_or_cut_archive_is_fetched_again(copy, record_property):
    path = copy / "data/raw/drawn_first" / NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert workspace.pending(copy, TARGET) == {"download": 1, "prepare": 1}
    path.unlink()
    workspace.change(copy, lambda p: p["sources"].update(drawn_first=str(copy.parent / "own")))
    (copy.parent / "own").mkdir()
    (copy.parent / "own" / NAME).write_bytes(whole)
    workspace.snakemake(copy, "--cores", "1", TARGET)
    assert path.read_bytes() == whole
    assert workspace.pending(copy, TARGET) == {}
    record_property("injected", 2)
