#!/bin/bash
#SBATCH --job-name=defectpdf-train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=02:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#
# Train a classifier on a store.
#
#     sbatch --gpus-per-node=2 jobs/train.sh S --out R        one process a GPU
#     sbatch --ntasks-per-node=2 jobs/train.sh S --out R      two processes on a node without GPUs
#     sbatch --nodes=4 --gpus-per-node=2 jobs/train.sh S --out R
#     bash   jobs/train.sh S --out R                          on this machine; PROCESSES=2 for two
#
# All arguments go to `defectpdf train`. Before its time is over the job goes back to the queue by
# itself, DEFECTPDF_MAX_REQUEUES (10) times at most, and training goes on where it was. A process
# that dies alone is started again with the others, three times at most, from the last snapshot.
#
# On one node nothing listens beyond loopback. Several nodes meet at the address that the first one's
# name has, on a port that follows from the job's number; docs/training.md says who must not get there.
# SITE: DEFECTPDF_INTERFACE=ib0 has them meet on that interface instead.
#
# sbatch's command line overrides the lines above, and so do its variables, for example
# SBATCH_ACCOUNT and SBATCH_PARTITION.
# SITE: give account and partition in one of these ways; load your Python module before.
# SITE: where training always takes GPUs, add a line `#SBATCH --gpus-per-node=2` above.
# SITE: a copy of this script elsewhere needs DEFECTPDF_HOME, the folder of the project.

set -euo pipefail

jobs=${DEFECTPDF_HOME:+$DEFECTPDF_HOME/jobs}
jobs=${jobs:-$(dirname -- "${BASH_SOURCE[0]}")}
if [ ! -e "$jobs/slurm.sh" ]; then # Slurm runs a copy, but it knows of which file.
    jobs=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=//p')
    jobs=${jobs%%/train.sh*}
fi
threads=${OMP_NUM_THREADS:-}
source "$jobs/slurm.sh"

nodes=${SLURM_JOB_NUM_NODES:-1}
if [ -n "${SLURM_JOB_ID:-}" ]; then
    tasks=${SLURM_TASKS_PER_NODE%%[(,]*} # of a list such as 2(x3),1
    cores=$((tasks * ${SLURM_CPUS_PER_TASK:-1}))
    processes=${SLURM_GPUS_ON_NODE:-$tasks}
    # `launch` starts the processes of a node: Slurm has one task there, with all of the job's CPUs.
    unset SLURM_CPUS_PER_TASK SRUN_CPUS_PER_TASK
    step=(srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --cpu-bind=none)
else
    processes=${PROCESSES:-1}
    step=()
fi
export OMP_NUM_THREADS=${threads:-$((cores > processes ? cores / processes : 1))}

if [ "$nodes" -gt 1 ]; then
    # This script runs on the first node.
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    if [ -n "${DEFECTPDF_INTERFACE:-}" ]; then
        head=$(ip -oneline -4 address show dev "$DEFECTPDF_INTERFACE" |
            sed -n '1s/.* inet \([0-9.]*\).*/\1/p')
        if [ -z "$head" ]; then
            echo "DEFECTPDF_INTERFACE: $DEFECTPDF_INTERFACE has no IPv4 address on $(hostname)" >&2
            exit 2
        fi
    fi
    launch=(defectpdf launch --nodes "$nodes" --processes "$processes"
        --head "$head:$((20000 + SLURM_JOB_ID % 20000))" --)
elif [ "$processes" -gt 1 ]; then
    launch=(defectpdf launch --processes "$processes" --)
else
    launch=(defectpdf train)
fi
run "${step[@]}" "${launch[@]}" "$@"
