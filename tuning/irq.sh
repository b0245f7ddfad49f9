#!/bin/sh
# Interrupts and queues of network interfaces against the shards' cores.
#
# The interrupts of an interface go to the cores in turn, one core each. With fewer receive queues than cores the kernel
# spreads the packets by itself (RPS); with enough it leaves them where they came (RSS). Each core sends by a queue of
# its own as far as there are any (XPS). irqbalance would move the interrupts again, so stop it or keep it off them.
# Undone by a restart: tuning/systemd/tallyring-tuning.service applies it again.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# Lists of cores and interfaces are words to be split.
# shellcheck disable=SC2086
settings() {
    need_cores
    core_count=$(count_of $cores)
    for nic in ${nics:-$(nics_with_hardware)}; do
        queues=$root/sys/class/net/$nic/queues
        if [ ! -d "$queues" ]; then
            report "$nic" "has no queues here" "Name interfaces with --nics"
            continue
        fi
        interrupts
        receive
        send
    done
    report irqbalance "$(irqbalance)" "Where it runs: systemctl disable --now irqbalance, or IRQBALANCE_BANNED_CPULIST"
}

# shellcheck disable=SC2086
interrupts() {
    turn=0
    for irq in $(interrupts_of "$nic"); do
        want text "/proc/irq/$irq/smp_affinity_list" "$(nth "$turn" $cores)"
        turn=$((turn + 1))
    done
}

# shellcheck disable=SC2086
receive() {
    target=0
    [ "$(count_of "$queues"/rx-*)" -ge "$core_count" ] || target=$(mask_of $cores)
    for queue in "$queues"/rx-*; do
        want mask "${queue#"$root"}/rps_cpus" "$target"
    done
}

# Queue k is that of the cores whose places are k, k + queues, k + 2 queues ...; a single queue has no choice.
# shellcheck disable=SC2086
send() {
    queue_count=$(count_of "$queues"/tx-*)
    [ "$queue_count" -gt 1 ] && [ "$core_count" -gt 1 ] || return 0
    turn=0
    while [ "$turn" -lt "$queue_count" ]; do
        of_queue=
        place=0
        for core in $cores; do
            [ $((place % queue_count)) -ne "$turn" ] || of_queue="$of_queue $core"
            place=$((place + 1))
        done
        [ -z "$of_queue" ] || want mask "/sys/class/net/$nic/queues/tx-$turn/xps_cpus" "$(mask_of $of_queue)"
        turn=$((turn + 1))
    done
}

nics_with_hardware() {
    for nic in "$root"/sys/class/net/*; do
        [ -e "$nic/device" ] && [ "$(cat "$nic/operstate" 2>/dev/null)" = up ] && basename "$nic"
    done
}

# A virtio device has them at its parent.
interrupts_of() {
    device=$root/sys/class/net/$1/device
    for irqs in "$device/msi_irqs" "$device/../msi_irqs"; do
        [ -d "$irqs" ] && find "$irqs/" -mindepth 1 -exec basename {} \; | sort -n && return
    done
}

irqbalance() {
    for comm in "$root"/proc/[0-9]*/comm; do
        [ "$(cat "$comm" 2>/dev/null)" != irqbalance ] || { printf 'runs' && return; }
    done
    printf 'not seen'
}

count_of() {
    printf '%s' $#
}

# nth K WORD…: the K-th of the words, from 0 on, round and round.
nth() {
    skip=$(($1 % ($# - 1) + 1))
    shift "$skip"
    printf '%s' "$1"
}

main "$@"
