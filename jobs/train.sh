#!/bin/bash
#SBATCH --job-name=defectpdf-train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=02:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#
# Train a classifier on a store.
#
#     sbatch --gpus-per-node=2 jobs/train.sh metals.zarr --out runs/first     one process a GPU
#     bash   jobs/train.sh metals.zarr --out runs/first                       on this machine
#
# All arguments go to `python -m train`. A run that ends early goes on from its last
# epoch when it is submitted again.
# SITE: add --account and --partition on sbatch's command line.

set -euo pipefail

jobs=$(dirname -- "${BASH_SOURCE[0]}")
[ -e "$jobs/environment.sh" ] || jobs=${DEFECTPDF_HOME:-$SLURM_SUBMIT_DIR}/jobs
threads=${OMP_NUM_THREADS:-}
source "$jobs/environment.sh"
# Training is one process a GPU, or one for all cores.
export OMP_NUM_THREADS=${threads:-${SLURM_CPUS_PER_TASK:-$cores}}

processes=${SLURM_GPUS_ON_NODE:-1}
launch=(torchrun --nproc-per-node="$processes" -m train "$@")
if [ -z "${SLURM_JOB_ID:-}" ]; then
    "${launch[@]}"
elif [ "$SLURM_JOB_NUM_NODES" -eq 1 ]; then
    srun torchrun --standalone --nproc-per-node="$processes" -m train "$@"
else
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    srun torchrun --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="$processes" \
        --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d \
        --rdzv-endpoint="$head:$((20000 + SLURM_JOB_ID % 20000))" -m train "$@"
fi
