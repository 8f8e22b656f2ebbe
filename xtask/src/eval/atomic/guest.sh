#!/usr/bin/busybox sh
# The guest's first process: starts brain and sensor, runs the tests one after the other, prints what was found.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root LANG=C
bb=/usr/bin/busybox
$bb mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t tmpfs -o mode=1777 tmpfs /tmp
$bb mount -t tmpfs tmpfs /run
$bb mount -t tracefs tracefs /sys/kernel/tracing
$bb mount -t debugfs debugfs /sys/kernel/debug
$bb mount -t securityfs securityfs /sys/kernel/security
$bb mount -t bpf bpf /sys/fs/bpf
$bb mount -t cgroup2 cgroup2 /sys/fs/cgroup
$bb mkdir -p /dev/pts /dev/shm /var/lib/sakuramori
# One test fills a log with zeros until its time is over: the brain's disk is another one.
$bb mount -t tmpfs -o size=64m tmpfs /var/log
$bb mount -t tmpfs tmpfs /var/lib/sakuramori
for file in auth.log messages secure syslog system.log ufw.log; do
    echo "$($bb date) guest kernel: up" >/var/log/$file
done
$bb mount -t devpts devpts /dev/pts
$bb stty -onlcr
$bb ip link set lo up
for module in /modules/load/*.ko; do
    $bb insmod "$module" || echo "could not load $module"
done
$bb chown -R 1000:1000 /home/user
$bb chmod 0644 /etc/passwd /etc/group
$bb chmod 0640 /etc/shadow /etc/gshadow
$bb chmod 0440 /etc/sudoers
$bb chmod u+s /usr/bin/sudo /usr/bin/su /usr/bin/passwd /usr/bin/chsh 2>/dev/null

export SAKURAMORI_DATA=/var/lib/sakuramori/brain
rules=
[ -d /rules ] && rules="--rules /rules"
sakuramori-brain serve --no-setup-link $rules >/var/log/brain 2>&1 &
n=0
until token=$(sakuramori-brain token create --role web 2>/var/log/token); do
    n=$((n + 1))
    [ $n -gt 60 ] && { echo "the brain does not start"; $bb cat /var/log/brain /var/log/token; $bb poweroff -f; }
    $bb sleep 1
done
printf '[brain]\nstate_dir = "/var/lib/sakuramori/sensor"\nhostname = "guest"\n' >/etc/sensor.toml
SAKURAMORI_JOIN=$token sakuramori-sensor --config /etc/sensor.toml run >/var/log/sensor 2>&1 &
n=0
until sakuramori-brain hosts --json 2>/dev/null | $bb grep -q '"canary"'; do
    n=$((n + 1))
    [ $n -gt 500 ] && { echo "the sensor does not report"; $bb tail /var/log/sensor; break; }
    $bb sleep 1
done
echo "sensor and brain run after $($bb cut -d' ' -f1 /proc/uptime) s"

# Prints the findings that are new or have grown since the last time.
before=/run/findings.before now=/run/findings.now
: >$before
told() {
    sakuramori-brain findings --json | $bb sort >$now
    comm -13 $before $now | $bb sed 's/^/ATOMIC-FINDING /'
    $bb mv $now $before
}

# Whole paths: busybox would run its own commands inside itself, and nothing would be executed.
timeout="/usr/bin/timeout -s KILL"
# Those that the test starts are ended with it.
for job in /job/*; do
    id=${job#/job/*_}
    user=$($bb cat "$job/user")
    shell=$($bb cat "$job/shell")
    echo "ATOMIC-BEGIN $id $($bb date +%s)"
    [ -e "$job/before.sh" ] && $timeout 10 /bin/sh "$job/before.sh" >/dev/null 2>&1 </dev/null
    cd /tmp
    if [ "$user" = root ]; then
        $timeout "$LIMIT" "/bin/$shell" "$job/cmd.sh" >/dev/null 2>&1 </dev/null
    else
        HOME=/home/user $timeout "$LIMIT" /usr/bin/setpriv --reuid 1000 --regid 1000 \
            --clear-groups "/bin/$shell" "$job/cmd.sh" >/dev/null 2>&1 </dev/null
    fi
    code=$?
    $bb sleep 1
    echo "ATOMIC-END $id $($bb date +%s) $code"
    $bb sleep 1
    told
    [ -e "$job/after.sh" ] && $timeout 10 /bin/sh "$job/after.sh" >/dev/null 2>&1 </dev/null
    $bb sleep 1
done

# What waits for time to pass comes in.
$bb sleep 15
$bb tail -3 /var/log/sensor
$bb grep -aE "ERROR|panicked|error" /var/log/brain | $bb tail -20
told
echo ATOMIC-DONE
$bb poweroff -f
