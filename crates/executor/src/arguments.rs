//! From a step's inputs to a tool's arguments.

use planfleet_core::{
    command::{ResolvedInput, ResolvedValue},
    failure::{Failure, FailureClass},
    plan::lint::tools::coerce,
    tool::ToolSpec,
};
use serde_json::{Map, Value};

/// The arguments that the inputs make for a tool.
///
/// The item of a `for_each` fills the argument of its name. Where the tool has
/// none of that name, an object fills the open arguments that its keys name,
/// and anything else fills the one required argument that is left open. The
/// index is given to a tool only if it has an argument `index`.
pub(crate) fn arguments(tool: &ToolSpec, inputs: &[ResolvedInput]) -> Result<Map<String, Value>, Failure> {
    let mut arguments = Map::new();
    for ResolvedInput { name, value } in inputs {
        match value {
            ResolvedValue::Literal(text) => {
                let schema = tool.argument(name).unwrap_or(&Value::Null);
                let value = coerce(text, schema)
                    .map_err(|problem| bad(tool, format!("argument {name:?}: {problem}")))?;
                arguments.insert(name.clone(), value);
            }
            ResolvedValue::Json(json) => {
                arguments.insert(name.clone(), fitted(tool, name, json.value()));
            }
            ResolvedValue::Item(_) | ResolvedValue::Index(_) => {}
        }
    }
    for ResolvedInput { name, value } in inputs {
        match value {
            ResolvedValue::Item(item) => place_item(tool, name, item.value(), &mut arguments)?,
            ResolvedValue::Index(index) if tool.argument("index").is_some() => {
                arguments.entry("index").or_insert_with(|| (*index).into());
            }
            ResolvedValue::Index(_) | ResolvedValue::Literal(_) | ResolvedValue::Json(_) => {}
        }
    }
    Ok(arguments)
}

fn place_item(
    tool: &ToolSpec,
    name: &str,
    item: Value,
    arguments: &mut Map<String, Value>,
) -> Result<(), Failure> {
    if tool.argument(name).is_some() {
        arguments.insert(name.to_owned(), fitted(tool, name, item));
        return Ok(());
    }
    let open: Vec<String> =
        tool.required().filter(|argument| !arguments.contains_key(*argument)).map(str::to_owned).collect();
    match (item, open.as_slice()) {
        (Value::Object(item), open) if open.iter().any(|argument| item.contains_key(argument)) => {
            let named = item.into_iter().filter(|(key, _)| tool.argument(key).is_some());
            arguments.extend(named);
            Ok(())
        }
        (item, [only]) => {
            arguments.insert(only.clone(), fitted(tool, only, item));
            Ok(())
        }
        (_, open) => Err(bad(
            tool,
            format!(
                "has no argument {name:?} for the item, and {} required ones are open; name the item with \"as\"",
                open.len()
            ),
        )),
    }
}

/// A number or boolean of an earlier output, where the tool takes a text, is its text.
fn fitted(tool: &ToolSpec, name: &str, value: Value) -> Value {
    let wants_text = tool.argument(name).is_some_and(|schema| schema["type"] == "string");
    match value {
        Value::Number(_) | Value::Bool(_) if wants_text => Value::String(value.to_string()),
        value => value,
    }
}

fn bad(tool: &ToolSpec, problem: String) -> Failure {
    Failure::new(FailureClass::ToolError, format!("tool {}: {problem}", tool.name))
}

#[cfg(test)]
mod tests {
    use planfleet_core::{json::Json, tool::Effect};
    use serde_json::json;

    use super::*;

    fn tool() -> ToolSpec {
        ToolSpec {
            name: "t".into(),
            description: String::new(),
            arguments: json!({"required": ["a", "b"], "properties": {
                "a": {"type": "integer"}, "b": {}, "c": {}, "s": {"type": "string"}}}),
            output: json!({}),
            effect: Effect::Pure,
            idempotent: true,
        }
    }

    fn input(name: &str, value: ResolvedValue) -> ResolvedInput {
        ResolvedInput { name: name.into(), value }
    }

    fn item(value: Value) -> ResolvedInput {
        input("item", ResolvedValue::Item(Json::from_value(&value)))
    }

    fn made(inputs: &[ResolvedInput]) -> Value {
        Value::Object(arguments(&tool(), inputs).unwrap())
    }

    #[test]
    fn literals_take_the_type_that_the_schema_asks_for() {
        let inputs =
            [input("a", ResolvedValue::Literal("3".into())), input("b", ResolvedValue::Literal("x".into()))];
        assert_eq!(made(&inputs), json!({"a": 3, "b": "x"}));
        let wrong = [input("a", ResolvedValue::Literal("three".into()))];
        assert!(arguments(&tool(), &wrong).unwrap_err().message.contains("argument \"a\""));
    }

    #[test]
    fn an_item_fills_what_is_open() {
        let a = input("a", ResolvedValue::Literal("1".into()));
        assert_eq!(made(&[a, item(json!("x"))]), json!({"a": 1, "b": "x"}));
        assert_eq!(made(&[item(json!({"a": 1, "b": 2, "z": 9}))]), json!({"a": 1, "b": 2}));
        let named = input("c", ResolvedValue::Item(Json::from_value(&json!(5))));
        assert_eq!(made(&[named, input("index", ResolvedValue::Index(0))]), json!({"c": 5}));
    }

    #[test]
    fn a_number_for_a_text_is_its_text() {
        let number = |name: &str| input(name, ResolvedValue::Json(Json::from_value(&json!(1.5))));
        assert_eq!(made(&[number("s"), number("b")]), json!({"s": "1.5", "b": 1.5}));
    }

    #[test]
    fn an_item_with_nowhere_to_go_is_an_error() {
        assert!(
            arguments(&tool(), &[item(json!("x"))]).unwrap_err().message.contains("2 required ones are open")
        );
    }
}
