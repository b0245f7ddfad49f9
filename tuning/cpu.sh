#!/bin/sh
# Cores: full frequency, and no sleep so deep that waking up is felt.
#
# Idle states that take longer than 10 microseconds to leave are disabled on the shards' cores. The governor
# "performance" sets energy_performance_preference by itself. It costs power, and on some machines the highest turbo
# frequencies, which need other cores to sleep deeply.
# Undone by a restart: tuning/systemd/tallyring-tuning.service applies it again. Boot parameters are only reported.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

EXIT_LATENCY_MAX_US=10

settings() {
    need_cores
    for core in $cores; do
        cpu=/sys/devices/system/cpu/cpu$core
        want text "$cpu/cpufreq/scaling_governor" performance
        for idle in "$root$cpu"/cpuidle/state*; do
            latency_us=$(cat "$idle/latency" 2>/dev/null) || continue
            [ "$latency_us" -le "$EXIT_LATENCY_MAX_US" ] || want text "${idle#"$root"}/disable" 1
        done
    done
    for parameter in isolcpus nohz_full rcu_nocbs; do
        report "$parameter=" "$(boot_parameter "$parameter")" "Cores for the shards alone: see docs/tuning.md"
    done
}

main "$@"
