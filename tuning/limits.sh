#!/bin/sh
# Limits: io_uring for everybody, and room for descriptors.
#
# kernel.io_uring_disabled=2 forbids io_uring to all, 1 to all but root and the group in kernel.io_uring_group: where you
# use that group on purpose, do not apply this. fs.nr_open is what LimitNOFILE= and ulimit -n can be raised to.
# Keep it with tuning/sysctl.d/60-tallyring.conf; the limits of a process are in tuning/systemd and tuning/limits.d.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

settings() {
    want text /proc/sys/kernel/io_uring_disabled 0
    want at_least /proc/sys/fs/nr_open 1048576
}

main "$@"
