#!/usr/bin/env bash
# Snakemake 9.27.1 (pandas 3.0.1): which changes of a rule's `params:` make it run a job again. That is the trigger
# `params`, one of the defaults.
#
# Behaviour: what is recorded of a job is its params' values without their names, and before and now are compared as
# *sets*. (1) A change isn't seen if all values are among the others: 5-way 1-shot with one inner step that becomes
# 5-shot, two learning rates that change places, a switch set like another one. (2) Values that are neither built-in
# types nor pandas' are left out altogether: whole numbers and switches from a pandas table (numpy.int64, numpy.bool),
# numpy.float32, a Path, an Enum, a dataclass. A float from the same table is seen, since numpy.float64 is a float.
# (3) In a list, a numpy array of more than 1,000 entries is recorded as it is printed, first and last three only.
# (4) Of a DataFrame columns' names aren't recorded. In all of these Snakemake says that nothing is to be done, and
# the old file stands for the new settings. A mapping as one param keeps names and values together: that is seen.
# A set of strings is the other way round: it is printed in another order by each process, so its job always reruns.
#
# Seen, whether `snakemake -n` plans the job after the change:
#   ways=5, shots=1, steps=1 -> shots=5       no
#   inner=0.4, outer=0.001 -> changed places  no
#   first_order=False, augment=True -> True   no
#   the first as one mapping                  yes
#   numpy.int64 of a table, 5 -> 10           no
#   numpy.bool of a table, True -> False      no
#   numpy.float64 of a table, 0.1 -> 0.2      yes
#   Path, Enum, dataclass, numpy.float32      no no no no
#   the 2,500th entry of an array in a list   no
#   DataFrame, two columns' names swapped     no
#   set of strings, unchanged                 yes
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'snakemake==9.27.1' 'pandas==3.0.1' \
  2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
export PATH="$dir/env/bin:$PATH"
mkdir "$dir/project"; cd "$dir/project"
cat > Snakefile <<'S'
import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pandas as pd

NOW = int(os.environ["NOW"])  # 0 at first, 1 after the change
TABLE = pd.DataFrame({"steps": [5, 10], "first_order": [True, False], "lr": [0.1, 0.2]}, index=["before", "now"])
CELL = TABLE.index[NOW]
LONG = np.arange(5000)
LONG[2500] += NOW
FRAME = pd.DataFrame({"inner": [0.4], "outer": [0.001]})
if NOW:
    FRAME.columns = ["outer", "inner"]


class Scheme(Enum):
    KEEP = 0
    REPLAY = 1


@dataclass
class Settings:
    window: int


ONE = {
    "int64": lambda wildcards: TABLE.loc[CELL, "steps"],
    "bool": lambda wildcards: TABLE.loc[CELL, "first_order"],
    "float64": lambda wildcards: TABLE.loc[CELL, "lr"],
    "path": lambda wildcards: Path(f"data{NOW}"),
    "enum": lambda wildcards: Scheme(NOW),
    "dataclass": lambda wildcards: Settings(NOW),
    "float32": lambda wildcards: np.float32(NOW),
    "array": lambda wildcards: [LONG],
    "frame": lambda wildcards: FRAME,
    "set": lambda wildcards: {"maml", "anil", "reptile", "imaml"},
    "mapping": lambda wildcards: {"ways": 5, "shots": 5 if NOW else 1, "steps": 1},
}


rule all:
    input:
        expand("{name}.txt", name=["shots", "rates", "switches", *ONE]),


rule shots:
    output:
        "shots.txt",
    params:
        ways=5,
        shots=5 if NOW else 1,
        steps=1,
    shell:
        "echo {params.ways} {params.shots} {params.steps} > {output}"


rule rates:
    output:
        "rates.txt",
    params:
        inner=0.001 if NOW else 0.4,
        outer=0.4 if NOW else 0.001,
    shell:
        "echo {params.inner} {params.outer} > {output}"


rule switches:
    output:
        "switches.txt",
    params:
        first_order=bool(NOW),
        augment=True,
        shuffle=False,
    shell:
        "echo {params.first_order} {params.augment} > {output}"


for NAME, VALUE in ONE.items():

    rule:
        name:
            NAME
        output:
            f"{NAME}.txt",
        params:
            value=VALUE,
        shell:
            "touch {output}"
S
NOW=0 snakemake --cores 2 --quiet all > "$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
NOW=0 PYTHONHASHSEED=1 snakemake -n > "$dir/same" 2>&1
NOW=1 PYTHONHASHSEED=2 snakemake -n > "$dir/changed" 2>&1
planned() { # planned FILE RULE...: yes or no of each
  local file=$1 said=(); shift
  for rule in "$@"; do if grep -q "^rule $rule:" "$file"; then said+=(yes); else said+=(no); fi; done
  echo "${said[*]}"
}
say() { printf '  %-41s %s\n' "$1" "$2"; [ "$2" = "$3" ] || { echo "expected $3"; exit 1; }; }
echo "snakemake $(snakemake --version)"
say 'ways=5, shots=1, steps=1 -> shots=5' "$(planned "$dir/changed" shots)" no
say 'inner=0.4, outer=0.001 -> changed places' "$(planned "$dir/changed" rates)" no
say 'first_order=False, augment=True -> True' "$(planned "$dir/changed" switches)" no
say 'the first as one mapping' "$(planned "$dir/changed" mapping)" yes
say 'numpy.int64 of a table, 5 -> 10' "$(planned "$dir/changed" int64)" no
say 'numpy.bool of a table, True -> False' "$(planned "$dir/changed" bool)" no
say 'numpy.float64 of a table, 0.1 -> 0.2' "$(planned "$dir/changed" float64)" yes
say 'Path, Enum, dataclass, numpy.float32' "$(planned "$dir/changed" path enum dataclass float32)" 'no no no no'
say 'the 2,500th entry of an array in a list' "$(planned "$dir/changed" array)" no
say 'DataFrame, two columns'"'"' names swapped' "$(planned "$dir/changed" frame)" no
say 'set of strings, unchanged' "$(planned "$dir/same" set)" yes
[ "$(grep -c '^rule' "$dir/same")" = 2 ] || { echo 'more than the set was planned'; exit 1; }
