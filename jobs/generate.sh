#!/bin/bash
#SBATCH --job-name=defectpdf-generate
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#
# Compute a store of PDFs.
#
#     sbatch jobs/generate.sh [run.toml] --store S                  MPI ranks
#     sbatch jobs/generate.sh [run.toml] --store S --engine dask    Dask workers
#     sbatch --array=0-9 jobs/generate.sh [run.toml] --store S      ten jobs with a tenth each
#     bash   jobs/generate.sh [run.toml] --store S                  Dask workers on this machine
#
# All arguments go to `defectpdf generate`. Ranks and workers are the tasks of the job. Before its
# time is over the job goes back to the queue by itself, DEFECTPDF_MAX_REQUEUES (10) times at most;
# one that ended all the same loses nothing: submit it again and it computes what is missing.
# In an array %j is each task's own number, so that each has its own log; with
# `sbatch --output=%x-%A_%a.log` it has the array's number instead.
#
# sbatch's command line overrides the lines above, and so do its variables, for example
# SBATCH_ACCOUNT and SBATCH_PARTITION.
# SITE: give account and partition in one of these ways; load your Python and MPI modules before.
# SITE: set SLURM_MPI_TYPE to the interface that your MPI library speaks if that is not pmi2, which
# the MPICH of constraints.txt speaks; `srun --mpi=list` lists what your Slurm has.
# SITE: a copy of this script elsewhere needs DEFECTPDF_HOME, the folder of the project.

set -euo pipefail

jobs=${DEFECTPDF_HOME:+$DEFECTPDF_HOME/jobs}
jobs=${jobs:-$(dirname -- "${BASH_SOURCE[0]}")}
if [ ! -e "$jobs/slurm.sh" ]; then # Slurm runs a copy, but it knows of which file.
    jobs=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=//p')
    jobs=${jobs%%/generate.sh*}
fi
source "$jobs/slurm.sh"

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    place=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN)) step=$SLURM_ARRAY_TASK_STEP
    last=$((SLURM_ARRAY_TASK_MAX - SLURM_ARRAY_TASK_MIN))
    if ((place % step != 0 || last != (SLURM_ARRAY_TASK_COUNT - 1) * step)); then
        echo "generate.sh: the tasks of --array must be evenly spaced, as in --array=0-9" >&2
        exit 2
    fi
    set -- "$@" --part "$((place / step))/$SLURM_ARRAY_TASK_COUNT"
fi

engine='' previous=''
for argument in "$@"; do
    if [ "$previous" = --engine ]; then engine=$argument; fi
    if [[ $argument == --engine=* ]]; then engine=${argument#*=}; fi
    previous=$argument
done

case ${SLURM_JOB_ID:+job}:$engine in
job: | job:mpi)
    # A rank that is lost would have the others wait for it until the job's time is over.
    run srun --mpi="${SLURM_MPI_TYPE:-pmi2}" --kill-on-bad-exit=1 \
        defectpdf generate --engine mpi "$@"
    ;;
job:dask) run defectpdf generate --cluster srun "$@" ;;
: | :dask) run defectpdf generate --workers "${WORKERS:-$cores}" "$@" ;;
*) run defectpdf generate "$@" ;;
esac
