#!/usr/bin/env bash
# Snakemake 9.27.1: what its default limit of 100 started jobs a second costs a run of short jobs on few
# cores, where jobs are ready and wait for a core.
#
# Behaviour: with the default `--max-jobs-per-timespan 100/1s`, each time a job ends and nothing more fits,
# the scheduler starts a timer of one second, which wakes it, finds again that nothing fits and
# starts the next timer. These chains don't end before the run does, so their number grows with the
# jobs that have run, and each waking looks through all jobs that are ready. 600 jobs of 0.3
# seconds on two cores take half as much processor time again, or twice as much, in Snakemake's own
# process as without the limiter.
#
# Seen, on two cores that had other work to do:
#   snakemake 9.27.1: 29.8 s with the default limit, 16.3 s without
#
# There is no option without the limiter (another number has the same timers); the Snakefile takes it
# away at the start for comparison. Fails if the default takes less than 1.3 times the other's time.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'snakemake==9.27.1' 2> "$dir/pip.log"
cat > "$dir/Snakefile" <<'S'
if config.get("unlimited"):
    onstart:
        workflow.scheduler.job_rate_limiter = None
rule all:
    input: expand("out/{i}", i=range(600))
rule short:
    output: touch("out/{i}")
    shell: "sleep 0.3"
S
seconds() { # processor seconds of a run with these options
  rm -rf "$dir/run"; mkdir "$dir/run"
  "$dir/env/bin/python" - "$dir" "$@" <<'PY'
import resource, subprocess, sys
folder, *options = sys.argv[1:]
command = [f"{folder}/env/bin/snakemake", "-s", f"{folder}/Snakefile", "-d", f"{folder}/run", "--cores", "2", "--quiet", "all"]
subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(round(used.ru_utime + used.ru_stime, 1))
PY
}
limited=$(seconds); unlimited=$(seconds --config unlimited=1)
echo "snakemake $("$dir/env/bin/snakemake" --version): $limited s with the default limit, $unlimited s without"
python3 -c "import sys; sys.exit(not $limited > 1.3 * $unlimited)"
