#!/bin/bash
# The tests on this machine; arguments go to pytest.

set -euo pipefail

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
source "$project/jobs/environment.sh"
cd "$project"
python -m pytest --numprocesses 2 --dist worksteal -m "not slow and not gpu and not slurm" "$@"
