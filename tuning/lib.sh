# shellcheck shell=sh
# What the group scripts share: compare a setting with its target, journal its old bytes, write it, restore it.
#
# A group script names every setting with its target once, in a function `settings`, by calling `want` (or `report` for
# what is only reported), and ends with `main "$@"`.
#
# The journal of a group is a directory that mirrors the tree: $journal/proc/sys/net/core/somaxconn has the bytes that
# this file had before. It is in /run, which a restart of the machine empties just as it undoes the settings.
# Invariants: no setting is written before the old bytes of all of them are in the journal and synced; an entry is never
# replaced, so it has the bytes from before the first apply, however often apply is cut short; the journal goes only
# when everything is restored. check and diff write nothing.
#
# TALLYRING_TUNING_ROOT puts another directory in front of every path, for tests. TALLYRING_TUNING_KILL_AT=n kills the
# script at its n-th step, likewise.

set -u
export LC_ALL=C

group=$(basename "$0" .sh)
root=${TALLYRING_TUNING_ROOT:-}
root=${root%/}
state=$root/run/tallyring-tuning
journal=$state/$group
cores=
nics=
differing=0
failed=0
steps=0

# The script's own opening comment is its help.
usage() {
    sed -n '2,/^$/s/^#\( \|$\)//p' "$0"
    cat <<END

Usage: $0 check|diff|apply|revert [--cores LIST] [--nics LIST]
  check   say of every setting whether it is as it should be; 1 when one is not
  diff    only what differs, now -> target; 1 when something does
  apply   write what differs, the old values into a journal first
  revert  restore the old values byte for byte
  --cores LIST  the shards' cores, such as 0-3,6 [default: all that are online]
  --nics LIST   network interfaces, such as eth0,eth1 [default: those with hardware that are up]
END
}

# $cores and $nics are for settings to go through.
# shellcheck disable=SC2034
main() {
    [ $# -gt 0 ] || wrong_usage "say what to do"
    action=$1
    shift
    case $action in
    check | diff | apply | revert) ;;
    -h | --help) usage && exit 0 ;;
    *) wrong_usage "unknown action: $action" ;;
    esac
    list=$(cat "$root/sys/devices/system/cpu/online" 2>/dev/null)
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help) usage && exit 0 ;;
        --cores) list=${2:-} ;;
        --nics) nics=$(printf '%s' "${2:-}" | tr , ' ') ;;
        *) wrong_usage "unknown option: $1" ;;
        esac
        [ -n "${2:-}" ] || wrong_usage "$1 needs a value"
        shift 2
    done
    cores=$(cores_of "$list") || wrong_usage "not a list of cores: $list"
    case $action in
    check | diff)
        phase=$action
        settings
        ;;
    apply)
        need_root
        finish_revert
        phase=journal
        settings
        [ "$failed" -eq 0 ] || fail "nothing was changed"
        phase='write'
        settings
        ;;
    revert)
        need_root
        revert
        ;;
    esac
    [ "$failed" -eq 0 ] || exit 1
    case $action in check | diff) [ "$differing" -eq 0 ] || exit 1 ;; esac
    exit 0
}

wrong_usage() {
    printf '%s: %s. See %s --help\n' "$group" "$1" "$0" >&2
    exit 2
}

complain() {
    printf '%s: %s\n' "$group" "$*" >&2
    failed=$((failed + 1))
}

fail() {
    complain "$@"
    exit 1
}

need_root() {
    [ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail "$action needs root: sudo $0 $action"
}

# 0-2,5 -> 0 1 2 5
cores_of() {
    [ -n "$1" ] || return 0
    printf '%s' "$1" | grep -Eq '^[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*$' || return 1
    printf '%s\n' "$1" | tr , '\n' | while IFS=- read -r first last; do
        seq "$first" "${last:-$first}"
    done | tr '\n' ' '
}

need_cores() {
    [ -n "$cores" ] || fail "cannot read which cores are online: name the shards' cores with --cores"
}

# want KIND PATH TARGET: the setting at PATH and how it is compared.
#   text      it reads TARGET
#   at_least  a number, TARGET or more
#   at_most   a number, TARGET or less
#   choice    the word in [brackets] is one of those in TARGET, of which the first is written
#   mask      hexadecimal mask of cores
# A file that is not there, or cannot be read, is said to be so and never written.
want() {
    path=$2
    goal=$3
    [ "$1" != choice ] || goal=${3%% *}
    if ! now=$(value "$1" "$root$path" 2>/dev/null) || [ -z "$now" ]; then
        [ "$phase" != check ] || printf 'unknown  %s: not there, or not readable\n' "$path"
        return 0
    fi
    if satisfied "$1" "$now" "$3"; then
        [ "$phase" != check ] || printf 'ok       %s: %s\n' "$path" "$now"
        return 0
    fi
    differing=$((differing + 1))
    case $phase in
    check) printf 'differs  %s: %s, should be %s\n' "$path" "$now" "$goal" ;;
    diff) printf '%s: %s -> %s\n' "$path" "$now" "$goal" ;;
    journal) remember "$path" || complain "cannot journal $path" ;;
    write) change "$1" "$path" "$now" "$goal" "$3" ;;
    esac
}

