# shellcheck shell=bash
# Chooses who gives out the host's memory: `source launch/allocator.sh` before training, evaluation or `tfds build`.
# That is tcmalloc where it is installed (Debian, Ubuntu: apt-get install libtcmalloc-minimal4); else glibc, which is
# told to keep freed memory. By itself it has large buffers mapped anew at every use (docs/performance.md).
tcmalloc="$(compgen -G "/usr/lib*/libtcmalloc_minimal.so.4" || compgen -G "/usr/lib/*/libtcmalloc_minimal.so.4" || true)"
if [[ -n $tcmalloc ]]; then
  tcmalloc="${tcmalloc%%$'\n'*}"
  [[ :${LD_PRELOAD:-}: == *:"$tcmalloc":* ]] || export LD_PRELOAD="$tcmalloc${LD_PRELOAD:+:$LD_PRELOAD}"
  # Freed memory is kept, and a buffer of a gigabyte needs no report.
  export TCMALLOC_RELEASE_RATE=0 TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD=1099511627776
else
  export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456
fi
unset tcmalloc
