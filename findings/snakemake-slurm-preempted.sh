#!/usr/bin/env bash
# Snakemake 9.27.1 with snakemake-executor-plugin-slurm 2.8.0: a job that Slurm has preempted for good.
#
# Behaviour: with `PreemptMode=CANCEL` (and `GraceTime=0`, or a job that doesn't end in it) a preempted job
# ends as PREEMPTED and isn't requeued: so it was on a real Slurm 22.05.8. The plugin takes PREEMPTED for
# a job that Slurm will bring back ("We leave it to SLURM to resume your job(s)") and goes on asking for
# it. `--retries` isn't used, and Snakemake never ends. A job that is FAILED is reported at once.
#
# Here the four commands that the plugin asks are replaced by scripts that answer as that Slurm did, so no
# cluster is needed.
#
# Seen, on two busy cores (exit code 137: killed after two minutes, in which it still waited):
#   snakemake 9.27.1, FAILED:    exit code 1 after 2 looks at the queue (there is one retry)
#   snakemake 9.27.1, PREEMPTED: exit code 137 after 5 looks at the queue
#
# Fails if either changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'snakemake==9.27.1' \
  'snakemake-executor-plugin-slurm==2.8.0' 2> "$dir/pip.log"
mkdir "$dir/bin"; cd "$dir"
printf '#!/bin/sh\necho 7\n' > "$dir/bin/sbatch"
printf '#!/bin/sh\nprintf "PARTITION\\nmain*\\n"\n' > "$dir/bin/sinfo"
printf '#!/bin/sh\necho "MaxArraySize = 1001"; echo "MinJobAge = 300 sec"\n' > "$dir/bin/scontrol"
printf '#!/bin/sh\necho look >> "$LOOKS"; echo "7|$STATE"\n' > "$dir/bin/squeue"
chmod +x "$dir"/bin/*
echo 'rule one:
    output: "out"
    resources: mem_mb=100, runtime=1
    shell: "touch {output}"' > "$dir/Snakefile"

run() { # run STATE: prints how Snakemake ended, and how often it looked
  mkdir "$dir/$1"; local rc=0
  STATE=$1 LOOKS="$dir/$1/looks" PATH="$dir/bin:$PATH" timeout --signal=KILL 120 \
    "$dir/env/bin/snakemake" -s "$dir/Snakefile" -d "$dir/$1" --executor slurm --jobs 1 --retries 1 \
    --slurm-status-command squeue --slurm-init-seconds-before-status-checks 1 \
    > "$dir/$1/log" 2>&1 || rc=$?
  echo "$rc $(wc -l < "$dir/$1/looks")"
}
failed=$(run FAILED); preempted=$(run PREEMPTED)
version=$("$dir/env/bin/snakemake" --version)
echo "snakemake $version, FAILED:    exit code ${failed% *} after ${failed#* } looks at the queue"
echo "snakemake $version, PREEMPTED: exit code ${preempted% *} after ${preempted#* } looks at the queue"
grep -q "We leave it to SLURM to resume your job" "$dir/PREEMPTED/log"
[[ ${failed% *} = 1 && ${preempted% *} = 137 && ${preempted#* } -ge 3 ]]
