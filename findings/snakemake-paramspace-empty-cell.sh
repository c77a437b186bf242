#!/usr/bin/env bash
# Snakemake 9.27.1 (pandas 3.1.1): `Paramspace`, its helper for tables of settings, and a switch that not all rows have.
# SNAKEMAKE=8.30.0 before the command takes another version.
#
# Behaviour: a job gets its row's values back from its path, as text, which is then turned into the type of the column.
# pandas reads one of True, False and an empty cell as objects, and a table of several methods has such: MAML with and
# without first order, Reptile, for which there is no such choice. To objects nothing is turned, the text stays: the
# job with first_order~False in its path gets 'False', which is true to `if`. All runs of second order are then of first
# order, in folders that say otherwise, and the comparison is of a method with itself. Nothing warns, and the table
# holds True and False. Numbers beside a word ('all') stay text as well. It is right without empty cells, for which
# pull request 948 put in a special case. The documentation says that wildcard values are translated into an instance of
# the table, with no word of types, and in Snakemake's issues we found none about this.
#
# Seen, what `if` makes of the switch, by the folder's name; then a number's type in the table and in the job
# (the same in 8.30.0)
#   no empty cell             True: first   False: second
#   empty cell                True: first   False: first
#   empty cell, fillna(False) True: first   False: second
#   layers 1, 4, all          table: int   job: str
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "snakemake==${SNAKEMAKE:-9.27.1}" pandas==3.1.1
export PATH="$dir/env/bin:$PATH"
mkdir "$dir/work"; cd "$dir/work"
printf 'method,first_order\nmaml,True\nmaml,False\n' > full.csv
{ cat full.csv; echo reptile,; } > gaps.csv
cat > Snakefile <<'S'
import pandas
from snakemake.utils import Paramspace

tables = {
    "full": pandas.read_csv("full.csv"),
    "gaps": pandas.read_csv("gaps.csv"),
    "filled": pandas.read_csv("gaps.csv").fillna({"first_order": False}).astype({"first_order": bool}),
    "layers": pandas.DataFrame({"layers": [1, 4, "all"]}),
}
spaces = {name: Paramspace(table) for name, table in tables.items()}
rule all:
    input:
        [f"full/{row}.txt" for row in spaces["full"].instance_patterns],
        [f"gaps/{row}.txt" for row in list(spaces["gaps"].instance_patterns)[:2]],
        [f"filled/{row}.txt" for row in list(spaces["filled"].instance_patterns)[:2]],
        "layers/layers~4.txt",
for name in "full", "gaps", "filled":
    rule:
        name: name
        output: f"{name}/{spaces[name].wildcard_pattern}.txt"
        params: setting=spaces[name].instance
        run: open(output[0], "w").write("first" if params.setting["first_order"] else "second")
rule layers:
    output: f"layers/{spaces['layers'].wildcard_pattern}.txt"
    params: setting=spaces["layers"].instance
    run:
        name = lambda value: type(value).__name__
        found = f"table: {name(tables['layers'].layers[1])}   job: {name(params.setting['layers'])}"
        open(output[0], "w").write(found)
S
snakemake --cores 1 > log 2>&1 || { cat log >&2; exit 1; }
order() { cat "$1/method~maml/first_order~$2.txt"; }
orders() { echo "True: $(order "$1" True)   False: $(order "$1" False)"; } # what a table's two jobs took it for
echo "snakemake $(snakemake --version)"
echo "  no empty cell             $(orders full)"
echo "  empty cell                $(orders gaps)"
echo "  empty cell, fillna(False) $(orders filled)"
echo "  layers 1, 4, all          $(cat layers/layers~4.txt)"
[ "$(orders full)" = "True: first   False: second" ]
[ "$(orders filled)" = "True: first   False: second" ]
[ "$(orders gaps)" = "True: first   False: first" ]
[ "$(cat layers/layers~4.txt)" = "table: int   job: str" ]
