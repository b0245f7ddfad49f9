#!/bin/sh
# Memory: no huge pages unasked, no swapping, no page that moves between NUMA nodes.
#
# Swap itself is not switched off but reported; the systemd unit keeps the server out of it (MemorySwapMax=0).
# Keep the sysctls with tuning/sysctl.d/60-tallyring.conf, and huge pages with the boot parameter
# transparent_hugepage=madvise. Why, and what it brought: docs/tuning.md.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

settings() {
    want choice /sys/kernel/mm/transparent_hugepage/enabled "madvise never"
    want at_most /proc/sys/vm/swappiness 1
    want text /proc/sys/kernel/numa_balancing 0
    devices=$(tail -n +2 "$root/proc/swaps" 2>/dev/null | awk '{ print $1 }' | tr '\n' ' ')
    report swap "${devices:-none}" "Where the latency counts: swapoff -a, or MemorySwapMax=0 in the unit"
    report transparent_hugepage= "$(boot_parameter transparent_hugepage)" "transparent_hugepage=madvise keeps the choice"
}

main "$@"
