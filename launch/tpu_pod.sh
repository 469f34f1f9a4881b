#!/usr/bin/env bash
# Trains on a slice of Cloud TPUs, from one host to a pod.
# Usage: launch/tpu_pod.sh create|run|logs|resume|delete [--print] [SETTING ...] [-- FLAG OF avlearn.main ...]
#   create  requests the TPU; the request waits in a queue until one is available
#   run     copies the last commit of this checkout to every worker, installs it and starts training as a service
#   logs    follows the log of one worker
#   resume  repeats the last `run`: training resumes from its checkpoint, on the same TPU or a new one
#   delete  deletes the TPU and keeps the bucket
#   --print prints the commands and executes none
# Settings, as flags or in the environment:
#   --name=NAME       AVLEARN_TPU_NAME      name of the TPU and of its request
#   --zone=ZONE       AVLEARN_TPU_ZONE      such as us-central2-b
#   --project=ID      AVLEARN_TPU_PROJECT   default: the project of gcloud
#   --type=TYPE       AVLEARN_TPU_TYPE      accelerator type, such as v4-32, v5litepod-16, v5p-32, v6e-16 (create)
#   --runtime=NAME    AVLEARN_TPU_RUNTIME   software version of the TPU; default: depends on the type (create)
#   --spot=yes|no     AVLEARN_TPU_SPOT      cheaper, but may be preempted; default: no (create)
#   --bucket=gs://B   AVLEARN_TPU_BUCKET    with a hierarchical namespace; mounted as /mnt/avlearn on every worker, holds
#                                           the workdir runs/NAME and data (run, resume)
#   --worker=N        AVLEARN_TPU_WORKER    worker whose log to follow; default: 0, which reports progress (logs)
# Example:
#   export AVLEARN_TPU_NAME=avenet AVLEARN_TPU_ZONE=us-central2-b AVLEARN_TPU_BUCKET=gs://my-bucket
#   launch/tpu_pod.sh create --type=v4-32 --spot=yes
#   launch/tpu_pod.sh run -- --config=configs/avenet.py --config.model.dtype=bfloat16
set -euo pipefail

preempted=75  # exit code of a run that was preempted and has saved
mounted=/mnt/avlearn

die() {
  echo "error: $*" >&2
  exit 2
}

# Quotes a word for a shell, if it needs quotes.
quoted() {
  if [[ $1 =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then printf '%s' "$1"; else printf '%s' "${1@Q}"; fi
}

words() {
  local word separator=''
  for word in "$@"; do
    printf '%s' "$separator"
    quoted "$word"
    separator=' '
  done
}

# Executes a command, or prints it under --print.
execute() {
  if [[ $print == yes ]]; then
    words "$@"
    echo
  else
    "$@"
  fi
}

need() {
  local setting
  for setting in "$@"; do
    [[ -n ${settings[$setting]} ]] ||
      die "$action needs --$setting=... or AVLEARN_TPU_${setting^^} in the environment (--help lists the settings)"
  done
}

runtime_of_type() {
  case "${settings[type]}" in
    v2-* | v3-* | v4-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) die "the runtime for --type=${settings[type]} is unknown; name it with --runtime=NAME" ;;
  esac
}

create() {
  need name zone type
  local runtime="${settings[runtime]}" spot=()
  [[ -n $runtime ]] || runtime=$(runtime_of_type)
  case "${settings[spot]}" in
    yes) spot=(--spot) ;;
    no | '') ;;
    *) die "--spot=${settings[spot]} is unknown; use --spot=yes or --spot=no" ;;
  esac
  execute gcloud compute tpus queued-resources create "${settings[name]}" --node-id="${settings[name]}" "${where[@]}" \
    --accelerator-type="${settings[type]}" --runtime-version="$runtime" "${spot[@]}"
  [[ $print == yes ]] || echo "The request waits in the queue. Start the run when this command prints ACTIVE:"
  local shown=$print
  print=yes
  execute gcloud compute tpus queued-resources describe "${settings[name]}" "${where[@]}" '--format=value(state.state)'
  print=$shown
}

