//! The tools that every installation has, one file each.

mod answer;
mod echo;
mod file_list;
mod file_read;
mod file_write;
mod http_fetch;
mod http_request;
mod json_transform;
mod math_eval;
mod number;
mod readable;
mod regex_extract;
mod roots;
mod stored;
mod sub_task;
mod text_split;
mod text_template;
mod wait;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::egress::Gateway;
use crate::settings::Settings;
use crate::store::Store;
use crate::tool::Tool;
use roots::Roots;

/// Builds them all. `roots` are canonical, see [`Settings::roots`].
pub(crate) fn all(
    settings: &Settings,
    roots: Vec<PathBuf>,
    gateway: &Arc<Gateway>,
    store: Option<&Arc<dyn Store>>,
) -> Vec<Arc<dyn Tool>> {
    let roots = Arc::new(Roots::new(roots));
    let mut all: Vec<Arc<dyn Tool>> = vec![
        Arc::new(echo::Echo::new()),
        Arc::new(file_list::FileList::new(roots.clone())),
        Arc::new(file_read::FileRead::new(roots.clone())),
        Arc::new(file_write::FileWrite::new(roots)),
        Arc::new(http_fetch::HttpFetch::new(gateway.clone())),
        Arc::new(http_request::HttpRequest::new(gateway.clone())),
        Arc::new(json_transform::JsonTransform::new(settings.output_bytes_max)),
        Arc::new(math_eval::MathEval::new()),
        Arc::new(regex_extract::RegexExtract::new(settings.output_bytes_max)),
        Arc::new(sub_task::SubTask),
        Arc::new(text_split::TextSplit::new(settings.output_bytes_max)),
        Arc::new(text_template::TextTemplate::new()),
        Arc::new(wait::Wait::new()),
    ];
    all.extend(stored::all(store));
    all
}

/// Tells the thread of a call that the call was given up.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls a tool as the registry does, for the tools' own tests: arguments and
/// output go through their schemas.
#[cfg(test)]
async fn call_in_test(
    tool: impl Tool + 'static,
    args: serde_json::Value,
) -> Result<serde_json::Value, planfleet_core::failure::Failure> {
    let name = tool.spec().name.clone();
    let mut registry = crate::Registry::empty(8 << 20);
    registry.register(Arc::new(tool)).unwrap();
    let ctx = crate::CallContext { idempotency_key: "test-key".to_owned(), ..Default::default() };
    registry.call(&name, args, &ctx).await
}
