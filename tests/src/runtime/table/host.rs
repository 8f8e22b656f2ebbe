//! Programs that run, commands, and files that they touch.

use super::{Act, CONTAINER, HOST, MOUNTS, PYTHON};

const PACKAGE: &str = "a package is installed, with its scripts, user and timed job";
const LOOKING: &str = "somebody looks for tools and at services";

pub(super) const ACTS: &[Act] = &[
    Act {
        name: "CryptoMinerExecuted",
        finds: &["Impact:Host/CryptoMinerExecuted"],
        twin: LOOKING,
        script: "cp $ACTOR $D/xmrig; $D/xmrig -o stratum+tcp://pool.test:3333 -u WALLET",
        ..HOST
    },
    Act {
        name: "MaliciousFileExecuted",
        finds: &["Execution:Host/MaliciousFileExecuted"],
        twin: "a listed program with one byte more",
        script: "$IMPLANT 1.5",
        ..HOST
    },
    Act {
        name: "MaliciousFileExecuted.Custom",
        finds: &["Execution:Host/MaliciousFileExecuted.Custom"],
        twin: "a listed program with one byte more",
        script: "$OWN_LIST 1.5",
        ..HOST
    },
    Act {
        name: "NewBinaryExecuted",
        finds: &["Execution:Host/NewBinaryExecuted"],
        twin: "a container builds and runs what it built",
        script: r#"cat > $D/in.sh <<'SH'
mount -t tmpfs none $D; cd $D; mkdir low up work root; cp /bin/true low/had
mount -t overlay overlay -o lowerdir=low,upperdir=up,workdir=work root
cp /bin/true root/brought; root/had; root/brought
SH
unshare -m bash $D/in.sh"#,
        ..CONTAINER
    },
    Act {
        name: "NewLibraryLoaded",
        finds: &["Execution:Host/NewLibraryLoaded"],
        twin: "a container builds and runs what it built",
        script: r#"cat > $D/in.sh <<'SH'
mount -t tmpfs none $D; cd $D; mkdir low up work root
mount -t overlay overlay -o lowerdir=low,upperdir=up,workdir=work root
cp $(ldconfig -p | sed -n 's/.*libm.so.6.*x86-64.*=> //p' | head -1) root/brought.so
python3 -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' $D/root/brought.so
SH
unshare -m bash $D/in.sh"#,
        ..CONTAINER
    },
    Act {
        name: "SuspiciousTool",
        finds: &["Execution:Host/SuspiciousTool"],
        twin: LOOKING,
        script: "cp /bin/true $D/pspy64; $D/pspy64 -pf",
        ..HOST
    },
    Act {
        name: "SuspiciousTool of both sides",
        finds: &["Execution:Host/SuspiciousTool.DualUse"],
        twin: LOOKING,
        script: "cp /bin/true $D/nmap; $D/nmap -sS 10.77.0.0/24",
        ..HOST
    },
    Act {
        name: "Execution/SuspiciousCommand",
        finds: &["Execution:Host/SuspiciousCommand"],
        twin: "data is encoded, packed and decoded",
        script: "sh -c 'echo dHJ1ZQo= | base64 -d | sh'",
        ..HOST
    },
    Act {
        name: "PrivilegeEscalation/SuspiciousCommand",
        finds: &["PrivilegeEscalation:Host/SuspiciousCommand"],
        twin: "ordinary modes of files",
        script: "cp /bin/true $D/bash; chmod u+s $D/bash",
        ..HOST
    },
    Act {
        name: "DefenseEvasion/SuspiciousCommand",
        finds: &["DefenseEvasion:Host/SuspiciousCommand"],
        twin: LOOKING,
        script: "cp /bin/true $D/systemctl; $D/systemctl stop auditd",
        ..HOST
    },
    Act {
        name: "Discovery/SuspiciousCommand",
        finds: &["Discovery:Host/SuspiciousCommand"],
        twin: "a timed job looks at the host",
        needs: &["setpriv"],
        script: r#"setpriv --reuid 33 --regid 33 --clear-groups bash -s <<'SH'
id; uname -a; ps aux; df; cat /etc/passwd; env
SH"#,
        ..HOST
    },
    Act {
        name: "Persistence/SuspiciousCommand",
        finds: &["Persistence:Host/SuspiciousCommand"],
        twin: PACKAGE,
        script: "cp /bin/true $D/useradd; $D/useradd -o -u 0 backup2",
        ..HOST
    },
    Act {
        name: "PrivilegeEscalation/SensitiveFileModified",
        finds: &["PrivilegeEscalation:Host/SensitiveFileModified"],
        twin: PACKAGE,
        script: r#"cat > $D/in.sh <<'SH'
mount -t tmpfs none /etc/pam.d; echo 'auth sufficient pam_permit.so' > /etc/pam.d/sshd
SH
unshare -m bash $D/in.sh"#,
        ..MOUNTS
    },
    Act {
        name: "Persistence/SensitiveFileModified",
        finds: &["Persistence:Host/SensitiveFileModified"],
        twin: "somebody who logged in adds a key of his own",
        script: "mkdir -p $D/.ssh; echo 'ssh-ed25519 AAAA x' >> $D/.ssh/authorized_keys",
        ..HOST
    },
    Act {
        name: "DefenseEvasion/SensitiveFileModified",
        finds: &["DefenseEvasion:Host/SensitiveFileModified"],
        twin: "logs are written and rotated",
        script: r#"cat > $D/in.sh <<'SH'
mkdir $D/log; echo line > $D/log/auth.log; mount --bind $D/log /var/log; : > /var/log/auth.log
SH
unshare -m bash $D/in.sh"#,
        ..MOUNTS
    },
    Act {
        name: "SensitiveFileRead",
        finds: &["CredentialAccess:Host/SensitiveFileRead"],
        twin: "setuid programs of packages",
        script: r#"cat > $D/in.sh <<'SH'
echo 'root:*:1::::::' > $D/hashes; mount --bind $D/hashes /etc/shadow; cat /etc/shadow > $D/stolen
SH
unshare -m bash $D/in.sh"#,
        ..MOUNTS
    },
    Act {
        name: "SecretsCollected",
        finds: &["CredentialAccess:Host/SecretsCollected"],
        twin: "somebody makes a key and uses it",
        script: r#"cd $D; mkdir .ssh .aws .kube; echo x | tee .ssh/id_rsa .aws/credentials .kube/config .netrc
cat .ssh/id_rsa .aws/credentials .kube/config .netrc | wc -c"#,
        ..HOST
    },
    Act {
        name: "PasswordGuessed",
        finds: &["CredentialAccess:Host/PasswordGuessed"],
        twin: "somebody mistypes a password",
        script: r#"for n in 1 2 3 4 5 6 7 8 9 10; do
SAID="Failed password for deploy from 198.51.100.8 port 40$n ssh2"; eval "$LOG_LINE"; done
SAID="Accepted password for deploy from 198.51.100.8 port 4099 ssh2"; eval "$LOG_LINE""#,
        ..HOST
    },
    Act {
        name: "PasswordSpray",
        finds: &["CredentialAccess:Host/PasswordSpray"],
        twin: "somebody mistypes a password",
        script: r#"for n in 1 2 3 4 5 6 7 8 9 10 11; do
SAID="Failed password for invalid user u$n from 198.51.100.9 port 4000 ssh2"; eval "$LOG_LINE"; done"#,
        ..HOST
    },
    Act {
        name: "LibraryPreloaded",
        finds: &["DefenseEvasion:Host/LibraryPreloaded"],
        twin: "a library of a package is preloaded",
        script: "cp $(ldd /bin/true | grep -o '/[^ ]*libc.so[^ ]*') $D/hook.so; \
            LD_PRELOAD=$D/hook.so /bin/true",
        ..HOST
    },
    Act {
        name: "RansomwareLikeWrites",
        finds: &["Impact:Host/RansomwareLikeWrites"],
        twin: "an archive is unpacked, edited in place and removed",
        script: "python3 $ACT fill $D/files 200; python3 $ACT encrypt $D/files",
        ..PYTHON
    },
];
