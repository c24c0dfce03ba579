//! Tools by name, and the one way to call them.
//!
//! Whatever a tool does, a call ends in time, with an output of bounded size
//! that fits the tool's own schema, or with one classified failure.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use jsonschema::Validator;
use planfleet_core::failure::{Failure, FailureClass};
use planfleet_core::tool::{ToolCatalog, ToolSpec};
use serde_json::{Map, Value};
use tracing::{Instrument as _, Span, field};

use crate::builtin;
use crate::schema;
use crate::settings::{Settings, SettingsError};
use crate::tool::{CallContext, Tool, ToolError};

/// The tools of one process.
pub struct Registry {
    tools: BTreeMap<String, Registered>,
    output_bytes_max: usize,
}

struct Registered {
    tool: Arc<dyn Tool>,
    arguments: Validator,
    output: Validator,
}

/// Why a tool cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The name would not survive as a function name of the model providers.
    #[error("tool name `{0}` is not 1 to 64 of a-z, 0-9 and _")]
    Name(String),
    /// Another tool has that name.
    #[error("there is already a tool `{0}`")]
    Duplicate(String),
    /// One of its schemas does not compile.
    #[error("the {which} schema of tool `{name}` is wrong: {reason}")]
    Schema {
        /// The tool.
        name: String,
        /// `argument` or `output`.
        which: &'static str,
        /// What the schema compiler says.
        reason: String,
    },
}

impl Registry {
    /// A registry with all built-in tools.
    ///
    /// # Errors
    ///
    /// All wrong settings at once, or an HTTP client that cannot be built.
    pub fn builtin(settings: Settings) -> Result<Self, SettingsError> {
        let roots = settings.check()?;
        let mut registry = Self::empty(settings.output_bytes_max);
        for tool in builtin::all(&settings, roots)? {
            registry.register(tool)?;
        }
        Ok(registry)
    }

    pub(crate) fn empty(output_bytes_max: usize) -> Self {
        Self { tools: BTreeMap::new(), output_bytes_max }
    }

    /// Adds a tool and compiles its schemas.
    ///
    /// # Errors
    ///
    /// A bad or taken name, or a schema that does not compile.
    pub fn register(&mut self, tool: Arc<dyn Tool>) -> Result<(), RegisterError> {
        let spec = tool.spec();
        let name = spec.name.clone();
        if !is_tool_name(&name) {
            return Err(RegisterError::Name(name));
        }
        if self.tools.contains_key(&name) {
            return Err(RegisterError::Duplicate(name));
        }
        let arguments = compile(spec, "argument", &spec.arguments)?;
        let output = compile(spec, "output", &spec.output)?;
        self.tools.insert(name, Registered { tool, arguments, output });
        Ok(())
    }

    /// What planners and linters may know about the tools.
    #[must_use]
    pub fn catalog(&self) -> ToolCatalog {
        self.tools.iter().map(|(name, known)| (name.clone(), known.tool.spec().clone())).collect()
    }

    /// One tool's contract.
    #[must_use]
    pub fn spec(&self, name: &str) -> Option<&ToolSpec> {
        self.tools.get(name).map(|known| known.tool.spec())
    }

    /// Calls a tool.
    ///
    /// # Errors
    ///
    /// `denied` when the envelope does not hold the tool, `timeout` past the
    /// tool's time, `tool_error` for an unknown tool, for arguments or an
    /// output that break the schemas and for an output over the size cap, else
    /// what the tool itself says.
    pub async fn call(&self, name: &str, args: Value, ctx: &CallContext) -> Result<Value, Failure> {
        let span = tracing::info_span!(
            "execute_tool",
            otel.name = format!("execute_tool {name}"),
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = name,
            "error.type" = field::Empty,
        );
        let result = self.call_checked(name, args, ctx).instrument(span.clone()).await;
        result.map_err(|error| failed(&span, error))
    }

    async fn call_checked(&self, name: &str, args: Value, ctx: &CallContext) -> Result<Value, ToolError> {
        let known = self.tools.get(name).ok_or_else(|| self.unknown(name, ctx))?;
        if !ctx.allows(name) {
            return Err(self.outside_envelope(name, ctx));
        }
        let args = checked_args(name, known, args)?;
        let output = run(name, known.tool.as_ref(), &args, ctx).await?;
        self.check_output(name, known, &output)?;
        Ok(output)
    }

    fn unknown(&self, name: &str, ctx: &CallContext) -> ToolError {
        let tools = self.callable(ctx);
        ToolError::failed(format!("there is no tool `{name}`; the tools are: {tools}"))
    }

    fn outside_envelope(&self, name: &str, ctx: &CallContext) -> ToolError {
        let tools = self.callable(ctx);
        ToolError::denied(format!("this run may not call `{name}`; it may call: {tools}"))
    }

    fn callable(&self, ctx: &CallContext) -> String {
        let names: Vec<_> = self.tools.keys().map(String::as_str).filter(|name| ctx.allows(name)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    fn check_output(&self, name: &str, known: &Registered, output: &Value) -> Result<(), ToolError> {
        let bytes = serialized_bytes(output);
        if bytes > self.output_bytes_max {
            return Err(ToolError::failed(format!(
                "the output of `{name}` is {bytes} bytes, and at most {} are taken of any tool; \
                 ask for less, or in parts",
                self.output_bytes_max
            )));
        }
        // Not `invalid_output`: that is a model's fault and earns a repair
        // turn, while a tool that breaks its own contract will do so again.
        match schema::faults(&known.output, output) {
            None => Ok(()),
            Some(faults) => Err(ToolError::failed(format!(
                "`{name}` broke its own output schema (a fault of the tool):{faults}"
            ))),
        }
    }
}

fn is_tool_name(name: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(is_allowed)
}

fn compile(spec: &ToolSpec, which: &'static str, schema: &Value) -> Result<Validator, RegisterError> {
    schema::compile(schema).map_err(|reason| RegisterError::Schema { name: spec.name.clone(), which, reason })
}

fn checked_args(name: &str, known: &Registered, args: Value) -> Result<Map<String, Value>, ToolError> {
    if let Some(faults) = schema::faults(&known.arguments, &args) {
        return Err(ToolError::failed(format!("wrong arguments for `{name}`:{faults}")));
    }
    match args {
        Value::Object(args) => Ok(args),
        _ => Err(ToolError::failed(format!("the arguments of `{name}` must be an object"))),
    }
}

/// Runs the tool within its time. A panic is caught here, because otherwise one
/// bad input would take down every other step that this executor works on.
async fn run(
    name: &str,
    tool: &dyn Tool,
    args: &Map<String, Value>,
    ctx: &CallContext,
) -> Result<Value, ToolError> {
    let timeout = tool.timeout();
    let call = AssertUnwindSafe(tool.call(args, ctx)).catch_unwind();
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => {
            Err(ToolError::failed(format!("`{name}` panicked on these arguments (a bug in it)")))
        }
        Err(_elapsed) => Err(ToolError::new(
            FailureClass::Timeout,
            format!("`{name}` did not finish within {} ms", timeout.as_millis()),
        )),
    }
}

fn failed(span: &Span, error: ToolError) -> Failure {
    span.record("error.type", error.class.as_str());
    error.into()
}

/// The length of a value as JSON, without building the text.
fn serialized_bytes(value: &Value) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0 += buf.len();
            Ok(buf.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // Neither a JSON value nor the counter can fail; if one did, nothing fits.
    serde_json::to_writer(&mut counter, value).map_or(usize::MAX, |()| counter.0)
}

#[cfg(test)]
mod tests;
