"""Stanford Dogs ("Dog"): a tar of 20,580 photographs of 120 breeds, and a tar of MATLAB lists.

Members are `Images/WNID-BREED/WNID_N.jpg` and, of the other tar, `train_list.mat` (100 a breed) and
`test_list.mat`, whose `file_list` names images below `Images/` (Khosla et al., FGVC 2011).
"""

from pathlib import Path

from multistep.data import galleries
from multistep.data.archives import extract
from multistep.data.decoding import matlab_strings
from multistep.data.galleries import Lists, in_folders
from multistep.data.galleries import Settings as Settings
from multistep.data.settings import Dataset

LAYOUT = r"Images/n\d{8}-[^/]+/[^/]+\.jpg"

IMAGES, LISTS = "images.tar", "lists.tar"
TRAIN, TEST = "train_list.mat", "test_list.mat"


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`. Raises UserError naming the archive or member at fault."""
    found = extract(raw / LISTS, TRAIN, TEST)
    both = parse(found[TRAIN], found[TEST], str(raw / LISTS))
    galleries.write(name, dataset, raw, out, both, IMAGES, "Images")


def parse(train: bytes, test: bytes, where: str) -> Lists:
    """The lists, from the bytes of the two MATLAB files."""
    both = {f"{where}: {TRAIN}": train, f"{where}: {TEST}": test}
    parts = [in_folders(matlab_strings(data, "file_list", w), w) for w, data in both.items()]
    return galleries.checked(parts[0], parts[1], where)
