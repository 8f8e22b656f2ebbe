//! The sensor confined as its pod is: the rendered manifest's capabilities, read-only root, mounts
//! and user, made with the kernel's own means instead of a container runtime's.
//!
//! What stands in for something else here: the host's programs and libraries for the image's, a
//! folder of the run for the node's state folder, a BPF file system of its own for the node's, and
//! for the runtime's seccomp filter one that refuses what that refuses with these capabilities.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use libtest_mimic::Completion;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};
use serde_json::Value;
use tests::binaries;
use tests::fleet::Hosts;
use tests::fleet::brain::{Brain, Settings};
use tests::fleet::process::Running;
use tests::interrupt;

/// Where `cargo xtask chart` leaves the rendered manifests.
const VARIABLE: &str = "SAKURAMORI_POD";
/// The host that is watched.
const HOST: &str = "web-1";
const REPORT_LIMIT: Duration = Duration::from_secs(60);
/// Executions that have to be seen.
const EXECUTIONS: u64 = 50;
/// Capabilities by name, as manifests write them.
const CAPABILITIES: [(&str, u32); 10] = [
    ("CHOWN", 0),
    ("DAC_READ_SEARCH", 2),
    ("KILL", 5),
    ("SETGID", 6),
    ("SETUID", 7),
    ("SETPCAP", 8),
    ("NET_ADMIN", 12),
    ("SYS_PTRACE", 19),
    ("PERFMON", 38),
    ("BPF", 39),
];
/// Highest number of a capability that any kernel has.
const CAPABILITY_MAX: u32 = 63;
/// What the runtimes' filter refuses to a container without CAP_SYS_ADMIN, CAP_SYS_MODULE and their
/// like, whatever else it has.
const REFUSED: [libc::c_long; 24] = [
    libc::SYS_add_key,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_setns,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// Runs the sensor as its pod would, and sees what it does on a watched host.
pub fn runs_as_its_manifest_says() -> Result<Completion> {
    let Some(path) = std::env::var_os(VARIABLE) else {
        return Ok(Completion::ignored_with("`cargo xtask chart` renders the pod and runs this"));
    };
    if let Some(reason) = tests::kernel::unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let pod = Pod::read(Path::new(&path))?;
    let hosts = Hosts::new("test-pod")?;
    let brain = Brain::start(Settings {
        folder: hosts.subfolder("brain")?,
        place: hosts.control(),
        webhook: None,
        http: ([127, 0, 0, 1], 0).into(),
    })?;
    let confined = || confined(&pod, &hosts, &brain);
    // The mounts belong to a thread, and what it starts ends with it.
    let ended = std::thread::scope(|scope| scope.spawn(confined).join());
    println!("pod: {}", ended.map_err(|_| anyhow!("the pod's thread panicked"))??);
    Ok(Completion::Completed)
}

/// Starts the sensor in mounts of this thread, and looks at it and at what it tells.
fn confined(pod: &Pod, hosts: &Hosts, brain: &Brain) -> Result<String> {
    let root = hosts.subfolder("root")?;
    let mut sensor = pod.start(&root, hosts, brain)?;
    let told = watch(hosts, brain, &mut sensor).with_context(|| log_end(&root))?;
    let (loader, bounding) = (status(sensor.pid(), "CapPrm")?, status(sensor.pid(), "CapBnd")?);
    ensure!(u64::from_str_radix(&bounding, 16)? == pod.capabilities(), "CapBnd is {bounding}");
    ensure!(status(sensor.pid(), "NoNewPrivs")? == "1", "it may gain privileges");
    healthy(pod, &sensor, &root)?;
    let log = fs::read_to_string(root.with_file_name("pod.log")).unwrap_or_default();
    ensure!(!log.contains("will not outlive"), "nothing is pinned: {}", log_end(&root));
    sensor.terminate()?;
    Ok(format!("CapBnd {bounding}, loader keeps {loader}; {told}"))
}

/// Waits until the brain knows of what the watched host did.
fn watch(hosts: &Hosts, brain: &Brain, sensor: &mut Running) -> Result<String> {
    let hooks = interrupt::eventually("coverage", REPORT_LIMIT, || {
        sensor.alive()?;
        let coverage = brain.hosts()?.first().map(|host| host["coverage"].clone());
        let hooks = coverage.and_then(|coverage| coverage["hooks"].as_array().cloned());
        Ok(hooks.filter(|hooks| !hooks.is_empty()))
    })?;
    let named = |name: &str| hooks.iter().find(|hook| hook["name"] == name).cloned();
    let exec = named("exec").context("no hook for executions")?;
    ensure!(exec["attached"].as_str().is_some_and(|how| !how.is_empty()), "not seen: {exec}");
    let sandbox = named("sandbox").context("the worker has no sandbox")?;
    let held = sandbox["attached"].as_str().unwrap_or_default();
    ensure!(held.contains("no capabilities, no new privileges, empty bounding set"), "{held}");
    let script = format!("i=0; while [ $i -lt {EXECUTIONS} ]; do /bin/true; i=$((i+1)); done");
    let mut command = hosts.place(HOST).command("/bin/sh")?;
    Running::start("executions", command.args(["-c", &script]).stdin(Stdio::null()))?
        .wait(REPORT_LIMIT)?;
    let seen = interrupt::eventually("the executions", REPORT_LIMIT, || {
        let Some(host) = brain.hosts()?.into_iter().next() else { return Ok(None) };
        let lines = host["coverage"]["ledger"].as_array().cloned().unwrap_or_default();
        let exec = lines.into_iter().find(|line| line["signal"] == "exec");
        Ok(exec.and_then(|line| line["delivered"].as_u64()).filter(|&seen| seen >= EXECUTIONS))
    })?;
    let attached = hooks.iter().filter(|hook| !hook["attached"].is_null()).count();
    Ok(format!("{attached} hooks attached, {seen} executions delivered, {held}"))
}

/// Asks as the probe does: in the pod's own mounts, with its own program.
fn healthy(pod: &Pod, sensor: &Running, root: &Path) -> Result<()> {
    let probe = &pod.container["livenessProbe"]["exec"]["command"];
    let words: Vec<&str> =
        probe.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut command = Command::new("nsenter");
    command.args(["--target", &sensor.pid().to_string(), "--mount", "--root", "--"]);
    let output = command.args(&words).output().context("cannot run the probe")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "the probe says {said}{}", log_end(root));
    Ok(())
}

