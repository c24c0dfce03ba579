//! A chat model behind one endpoint, whatever wire it speaks.

mod endpoint;

use std::pin::pin;
use std::time::Instant;

use async_trait::async_trait;
use futures::StreamExt;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::Instrument;

use crate::chat::{ChatModel, ChatRequest, ChatResponse, TextSink};
use crate::error::Error;
use crate::instruments::Tries;
use crate::price::Price;
use crate::telemetry::{self, Target};
use crate::transport::{Reply, Transport};
use crate::wire::{Expected, StreamDecoder, Wire};
pub use endpoint::Endpoint;

/// Speaks to one [`Endpoint`]. Cheap to share behind an `Arc`; it holds a connection pool.
#[derive(Debug)]
pub struct HttpChat {
    endpoint: Endpoint,
    base: Url,
    transport: Transport,
    tries: Tries,
    price: Option<Price>,
    captures_content: bool,
}

impl HttpChat {
    /// Checks the endpoint's address and headers; connects to nothing.
    pub fn new(endpoint: Endpoint) -> Result<Self, Error> {
        let base = endpoint.base()?;
        let headers = endpoint.headers()?;
        let transport = Transport::new(endpoint.timeouts, headers)?;
        let address = base.host_str().unwrap_or_default();
        let tries = Tries::new(&endpoint.dialect.provider, address, base.port_or_known_default());
        Ok(Self { endpoint, base, transport, tries, price: None, captures_content: false })
    }

    /// Has spans say what a call cost.
    #[must_use]
    pub fn priced(self, price: Option<Price>) -> Self {
        Self { price, ..self }
    }

    /// Has spans hold prompts and answers, cut to some thousand characters each.
    #[must_use]
    pub fn capturing_content(self, captures_content: bool) -> Self {
        Self { captures_content, ..self }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The names of the models that the endpoint serves, in its order.
    pub async fn list_models(&self) -> Result<Vec<String>, Error> {
        // Both providers take their own page size only: what is more than a page is seldom asked.
        let mut url = self.url("models");
        if self.endpoint.wire == Wire::AnthropicMessages {
            url.set_query(Some("limit=1000"));
        }
        let request = self.transport.client().get(url);
        let listed = async { self.transport.begin(request).await?.whole().await }.await;
        listed
            .and_then(|body| model_ids(&body))
            .map_err(|error| self.endpoint.explain(error, &self.endpoint.model))
    }

    async fn whole(&self, request: &ChatRequest) -> Result<ChatResponse, Error> {
        let started = Instant::now();
        let reply = self.transport.begin_whole(self.post(request, false)).await?;
        let response = self.read(request, reply, started, &mut |_| {}).await?;
        Ok(ChatResponse { time_to_first_chunk: None, ..response })
    }

    async fn streamed(&self, request: &ChatRequest, sink: &mut TextSink<'_>) -> Result<ChatResponse, Error> {
        let started = Instant::now();
        let reply = self.transport.begin(self.post(request, true)).await?;
        self.read(request, reply, started, sink).await
    }

    /// Reads an answer in the form in which it comes, which need not be the one that was asked
    /// for.
    async fn read(
        &self,
        request: &ChatRequest,
        mut reply: Reply,
        started: Instant,
        sink: &mut TextSink<'_>,
    ) -> Result<ChatResponse, Error> {
        let (expected, rates) = (Expected::of(request, &self.endpoint.dialect), reply.rates());
        if reply.is_event_stream().await? {
            let response = assemble(self.endpoint.wire.stream(expected), reply, started, sink).await?;
            return Ok(ChatResponse { rates, ..response });
        }
        let response = self.endpoint.wire.decode(&reply.whole().await?, &expected)?;
        let response = ChatResponse { rates, ..response };
        if !response.text.is_empty() {
            sink(&response.text);
        }
        Ok(response)
    }

    fn post(&self, request: &ChatRequest, stream: bool) -> reqwest::RequestBuilder {
        let wire = self.endpoint.wire;
        let mut body = wire.encode(request, &self.endpoint.dialect, stream);
        if body["model"] == "" {
            body["model"] = json!(self.endpoint.model);
        }
        let url = self.url(wire.chat_path());
        self.transport.client().post(url).json(&body)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url
    }

    fn model<'a>(&'a self, request: &'a ChatRequest) -> &'a str {
        match request.model.as_str() {
            "" => &self.endpoint.model,
            model => model,
        }
    }

    fn span(&self, request: &ChatRequest, stream: bool) -> tracing::Span {
        let target = Target {
            provider: &self.endpoint.dialect.provider,
            openai_api_type: self.endpoint.wire.openai_api_type(),
            model: self.model(request),
            address: self.base.host_str().unwrap_or_default(),
            port: self.base.port_or_known_default(),
        };
        telemetry::chat_span(&target, request, stream)
    }

    /// Gives a result its last touches and the span its figures.
    fn settle(
        &self,
        request: &ChatRequest,
        (span, began): (&tracing::Span, Instant),
        mut result: Result<ChatResponse, Error>,
    ) -> Result<ChatResponse, Error> {
        let model = self.model(request);
        match &mut result {
            // Some servers leave the name out.
            Ok(response) if response.model.is_empty() => model.clone_into(&mut response.model),
            Ok(_) => {}
            Err(error) => *error = self.endpoint.explain(error.clone(), model),
        }
        self.tries.ended(model, began.elapsed(), &result);
        telemetry::record(span, &result, self.price.as_ref());
        if self.captures_content {
            telemetry::capture(span, request, &result);
        }
        result
    }
}

#[async_trait]
impl ChatModel for HttpChat {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, Error> {
        if self.endpoint.always_stream {
            return self.chat_stream(request, &mut |_| {}).await;
        }
        let (span, began) = (self.span(request, false), Instant::now());
        let result = self.whole(request).instrument(span.clone()).await;
        self.settle(request, (&span, began), result)
    }

    async fn chat_stream(
        &self,
        request: &ChatRequest,
        sink: &mut TextSink<'_>,
    ) -> Result<ChatResponse, Error> {
        let (span, began) = (self.span(request, true), Instant::now());
        let result = self.streamed(request, sink).instrument(span.clone()).await;
        self.settle(request, (&span, began), result)
    }
}

async fn assemble(
    mut decoder: StreamDecoder,
    reply: Reply,
    started: Instant,
    sink: &mut TextSink<'_>,
) -> Result<ChatResponse, Error> {
    let mut events = pin!(reply.events());
    let mut first_chunk = None;
    // Some servers keep the connection open after the end.
    while !decoder.is_done() {
        let Some(data) = events.next().await else {
            break;
        };
        first_chunk = first_chunk.or_else(|| Some(started.elapsed()));
        if let Some(text) = decoder.push(&data?)? {
            sink(&text);
        }
    }
    Ok(ChatResponse { time_to_first_chunk: first_chunk, ..decoder.finish()? })
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<Value>,
}

fn model_ids(body: &[u8]) -> Result<Vec<String>, Error> {
    let list: ModelList = serde_json::from_slice(body)
        .map_err(|error| Error::invalid_response(format!("the answer is no model list: {error}")))?;
    let ids = list.data.iter().filter_map(|model| model["id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}
