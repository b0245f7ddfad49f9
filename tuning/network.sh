#!/bin/sh
# Network: room for connections that arrive together.
#
# net.core.somaxconn cuts every listener's backlog (tallyring serve --tcp-backlog) without a word. A connection that
# finds the queue full is tried again by its client after a second.
# Keep it with tuning/sysctl.d/60-tallyring.conf. Why, and what it brought: docs/tuning.md.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

settings() {
    want at_least /proc/sys/net/core/somaxconn 4096
    want at_least /proc/sys/net/ipv4/tcp_max_syn_backlog 4096
}

main "$@"
