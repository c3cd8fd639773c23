#!/bin/bash
# Submit the whole job to Slurm: generate.sh, then train.sh, then evaluate.sh, each once the one
# before it has succeeded. If one fails, those after it are cancelled.
#
#     bash jobs/pipeline.sh [run.toml] --store S --out R [--dry-run]
#
# --out R is the run directory of the training. All other arguments go to `defectpdf generate`.
# --dry-run prints the plan and what would be submitted, and submits nothing.
#
# SITE: sbatch's variables hold for all three jobs, for example SBATCH_ACCOUNT and SBATCH_PARTITION;
# what only one of them needs, as GPUs, goes into its #SBATCH lines.

set -euo pipefail

refuse() {
    echo "pipeline.sh: $1" >&2
    exit 2
}

store='' out='' dry='' generate=()
while [ $# -gt 0 ]; do
    case $1 in
    --store | --out) [ $# -gt 1 ] || refuse "$1 needs a path" ;;&
    --store) store=$2 && shift 2 ;;
    --store=*) store=${1#*=} && shift ;;
    --out) out=$2 && shift 2 ;;
    --out=*) out=${1#*=} && shift ;;
    --dry-run) dry=yes && shift ;;
    *) generate+=("$1") && shift ;;
    esac
done
[ -n "$store" ] && [ -n "$out" ] ||
    refuse "usage: pipeline.sh [run.toml] --store STORE --out RUN [--dry-run]"
generate+=(--store "$store")

jobs=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
submitted=()

submit() { # ARGUMENTS of sbatch; adds the job's number to `submitted`, or a name of it if dry
    local job
    if [ ${#submitted[@]} -gt 0 ]; then
        set -- --dependency="afterok:${submitted[-1]}" --kill-on-invalid-dep=yes "$@"
    fi
    if [ -n "$dry" ]; then
        printf sbatch && printf ' %q' "$@" && echo
        job="JOB$((${#submitted[@]} + 1))"
    elif ! job=$(sbatch --parsable "$@"); then
        if [ ${#submitted[@]} -gt 0 ]; then scancel "${submitted[@]}"; fi
        refuse "sbatch did not take a job; those before it are cancelled"
    fi
    submitted+=("${job%%;*}") # behind a semicolon is the cluster's name
}

if [ -n "$dry" ]; then
    source "$jobs/environment.sh"
    tasks=$(sed -n 's/^#SBATCH --ntasks=//p' "$jobs/generate.sh")
    defectpdf generate --dry-run --workers "$tasks" "${generate[@]}"
elif ! command -v sbatch >/dev/null; then
    refuse "no sbatch here: run it where Slurm is, or jobs/laptop.sh on this machine"
fi
submit "$jobs/generate.sh" "${generate[@]}"
submit "$jobs/train.sh" "$store" --out "$out"
submit "$jobs/evaluate.sh" "$out" "$store"
if [ -n "$dry" ]; then exit; fi

list=$(IFS=, && echo "${submitted[*]}")
echo "generate ${submitted[0]}, train ${submitted[1]}, evaluate ${submitted[2]}"
echo "watch:   squeue --jobs=$list; defectpdf status $(printf %q "$store"); logs defectpdf-*-JOB.log"
echo "cancel:  scancel ${submitted[*]}"
