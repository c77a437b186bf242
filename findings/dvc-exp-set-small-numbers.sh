#!/usr/bin/env bash
# DVC 3.67.1 with Snakemake 9.27.1: `dvc exp run --set-param` changes a number of the params.yaml that both read.
#
# Behaviour: DVC writes numbers as Python's repr does, so below 0.0001 (and from 1e16) with an exponent and without a
# point, `0.00002` as `2e-05`. YAML 1.2, which DVC reads, takes that for a number; YAML 1.1 wants a point in it, and
# Snakemake's configfile reader gives text. So with the same command a learning rate of 0.0002 is a number in the
# workflow and one of 0.00002 is not; `dvc params diff` and `dvc exp show` show both as asked for. It is so in lists
# and mappings. A small number that stood in the file before, with a point, stays as it was written.
# Words that DVC writes without quotes go apart in the other direction: `yes`, `on` and `1:30` are text to DVC.
#
# Seen: what was asked for, the line in params.yaml, what Snakemake reads, what DVC reads:
#   0.0002           rate: 0.0002           0.0002            0.0002
#   1e-3             rate: 0.001            0.001             0.001
#   0.00002          rate: 2e-05            '2e-05'           2e-05
#   -0.00005         rate: -5e-05           '-5e-05'          -5e-05
#   0.000025         rate: 2.5e-05          2.5e-05           2.5e-05
#   1e16             rate: 1e+16            '1e+16'           1e+16
#   [0.00001,0.1]    rate: - 1e-05 - 0.1    ['1e-05', 0.1]    [1e-05, 0.1]
#   on               rate: on               True              'on'
#   1:30             rate: 1:30             90                '1:30'
#   decay, not set   decay: 0.00001         1e-05             1e-05
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'dvc==3.67.1' 'snakemake==9.27.1' 2> "$dir/pip.log" \
  || { cat "$dir/pip.log"; exit 1; }
export PATH="$dir/env/bin:$PATH" DVC_NO_ANALYTICS=1 GIT_CONFIG_GLOBAL="$dir/gitconfig"
git config --global user.name a; git config --global user.email a@example.com
git config --global init.defaultBranch made
echo "dvc $(dvc --version), snakemake $(snakemake --version)"
mkdir "$dir/project"; cd "$dir/project"; git init -q; dvc init -q
printf 'rate: 0.1\ndecay: 0.00001\n' > params.yaml
cat > dvc.yaml <<'Y'
stages:
  workflow:
    cmd: snakemake --quiet --cores 1 --forceall
    params: [rate]
    outs: [{seen.txt: {cache: false}}]
Y
cat > Snakefile <<'S'
configfile: "params.yaml"

rule seen:
    output: "seen.txt"
    params: rate=repr(config["rate"]), decay=repr(config["decay"])
    shell: "echo {params.rate:q} > {output}; echo {params.decay:q} >> {output}"
S
printf '.snakemake\nseen.txt\n' > .gitignore
git add -A; git commit -qm project
reads() { python3 -c "from dvc.utils.serialize import load_yaml; print(repr(load_yaml('params.yaml')['$1']))"; }
row() { # row ASKED LINE SNAKEMAKE DVC
  git checkout -q params.yaml
  dvc exp run --set-param "rate=$1" > "$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
  line=$(sed '/^decay/d' params.yaml | xargs)
  printf '  %-16s %-22s %-17s %s\n' "$1" "$line" "$(head -n 1 seen.txt)" "$(reads rate)"
  [ "$line" = "$2" ] && [ "$(head -n 1 seen.txt)" = "$3" ] && [ "$(reads rate)" = "$4" ] || { echo "not as seen"; exit 1; }
}
row 0.0002 'rate: 0.0002' 0.0002 0.0002
row 1e-3 'rate: 0.001' 0.001 0.001
row 0.00002 'rate: 2e-05' "'2e-05'" 2e-05
row -0.00005 'rate: -5e-05' "'-5e-05'" -5e-05
row 0.000025 'rate: 2.5e-05' 2.5e-05 2.5e-05
row 1e16 'rate: 1e+16' "'1e+16'" 1e+16
row '[0.00001,0.1]' 'rate: - 1e-05 - 0.1' "['1e-05', 0.1]" '[1e-05, 0.1]'
row on 'rate: on' True "'on'"
row 1:30 'rate: 1:30' 90 "'1:30'"
printf '  %-16s %-22s %-17s %s\n' 'decay, not set' "$(grep decay params.yaml)" "$(tail -n 1 seen.txt)" "$(reads decay)"
[ "$(grep decay params.yaml) $(tail -n 1 seen.txt) $(reads decay)" = 'decay: 0.00001 1e-05 1e-05' ]
