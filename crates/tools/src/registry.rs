//! Tools by name, and the one way to call them.
//!
//! Whatever a tool does, a call ends in time, with an output of bounded size
//! that fits the tool's own schema, or with one classified failure.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use jsonschema::Validator;
use planfleet_core::failure::{Failure, FailureClass, trim_chars};
use planfleet_core::tool::{Effect, ToolCatalog, ToolSpec};
use planfleet_telemetry::KeyValue;
use planfleet_telemetry::names::attribute as a;
use serde_json::{Map, Value, json};
use tracing::{Instrument as _, Span};

use crate::egress::Gateway;
use crate::secrets::Secrets;
use crate::settings::{Settings, SettingsError};
use crate::store::Store;
use crate::telemetry::{self, Calls};
use crate::tool::{CallContext, Tool, ToolError};
use crate::{builtin, mcp, remote, schema};

/// What one tool may put out another may take.
const ARGUMENTS_BYTES_MAX: usize = 8 << 20;

/// A tool's error is for a planner to read, whose prompt it would else fill.
const MESSAGE_CHARS_MAX: usize = 4_000;

/// The tools of one process.
pub struct Registry {
    tools: BTreeMap<String, Registered>,
    output_bytes_max: usize,
    secrets: Secrets,
    captures_content: bool,
    calls: Calls,
}

struct Registered {
    tool: Arc<dyn Tool>,
    /// Its name as an attribute.
    name: KeyValue,
    arguments: Validator,
    output: Validator,
}

