# What the jobs share; sourced by them. In a job it has Slurm's steps see what the job has, and
# brings a job that must stop early back into the queue.

# shellcheck shell=bash
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

# Where sites submit with --export=NONE, srun would keep the PATH from its steps.
export SLURM_EXPORT_ENV=ALL
# srun does not take this from its job.
if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi

# The last task of an array has the number of the array, which would stand for all its tasks.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-${SLURM_JOB_ID:-}}

# Become COMMAND... In a batch job, a TERM (by --signal before the walltime, or by a preemption)
# goes to it, and the job to the queue unless the command had finished.
run() {
    # In a terminal, a command in the background would not hear Ctrl-C.
    if [ -z "$job" ] || [ -t 0 ]; then exec "$@"; fi
    "$@" &
    local status=0 process=$!
    # srun itself would answer to a TERM by killing its tasks.
    if [ "$1" = srun ]; then
        trap 'stop $process scancel --quiet --signal=TERM "$job"' TERM
    else
        trap 'stop $process kill -TERM $process' TERM
    fi
    wait "$process" || status=$?
    exit "$status"
}

stop() { # PROCESS SIGNAL-IT...; takes the place of the rest of `run`
    trap '' TERM
    local process=$1 second status=143
    echo "$(date +%T) job $job must stop" >&2
    "${@:2}" || true
    # Not for ever: Slurm kills what is left when it requeues.
    for ((second = 0; second < 60; second++)); do
        if ! kill -0 "$process" 2>/dev/null; then
            status=0
            wait "$process" || status=$?
            break
        fi
        sleep 1
    done
    # Neither what has finished nor a user's mistake is better for a second try.
    if [ "$status" -ne 0 ] && [ "$status" -ne 2 ]; then requeue; fi
    exit "$status"
}

requeue() {
    local restarts=${SLURM_RESTART_COUNT:-0} most=${DEFECTPDF_MAX_REQUEUES:-10}
    # Else somebody has cancelled it, or a preemption has requeued it.
    if [ "$(squeue --noheader --jobs="$job" --format=%T)" != RUNNING ]; then return; fi
    if [ "$restarts" -ge "$most" ]; then
        echo "job $job was restarted $restarts times, DEFECTPDF_MAX_REQUEUES is $most: it ends" >&2
    elif scontrol requeue "$job"; then
        echo "job $job goes back to the queue, restart $((restarts + 1)) of at most $most" >&2
    fi
}
