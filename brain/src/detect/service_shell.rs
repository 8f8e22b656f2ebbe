//! Shells below programs that strangers talk to.
//!
//! **What.** A program that serves the network started a shell or an interpreter: an interactive
//! one, or one that looks around, fetches tools or calls out. The latter is what a web shell does.
//!
//! **Evidence.** The execution with its command line, and the service.
//!
//! **False positives.** Services run helpers through a shell. One that runs commands which answer
//! no intruder's question is quiet; a single harmless question is of medium severity; and what a
//! service has done several times over ten minutes or more is its habit. Programs that give people
//! a shell by design are named in the settings. A builder that listens for a moment is no service.
//!
//! **Method.** A process counts as a service if its name is one's, or if it listens or has accepted
//! connections: per host, bounded tables of listening processes and of commands by service. Records
//! of sockets may come after those of executions, so a shell waits a moment for one that says that
//! its parent served already.

use std::sync::Arc;

use super::report::Act;
use super::shell::{Session, is_interpreter, is_shell, session};
use super::{Detector, HOSTS_MAX, KindText, PerHost, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{ConnectionEvent, Event, EventKind, Exec, Process, ProcessKey, Stdio};
use crate::window::keyed::Keyed;

const WEB_SHELL: KindText = KindText {
    name: "InitialAccess:Host/WebShell",
    guardduty: None,
    description: "A program that strangers talk to ran commands through a shell with which \
        somebody looks around, fetches tools or calls out. Most likely a stranger types them.",
    remediation: "Look at the service's log at this moment for the request that did it, and in \
        its folders for files that nobody deployed. Isolate the host before you remove anything.",
    techniques: &["T1505.003", "T1190", "T1059.004"],
};
const SHELL: KindText = KindText {
    name: "Execution:Host/SuspiciousShellCreated",
    guardduty: Some("Execution:Runtime/SuspiciousShellCreated"),
    description: "A program that strangers talk to started an interactive shell.",
    remediation: "Find out who talked to the program at this moment. If it does not give people \
        a shell by design, isolate the host.",
    techniques: &["T1059.004", "T1190"],
};

/// Commands that fetch, call out or open doors, or several questions.
const SEVERITY_COMMAND: f64 = 7.5;
const SEVERITY_QUESTION: f64 = 5.0;
const SEVERITY_SHELL: f64 = 5.0;

/// Listening processes per host.
const SERVICES_MAX: usize = 1_024;
/// Shells per host whose parents may turn out to serve, and how late that may be told.
const EARLY_MAX: usize = 256;
const LATE_NS: u64 = 5_000_000_000;
/// Commands by service, per host.
const COMMANDS_MAX: usize = 1_024;

/// What ends a simple command in a shell's line.
const SEPARATORS: [u8; 7] = *b";|&\n`()";

/// The detector.
#[derive(Debug)]
pub struct ServiceShell {
    settings: policy::ServiceShell,
    web_shell: Reporter,
    shell: Reporter,
    hosts: PerHost<State>,
    evicted: u64,
}

#[derive(Debug)]
struct State {
    listening: Keyed<ProcessKey, ()>,
    /// Executions of shells by the parent, the latest of each.
    early: Keyed<ProcessKey, Event>,
    habits: Keyed<(Vec<u8>, Vec<Vec<u8>>), Habit>,
}

/// How often a service ran a command, and since when.
#[derive(Clone, Copy, Debug)]
struct Habit {
    count: u32,
    first_ns: u64,
}

impl State {
    fn new() -> Self {
        Self {
            listening: Keyed::new(SERVICES_MAX),
            early: Keyed::new(EARLY_MAX),
            habits: Keyed::new(COMMANDS_MAX),
        }
    }

    /// Keeps an execution until its parent is known to serve or nobody waits any more.
    fn keep(&mut self, parent: ProcessKey, event: &Event) -> u64 {
        while let Some((_, oldest)) = self.early.oldest()
            && oldest.time_ns.saturating_add(LATE_NS) < event.time_ns
        {
            self.early.pop_oldest();
        }
        self.early.remove(&parent);
        self.early.get_or(&parent, || event.clone());
        self.early.take_evicted()
    }
}

impl ServiceShell {
    /// Returns the detector.
    pub fn new(active: &Active<policy::ServiceShell>) -> Self {
        Self {
            settings: active.settings.clone(),
            web_shell: Reporter::new(&WEB_SHELL, &active.policy),
            shell: Reporter::new(&SHELL, &active.policy),
            hosts: Keyed::new(HOSTS_MAX),
            evicted: 0,
        }
    }

    fn on_exec(&mut self, event: &Event, exec: &Exec, process: &Arc<Process>) -> Option<Signal> {
        let service = process.parent.as_ref()?;
        let (is_shell, is_interpreter) = (is_shell(process), is_interpreter(process));
        if !is_shell && !is_interpreter || self.is_by_design(service) {
            return None;
        }
        let state = self.hosts.get_or(&event.host.id, State::new);
        let serves = context::is_service(service) || state.listening.peek(&service.key).is_some();
        // A socket as standard stream is the reverse shell's evidence, and told there.
        let on_socket = matches!(exec.stdio[0], Stdio::InetSocket { .. });
        if on_socket || context::is_build(service) {
            return None;
        }
        if !serves {
            self.evicted += state.keep(service.key, event);
            return None;
        }
        if is_shell && is_interactive(process, exec) {
            return Some(self.report(event, service, &self.shell, SEVERITY_SHELL, "a shell"));
        }
        let words = words(process);
        let severity = self.severity(&words, is_interpreter && !is_shell)?;
        if self.is_habit(event, service, words) {
            return None;
        }
        Some(self.report(event, service, &self.web_shell, severity, "commands"))
    }

    /// Notes that the process serves, and judges the shell that it started before this was told.
    fn on_serving(&mut self, event: &Event, process: &Process) -> Option<Signal> {
        let state = self.hosts.get_or(&event.host.id, State::new);
        state.listening.get_or(&process.key, || ());
        self.evicted += state.listening.take_evicted();
        // Only what was so when the shell was started says anything about it.
        let early = state.early.remove(&process.key)?;
        let (EventKind::Exec(exec), Some(shell)) = (&early.kind, &early.process) else {
            return None;
        };
        if early.time_ns < event.time_ns {
            return None;
        }
        self.on_exec(&early, exec, shell)
    }

    /// Judges the first words of the commands that are run.
    fn severity(&self, words: &[Vec<u8>], inline: bool) -> Option<f64> {
        let among = |names: &[String], word: &Vec<u8>| {
            names.iter().any(|name| name.as_bytes() == context::leaf(word))
        };
        let questions: std::collections::BTreeSet<&Vec<u8>> =
            words.iter().filter(|word| among(&self.settings.questions, word)).collect();
        let commands = words.iter().any(|word| among(&self.settings.commands, word));
        match questions.len() {
            _ if commands => Some(SEVERITY_COMMAND),
            2.. => Some(SEVERITY_COMMAND),
            1 => Some(SEVERITY_QUESTION),
            _ if inline && !words.is_empty() => Some(SEVERITY_QUESTION),
            _ => None,
        }
    }

    /// Counts the command and returns whether the service does this all the time.
    fn is_habit(&mut self, event: &Event, service: &Process, words: Vec<Vec<u8>>) -> bool {
        let state = self.hosts.get_or(&event.host.id, State::new);
        let key = (service.exe_path().to_vec(), words);
        let new = || Habit { count: 0, first_ns: event.time_ns };
        let habit = state.habits.get_or(&key, new);
        habit.count = habit.count.saturating_add(1);
        let since_ns = event.time_ns.saturating_sub(habit.first_ns);
        let (count, habit_ns) = (habit.count, self.settings.habit_s * 1_000_000_000);
        self.evicted += state.habits.take_evicted();
        count > self.settings.habit && since_ns >= habit_ns
    }

    fn is_by_design(&self, service: &Process) -> bool {
        let named = |path: &[u8]| {
            let name = context::leaf(path);
            self.settings.by_design.iter().any(|known| known.as_bytes() == name)
        };
        named(service.exe_path()) || named(&service.script)
    }

    fn report(
        &self,
        event: &Event,
        service: &Process,
        reporter: &Reporter,
        severity: f64,
        what: &str,
    ) -> Signal {
        reporter.act_about(
            event,
            Act {
                severity,
                subject: service.executable(),
                what: format!("ran {what} for {}", service.name()),
                kind: EvidenceKind::Exec,
                fields: vec![
                    ("service", service.executable().into()),
                    ("service_pid", u64::from(service.key.pid).into()),
                ],
            },
        )
    }
}

fn is_interactive(process: &Process, exec: &Exec) -> bool {
    match session(process) {
        Session::Command => false,
        Session::Explicit => true,
        Session::Bare => {
            exec.stdio.iter().all(|stdio| *stdio == Stdio::Device) && !process.tty.is_empty()
        }
    }
}

/// Returns the first word of each simple command that a shell is given; of an interpreter, the
/// program if it stands in the command line.
fn words(process: &Process) -> Vec<Vec<u8>> {
    let mut arguments = process.arguments().skip(1);
    let inline = |argument: &&[u8]| {
        argument.first() == Some(&b'-')
            && argument.get(1) != Some(&b'-')
            && argument[1..].iter().any(|letter| matches!(letter, b'c' | b'e' | b'r'))
    };
    if arguments.by_ref().find(inline).is_none() {
        return Vec::new();
    }
    let Some(line) = arguments.next() else { return Vec::new() };
    let commands = line.split(|byte| SEPARATORS.contains(byte));
    let first = |command: &[u8]| {
        let words = command.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        // `VAR=value command` and redirections stand before the command.
        let mut words = words.skip_while(|word| word.contains(&b'=') || word.contains(&b'>'));
        words.next().map(<[u8]>::to_vec)
    };
    commands.filter_map(first).take(WORDS_MAX).collect()
}

/// Commands of one line that are looked at; more says nothing else.
const WORDS_MAX: usize = 32;

impl Detector for ServiceShell {
    fn name(&self) -> &'static str {
        "service_shell"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let Some(process) = &event.process else { return };
        match &event.kind {
            EventKind::Exec(exec) => out.extend(self.on_exec(event, exec, process)),
            EventKind::Connection(connection)
                if matches!(
                    connection.event,
                    ConnectionEvent::Listen | ConnectionEvent::Accepted
                ) =>
            {
                out.extend(self.on_serving(event, process));
            }
            EventKind::Exit { .. } => {
                if let Some(state) = self.hosts.get(&event.host.id) {
                    state.listening.remove(&process.key);
                }
            }
            _ => {}
        }
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}

    fn evicted(&self) -> u64 {
        self.evicted + self.hosts.evicted()
    }
}

