//! The sensor's configuration file, the brain's policy over it, and join tokens.

use std::path::Path;

use sensor::config::Config;
use sensor::join::JoinToken;

use super::{KIB, MIB, Target, choice};

pub(super) const TARGET: Target = Target {
    name: "settings",
    what: "a configuration file, a policy of the brain over it, a join token",
    input_max: 4 * KIB,
    memory_max: 4 * MIB,
    control: false,
    check,
    seeds,
};

/// Divides the file from the policy.
const DIVIDER: u8 = 0;

fn check(input: &[u8]) {
    let Some((choice, text)) = choice(input, 2) else { return };
    if choice == 1 {
        let token = str::from_utf8(text).ok().and_then(|text| JoinToken::parse(text).ok());
        assert!(token.is_none_or(|token| !token.secret().is_empty()));
        return;
    }
    let mut parts = text.splitn(2, |byte| *byte == DIVIDER);
    let mut next = || str::from_utf8(parts.next().unwrap_or_default());
    let (Ok(own), Ok(policy)) = (next(), next()) else { return };
    let file = Path::new("sensor.toml");
    let config = match Config::parse(own, file) {
        Ok(config) => config,
        Err(error) => {
            let sentence = error.to_string();
            assert!(!sentence.is_empty() && sentence.len() < 16 * KIB, "{sentence}");
            return;
        }
    };
    config.check("the same file").expect("it was right before");
    let nothing = config.under("").expect("an empty policy changes nothing");
    assert_eq!(shown(&nothing), shown(&config));
    if let Ok(merged) = config.under(policy) {
        merged.check("the policy").expect("what is taken is right");
        // What a policy must not set stays as the host has it.
        let own = |c: &Config| {
            let (scope, files) = (format!("{:?}", c.scope), c.login_files.clone());
            (c.brain_address.clone(), c.state_dir.clone(), c.user.clone(), scope, files)
        };
        assert_eq!(own(&merged), own(&config));
        let twice = merged.under(policy).expect("it was taken before");
        assert_eq!(shown(&twice), shown(&merged));
    }
}

fn shown(config: &Config) -> String {
    format!("{config:?}")
}

fn seeds() -> Vec<Vec<u8>> {
    let file = "[brain]\naddress = \"brain.example:7443\"\nhostname = \"web-1\"\n\
                [collect]\ninterfaces = [\"eth0\"]\ntick_ms = 500\nsyscalls = \"off\"\n\
                tunnels = true\nvariables = [\"LD_PRELOAD\"]\n\
                [files]\nwrite = [\"/etc/**\"]\nread = [\"/home/*/.ssh/*\"]\n\
                [logins]\nsource = \"files\"\nfiles = [\"/var/log/auth.log\"]\n\
                [inventory]\nenabled = false\n[spool]\nmax_bytes = 67108864\n\
                [log]\nlevel = \"debug\"\nformat = \"json\"\n";
    let policy = "[collect]\ntick_ms = 1000\nxdp = \"native\"\n[files]\nwrite = [\"/usr/bin\"]\n";
    let settable = "[collect]\ntick_ms = 1000\n[files]\nread = [\"/etc/shadow\"]\n";
    let token = "skm1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let with = |policy: &str| [&[0], file.as_bytes(), &[DIVIDER], policy.as_bytes()].concat();
    vec![with(policy), with(settable), with(""), [&[1], token.as_bytes()].concat()]
}
