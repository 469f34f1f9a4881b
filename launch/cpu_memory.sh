# shellcheck shell=bash
# Tells glibc to keep freed memory: `source launch/cpu_memory.sh` before training on a CPU.
# XLA's CPU backend asks for the same buffers every step; having them mapped anew each time makes a step in miniature
# half as long again (docs/performance.md).
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456
