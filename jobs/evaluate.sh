#!/bin/bash
#SBATCH --job-name=defectpdf-evaluate
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#
# Check a store, score a run's model on it, and write the run's report.
#
#     sbatch jobs/evaluate.sh R S [--split test]
#     bash   jobs/evaluate.sh R S [--split test]      on this machine
#
# R is a run directory of train.sh and S its store. Further arguments go to `defectpdf evaluate`. R gets
# evaluation.json and report.html.
#
# sbatch's command line overrides the lines above, and so do its variables, for example
# SBATCH_ACCOUNT and SBATCH_PARTITION.
# SITE: give account and partition in one of these ways; load your Python module before.
# SITE: a copy of this script elsewhere needs DEFECTPDF_HOME, the folder of the project.

set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: evaluate.sh RUN STORE [arguments of defectpdf evaluate]" >&2
    exit 2
fi
results=$1 store=$2
shift 2

jobs=${DEFECTPDF_HOME:+$DEFECTPDF_HOME/jobs}
jobs=${jobs:-$(dirname -- "${BASH_SOURCE[0]}")}
if [ ! -e "$jobs/slurm.sh" ]; then # Slurm runs a copy, but it knows of which file.
    jobs=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=//p')
    jobs=${jobs%%/evaluate.sh*}
fi
threads=${OMP_NUM_THREADS:-}
source "$jobs/slurm.sh"

defectpdf verify "$store"
export OMP_NUM_THREADS=${threads:-${SLURM_CPUS_PER_TASK:-$cores}}
defectpdf evaluate "$results" "$store" "$@" --json >"$results/evaluation.json.partial"
mv -- "$results/evaluation.json.partial" "$results/evaluation.json"
defectpdf report "$results" --store "$store" --output "$results/report.html"
