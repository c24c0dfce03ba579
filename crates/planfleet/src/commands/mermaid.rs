//! A plan as a Mermaid flowchart.

use std::fmt::Write as _;

use planfleet_core::plan::{Plan, StepKind};

use crate::output::line;

/// The chart's text. Labels are quoted, and what would end a quote is replaced.
pub(super) fn flowchart(plan: &Plan) -> String {
    let mut chart = "flowchart TD".to_owned();
    for step in &plan.steps {
        let text = line(&step.description, 60).replace('"', "'").replace(['<', '>'], " ");
        let (open, close) = if step.kind == StepKind::Tool { ("[[", "]]") } else { ("[", "]") };
        // Writing to a String cannot fail.
        let _ = write!(chart, "\n  s{}{open}\"{}: {text}\"{close}", step.id, step.id);
        for on in step.dependencies() {
            let _ = write!(chart, "\n  s{on} --> s{}", step.id);
        }
    }
    let _ = write!(chart, "\n  s{} --> answer([answer])", plan.final_step);
    chart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out() {
        let plan: Plan = serde_json::from_str(
            r#"{"steps": [{"id": 1, "description": "say \"hi\" <b>"}, {"id": 2, "kind": "tool", "tools": ["t"], "depends_on": [1]}], "final": 2}"#,
        )
        .unwrap();
        let chart = flowchart(&plan);
        assert_eq!(
            chart,
            "flowchart TD\n  s1[\"1: say 'hi'  b \"]\n  s2[[\"2: \"]]\n  s1 --> s2\n  s2 --> answer([answer])"
        );
    }
}