fn log_end(root: &Path) -> String {
    let log = fs::read_to_string(root.with_file_name("pod.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    format!("its log ends with:\n{}", lines[lines.len().saturating_sub(25)..].join("\n"))
}

fn status(pid: u32, field: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.map(|value| value.trim().to_owned()).with_context(|| format!("no {field}"))
}

/// What the manifests say.
struct Pod {
    spec: Value,
    container: Value,
    config: String,
}

impl Pod {
    fn read(path: &Path) -> Result<Self> {
        let documents: Vec<Value> = serde_json::from_slice(&fs::read(path)?)?;
        let of = |kind: &str| documents.iter().find(|document| document["kind"] == kind);
        let spec = of("DaemonSet").context("no DaemonSet")?["spec"]["template"]["spec"].clone();
        let config = of("ConfigMap").context("no ConfigMap")?["data"]["sensor.toml"].as_str();
        let config = config.context("no sensor.toml")?.to_owned();
        Ok(Self { container: spec["containers"][0].clone(), spec, config })
    }

    /// The mask of the capabilities that are added; all others are dropped.
    fn capabilities(&self) -> u64 {
        let added = self.container["securityContext"]["capabilities"]["add"].as_array();
        let names = added.into_iter().flatten().filter_map(Value::as_str);
        let numbers =
            names.filter_map(|name| CAPABILITIES.iter().find(|(known, _)| *known == name));
        numbers.fold(0, |mask, (_, number)| mask | 1 << number)
    }

    /// Starts the sensor.
    fn start(&self, root: &Path, hosts: &Hosts, brain: &Brain) -> Result<Running> {
        let context = &self.container["securityContext"];
        ensure!(self.spec["hostPID"] == true && self.spec["hostNetwork"] == true, "own namespaces");
        ensure!(context["readOnlyRootFilesystem"] == true && context["runAsUser"] == 0, "its root");
        let state = hosts.subfolder("state")?;
        let log = File::create(root.with_file_name("pod.log"))?;
        // The machine's own interfaces are left alone.
        let config = format!("{}\n[collect]\ninterfaces = [\"none*\"]\n", self.config);
        let token = brain.token("web")?;
        let place = hosts.control();
        self.make_root(root, &state, &config)?;
        let mut command = place.command(Path::new("/usr/bin/sakuramori-sensor"))?;
        command.args(["run", "--hostname", HOST, "--brain", &brain.quic().to_string()]);
        command.args(["--cgroup", &hosts.place(HOST).cgroup.display().to_string()]);
        command.env_clear().env("SAKURAMORI_JOIN", token);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.confine(&mut command, root);
        Running::start("the sensor in its pod", &mut command)
    }

    /// Makes the container's file system in mounts of this thread alone.
    fn make_root(&self, root: &Path, state: &Path, config: &str) -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNS).context("no mounts of its own")?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
        // The image: its program, and what the program is linked with.
        for folder in ["/lib", "/lib64", "/usr/lib"] {
            bind(Path::new(folder), &root.join(&folder[1..]), true)?;
        }
        fs::create_dir_all(root.join("usr/bin"))?;
        fs::copy(binaries::find(binaries::SENSOR)?, root.join("usr/bin/sakuramori-sensor"))?;
        fs::create_dir_all(root.join("etc"))?;
        fs::write(root.join("etc/passwd"), "sakuramori:x:65532:65532::/:/\n")?;
        bind(Path::new("/proc"), &root.join("proc"), false)?;
        bind(Path::new("/dev"), &root.join("dev"), true)?;
        bind(Path::new("/sys"), &root.join("sys"), true)?;
        for mounted in self.container["volumeMounts"].as_array().into_iter().flatten() {
            let target = mounted["mountPath"].as_str().context("no mountPath")?;
            let target = root.join(target.trim_start_matches('/'));
            let read_only = mounted["readOnly"] == true;
            let name = mounted["name"].as_str().unwrap_or_default();
            self.volume(name, &target, read_only, (state, config))?;
        }
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, root, None::<&str>, flags, None::<&str>).context("root stays writable")
    }

    fn volume(
        &self,
        name: &str,
        target: &Path,
        read_only: bool,
        (state, config): (&Path, &str),
    ) -> Result<()> {
        let volumes = self.spec["volumes"].as_array();
        let volume = volumes.into_iter().flatten().find(|volume| volume["name"] == name);
        let volume = volume.with_context(|| format!("no volume {name}"))?;
        if !volume["configMap"].is_null() {
            fs::create_dir_all(target)?;
            return fs::write(target.join("sensor.toml"), config).map_err(Into::into);
        }
        let path = volume["hostPath"]["path"].as_str().context("a volume of another kind")?;
        match (path, name) {
            ("/sys/fs/bpf", _) => {
                let bpf = Some("mode=0700");
                mount(Some("bpf"), target, Some("bpf"), MsFlags::empty(), bpf).map_err(Into::into)
            }
            (_, "state") => bind(state, target, read_only),
            _ if !Path::new(path).is_dir() => bail!("this host has no {path}"),
            _ => bind(Path::new(path), target, read_only),
        }
    }

    /// Gives up everything between fork and exec that the manifest does not name.
    fn confine(&self, command: &mut Command, root: &Path) {
        let (kept, root) = (self.capabilities(), root.to_owned());
        let filter = filter();
        let confine = move || {
            chroot(&root)?;
            chdir("/")?;
            for number in (0..=CAPABILITY_MAX).filter(|number| kept & 1 << number == 0) {
                // SAFETY: the call takes numbers only. One past the kernel's last is refused.
                unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
            }
            nix::sys::prctl::set_no_new_privs()?;
            install(&filter)
        };
        // SAFETY: the closure makes system calls on values that were made before the fork.
        unsafe { command.pre_exec(confine) };
    }
}

/// Mounts a folder of the host, with everything that is mounted below it.
fn bind(from: &Path, to: &Path, read_only: bool) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    let what = || format!("cannot mount {} at {}", from.display(), to.display());
    if !to.is_dir() {
        fs::create_dir_all(to).with_context(what)?;
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(from), to, None::<&str>, flags, None::<&str>).with_context(what)?;
    if read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, to, None::<&str>, flags, None::<&str>).with_context(what)?;
    }
    Ok(())
}

/// A filter that lets everything pass but [`REFUSED`].
fn filter() -> Vec<libc::sock_filter> {
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    // The number of the call is the first word of what a filter sees.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for call in REFUSED {
        program.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32));
        program.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, refuse));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    program
}

fn install(filter: &[libc::sock_filter]) -> std::io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: program and filter live through the call, which only reads them.
    let answer = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0)
    };
    if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
