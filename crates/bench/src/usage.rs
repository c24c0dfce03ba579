//! What processes use, as the kernel counts it.

use procfs::{ProcError, process::Process};

use crate::error::{Error, failed};

/// CPU seconds of a process so far, user and system, all threads. The kernel counts
/// in ticks, usually of 10 ms.
pub(crate) fn cpu_s(pid: i32) -> Result<f64, Error> {
    let stat = process(pid).and_then(|process| process.stat()).map_err(failed(reading(pid)))?;
    Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// The most memory that a process had so far, in MiB; zero where the kernel does not say.
pub(crate) fn peak_rss_mb(pid: i32) -> Result<f64, Error> {
    let status = process(pid).and_then(|process| process.status()).map_err(failed(reading(pid)))?;
    Ok(status.vmhwm.unwrap_or_default() as f64 / 1024.0)
}

/// The memory that a process has now, in bytes.
pub(crate) fn rss_bytes(pid: i32) -> Result<f64, Error> {
    let status = process(pid).and_then(|process| process.status()).map_err(failed(reading(pid)))?;
    Ok(status.vmrss.unwrap_or_default() as f64 * 1024.0)
}

/// This process.
pub(crate) fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or_default()
}

fn process(pid: i32) -> Result<Process, ProcError> {
    Process::new(pid)
}

fn reading(pid: i32) -> String {
    format!("read what process {pid} uses")
}