#[cfg(test)]
mod tests {
    use crate::detect::Detectors;
    use crate::detect::scenario::host;
    use crate::policy::{PolicySet, sample};

    /// Returns what is raised when each scenario's records come by themselves, in this order.
    fn raised(events: [&str; 2]) -> Vec<String> {
        let mut detectors = Detectors::new(&PolicySet::embedded());
        let mut kinds = Vec::new();
        for events in events {
            let text = format!(
                "name: x\nprocesses:\n  web: {{exe: /opt/app, args: app}}\n  \
                 sh: {{parent: web, exe: /usr/bin/dash, args: [sh, -c, \"id; uname -a\"]}}\n\
                 events: [{events}]\n"
            );
            let (_, batches) = sample::batches_of(&text).unwrap();
            // Not the time after the scenario.
            let signals = detectors.batch(&batches[0], &host("h"));
            kinds.extend(signals.into_iter().map(|signal| signal.kind.name.clone()));
        }
        kinds
    }

    #[test]
    fn a_service_that_is_told_of_late_is_one_if_it_served_already() {
        let listen = "{listen: web, local: '10.0.0.1:80'}";
        let late = "{listen: web, local: '10.0.0.1:80', after_ms: 200}";
        let exec = "{exec: sh, stdio: [pipe], after_ms: 100}";
        assert_eq!(raised([exec, listen]), ["InitialAccess:Host/WebShell"]);
        assert_eq!(raised([listen, exec]), ["InitialAccess:Host/WebShell"]);
        assert_eq!(raised([exec, late]), Vec::<String>::new());
    }
}
