#!/usr/bin/env bash
# DVC 3.67.1 with Snakemake 9.27.1: `dvc exp run --temp -S key=value` on a stage that runs Snakemake
# and keeps its outs (`persist: true`, which such a stage needs: without it DVC deletes the outs and
# everything runs again).
#
# Behaviour: the temporary copy gets the outs from DVC's cache, but not `.snakemake`, which git
# ignores. Without its record Snakemake knows of no changed parameter and takes the old file as up to
# date; DVC then records that file as the result of the new value. In the workspace (without
# --temp) the same command reruns the job, since the record is there. If `.snakemake/metadata` is an
# out of the stage as well, the temporary copy has the record and reruns the job.
#
# Seen:
#   asked for lr=0.2 with --temp, record ignored:     lr=0.1
#   asked for lr=0.3 in the workspace:                lr=0.3
#   asked for lr=0.2 with --temp, record is an out:   lr=0.2
#
# Fails if one of the three outcomes changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'dvc==3.67.1' 'snakemake==9.27.1' 2> "$dir/pip.log"
export PATH="$dir/env/bin:$PATH" DVC_NO_ANALYTICS=1 GIT_CONFIG_GLOBAL="$dir/gitconfig"
git config --global user.name a; git config --global user.email a@example.com
git config --global init.defaultBranch main
echo "dvc $(dvc --version), snakemake $(snakemake --version)"

project() { # project FOLDER EXTRA_OUT
  mkdir "$1"; cd "$1"; git init -q; dvc init -q
  echo 'lr: 0.1' > params.yaml
  cat > Snakefile <<'S'
configfile: "params.yaml"
rule result:
    output: "results/accuracy.txt"
    params: lr=config["lr"]
    shell: "echo lr={params.lr} > {output}"
S
  { echo 'stages:'; echo '  train:'; echo '    cmd: snakemake --cores 1 --quiet'
    echo '    params: [lr]'; echo '    outs:'; echo '      - results: {persist: true}'
    [ -z "$2" ] || echo "      - $2: {persist: true}"; } > dvc.yaml
  printf '.snakemake/\n' > .gitignore
  [ -z "$2" ] || printf '/.snakemake/*\n!/.snakemake/.gitignore\n' > .gitignore
  dvc repro -q > log 2>&1 || { cat log; exit 1; }
  git add -A; git commit -qm first
}
told() { # what DVC recorded as the result of the last experiment
  local rev; rev=$(dvc exp list --names-only | head -n 1)
  mkdir "$dir/got"; dvc get -q . results --rev "$rev" -o "$dir/got/results"
  cat "$dir/got/results/accuracy.txt"; rm -rf "$dir/got"
}

project "$dir/ignored" ''
dvc exp run -q --temp -S lr=0.2 > log 2>&1 || { cat log; exit 1; }
temp=$(told)
dvc exp run -q -S lr=0.3 > log 2>&1 || { cat log; exit 1; }
workspace=$(cat results/accuracy.txt)
project "$dir/recorded" .snakemake/metadata
dvc exp run -q --temp -S lr=0.2 > log 2>&1 || { cat log; exit 1; }
recorded=$(told)
echo "asked for lr=0.2 with --temp, record ignored:     $temp"
echo "asked for lr=0.3 in the workspace:                $workspace"
echo "asked for lr=0.2 with --temp, record is an out:   $recorded"
[ "$temp" = lr=0.1 ] && [ "$workspace" = lr=0.3 ] && [ "$recorded" = lr=0.2 ]
