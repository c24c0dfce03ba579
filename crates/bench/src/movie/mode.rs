//! The ways to do a task, and how long each takes at least: LLMCompiler's times, to be met
//! without the time that an engine adds.

use serde_json::{Value, json};

use super::tasks::MOVIES;
use crate::plan_text::{Pace, PlanText};

/// What LLMCompiler measured for its planner, for look-ups (0.61 s at the mean, 1.13 s the
/// slowest of eight) and for the answer from all of them, in milliseconds.
const PLANNER_MS: f64 = 1_880.0;
pub(super) const LOOK_UPS_MS: [u64; MOVIES] = [250, 350, 450, 520, 610, 720, 850, 1_130];
const JOIN_MS: f64 = 1_620.0;

/// Its `ReAct` takes 20.47 s: what the look-ups leave, for each of its nine calls.
const REACT_CALL_MS: u64 = 1_732;
const REACT_CALLS: u64 = MOVIES as u64 + 1;

/// Before the first word of a plan. They do not say; a fifth is much for a model that streams.
const FIRST_BYTE_MS: f64 = 380.0;

/// How a task is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One model with the tool, which thinks and looks up in turn, as `ReAct` does.
    Direct,
    /// A plan that comes at once when it is written.
    Plan,
    /// A plan that comes token by token.
    Streaming,
    /// A plan that was made before.
    Cached,
}

impl Mode {
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Plan, Self::Streaming, Self::Cached];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Plan => "plan",
            Self::Streaming => "plan+streaming",
            Self::Cached => "plan+cache",
        }
    }

    /// Steps of a run.
    pub(crate) const fn steps(self) -> u64 {
        match self {
            Self::Direct => 1,
            _ => MOVIES as u64 + 1,
        }
    }

    /// The critical path in milliseconds: with a planner that takes its time, steps that start
    /// when they can, and nothing in between. The mean over which movie is the slow one.
    pub(crate) fn bound_ms(self, plan: &PlanText) -> f64 {
        let look_ups = LOOK_UPS_MS.map(|ms| ms as f64);
        let slowest = look_ups.into_iter().fold(0.0, f64::max);
        match self {
            Self::Direct => (REACT_CALLS * REACT_CALL_MS) as f64 + look_ups.iter().sum::<f64>(),
            Self::Plan => PLANNER_MS + slowest + JOIN_MS,
            Self::Cached => slowest + JOIN_MS,
            Self::Streaming => {
                let pace = pace(plan);
                let ends = |turn: usize| {
                    let look_up = |place: usize| look_ups[(place + turn) % MOVIES];
                    let end = |place: usize| pace.written_ms(plan.closes[place]) + look_up(place);
                    (0..MOVIES).map(end).fold(PLANNER_MS, f64::max)
                };
                (0..MOVIES).map(ends).sum::<f64>() / MOVIES as f64 + JOIN_MS
            }
        }
    }

    /// How the planner answers.
    pub(super) fn planner_latency(self, plan: &PlanText) -> Value {
        match self {
            Self::Streaming => pace(plan).json(),
            _ => at_once(PLANNER_MS as u64),
        }
    }

    pub(super) fn join_latency() -> Value {
        at_once(JOIN_MS as u64)
    }

    pub(super) fn react_latency() -> Value {
        at_once(REACT_CALL_MS)
    }
}

fn pace(plan: &PlanText) -> Pace {
    Pace::whole_in(PLANNER_MS, FIRST_BYTE_MS, plan.text.len())
}

fn at_once(first_byte_ms: u64) -> Value {
    json!({"first_byte_ms": first_byte_ms})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_those_that_were_published() {
        assert_eq!(LOOK_UPS_MS.iter().sum::<u64>(), 8 * 610);
        assert_eq!(LOOK_UPS_MS.iter().max(), Some(&1_130));
        let plan = super::super::script::plan();
        let bound = |mode: Mode| mode.bound_ms(&plan);
        assert_eq!([Mode::Direct, Mode::Plan, Mode::Cached].map(bound), [20_468.0, 4_630.0, 2_750.0]);
        let streaming = bound(Mode::Streaming);
        assert!((PLANNER_MS + JOIN_MS..bound(Mode::Plan)).contains(&streaming), "{streaming}");
    }
}
