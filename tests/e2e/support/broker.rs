//! A real nats-server that outlives the processes of a fleet, and whose data
//! outlives the server.

use std::{net::TcpListener, path::PathBuf};

use super::{Home, Process, installed, until};

/// A running server.
pub(crate) struct Broker {
    process: Process,
    port: u16,
    configuration: PathBuf,
}

impl Broker {
    pub(crate) fn start(home: &Home) -> Self {
        // The system hands out another port each time, so nobody else takes this one soon.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (store, log) = (home.path("broker"), home.path("broker.log"));
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nlog_file: {log:?}\njetstream {{ store_dir: {store:?} }}\n",
        );
        let configuration = home.write("broker.conf", text);
        let broker = Self { process: launch(home, &configuration), port, configuration };
        broker.wait();
        broker
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// `kill -9`, then a new server on the same data.
    pub(crate) fn crash_and_restart(&mut self, home: &Home) {
        self.process.kill();
        self.process = launch(home, &self.configuration);
        self.wait();
    }

    fn wait(&self) {
        let address = format!("127.0.0.1:{}", self.port);
        until("the nats-server", || std::net::TcpStream::connect(&address).ok());
    }

    /// Publishes raw bytes and waits until the stream has them.
    pub(crate) fn publish(&self, subject: &'static str, payload: &'static [u8]) {
        self.block_on(async |jetstream| {
            jetstream.publish(subject, payload.into()).await.unwrap().await.unwrap();
        });
    }

    /// How many messages a stream holds.
    pub(crate) fn messages(&self, stream: &str) -> u64 {
        self.block_on(async |jetstream| {
            jetstream.get_stream(stream).await.unwrap().cached_info().state.messages
        })
    }

    fn block_on<T>(&self, job: impl AsyncFnOnce(async_nats::jetstream::Context) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = async_nats::connect(self.url()).await.unwrap();
            job(async_nats::jetstream::new(client)).await
        })
    }
}

fn launch(home: &Home, configuration: &std::path::Path) -> Process {
    home.start_program(&installed::nats_server(), ["-c".as_ref(), configuration.as_os_str()])
}
