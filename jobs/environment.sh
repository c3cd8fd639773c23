# shellcheck shell=bash
# Puts `defectpdf` on the PATH; sourced by the other scripts.
#
# Uses the active environment if it has defectpdf, else .venv in the project, which it makes if it
# is not there yet. SITE: where compute nodes have no internet, run `bash jobs/environment.sh` once
# on the login node. Load your site's Python and MPI modules before it.

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

if ! command -v defectpdf >/dev/null 2>&1; then
    if [ ! -e "$project/.venv/complete" ]; then
        mkdir -p "$project/.venv"
        (
            flock 9 # the jobs of an array would all make it
            [ -e "$project/.venv/complete" ] && exit
            echo "making $project/.venv" >&2
            "${PYTHON:-python3}" -m venv "$project/.venv" &&
                "$project/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
                    --constraint "$project/constraints.txt" --editable "${project}[mpi,slurm,test]" &&
                touch "$project/.venv/complete"
        ) 9>"$project/.venv/lock" || {
            echo "could not make $project/.venv" >&2
            return 1 2>/dev/null || exit 1
        }
    fi
    PATH=$project/.venv/bin:$PATH
    export PATH
fi

# nproc would otherwise answer with the number of threads, which is set next.
cores=$(env -u OMP_NUM_THREADS nproc)
# One thread for each process: the parallelism is in the processes.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