# report NAME NOW ADVICE: what no script changes, such as a boot parameter.
report() {
    [ "$phase" != check ] || printf 'report   %s: %s. %s\n' "$1" "$2" "$3"
}

# The boot parameter NAME as the kernel got it.
boot_parameter() {
    tr ' ' '\n' <"$root/proc/cmdline" 2>/dev/null | grep "^$1=" || printf 'not set'
}

value() {
    case $1 in
    choice) sed -n 's/.*\[\(.*\)\].*/\1/p' "$2" ;;
    *) cat "$2" ;;
    esac
}

satisfied() {
    case $1 in
    text) [ "$2" = "$3" ] ;;
    at_least) [ "$2" -ge "$3" ] ;;
    at_most) [ "$2" -le "$3" ] ;;
    choice) case " $3 " in *" $2 "*) true ;; *) false ;; esac ;;
    mask) [ "$(plain_mask "$2")" = "$(plain_mask "$3")" ] ;;
    esac
}

# 00000000,0000000f -> f
plain_mask() {
    printf '%s' "$1" | tr -d , | sed 's/^0*//'
}

# The mask of the cores that are named, in groups of 32 bits as the kernel writes it. awk's numbers hold 32 bits.
mask_of() {
    printf '%s\n' "$@" | awk '
        BEGIN { top = 0 }
        { word[int($1 / 32)] += 2 ^ ($1 % 32); if ($1 / 32 > top) top = int($1 / 32) }
        END { text = sprintf("%x", word[top]); while (top-- > 0) text = text sprintf(",%08x", word[top]); print text }'
}

# Keep the bytes of a setting, unless they are kept already.
remember() {
    entry=$journal$1
    [ ! -e "$entry" ] || return 0
    partial=$entry.partial.$$
    mkdir -p "${entry%/*}" && cat "$root$1" >"$partial" && sync "$partial" || return 1
    step
    # ln and not mv: it does not replace what another apply has kept meanwhile.
    ln "$partial" "$entry" 2>/dev/null
    step
    rm -f "$partial"
    [ -e "$entry" ] && sync "${entry%/*}" || return 1
    step
}

change() {
    [ -e "$journal$2" ] || fail "$2 changed while this ran: apply again"
    line=$4
    if [ "$1" = choice ] && [ -n "$root" ]; then
        # In a tree of plain files nobody moves the brackets, as the kernel does when it is given a word.
        line=$(tr -d '[]' <"$journal$2" | sed -E "s/(^| )$4( |\$)/\1[$4]\2/")
    fi
    step
    if ! problem=$({ printf '%s\n' "$line" >"$root$2"; } 2>&1); then
        complain "cannot write $4 to $2: ${problem##*: }"
        return 0
    fi
    step
    if satisfied "$1" "$(value "$1" "$root$2" 2>/dev/null)" "$5"; then
        printf '%s: %s -> %s\n' "$2" "$3" "$4"
    else
        complain "$2 took $4 but does not have it"
    fi
}

revert() {
    finish_revert
    if [ ! -d "$journal" ]; then
        printf 'nothing to revert\n'
        return 0
    fi
    paths=$(cd "$journal" && find . -type f ! -name '*.partial.*' | sort)
    for path in $paths; do
        restore "${path#.}"
    done
    [ "$failed" -eq 0 ] || fail "the journal stays in $journal: revert again"
    # What was cut short while the journal is removed is finished by the next apply or revert.
    mv "$journal" "$journal.reverted"
    step
    finish_revert
}

finish_revert() {
    [ ! -d "$journal.reverted" ] || rm -r "$journal.reverted"
    step
    [ ! -d "$state" ] || rmdir "$state" 2>/dev/null || true
}

restore() {
    if [ ! -e "$root$1" ]; then
        printf '%s: is gone, nothing to restore\n' "$1"
        return 0
    fi
    is_as_before "$1" && return 0
    step
    word=$(value choice "$journal$1")
    if [ -n "$word" ] && [ -z "$root" ]; then
        problem=$({ printf '%s\n' "$word" >"$1"; } 2>&1)
    else
        problem=$({ cat "$journal$1" >"$root$1"; } 2>&1)
    fi
    step
    if is_as_before "$1"; then
        printf '%s: restored %s\n' "$1" "${word:-$(cat "$journal$1")}"
    else
        complain "cannot restore $1: ${problem##*: }"
    fi
}

# cmp alone would compare lengths, which are 0 in /proc and a page in /sys.
# shellcheck disable=SC2002
is_as_before() {
    cat "$root$1" 2>/dev/null | cmp -s - "$journal$1"
}

# Where the tests end the script as a crash would.
step() {
    steps=$((steps + 1))
    [ "$steps" != "${TALLYRING_TUNING_KILL_AT:-}" ] || kill -KILL "$$"
}
