//! The broker: one nats-server, or a cluster of three.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    fleet::LOGS,
    support::{Home, Process, free_port, nats_server},
};

/// How long a server may take to answer on its port.
const START_LIMIT: Duration = Duration::from_secs(20);

/// One server; its process comes and goes, its name, ports and data stay.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) process: Process,
    address: SocketAddr,
    configuration: PathBuf,
    log: PathBuf,
}

/// Starts the servers, each with its data in a folder of `store`.
pub(crate) async fn start(home: &Home, nodes: usize, store: &Path) -> Vec<Server> {
    let ports: Vec<(u16, u16)> = (0..nodes).map(|_| (free_port(), free_port())).collect();
    let routes: Vec<String> = ports.iter().map(|(_, route)| format!("nats://127.0.0.1:{route}")).collect();
    fs::create_dir_all(home.path(LOGS)).expect("a folder for logs");
    let mut servers = Vec::new();
    for (number, (port, route)) in (1..).zip(&ports) {
        let name = format!("broker-{number}");
        let folder = store.join(&name);
        fs::create_dir_all(&folder).expect("a folder for the broker's data");
        let log = home.path(LOGS).join(format!("{name}.log"));
        let mut text = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{port}\"\nlog_file: {log:?}\n\
             jetstream {{ store_dir: {folder:?}, max_file_store: 8GB }}\n"
        );
        if nodes > 1 {
            // Servers that told clients of one another would lead them past their proxies.
            text.push_str(&format!(
                "cluster {{ name: chaos, listen: \"127.0.0.1:{route}\", no_advertise: true, routes: {routes:?} }}\n"
            ));
        }
        let configuration = home.write(&format!("{name}.conf"), text);
        let address = SocketAddr::from(([127, 0, 0, 1], *port));
        let process = launch(home, &configuration);
        servers.push(Server { name, process, address, configuration, log });
    }
    for server in &servers {
        server.answers().await;
    }
    servers
}

fn launch(home: &Home, configuration: &Path) -> Process {
    home.start_program(&nats_server(), ["-c".as_ref(), configuration.as_os_str()])
}

impl Server {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it has written into its log, its earlier processes included.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A new process on the same data.
    pub(crate) fn restart(&mut self, home: &Home) {
        self.process = launch(home, &self.configuration);
    }

    /// Waits until it takes connections.
    pub(crate) async fn answers(&self) {
        let until = Instant::now() + START_LIMIT;
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < until, "{} does not answer within {START_LIMIT:?}", self.name);
            sleep(Duration::from_millis(20)).await;
        }
    }
}
