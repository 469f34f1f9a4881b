#!/usr/bin/env bash
# Builds the synthetic dataset, trains and evaluates three small networks on it, and writes a report.
# Usage: ./launch/quickstart.sh [cuda|tpu]. A second run reuses the dataset and the checkpoints.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/install.sh "${1:-}"
source launch/allocator.sh

# The miniatures have one worker, which runs on one device.
export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES-0}"
export TPU_PROCESS_BOUNDS=1,1,1 TPU_CHIPS_PER_PROCESS_BOUNDS=1,1,1 TPU_VISIBLE_CHIPS="${TPU_VISIBLE_CHIPS-0}"

runs=runs/quickstart
networks=(l3net avenet avolnet)
if ! compgen -G "data/synthetic_av/miniature/*.*.?/dataset_info.json" > /dev/null; then
  echo "== Building the synthetic dataset"
  tfds build data_builders/synthetic_av --config=miniature --data_dir=data
fi
for network in "${networks[@]}"; do
  echo "== Training and evaluating $network"
  python -m avlearn.main --config="configs/$network.py:miniature" --workdir="$runs/$network"
done
echo "== Results"
avlearn report --output="$runs/report" "${networks[@]/#/$runs/}"
