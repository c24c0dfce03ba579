//! From JSON to a [`Plan`], with every malformed step reported at once.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Plan, PlanStep,
    lint::{Code, Fault},
};

/// Reads one step.
///
/// # Errors
/// A [`Code::Malformed`] fault that names the step (by its id where it has one).
pub fn step(value: Value) -> Result<PlanStep, Fault> {
    let id = value.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    serde_json::from_value(value)
        .map_err(|error| Fault::new(Code::Malformed, id, format!("not a step: {error}")))
}

/// Reads a whole plan. A missing `final` means the last step.
///
/// # Errors
/// Every malformed part, not only the first.
pub fn plan(value: Value) -> Result<Plan, Vec<Fault>> {
    let malformed = |message: &str| vec![Fault::new(Code::Malformed, None, message)];
    let Value::Object(mut object) = value else {
        return Err(malformed("a plan is an object {\"steps\": [...], \"final\": id}"));
    };
    let Some(Value::Array(items)) = object.remove("steps") else {
        return Err(malformed("a plan has a list \"steps\""));
    };
    let final_step = object.remove("final").unwrap_or(Value::Null);
    let mut faults: Vec<Fault> = object
        .keys()
        .map(|key| {
            Fault::new(
                Code::Malformed,
                None,
                format!("unknown key {key:?}; a plan has \"steps\" and \"final\""),
            )
        })
        .collect();
    let mut steps = Vec::with_capacity(items.len());
    for item in items {
        match step(item) {
            Ok(step) => steps.push(Arc::new(step)),
            Err(fault) => faults.push(fault),
        }
    }
    match final_id(&final_step, &steps) {
        Ok(final_step) if faults.is_empty() => Ok(Plan { steps, final_step }),
        Ok(_) => Err(faults),
        Err(fault) => {
            faults.push(fault);
            Err(faults)
        }
    }
}

fn final_id(value: &Value, steps: &[Arc<PlanStep>]) -> Result<u32, Fault> {
    if value.is_null() {
        return Ok(steps.last().map_or(0, |step| step.id));
    }
    value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
        Fault::new(Code::Malformed, None, format!("\"final\" is {value}; it is the id of a step"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_malformed_part_is_reported() {
        let faults = plan(json!({
            "steps": [{"id": 1, "kind": "dance"}, {"id": 2}, {"description": "no id"}],
            "final": "two", "extra": 1
        }))
        .unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert_eq!(faults[1].step, Some(1));
    }

    #[test]
    fn the_last_step_is_final_unless_said() {
        let plan = plan(json!({"steps": [{"id": 1}, {"id": 2}]})).unwrap();
        assert_eq!(plan.final_step, 2);
    }
}
