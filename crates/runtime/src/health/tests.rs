//! The endpoints over a real socket.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

async fn request(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn readyz_flips_and_livez_does_not() {
    let health = Health::new();
    let (metrics, provider) = Metrics::new(opentelemetry_sdk::Resource::builder_empty().build(), None)
        .expect("a fresh registry takes the exporter");
    let listener = listen("127.0.0.1:0", "health.listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let tasks = crate::tasks::Tasks::new("test");
    let routes = routes(health.clone(), metrics);
    tasks.spawn("health", serve(listener, routes, token.clone()));

    assert!(request(address, "/readyz").await.contains(" 503 "));
    let (bus, lease) = (health.check("bus"), health.check("lease"));
    bus.set(true, "connected");
    let answer = request(address, "/readyz").await;
    assert!(answer.contains(" 503 "), "{answer}");
    assert!(answer.contains(r#""lease":{"ready":false,"detail":"starting"}"#));
    lease.set(true, "held");
    assert!(request(address, "/readyz").await.contains(" 200 "));
    bus.set(false, "disconnected");
    assert!(request(address, "/healthz").await.contains("disconnected"));
    assert!(request(address, "/livez").await.contains(" 200 "));

    use opentelemetry::metrics::MeterProvider as _;
    let counter = provider.meter("test").u64_counter("planfleet.runs").build();
    counter.add(2, &[]);
    let text = request(address, "/metrics").await;
    assert!(text.contains("planfleet_runs_total 2"), "{text}");

    token.cancel();
    assert!(tasks.shutdown(DRAIN * 2).await.is_empty());
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = held.local_addr().unwrap().to_string();
    let error = listen(&address, "health.listen").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {address}: address in use; \
             set health.listen or PLANFLEET__HEALTH__LISTEN"
        )
    );
}
