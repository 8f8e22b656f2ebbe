#!/usr/bin/busybox sh
# The guest's first process: mounts what a host has, runs the trials, tells how they ended.

export PATH=/usr/sbin:/usr/bin HOME=/tmp

mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t securityfs securityfs /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup

# Lines of the console end as the trials wrote them.
stty -onlcr
ip link set lo up
for module in /modules/load/*.ko; do
    insmod "$module" || echo "could not load $module"
done
for module in /modules/spare/*.ko; do
    [ -e "$module" ] && export SAKURAMORI_TEST_MODULE="$module"
done

# The console is one stream: both outputs reach it by whole lines only.
by_line() {
    while IFS= read -r line || [ -n "$line" ]; do
        echo "$line"
    done
}

cd /tmp
echo "SAKURAMORI-VM-START $(uname -r) after $(cut -d' ' -f1 /proc/uptime) s"
mkfifo /tmp/errors
by_line </tmp/errors &
{
    # Options are words without blanks, one a line.
    /trials --test-threads 1 $(cat /options) 2>/tmp/errors
    echo $? >/tmp/code
} | by_line
wait
echo "SAKURAMORI-VM-EXIT $(cat /tmp/code)"
poweroff -f