on_workers() {
  execute gcloud compute tpus tpu-vm ssh "${settings[name]}" "${where[@]}" --worker="$1" --command="$2"
}

# Adds the workdir and the data directory in the mounted bucket, unless the flags name them.
complete_flags() {
  local all=" ${flags[*]} " flag config
  for flag in "${flags[@]}"; do
    [[ $flag == --*=* || $flag == --profile ]] ||
      die "$flag is not of the form --NAME=VALUE, such as --workdir=/shared/runs/avenet"
    [[ $flag != --workdir=*:/* ]] ||
      die "$flag is not a directory; leave it out for runs/${settings[name]} in --bucket=gs://..., or name a mounted one"
  done
  [[ $all == *' --config='* ]] || die "--config is missing; for example: $action ... -- --config=configs/avenet.py"
  config="${all#* --config=}" config="${config%%[: ]*}"
  [[ $config == /* ]] || git cat-file -e "HEAD:$config" 2> /dev/null ||
    die "--config=$config is not in the last commit of the checkout, which the workers get; commit it"
  [[ -z ${settings[bucket]} || ${settings[bucket]} =~ ^(gs://)?[^/[:space:]]+/?$ ]] ||
    die "--bucket=${settings[bucket]} is not a bucket; name it without a folder, such as --bucket=gs://my-bucket"
  if [[ $all != *' --workdir='* ]]; then
    [[ -n ${settings[bucket]} ]] || die "the disk of a worker is deleted with the TPU, so the run needs --bucket=gs://..." \
      "or AVLEARN_TPU_BUCKET (or --workdir=DIRECTORY THAT ALL WORKERS SHARE among the flags after --)"
    flags+=("--workdir=$mounted/runs/${settings[name]}")
  fi
  if [[ $all != *' --config.data.data_dir='* && -n ${settings[bucket]} ]]; then
    flags+=("--config.data.data_dir=$mounted/data")
  fi
  [[ "${flags[*]}" != *"=$mounted/"* ]] || need bucket
}

# Mounts the bucket on the workers, without metadata caches, so that all see immediately what one of them writes.
mount_bucket() {
  local bucket="${settings[bucket]#gs://}"
  on_workers all 'set -e; if ! command -v gcsfuse > /dev/null; then'\
' key=/usr/share/keyrings/cloud.google.asc; apt=https://packages.cloud.google.com/apt;'\
' curl -sS "$apt/doc/apt-key.gpg" | sudo tee "$key" > /dev/null;'\
' echo "deb [signed-by=$key] $apt gcsfuse-$(lsb_release -cs) main" | sudo tee /etc/apt/sources.list.d/gcsfuse.list;'\
' sudo apt-get -qq update; sudo apt-get -qq install --yes gcsfuse; fi;'\
" if ! mountpoint --quiet $mounted; then sudo mkdir -p $mounted; sudo chown \"\$(id -u):\$(id -g)\" $mounted;"\
' gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 --metadata-cache-negative-ttl-secs=0'\
" $(quoted "${bucket%/}") $mounted; fi"
}

install_and_start() {
  local archive="${TMPDIR:-/tmp}/avlearn-${settings[name]}.tar.gz"
  if [[ $print == no && -n $(git status --porcelain --untracked-files=no) ]]; then
    echo "warning: uncommitted changes are not copied; the workers get $(git rev-parse --short HEAD)" >&2
  fi
  execute git archive --format=tar.gz --output="$archive" HEAD
  execute gcloud compute tpus tpu-vm scp "$archive" "${settings[name]}:avlearn.tar.gz" "${where[@]}" --worker=all
  # -m makes every file newer than the last installation, so that launch/install.sh updates it.
  on_workers all 'set -e; if systemctl is-active --quiet avlearn; then echo "error: a run is in progress" >&2; exit 1; fi;'\
' rm -rf avlearn/code; mkdir -p avlearn/code; tar -xzmf avlearn.tar.gz -C avlearn/code;'\
' if ! ldconfig -p | grep -q libtcmalloc_minimal.so.4; then'\
' (sudo apt-get -qq update && sudo apt-get -qq -o DPkg::Lock::Timeout=300 install --yes libtcmalloc-minimal4)'\
' || echo "warning: tcmalloc could not be installed; glibc will keep freed memory instead" >&2; fi;'\
' cd avlearn/code; python3 -m pip install --quiet --user uv; ~/.local/bin/uv python install --quiet 3.12;'\
' export PYTHON="$(~/.local/bin/uv python find 3.12)" AVLEARN_VENV="$HOME/avlearn/venv"; source launch/install.sh tpu'
  [[ -z ${settings[bucket]} ]] || mount_bucket
  # A service outlives the ssh session; when the machine shuts down, it gets SIGTERM and saves.
  on_workers all 'cd avlearn/code && source launch/allocator.sh && sudo systemd-run --unit=avlearn --collect'\
' --uid="$(id -u)" --gid="$(id -g)"'\
' --working-directory="$PWD" --setenv=HOME="$HOME" --setenv=JAX_PLATFORMS=tpu,cpu'\
' $(env | grep -E "^(LD_PRELOAD|(TC)?MALLOC_[A-Z_]+)=" | sed "s/^/--setenv=/")'\
' --property=StandardOutput=append:"$HOME/avlearn/run.log" --property=StandardError=append:"$HOME/avlearn/run.log"'\
" --property=RestartForceExitStatus=$preempted --property=RestartSec=30 --property=TimeoutStopSec=120"\
' "$HOME/avlearn/venv/bin/python" -m avlearn.main '"$(words "${flags[@]}")"
}

run() {
  need name zone
  complete_flags
  if [[ $print == no ]]; then
    mkdir -p "$(dirname "$record")"
    printf '%s\0' "${flags[@]}" > "$record"
  fi
  install_and_start
}

resume() {
  need name zone
  if (( ${#flags[@]} == 0 )); then
    [[ -e $record ]] || die "$record is missing: no run on ${settings[name]} was started from this checkout;" \
      "give its flags after --, as for run"
    mapfile -d '' -t flags < "$record"
  fi
  complete_flags
  install_and_start
}

logs() {
  need name zone
  [[ ${settings[worker]:-0} =~ ^([0-9]+|all)$ ]] ||
    die "--worker=${settings[worker]} is unknown; use a number from 0 on, or all"
  on_workers "${settings[worker]:-0}" 'tail -n 100 -F avlearn/run.log'
}

delete() {
  need name zone
  execute gcloud compute tpus queued-resources delete "${settings[name]}" "${where[@]}" --force
}

action="${1:-}"
case "$action" in
  create | run | logs | resume | delete) shift ;;
  -h | --help | help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit ;;
  '') die "an action is missing: create, run, logs, resume or delete (see --help)" ;;
  *) die "$action is unknown; use create, run, logs, resume or delete (see --help)" ;;
esac

declare -A settings
for setting in name zone project type runtime spot bucket worker; do
  variable="AVLEARN_TPU_${setting^^}"
  settings[$setting]="${!variable:-}"
done
print=no flags=()
while (( $# )); do
  case "$1" in
    --print) print=yes ;;
    --help) exec "$0" --help ;;
    --name=* | --zone=* | --project=* | --type=* | --runtime=* | --spot=* | --bucket=* | --worker=*)
      setting="${1%%=*}"
      settings[${setting#--}]="${1#*=}"
      ;;
    --) shift; flags=("$@"); break ;;
    *) die "$1 is not a setting of $action; flags of avlearn.main follow after -- (--help lists the settings)" ;;
  esac
  shift
done
[[ $action == run || $action == resume ]] || (( ${#flags[@]} == 0 )) ||
  die "$action takes no flags of avlearn.main: ${flags[*]}"
where=(--zone="${settings[zone]}")
[[ -z ${settings[project]} ]] || where+=(--project="${settings[project]}")
[[ -z ${settings[name]} || ${settings[name]} =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] ||
  die "--name=${settings[name]} is not the name of a TPU: lower-case letters, digits and hyphens, from a letter on"
cd "$(dirname "$0")/.."
record="runs/tpu_pod/${settings[name]}"
"$action"
