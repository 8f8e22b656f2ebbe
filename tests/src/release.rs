//! Which kernel runs.

/// Returns version and patch level, such as (6, 12); zeros when it calls itself something else.
pub fn running() -> (u32, u32) {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_owned());
    let release = release.unwrap_or_default().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
