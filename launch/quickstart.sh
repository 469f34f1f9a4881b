#!/usr/bin/env bash
# From nothing to a report: builds the synthetic world, trains and evaluates three networks in miniature.
# Usage: ./launch/quickstart.sh [cuda|tpu]. Run again, it reuses what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/install.sh "${1:-}"
source launch/allocator.sh

# One worker runs on one device.
export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES-0}"
export TPU_PROCESS_BOUNDS=1,1,1 TPU_CHIPS_PER_PROCESS_BOUNDS=1,1,1 TPU_VISIBLE_CHIPS="${TPU_VISIBLE_CHIPS-0}"

runs=runs/quickstart
networks=(l3net avenet avolnet)
if ! compgen -G "data/synthetic_av/miniature/*.*.?/dataset_info.json" > /dev/null; then
  echo "== Building the synthetic world"
  tfds build data_builders/synthetic_av --config=miniature --data_dir=data
fi
for network in "${networks[@]}"; do
  echo "== Training and evaluating $network"
  python -m avlearn.main --config="configs/$network.py:miniature" --workdir="$runs/$network"
done
echo "== Results"
avlearn report --output="$runs/report" "${networks[@]/#/$runs/}"
