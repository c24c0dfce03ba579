//! The checker, checked: a good history passes every rule, bad ones are caught by
//! the rule that is there for it, and random harm is noticed.

mod bad;
mod edit;
mod figures;
mod good;
mod harm;
mod harm_logs;
mod mutations;
mod steps;
mod story;
