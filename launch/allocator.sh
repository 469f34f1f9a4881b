# shellcheck shell=bash
# Chooses the memory allocator: `source launch/allocator.sh` before training, evaluation or `tfds build`.
# Uses tcmalloc if it is installed (Debian, Ubuntu: apt-get install libtcmalloc-minimal4); otherwise it makes glibc keep
# freed memory. By default glibc maps large buffers again at every use (docs/running/performance.md).
if [ -n "$(find -L /usr/lib /usr/lib64 -maxdepth 2 -name libtcmalloc_minimal.so.4 -print -quit 2> /dev/null)" ]; then
  case ":${LD_PRELOAD:-}:" in
    *:libtcmalloc_minimal.so.4:*) ;;
    *) export LD_PRELOAD="libtcmalloc_minimal.so.4${LD_PRELOAD:+:$LD_PRELOAD}" ;;
  esac
  # Keep freed memory, and do not report large allocations.
  export TCMALLOC_RELEASE_RATE=0 TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD=1099511627776
else
  export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456
fi
