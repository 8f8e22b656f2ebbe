//! Answers the worker's questions. Whatever they name is checked here: the worker may be an
//! intruder's by now.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Loader;
use crate::holder::Status;
use crate::host_file::HostFiles;
use crate::login::follow;
use crate::privileged::executable;
use crate::privileged::program::{self, Program};
use crate::privileged::protocol::{self, Answer, Refusal, Request};
use crate::privileged::{self, NetTable, ProcFile, ProcLink};
use crate::probe::{Probes, Settings};
use crate::scan::link;
use crate::{canary, clock, health, host, memory, systemd};

impl Loader {
    /// Receives one request and answers it.
    pub(super) fn serve_one(&mut self) {
        let Some(worker) = &mut self.worker else { return };
        let Some((request, path)) = protocol::receive_request(worker.socket.as_fd()) else {
            return;
        };
        worker.heard = Instant::now();
        let answer = self.answer(&request, &path);
        let Some(worker) = &self.worker else { return };
        let sent = protocol::send_answer(worker.socket.as_fd(), request.number, &answer);
        if let Err(error) = sent {
            tracing::debug!(%error, "the worker is gone before its answer");
        }
    }

    fn answer(&mut self, request: &Request, path: &[u8]) -> Result<Answer, Refusal> {
        let pid = request.subject;
        match request.kind {
            protocol::START => self.hand_over(),
            protocol::STATUS => self.status(),
            protocol::COUNT_SYSCALLS => self.count_syscalls(request.subject != 0),
            protocol::PROCESSES => {
                let ids = privileged::processes_here()?;
                Ok(bytes(ids.into_iter().flat_map(u32::to_ne_bytes).collect()))
            }
            protocol::READ => {
                let file = one_of(ProcFile::ALL, request.which)?;
                Ok(bytes(privileged::read_here(pid, file)?))
            }
            protocol::LINK => {
                let link = one_of(ProcLink::ALL, request.which)?;
                Ok(bytes(privileged::link_here(pid, link)?))
            }
            protocol::OPEN_EXE => {
                let opened = privileged::open_exe_here(pid)?;
                Ok(Answer { descriptors: vec![opened.into()], ..Answer::default() })
            }
            protocol::OPEN_TABLE => {
                let table = one_of(NetTable::ALL, request.which)?;
                let opened = privileged::open_table_here(pid, table)?;
                Ok(Answer { descriptors: vec![opened.into()], ..Answer::default() })
            }
            protocol::SOCKETS => {
                let inodes = privileged::sockets_here(pid)?;
                Ok(bytes(inodes.into_iter().flat_map(u64::to_ne_bytes).collect()))
            }
            protocol::CANARY => Ok(self.make_canary(request.subject)?).map(|()| Answer::default()),
            protocol::READY => {
                self.told.ready = true;
                self.worker.iter_mut().for_each(|worker| worker.ready = true);
                systemd::notify("READY=1");
                Ok(Answer::default())
            }
            protocol::ALIVE => {
                systemd::notify("WATCHDOG=1");
                Ok(Answer::default())
            }
            protocol::RELOAD => {
                self.reload_asked = true;
                Ok(Answer::default())
            }
            protocol::STOPPING => {
                if self.stop_until.is_some() {
                    systemd::notify("STOPPING=1");
                }
                Ok(Answer::default())
            }
            protocol::OPEN_LOG => {
                let files = HostFiles::new(follow::logs(&self.config.login_files));
                let opened = files.open_place(request.subject, request.which)?;
                Ok(Answer { descriptors: vec![opened.into()], ..Answer::default() })
            }
            protocol::OPEN_PROGRAM => {
                let opened = executable::open_here(pid, path)?;
                Ok(Answer { descriptors: vec![opened.into()], ..Answer::default() })
            }
            protocol::OPEN_SCANNER => {
                let connected = link::connect(&self.config.scanner)?;
                Ok(Answer { descriptors: vec![connected], ..Answer::default() })
            }
            protocol::START_PROGRAM => {
                let program = one_of(Program::ALL, request.which)?;
                self.start_program(program, request.subject)
            }
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL).into()),
        }
    }

    /// Executes this program, inside the watched cgroup if there is one.
    fn make_canary(&self, number: u32) -> io::Result<()> {
        let mut command = Command::new("/proc/self/exe");
        command.arg(canary::WORD).arg(number.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(cgroup) = &self.config.scope.cgroup {
            let mut procs = File::options().write(true).open(cgroup.join("cgroup.procs"))?;
            // SAFETY: between fork and exec the closure makes one system call on a descriptor that
            // was opened before.
            unsafe { command.pre_exec(move || procs.write_all(b"0")) };
        }
        let status = command.status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
    }

    /// Loads the programs when none are, and hands over their maps.
    fn hand_over(&mut self) -> Result<Answer, Refusal> {
        if self.probes.is_none() {
            let settings = Settings { pins: self.pins.clone(), ..self.config.probe_settings() };
            let mut probes = Probes::load(&settings).map_err(in_words)?;
            probes.keep_log();
            self.load = probes.load_number().map_err(in_words)?;
            self.probes = Some(probes);
            memory::give_back();
            self.exclude_own();
        }
        let probes = self.probes.as_ref().ok_or_else(not_loaded)?;
        let (names, descriptors): (Vec<_>, Vec<_>) =
            probes.descriptors().map_err(in_words)?.into_iter().unzip();
        let text = format!("{}\n{}", self.load, names.join("\n"));
        Ok(Answer { bytes: text.into_bytes(), descriptors })
    }

    fn status(&self) -> Result<Answer, Refusal> {
        let probes = self.probes.as_ref().ok_or_else(not_loaded)?;
        let mut hooks: Vec<_> = probes.report().iter().map(health::hook).collect();
        hooks.push(self.worker_text());
        hooks.extend(self.settings_text());
        if let Some(why) = probes.tampering() {
            hooks.push(["links".to_owned(), "looked at every few seconds".to_owned(), why]);
        }
        let status = Status { hooks, cpu_ns: clock::cpu_ns(), memory_bytes: host::private_bytes() };
        serde_json::to_vec(&status).map(bytes).map_err(in_words)
    }

    /// Tells in coverage how often the worker was ended or stopped, and by what.
    fn worker_text(&self) -> health::HookText {
        let told = &self.told;
        let reason = match (told.restarts, told.stopped) {
            (0, 0) => String::new(),
            (restarts, stopped) => format!(
                "started again {restarts} times, stopped {stopped} times; latest: {}",
                told.latest
            ),
        };
        ["worker".to_owned(), "running".to_owned(), reason]
    }

    /// Tells in coverage of settings that were read again; nothing when they never were.
    fn settings_text(&self) -> Option<health::HookText> {
        let told = &self.told;
        let refused = told.refused.as_ref().map(|why| format!("the old ones go on, because {why}"));
        let read = format!("read again {} times", told.reloads);
        (told.reloads > 0 || refused.is_some())
            .then(|| ["settings".to_owned(), read, refused.unwrap_or_default()])
    }

    /// Starts a program of the host for the worker, in the place of an earlier one.
    fn start_program(&mut self, program: Program, number: u32) -> Result<Answer, Refusal> {
        self.end_program(program);
        let (child, output) = program::start_here(program, number)?;
        self.programs.push((program, child));
        Ok(Answer { descriptors: vec![output], ..Answer::default() })
    }

    /// Ends a program of the host.
    pub(super) fn end_program(&mut self, program: Program) {
        for (_, child) in self.programs.iter_mut().filter(|(running, _)| *running == program) {
            // It may have ended already; waiting for it then returns at once.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.programs.retain(|(running, _)| *running != program);
    }

    fn count_syscalls(&mut self, on: bool) -> Result<Answer, Refusal> {
        let probes = self.probes.as_mut().ok_or_else(not_loaded)?;
        probes.set_syscall_counting(on).map_err(in_words)?;
        Ok(Answer::default())
    }
}

fn bytes(bytes: Vec<u8>) -> Answer {
    Answer { bytes, ..Answer::default() }
}

fn one_of<T: Copy>(all: &[T], number: u32) -> io::Result<T> {
    let found = all.get(number as usize).copied();
    found.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

fn in_words(error: impl ToString) -> Refusal {
    Refusal { errno: libc::EIO, text: error.to_string() }
}

fn not_loaded() -> Refusal {
    in_words("no programs are loaded")
}
