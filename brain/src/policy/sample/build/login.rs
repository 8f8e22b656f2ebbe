//! Lines about log-ins.

use wire::record::{Address, Login, ProcessRef, login_action};

use super::Builder;
use super::act::{action, names};
use crate::policy::sample::scenario::Step;

const LOGIN: &[(&str, u8)] = names![login_action:
    "accepted" ACCEPTED, "failed" FAILED, "invalid_user" INVALID_USER,
    "session_opened" SESSION_OPENED, "session_closed" SESSION_CLOSED, "left_early" LEFT_EARLY,
    "disconnected" DISCONNECTED, "too_many" TOO_MANY, "command" COMMAND, "refused" REFUSED,
    "account_created" ACCOUNT_CREATED, "account_changed" ACCOUNT_CHANGED,
    "account_deleted" ACCOUNT_DELETED, "password_changed" PASSWORD_CHANGED, "probe" PROBE,
    "throttled" THROTTLED, "other" OTHER,
];

impl Builder {
    pub(super) fn login(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        let (remote, remote_port) = match step.remote.as_str() {
            "" => (Address::default(), 0),
            remote => super::end(remote)?,
        };
        let from = if step.remote.is_empty() { String::new() } else { remote.to_ip().to_string() };
        let service = step.service.as_deref().unwrap_or("sshd");
        let texts = [
            service,
            &step.user,
            &step.target_user,
            &step.method,
            &step.command,
            &from,
            &step.message,
        ];
        let [service, user, target_user, method, command, remote_name, message] =
            texts.map(|text| self.string(text));
        self.batch.logins.push(Login {
            time_ns: self.now_ns,
            process,
            action: action(step, LOGIN)?,
            count: 1,
            remote,
            remote_port,
            service: service?,
            user: user?,
            target_user: target_user?,
            method: method?,
            command: command?,
            remote_name: remote_name?,
            message: message?,
            ..Login::default()
        });
        Ok(())
    }
}
