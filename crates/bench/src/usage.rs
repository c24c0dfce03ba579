//! What processes use while something is done: their memory from beginning to end, which a
//! peak does not tell, and the CPU time of one that is gone by then.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::{error::Error, machine, site::Role};

/// Often enough for a measurement of a second, and nothing beside what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(100);

const MIB: f64 = 1024.0 * 1024.0;

/// What was used, by role; its processes together.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Memory in MiB, look by look.
    rss_mb: BTreeMap<Role, Vec<f64>>,
    /// CPU seconds since each process was started, at the last look at it.
    cpu_s: BTreeMap<i32, f64>,
}

impl Usage {
    /// Looks at these processes for as long as something is done.
    pub(crate) async fn of<T>(
        pids: &[(Role, i32)],
        doing: impl Future<Output = Result<T, Error>>,
    ) -> Result<(T, Self), Error> {
        let mut usage = Self::default();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut doing = std::pin::pin!(doing);
        loop {
            tokio::select! {
                done = &mut doing => return Ok((done?, usage)),
                _ = looks.tick() => usage.look(pids),
            }
        }
    }

    /// Who is gone is left out: that it should not be is for others to say.
    fn look(&mut self, pids: &[(Role, i32)]) {
        let mut sums = BTreeMap::<Role, f64>::new();
        for (role, pid) in pids {
            let (Ok(bytes), Ok(cpu_s)) = (machine::rss_bytes(*pid), machine::cpu_s(*pid)) else { continue };
            *sums.entry(*role).or_default() += bytes / MIB;
            self.cpu_s.insert(*pid, cpu_s);
        }
        for (role, sum) in sums {
            self.rss_mb.entry(role).or_default().push(sum);
        }
    }

    /// The most memory of a role at any look, in MiB.
    pub(crate) fn peak_mb(&self, role: Role) -> Option<f64> {
        self.rss_mb.get(&role)?.iter().copied().max_by(f64::total_cmp)
    }

    /// How much more memory it had in the last quarter than in the first, in MiB.
    pub(crate) fn growth_mb(&self, role: Role) -> Option<f64> {
        let looks = self.rss_mb.get(&role)?;
        let quarter = looks.len().div_ceil(4);
        let (first, last) = (looks.get(..quarter)?, looks.get(looks.len() - quarter..)?);
        Some(mean(last)? - mean(first)?)
    }

    /// CPU seconds of a process in all its life.
    pub(crate) fn cpu_s(&self, pid: i32) -> f64 {
        self.cpu_s.get(&pid).copied().unwrap_or_default()
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_from_the_first_quarter_to_the_last() {
        let rss_mb = [(Role::Coordinator, vec![1.0, 3.0, 50.0, 4.0, 5.0, 90.0, 10.0, 12.0])].into();
        let usage = Usage { rss_mb, ..Usage::default() };
        assert_eq!(usage.growth_mb(Role::Coordinator), Some(9.0));
        assert_eq!(usage.peak_mb(Role::Coordinator), Some(90.0));
        assert_eq!(usage.growth_mb(Role::Executor), None, "nobody looked at one");
    }

    #[tokio::test]
    async fn this_process_uses_memory() {
        let pids = [(Role::Client, machine::own_pid())];
        let (_, usage) = Usage::of(&pids, async {
            tokio::time::sleep(LOOK_EVERY * 3).await;
            Ok(())
        })
        .await
        .unwrap();
        assert!(usage.peak_mb(Role::Client) > Some(0.0));
    }
}
