#!/bin/bash
#SBATCH --job-name=defectpdf-generate
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#
# Compute a store of PDFs.
#
#     sbatch jobs/generate.sh [run.toml] --store metals.zarr      one MPI rank a task
#     bash   jobs/generate.sh [run.toml] --store metals.zarr      Dask workers on this machine
#
# All arguments go to `defectpdf generate`. A job that ends early loses nothing: submit it again and
# it computes what is missing.
# SITE: add --account and --partition on sbatch's command line; load your MPI module before. Set
# SLURM_MPI_TYPE to the interface that your MPI library speaks if that is not pmi2, which the MPICH
# of constraints.txt speaks; `srun --mpi=list` lists what your Slurm has.

set -euo pipefail

# Slurm runs a copy of this script, so that the project is found from where it was submitted.
jobs=$(dirname -- "${BASH_SOURCE[0]}")
[ -e "$jobs/environment.sh" ] || jobs=${DEFECTPDF_HOME:-$SLURM_SUBMIT_DIR}/jobs
source "$jobs/environment.sh"

if [ -n "${SLURM_JOB_ID:-}" ]; then
    srun --mpi="${SLURM_MPI_TYPE:-pmi2}" defectpdf generate --engine mpi "$@"
else
    defectpdf generate --workers "${WORKERS:-$cores}" "$@"
fi
