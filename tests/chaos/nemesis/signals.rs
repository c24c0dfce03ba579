//! Signals to a process, and the proof that they have done what they should.

use std::{fs, process::Command};

/// Sends a signal to one process by its id.
pub(crate) fn send(name: &str, pid: u32) -> Result<(), String> {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).output();
    match sent {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The state letter of `/proc/<pid>/stat`, which follows the name in parentheses: `T` is
/// stopped. `None` when there is no such process.
pub(crate) fn state(pid: u32) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.trim_start().chars().next()
}
