//! The chaos campaign: a fleet of real processes on real nats-servers does runs whose
//! right answers are known, while a nemesis kills, stops, terminates and cuts what it is
//! made of. Afterwards the whole history is judged.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a campaign that cannot do its work has failed, and says what it does"
)]

mod history;
