//! What administrators, packages, compilers and services do, and what must stay quiet.

use super::{Act, CONTAINER, HOST, MOUNTS, PYTHON};

pub(super) const TWINS: &[Act] = &[
    Act {
        name: "names and addresses beside listed ones",
        script: r#"for n in malware.test.example notdrop.malware.test crypto.test; do
$ACTOR dns-query $OUTSIDE:53 $n || exit 1; done
$ACTOR connect $OUTSIDE:53; $ACTOR connect $PEER:80; true"#,
        ..HOST
    },
    Act {
        name: "the cloud's own name for its metadata",
        script: "$ACTOR dns-query $OUTSIDE:53 metadata.google.internal",
        ..HOST
    },
    Act {
        name: "somebody looks for tools and at services",
        script: r#"echo 'seen: xmrig, linpeas.sh, stratum+tcp://pool.test' > $D/report.txt
grep -r xmrig $D; grep -c stratum+tcp:// $D/report.txt; find $D -name linpeas.sh; ls $D/pspy64
cp /bin/true $D/systemctl; $D/systemctl status auditd; $D/systemctl restart app
cp /bin/true $D/iptables; $D/iptables -L -n; true"#,
        ..HOST
    },
    Act {
        name: "a listed program with one byte more",
        script: "cp $IMPLANT $D/x; echo >> $D/x; $D/x 0.2",
        ..HOST
    },
    Act {
        name: "a container builds and runs what it built",
        needs: &["unshare", "make", "gcc"],
        script: r#"cat > $D/in.sh <<'SH'
mount -t tmpfs none $D; cd $D; mkdir low up work root; cp /bin/true low/had
mount -t overlay overlay -o lowerdir=low,upperdir=up,workdir=work root; cd root
echo 'int main(void) { return 0; }' > x.c; printf 'check: x\n\t./x\nx: x.c\n\tgcc -o x x.c\n' > Makefile
./had; make -s check
SH
unshare -m bash $D/in.sh"#,
        ..CONTAINER
    },
    Act {
        name: "data is encoded, packed and decoded",
        needs: &["openssl", "tar"],
        script: r#"cd $D; seq 1000 > data; sh -c 'base64 data | base64 -d | gzip | gunzip | wc -c'
openssl rand -base64 32 > key; openssl enc -aes-256-cbc -pbkdf2 -pass file:key -in data -out sealed
tar -czf all.tgz data sealed; tar -xzf all.tgz -O | md5sum; sh -c 'echo true | sh'"#,
        ..HOST
    },
    Act {
        name: "a service runs its helper",
        script: "ip link set lo up; python3 $ACT serve 18083 'gzip -c /etc/hostname | wc -c' & sleep 2; \
            python3 $ACT poke 18083; wait",
        ..PYTHON
    },
    Act {
        name: "ordinary modes of files",
        script: r#"cd $D; echo true > x.sh; chmod 0755 x.sh; chmod +x x.sh; mkdir d; chmod 1777 d
install -m 644 x.sh d/y.sh; chmod -R go-w d; ./x.sh"#,
        ..HOST
    },
    Act {
        name: "logs are written and rotated",
        needs: &["unshare", "savelog"],
        script: r#"cat > $D/in.sh <<'SH'
mount -t tmpfs none /var/log
for i in 1 2 3; do echo "line $i" >> /var/log/app.log; done
savelog -n -c 3 /var/log/app.log; echo line >> /var/log/messages; savelog -c 3 /var/log/messages
SH
unshare -m bash $D/in.sh"#,
        ..MOUNTS
    },
    Act {
        name: "the host's own client asks the runtime",
        script: "python3 $ACT runtime_socket $D/docker.sock",
        ..PYTHON
    },
    Act {
        name: "a call that the kernel refuses",
        needs: &["python3", "setpriv"],
        script: "setpriv --reuid 1000 --regid 1000 --clear-groups --bounding-set -all \
            python3 - userfaultfd < $ACT || true",
        ..HOST
    },
    Act {
        name: "setuid programs of packages",
        needs: &["setpriv", "passwd", "chage"],
        script: r#"N="setpriv --reuid 65534 --regid 65534 --clear-groups"
$N passwd -S; $N chage -l nobody; $N mount > /dev/null; $N su -c true nobody < /dev/null; true"#,
        ..HOST
    },
    Act {
        name: "somebody makes a key and uses it",
        needs: &["ssh-keygen"],
        script: "mkdir $D/.ssh; ssh-keygen -q -t ed25519 -N '' -f $D/.ssh/id_ed25519; \
            for i in 1 2 3 4 5; do ssh-keygen -y -f $D/.ssh/id_ed25519 > /dev/null; done",
        ..HOST
    },
    Act {
        name: "somebody mistypes a password",
        script: r#"for n in 1 2 3; do
SAID="Failed password for anna from 198.51.100.7 port 400$n ssh2"; eval "$LOG_LINE"; done
SAID="Accepted password for anna from 198.51.100.7 port 4009 ssh2"; eval "$LOG_LINE""#,
        ..HOST
    },
    Act {
        name: "a library of a package is preloaded",
        script: "LD_PRELOAD=libm.so.6 /bin/true; \
            LD_PRELOAD=$(ldd /bin/true | grep -o '/[^ ]*libc.so[^ ]*') /bin/true",
        ..HOST
    },
    Act {
        name: "a program that is known to use io_uring",
        needs: &["node"],
        script: "UV_USE_IO_URING=1 node -e 'const f = require(\"fs\").promises; (async () => { \
            for (let i = 0; i < 50; i++) await f.readFile(\"/etc/hostname\"); })()'",
        ..HOST
    },
    Act {
        name: "somebody looks at BPF programs",
        needs: &["bpftool"],
        script: "bpftool prog list > /dev/null; bpftool map list > /dev/null",
        ..HOST
    },
    Act {
        name: "a package is installed, with its scripts, user and timed job",
        needs: &["dpkg", "dpkg-deb", "unshare", "useradd"],
        script: r#"cat > $D/in.sh <<'SH'
mount -t tmpfs none $D; cd $D; mkdir -p p/DEBIAN p/etc/cron.d p/etc/pam.d p/usr/bin
cat > p/DEBIAN/control <<'C'
Package: smk-twin
Version: 1
Architecture: all
Maintainer: x <x@a.test>
Description: x
C
cat > p/DEBIAN/postinst <<'C'
#!/bin/sh
set -e
useradd --system --no-create-home smk-twin
cp -a /etc/shadow /etc/shadow.smk-twin
echo '# x' >> /etc/cron.d/smk-twin; chmod 644 /etc/cron.d/smk-twin
C
printf '#!/bin/sh\nuserdel smk-twin; rm -f /etc/shadow.smk-twin\n' > p/DEBIAN/postrm
chmod 755 p/DEBIAN/postinst p/DEBIAN/postrm; echo '# nothing' > p/etc/cron.d/smk-twin
echo '# nothing' > p/etc/pam.d/smk-twin; cp /bin/true p/usr/bin/smk-twin; cp /bin/true p/usr/bin/runc
dpkg-deb --build p twin.deb || exit 1
for f in etc usr var; do mkdir -p up/$f work/$f
mount -t overlay overlay -o lowerdir=/$f,upperdir=up/$f,workdir=work/$f /$f || exit 1; done
dpkg -i twin.deb && smk-twin && dpkg -r smk-twin
SH
unshare -m bash $D/in.sh"#,
        ..HOST
    },
    Act {
        name: "a container is started by hand",
        script: r#"cat > $D/in.sh <<'SH'
mount -t tmpfs none $D; mkdir $D/p; mount -t proc proc $D/p; mount -t tmpfs none /mnt
mkdir -p /mnt/sys; mount -t sysfs sysfs /mnt/sys; mount --bind $D /mnt/sys/kernel
/bin/sh -c 'true; exec sleep 0.2'
SH
unshare -m -p -f -n -u bash $D/in.sh"#,
        ..CONTAINER
    },
    Act {
        name: "a timed job looks at the host",
        script: r#"cat > $D/job.sh <<'SH'
id; uname -a; ps aux; df; cat /etc/passwd; env; ip address; ss -tln; last; mount
SH
cat > $D/in.sh <<'SH'
mount -t tmpfs none /usr/local/sbin; cp /bin/bash /usr/local/sbin/cron
/usr/local/sbin/cron -c 'sh '$D/job.sh'; true'
SH
unshare -m bash $D/in.sh"#,
        ..MOUNTS
    },
    Act {
        name: "an administrator logs in, looks around and edits",
        script: r#"cat > $D/typed <<'SH'
id
uname -a
ps aux | head -3
df -h
ip address
cat /etc/passwd | wc -l
ss -tln
last | head -3
mkdir -p $HOME/.ssh
echo 'Host db' >> $HOME/.ssh/config
SH
python3 $ACT session $D/typed"#,
        ..PYTHON
    },
    Act {
        name: "somebody who logged in adds a key of his own",
        script: r#"cat > $D/typed <<'SH'
mkdir -p $HOME/.ssh
echo '# a comment' >> $HOME/.ssh/authorized_keys
SH
python3 $ACT session $D/typed"#,
        ..PYTHON
    },
    Act {
        name: "gdb and the program that it started",
        needs: &["gdb", "gcc"],
        script: r#"cat > $D/x.c <<'C'
#include <unistd.h>
int v; int main(void) { v = 1; usleep(1000); return 0; }
C
gcc -g -o $D/x $D/x.c
gdb -q -batch -nx -ex 'break main' -ex run -ex 'set var v=7' -ex continue $D/x"#,
        ..HOST
    },
    Act {
        name: "strace of a program",
        needs: &["strace"],
        script: "strace -f -o $D/trace sh -c 'true; /bin/true'",
        ..HOST
    },
    Act {
        name: "just-in-time compilers",
        needs: &["node", "java"],
        script: "node -e 'let s = 0; for (let i = 0; i < 3e7; i++) s += i; console.log(s)'; \
            java -version",
        ..HOST
    },
    Act {
        name: "an archive is unpacked, edited in place and removed",
        needs: &["python3", "tar"],
        script: "python3 $ACT archive $D/a.tar 300; mkdir $D/b; tar -C $D/b -xf $D/a.tar; \
            sed -i s/plain/text/ $D/b/*.txt; rm -r $D/b",
        ..HOST
    },
];
