//! What calls use, as LLMCompiler has counted it for GPT-3.5: 20,000 tokens in and 230 out for
//! a task by `ReAct`, 2,800 and 115 by planner and answer together.

use serde_json::{Value, json};

use super::tasks::MOVIES;

/// Its price then, in USD per million tokens: 20.46 USD for a thousand tasks by `ReAct`.
pub(super) const PRICE: &str = "{ input_usd_per_million = \"1\", output_usd_per_million = \"2\" }";
pub(super) const USD_PER_TOKEN: [f64; 2] = [1e-6, 2e-6];

/// How planner and answer share theirs is not published. The planner's prompt in the sources
/// of LLMCompiler has 558 tokens of GPT-3.5's, a question about 50; the rest is the answer's,
/// whose prompt has 1,439 before the first of eight summaries. Of the output, the answer's
/// example has 40.
pub(super) const PLANNER: [u64; 2] = [610, 75];
pub(super) const JOIN: [u64; 2] = [2_190, 40];

/// So an observation has about 94 tokens, and with what the model said before it 106: of nine
/// prompts each is so much longer than the one before.
const REACT_FIRST: u64 = 1_798;
const REACT_MORE: u64 = 106;
/// The last call has what is left of the totals, and answers in a sentence.
const REACT_LAST: [u64; 2] = [2_648, 30];
const REACT_OUTPUT: u64 = 25;

/// A summary of a movie, in bytes: 94 tokens.
pub(super) const SUMMARY_BYTES: usize = 376;

/// The call of `ReAct` at this place, from 0.
pub(super) fn react(place: usize) -> [u64; 2] {
    if place == MOVIES {
        return REACT_LAST;
    }
    [REACT_FIRST + REACT_MORE * place as u64, REACT_OUTPUT]
}

/// As a script says it.
pub(super) fn usage([input, output]: [u64; 2]) -> Value {
    json!({"prompt_tokens": input, "completion_tokens": output})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_that_were_published() {
        let react: Vec<[u64; 2]> = (0..=MOVIES).map(react).collect();
        let sum = |at: usize| react.iter().map(|tokens| tokens[at]).sum::<u64>();
        assert_eq!([sum(0), sum(1)], [20_000, 230]);
        assert_eq!([PLANNER[0] + JOIN[0], PLANNER[1] + JOIN[1]], [2_800, 115]);
    }
}
