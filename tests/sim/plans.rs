//! Plans as a planner model might write them: most of them sound, some not.

use serde_json::{Value, json};

use super::dice::Dice;

/// A first plan of one to six steps.
pub(crate) fn first(dice: &Dice, nests: bool) -> Value {
    let mut draft = Draft { nests, ..Draft::default() };
    for id in 1..=dice.number(1, 6) {
        draft.add(dice, id);
    }
    draft.spoil(dice);
    let last = draft.steps.len() as u64;
    let last = if dice.chance(850) { last } else { dice.number(1, last) };
    json!({"steps": draft.steps, "final": last})
}

/// A first plan that a task brings with it: always sound.
pub(crate) fn sound(dice: &Dice, nests: bool) -> Value {
    let mut draft = Draft { nests, ..Draft::default() };
    let steps = dice.number(1, 5);
    (1..=steps).for_each(|id| draft.add(dice, id));
    json!({"steps": draft.steps, "final": steps})
}

/// The answer to a replan request that reads so.
pub(crate) fn revision(dice: &Dice, request: &str, nests: bool) -> Value {
    let answer = |decision: &str, draft: Draft, last: Option<u64>| {
        json!({"decision": decision, "reason": decision, "drop": [], "steps": draft.steps, "final": last,
               "answer": (decision == "finish").then_some("what there is")})
    };
    match dice.count(0, 9) {
        0 => answer("finish", Draft::default(), None),
        1 => answer("give_up", Draft::default(), None),
        _ => {
            let highest = number_after(request, "The highest id used is ").unwrap_or(0);
            let mut draft = Draft { texts: succeeded(request), nests, ..Draft::default() };
            let last = highest + dice.number(1, 3);
            (highest + 1..=last).for_each(|id| draft.add(dice, id));
            draft.spoil(dice);
            answer("revise", draft, Some(last))
        }
    }
}

fn number_after(text: &str, mark: &str) -> Option<u64> {
    let rest = &text[text.find(mark)? + mark.len()..];
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// The steps that a replan request lists as finished.
fn succeeded(request: &str) -> Vec<u64> {
    let lines = request.lines().filter(|line| line.starts_with("Step ") && line.contains(" (succeeded): "));
    lines.filter_map(|line| number_after(line, "Step ")).collect()
}

/// Steps that are being written.
#[derive(Default)]
struct Draft {
    steps: Vec<Value>,
    /// Steps whose whole output may be referred to.
    texts: Vec<u64>,
    /// Steps that put out a list.
    lists: Vec<u64>,
    /// Whether a step may be a run of its own.
    nests: bool,
}

impl Draft {
    fn add(&mut self, dice: &Dice, id: u64) {
        let step = match dice.count(0, 9) {
            _ if self.nests && dice.chance(150) => self.sub_task(dice, id),
            0 => tool(id, "wait", &[("ms", &dice.number(0, 2_500).to_string())]),
            1 => tool(id, "math_eval", &[("expression", *dice.pick(&["1 + 2", "6 * 7", "2 ^ 3", "1 +"]))]),
            2 | 3 => {
                let text = *dice.pick(&["a,b,c", "a,b", "a,b,c,d", ""]);
                self.lists.push(id);
                tool(id, "text_split", &[("text", text), ("by", "separator"), ("separator", ",")])
            }
            4 => tool(id, "post", &[("text", "hello")]),
            5 | 6 if !self.lists.is_empty() => self.each(dice, id),
            _ => self.model(dice, id),
        };
        let step = self.depends(dice, step);
        self.steps.push(step);
        self.texts.push(id);
    }

    /// A step for each item of a list.
    fn each(&self, dice: &Dice, id: u64) -> Value {
        let mut step = if dice.chance(500) {
            tool(id, "text_template", &[("template", "item {{ value }}")])
        } else {
            self.model(dice, id)
        };
        let path = if dice.chance(970) { "/items" } else { "/nowhere" };
        step["for_each"] = json!({"from_step": dice.pick(&self.lists), "path": path, "as": null});
        step
    }

    /// A run of its own, or one for each item of a list.
    fn sub_task(&self, dice: &Dice, id: u64) -> Value {
        let goal = format!("Part {id}.");
        let mode = *dice.pick(&["auto", "direct", "direct"]);
        let mut step = tool(id, "sub_task", &[("goal", goal.as_str()), ("mode", mode)]);
        if !self.lists.is_empty() && dice.chance(300) {
            step["for_each"] = json!({"from_step": dice.pick(&self.lists), "path": "/items", "as": "part"});
        }
        if dice.chance(100) {
            step["success_criteria"] = json!([{"kind": "contains", "arg": "ok"}]);
        }
        step
    }

    fn model(&self, dice: &Dice, id: u64) -> Value {
        let mut criteria = Vec::new();
        if dice.chance(600) {
            criteria.push(json!({"kind": "contains", "arg": "ok"}));
        }
        if dice.chance(100) {
            criteria.push(json!({"kind": "judge", "arg": "Is it good?"}));
        }
        let mut inputs = Vec::new();
        if !self.texts.is_empty() && dice.chance(700) {
            let from = dice.pick(&self.texts);
            inputs.push(json!({"name": "before", "value": null, "from_step": from, "path": ""}));
        }
        let tools: &[&str] = if dice.chance(150) { &["math_eval"] } else { &[] };
        // A revision must not repeat the words of what has failed.
        let description = format!("Do thing {id}.");
        json!({"id": id, "description": description, "kind": "model", "tools": tools, "inputs": inputs,
               "for_each": null, "depends_on": [], "expected_output": "", "success_criteria": criteria,
               "tier": "default"})
    }

    fn depends(&self, dice: &Dice, mut step: Value) -> Value {
        if !self.texts.is_empty() && dice.chance(300) {
            step["depends_on"] = json!([dice.pick(&self.texts)]);
        }
        step
    }

    /// Now and then a fault that the linter finds.
    fn spoil(&mut self, dice: &Dice) {
        if !dice.chance(120) {
            return;
        }
        let at = dice.count(0, self.steps.len() - 1);
        let step = &mut self.steps[at];
        match dice.count(0, 3) {
            0 => step["depends_on"] = json!([99]),
            1 => step["tools"] = json!(["no_such_tool"]),
            2 => step["id"] = json!(0),
            _ => step["kind"] = json!("dance"),
        }
    }
}

fn tool(id: u64, name: &str, arguments: &[(&str, &str)]) -> Value {
    let input =
        |(name, value): &(&str, &str)| json!({"name": name, "value": value, "from_step": null, "path": null});
    let inputs: Vec<Value> = arguments.iter().map(input).collect();
    json!({"id": id, "description": format!("Call {name} {id}."), "kind": "tool", "tools": [name],
           "inputs": inputs, "for_each": null, "depends_on": [], "expected_output": "",
           "success_criteria": [], "tier": "default"})
}
