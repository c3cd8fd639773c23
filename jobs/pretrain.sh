#!/bin/bash
# Train the network that `defectpdf analyse` asks, and put it in its place in this clone: on two cores
# some 20 minutes.
#
#     bash jobs/pretrain.sh [results]
#
# Run it again after an interruption: it goes on where it was. With a GPU, take
# `defectpdf train ... --set cuda_graphs=true` for the third step.

set -euo pipefail

jobs=$(dirname -- "${BASH_SOURCE[0]}")
source "$jobs/environment.sh"

results=${1:-results}
mkdir -p "$results"
bash "$jobs/generate.sh" "$jobs/pretrained.toml" --store "$results/pretrained.zarr"
OMP_NUM_THREADS=$cores defectpdf train "$results/pretrained.zarr" --out "$results/pretrained" \
    --recipe pretrained
python -m train.measured.pretrained "$results/pretrained" "$results/pretrained.zarr"
