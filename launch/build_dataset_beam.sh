#!/usr/bin/env bash
# Builds a dataset with Apache Beam: on this machine, or on the workers of Dataflow, Flink or Spark.
# Usage: ./launch/build_dataset_beam.sh DATASET CONFIG MANUAL_DIR DATA_DIR [BEAM_OPTIONS [FLAG OF tfds build ...]]
#   ./launch/build_dataset_beam.sh audioset instruments clips data
#   ./launch/build_dataset_beam.sh audioset all /mnt/clips /mnt/data \
#       runner=FlinkRunner,flink_master=HOST:8081,environment_type=EXTERNAL,environment_config=localhost:50000
# Every worker must mount MANUAL_DIR and DATA_DIR at the same path. See docs/data/preparation.md.
set -euo pipefail
if (( $# < 4 )); then
  sed -n '3,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
absolute() { case "$1" in *://*) echo "$1" ;; *) realpath -m "$1" ;; esac; }
manual_dir=$(absolute "$3") data_dir=$(absolute "$4")
cd "$(dirname "$0")/.."
source launch/allocator.sh
local_workers="runner=DirectRunner,direct_running_mode=multi_processing,direct_num_workers=$(nproc)"
exec tfds build "data_builders/$1" --config="$2" --manual_dir="$manual_dir" --data_dir="$data_dir" \
  --beam_pipeline_options="${5:-$local_workers}" "${@:6}"
