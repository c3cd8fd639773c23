#!/bin/bash
# The whole job on this machine: the embedded library, PDFs of relaxed point defects (relaxed.toml), a
# trained classifier and a report.
#
#     bash jobs/laptop.sh [results]
#
# Run it again after an interruption: it goes on where it was.

set -euo pipefail

jobs=$(dirname -- "${BASH_SOURCE[0]}")
source "$jobs/environment.sh"

results=${1:-results}
mkdir -p "$results"
bash "$jobs/generate.sh" "$jobs/relaxed.toml" --store "$results/relaxed.zarr"
defectpdf verify "$results/relaxed.zarr"
OMP_NUM_THREADS=$cores defectpdf train "$results/relaxed.zarr" --out "$results/run"
defectpdf evaluate "$results/run" "$results/relaxed.zarr" --split test
defectpdf report "$results/run" -o "$results/report.html"
