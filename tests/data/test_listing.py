"""Lists however they were saved, and the members of archives that they name."""

import re

import pytest
from data_sets import edited, prepare, tampered

from multistep.data.listing import lines, named, table
from multistep.files import UserError

ROWS = [("a b.jpg", "n1"), ("c.jpg", "n2")]
PLAIN = "filename,label\na b.jpg,n1\nc.jpg,n2\n"


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("\n", "\n\n").encode(),
        PLAIN.replace(",", ";").encode(),
        b"sep=;\n" + PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", " , ").encode(),
        PLAIN.replace("\n", ",,\n").encode() + b",,,\n",
        b'"FileName", "LABEL","n"\n"a b.jpg", "n1",1\n"c.jpg","n2",2\n',
        b"id;Label;Filename\n0;n1;a b.jpg\n1;n2;c.jpg\n",
    ],
)
def test_one_table_in_many_forms(data):
    assert list(table(data, "here", "filename", "label")) == ROWS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "here: no columns filename and label: it is empty; write filename,label above"),
        (b"a.jpg,n1\n", "its first line is 'a.jpg,n1'; write filename,label above the rows"),
        (b"filename,label\na.jpg\n", r"here: no label in the row \['a.jpg'\]; mend the list"),
        (b"\xff\xd8\xff\xe0", "here: not a text file in UTF-8 or UTF-16"),
        (b'filename,label\n"a' + b"a" * 140_000, "here: not a list"),
    ],
)
def test_what_is_no_table_is_told(data, message):
    with pytest.raises(UserError, match=message):
        list(table(data, "here", "filename", "label"))


def test_lines():
    found = lines(b'\xef\xbb\xbfa b/c d.jpg\r\n\n e.jpg;;\n"f.jpg"', "here")
    assert found == ["a b/c d.jpg", "e.jpg", "f.jpg"]


def test_names_are_the_same_but_for_what_systems_change():
    listed = ["a/Caf\u00e9.jpg", "a/b.jpg", "a/B.jpg", "a/c.jpg", "d.png"]
    found = ["a/cafe\u0301.JPEG", "a/b.jpg", "a/B.jpg", "a/C.JPG", "d.jpg"]
    same = named(listed, found, "here")
    assert same == dict(zip(found[:4], listed[:4], strict=True))
    with pytest.raises(UserError, match=r"here: C.jpg and c.JPG could both be c.jpg of the lists"):
        named(["c.jpg"], ["C.jpg", "c.JPG"], "here")
    assert named(["c.jpg"], ["C.jpg", "c.jpg"], "here") == {"c.jpg": "c.jpg"}
    assert named(["a/c.v2", "d"], ["a/C.v2.jpg", "d"], "") == {"a/C.v2.jpg": "a/c.v2", "d": "d"}
    with pytest.raises(UserError, match=r"c.jpg and c.png could both be c of the lists"):
        named(["c"], ["c.jpg", "c.png"], "here")


# Of each loader with lists of text the archives with such members.
LISTS = {
    "miniimagenet": {"mini-imagenet.zip": r"\w+\.csv"},
    "tinyimagenet": {"tiny-imagenet-200.zip": r".*/val_annotations\.txt"},
    "cub200": {"CUB_200_2011.tgz": r".*/(images|train_test_split)\.txt"},
    "stanford40": {"Stanford40_ImageSplits.zip": r".*\.txt"},
    "indoor67": {"TrainImages.txt": ".*", "TestImages.txt": ".*"},
}


@pytest.mark.parametrize("loader", LISTS)
def test_every_loader_reads_lists_that_another_system_saved(drawn, tmp_path, loader):
    def save(data):
        text = re.sub(r"([\w. ]+/)?[\w ]+\.jpe?g", saved_path, data.decode(), flags=re.IGNORECASE)
        return text.replace("\r", "").replace("\n", "\r\n").encode("utf-16")

    def saved_path(match):
        number, _, path = match[0].rpartition(" ") if loader == "cub200" else ("", "", match[0])
        other = ".jpg" if path.endswith(".JPEG") else ".JPEG"
        path = "set\\" + path.replace("/", "\\").rpartition(".")[0] + other
        return f"{number};{path}" if number else path

    raw = drawn[loader]
    for name, pattern in LISTS[loader].items():

        def change(files, pattern=pattern):
            for member in [m for m in files if re.fullmatch(pattern, m)]:
                edited(member, save)(files)

        raw = tampered(loader, raw, tmp_path / f"raw {name}", change, name)
    found = prepare(loader, raw, tmp_path / "out")
    assert found.digest == prepare(loader, drawn[loader], tmp_path / "plain").digest
