//! A real nats-server that outlives the processes of a fleet, and whose data
//! outlives the server.

use std::{path::PathBuf, sync::Arc};

use planfleet_bus::{
    Bus,
    broker::nats::{ConnectOptions, NatsBroker},
};

use super::{Home, Process, installed, port::free_port, until};

/// A running server.
pub(crate) struct Broker {
    process: Process,
    port: u16,
    monitoring_port: u16,
    configuration: PathBuf,
}

impl Broker {
    /// Keeps its data in the folder `broker` of the home.
    pub(crate) fn start(home: &Home) -> Self {
        let (port, monitoring_port) = (free_port(), free_port());
        let configuration = home.write("broker.conf", configuration(home, port, monitoring_port, "2m"));
        let process = launch(home, &configuration);
        let broker = Self { process, port, monitoring_port, configuration };
        broker.wait();
        broker
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn monitoring_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitoring_port)
    }

    /// A new server on the same data that syncs to disk as said.
    pub(crate) fn restart_with_sync(&mut self, home: &Home, interval: &str) {
        home.write("broker.conf", configuration(home, self.port, self.monitoring_port, interval));
        self.crash_and_restart(home);
    }

    /// `kill -9`, then a new server on the same data.
    pub(crate) fn crash_and_restart(&mut self, home: &Home) {
        self.kill();
        self.start_again(home);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// `kill -STOP`: it hangs, and its connections stay open.
    pub(crate) fn freeze(&self) {
        self.process.freeze();
    }

    /// `kill -CONT`.
    pub(crate) fn thaw(&self) {
        self.process.thaw();
    }

    /// A new server on the data of the one that was killed.
    pub(crate) fn start_again(&mut self, home: &Home) {
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

    /// What planfleet itself can do with it.
    pub(crate) fn bus<T>(&self, job: impl AsyncFnOnce(Bus) -> T) -> T {
        runtime().block_on(async {
            let options = ConnectOptions { url: self.url(), ..ConnectOptions::default() };
            let broker = NatsBroker::connect(options).await.unwrap();
            job(Bus::new(Arc::new(broker), 1)).await
        })
    }

    fn block_on<T>(&self, job: impl AsyncFnOnce(async_nats::jetstream::Context) -> T) -> T {
        runtime().block_on(async {
            let client = async_nats::connect(self.url()).await.unwrap();
            job(async_nats::jetstream::new(client)).await
        })
    }
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn configuration(home: &Home, port: u16, monitoring_port: u16, sync_interval: &str) -> String {
    let (store, log) = (home.path("broker"), home.path("broker.log"));
    format!(
        "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitoring_port}\"\nlog_file: {log:?}\n\
         jetstream {{ store_dir: {store:?}, sync_interval: {sync_interval:?} }}\n",
    )
}

fn launch(home: &Home, configuration: &std::path::Path) -> Process {
    home.start_program(&installed::nats_server(), ["-c".as_ref(), configuration.as_os_str()])
}
