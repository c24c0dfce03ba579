//! What processes use, as the kernel counts it, and what the rest of the machine does
//! meanwhile. The kernel counts in ticks, usually of 10 ms.

use std::time::Duration;

use procfs::{CurrentSI as _, KernelStats, process::Process};

use crate::error::{Error, failed};

/// CPU seconds of a process so far, user and system, all threads.
pub(crate) fn cpu_s(pid: i32) -> Result<f64, Error> {
    let stat = Process::new(pid).and_then(|process| process.stat()).map_err(failed(reading(pid)))?;
    Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// The most memory that a process had so far, in MiB.
pub(crate) fn peak_rss_mb(pid: i32) -> Result<f64, Error> {
    let status = Process::new(pid).and_then(|process| process.status()).map_err(failed(reading(pid)))?;
    let peak = status.vmhwm.ok_or_else(|| failed(reading(pid))("the kernel does not say"))?;
    Ok(peak as f64 / 1024.0)
}

/// The memory that a process has now, in bytes.
pub(crate) fn rss_bytes(pid: i32) -> Result<f64, Error> {
    let status = Process::new(pid).and_then(|process| process.status()).map_err(failed(reading(pid)))?;
    let now = status.vmrss.ok_or_else(|| failed(reading(pid))("the kernel does not say"))?;
    Ok(now as f64 * 1024.0)
}

/// CPU seconds that the whole machine has been busy so far, also for others.
pub(crate) fn busy_s() -> Result<f64, Error> {
    let total = KernelStats::current().map_err(failed("read what the machine uses"))?.total;
    let stolen = total.steal_duration().unwrap_or_default();
    let interrupts = total.irq_duration().unwrap_or_default() + total.softirq_duration().unwrap_or_default();
    let busy: Duration = total.user_duration() + total.nice_duration() + total.system_duration();
    Ok((busy + interrupts + stolen).as_secs_f64())
}

/// How many CPUs there are.
pub(crate) fn cpus() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cpus| cpus.get() as f64)
}

/// This process.
pub(crate) fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or_default()
}

fn reading(pid: i32) -> String {
    format!("read what process {pid} uses")
}