/// Why a tool cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The name would not survive as a function name of the model providers.
    #[error("tool name `{0}` is not 1 to 64 of A-Z, a-z, 0-9, _ and -")]
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
    /// A registry with all built-in tools, without a store and without tools from elsewhere.
    ///
    /// # Errors
    ///
    /// All wrong settings at once, or an HTTP client that cannot be built.
    pub fn builtin(settings: Settings) -> Result<Self, SettingsError> {
        Ok(Self::local(&settings, None)?.0)
    }

    /// A registry with everything that the settings name: the built-in tools over a store,
    /// HTTP tools, and the tools of all MCP servers, which are started or asked for them now.
    ///
    /// # Errors
    ///
    /// All wrong settings at once, or a server that does not answer or not as pinned.
    pub async fn build(settings: Settings, store: Option<Arc<dyn Store>>) -> Result<Self, SettingsError> {
        let (mut registry, gateway) = Self::local(&settings, store.as_ref())?;
        for tool in mcp::discover(&settings, &gateway).await? {
            registry.register(tool)?;
        }
        Ok(registry)
    }

    /// Everything but the tools that a server has to be asked for.
    fn local(
        settings: &Settings,
        store: Option<&Arc<dyn Store>>,
    ) -> Result<(Self, Arc<Gateway>), SettingsError> {
        let roots = settings.check()?;
        let gateway = Arc::new(Gateway::new(settings)?);
        let mut registry = Self::empty(settings.output_bytes_max);
        registry.secrets = settings.secrets();
        registry.captures_content = settings.capture_content;
        for tool in builtin::all(settings, roots, &gateway, store) {
            registry.register(tool)?;
        }
        for tool in remote::all(settings, &gateway) {
            registry.register(tool)?;
        }
        Ok((registry, gateway))
    }

    pub(crate) fn empty(output_bytes_max: usize) -> Self {
        Self {
            tools: BTreeMap::new(),
            output_bytes_max,
            secrets: Secrets::default(),
            captures_content: false,
            calls: Calls::new(),
        }
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
        let attribute = KeyValue::new(a::TOOL, Arc::<str>::from(name.as_str()));
        self.tools.insert(name, Registered { tool, name: attribute, arguments, output });
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

    /// All there is to know of a tool: its contract, its bounds and where it comes from.
    #[must_use]
    pub fn details(&self, name: &str) -> Option<Value> {
        let known = self.tools.get(name)?;
        let mut details = json!(known.tool.spec());
        details["timeout_ms"] = json!(known.tool.timeout().as_millis() as u64);
        details["arguments_bytes_max"] = ARGUMENTS_BYTES_MAX.into();
        details["output_bytes_max"] = self.output_bytes_max.into();
        details["origin"] = known.tool.origin().unwrap_or_else(|| json!({"kind": "built-in"}));
        Some(details)
    }

    /// Calls a tool. Secrets of the settings are in no output and in no error.
    ///
    /// # Errors
    ///
    /// `denied` when the envelope does not hold the tool or not its effect, `timeout`
    /// past the tool's time, `tool_error` for an unknown tool, for arguments or an
    /// output that break the schemas or the size caps, else what the tool itself says.
    pub async fn call(&self, name: &str, args: Value, ctx: &CallContext) -> Result<Value, Failure> {
        let span = telemetry::span(name);
        if self.captures_content {
            telemetry::capture(&span, a::TOOL_ARGUMENTS, &args);
        }
        let began = Instant::now();
        let result = self.call_checked(name, args, ctx).instrument(span.clone()).await;
        let error = result.as_ref().err().map(|error| error.class);
        if let Some(known) = self.tools.get(name) {
            self.calls.ended(&known.name, began.elapsed(), error);
        }
        if let (true, Ok(output)) = (self.captures_content, &result) {
            telemetry::capture(&span, a::TOOL_RESULT, output);
        }
        result.map_err(|error| failed(&span, error))
    }

    async fn call_checked(&self, name: &str, args: Value, ctx: &CallContext) -> Result<Value, ToolError> {
        let known = self.tools.get(name).ok_or_else(|| self.unknown(name, ctx))?;
        self.check_envelope(name, known.tool.spec().effect, ctx)?;
        let args = checked_args(name, known, args)?;
        let mut output = match run(name, known.tool.as_ref(), &args, ctx).await {
            Ok(output) => output,
            Err(error) => return Err(self.without_secrets(error)),
        };
        self.check_size(name, &output)?;
        self.secrets.remove_from(&mut output);
        self.check_schema(name, known, &output)?;
        Ok(output)
    }

    fn check_envelope(&self, name: &str, effect: Effect, ctx: &CallContext) -> Result<(), ToolError> {
        let Some(allowed) = &ctx.allowed else { return Ok(()) };
        match allowed.get(name) {
            None => Err(self.outside_envelope(name, ctx)),
            // The tool has changed since the run was submitted, and nobody has agreed to that.
            Some(most) if effect > *most => Err(ToolError::denied(format!(
                "a call of `{name}` is of effect {}, and this run was submitted when it was {}",
                effect.as_str(),
                most.as_str()
            ))),
            Some(_) => Ok(()),
        }
    }

    fn without_secrets(&self, error: ToolError) -> ToolError {
        // Before anything quotes it; what a tool says at length is cut.
        let message = trim_chars(&self.secrets.removed_from(&error.message), MESSAGE_CHARS_MAX);
        ToolError { message, ..error }
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

    fn check_size(&self, name: &str, output: &Value) -> Result<(), ToolError> {
        let bytes = serialized_bytes(output);
        if bytes <= self.output_bytes_max {
            return Ok(());
        }
        Err(ToolError::failed(format!(
            "the output of `{name}` is {bytes} bytes, and at most {} are taken of any tool; \
             ask for less, or in parts",
            self.output_bytes_max
        )))
    }

    fn check_schema(&self, name: &str, known: &Registered, output: &Value) -> Result<(), ToolError> {
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
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(is_allowed)
}

fn compile(spec: &ToolSpec, which: &'static str, schema: &Value) -> Result<Validator, RegisterError> {
    schema::compile(schema).map_err(|reason| RegisterError::Schema { name: spec.name.clone(), which, reason })
}

fn checked_args(name: &str, known: &Registered, args: Value) -> Result<Map<String, Value>, ToolError> {
    let bytes = serialized_bytes(&args);
    if bytes > ARGUMENTS_BYTES_MAX {
        return Err(ToolError::failed(format!(
            "the arguments of `{name}` are {bytes} bytes, and a tool takes at most {ARGUMENTS_BYTES_MAX}"
        )));
    }
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
    span.record(a::ERROR_TYPE, error.class.as_str()).record("otel.status_code", "ERROR");
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
