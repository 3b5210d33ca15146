#!/usr/bin/env bash
# host.sh MPCFORMER SOURCE: `mpcformer host` as an operator meets it, on the hosts of tests/data.
set -u
hosts=$2/tests/data/hosts profiles=$2/firmware-config/profiles program=$1
work=$(mktemp -d /tmp/mpcformer-test-XXXXXX)
trap 'rm -rf "$work"' EXIT
failed=0

# A build outside `build/` does not find the profiles of the source.
mpcformer() {
    [ "${2-}" = revert ] && set -- "$program" "$@" || set -- "$program" "$@" --folder "$profiles"
    "$@"
}

bad() { echo "FAILED: $*"; failed=1; }

# ends STATUS WHAT... : run it, output in $work/out and $work/err
ends() {
    local want=$1 got=0
    shift
    "$@" >"$work/out" 2>"$work/err" </dev/null || got=$?
    [ $got = "$want" ] || bad "status $got, not $want: $*: $(cat "$work/err")"
}
says() { grep -qF -- "$1" "$work/out" "$work/err" || bad "\"$1\" is not said: $(cat "$work/out" "$work/err")"; }

# The status is the answer.
ends 0 mpcformer host check --root "$hosts/good"
says "33 pass, 8 warn (8 of them unknown), 0 fail"
ends 1 mpcformer host check --root "$hosts/bad"
says "fail     isolated-cpus"
says "set       cmdline hugepages=128"
says "set       cmdline isolcpus=domain,managed_irq,@cpus@"
ends 0 mpcformer host check --root "$hosts/unreadable"
says "0 pass, 16 warn (16 of them unknown), 0 fail"
ends 1 mpcformer host check --root "$hosts/good" --profile amd-genoa
says "fail: amd-cpu"

# JSON: one object on one line.
ends 1 mpcformer host check --root "$hosts/bad" --json
[ "$(wc -l <"$work/out")" = 1 ] || bad "more than a line of JSON"
says '"profiles":["generic","amd-genoa","nvidia-connectx"],"pass":4,"warn":23,"fail":6,"unknown":7,"entries":[{"result":"fail","id":"huge-pages","wanted":">= 128","found":"0"'

# An entry that somebody does without.
ends 1 mpcformer host check --root "$hosts/bad" --without connectx-slot -x connectx-ethernet
says "4 pass, 23 warn (7 of them unknown), 4 fail"
ends 3 mpcformer host check --root "$hosts/bad" --without nonesuch
says 'there is no entry "nonesuch" to leave out'

# Wrong usage.
ends 2 mpcformer host
ends 2 mpcformer host wipe
ends 2 mpcformer host check --yes
ends 2 mpcformer host revert --profile generic
ends 3 mpcformer host check --profile nonesuch
says 'there is no profile "nonesuch" in'
ends 3 mpcformer host check --root "$work/nonesuch"
says "$work/nonesuch: No such file or directory"

# Nothing without --yes, everything with it, and back.
cp -r "$hosts/bad" "$work/host"
ends 0 mpcformer host apply --root "$work/host" --dry-run
says "+kernel.numa_balancing = 0"
says "isolated-cpus: left out: say --cpus LIST"
says "amd-bios: BIOS: the section"
ends 3 mpcformer host apply --root "$work/host"
says "say --yes, or --dry-run"
diff -r "$hosts/bad" "$work/host" || bad "written without --yes"
ends 0 mpcformer host apply --root "$work/host" --cpus 2-7 --yes
says "update-grub, then reboot"
# GRUB reads its fragment with a shell.
line=$(GRUB_CMDLINE_LINUX=quiet && . "$work/host/etc/default/grub.d/90-mpcformer.cfg" && echo "$GRUB_CMDLINE_LINUX")
[ "$line" = "quiet hugepagesz=2M hugepages=128 transparent_hugepage=madvise isolcpus=domain,managed_irq,2-7 irqaffinity=0-1 rcu_nocbs=2-7 nosmt processor.max_cstate=1 iommu=pt" ] ||
    bad "GRUB would say: $line"
ends 0 mpcformer host apply --root "$work/host" --yes
says "No file changes."
ends 0 mpcformer host revert --root "$work/host"
says "removed /etc/default/grub.d/90-mpcformer.cfg; it counts after: update-grub"
diff -r "$hosts/bad" "$work/host" || bad "not as it was"
ends 3 mpcformer host revert --root "$work/host"

# Somebody without rights.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chmod 755 "$work"
    ends 3 setpriv --reuid 65534 --clear-groups "$program" host apply --root "$work/host" --yes --folder "$profiles"
    says "run them as root"
fi
exit $failed
