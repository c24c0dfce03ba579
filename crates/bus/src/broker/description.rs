//! What a broker says of itself, as people read it.

use std::fmt;

/// What a broker is. Shown as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Description {
    /// The one in memory.
    Memory,
    /// A server.
    Server(Server),
}

/// What a server tells everybody who connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// Its id, another one after each start.
    pub id: String,
    /// Such as `2.15.1`.
    pub version: String,
    /// Whether it keeps streams.
    pub jetstream: bool,
    /// Its cluster's name; `None` for a server alone.
    pub cluster: Option<String>,
    /// How many servers it knows that clients may connect to.
    pub servers: usize,
    /// The largest message, in bytes.
    pub payload_bytes_max: usize,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("in-memory broker"),
            Self::Server(server) => server.fmt(f),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jetstream = if self.jetstream { "jetstream" } else { "no jetstream" };
        write!(f, "nats-server {}, {jetstream}, ", self.version)?;
        match (&self.cluster, self.servers) {
            (Some(cluster), n @ 2..) => write!(f, "{n} servers of cluster {cluster}"),
            (Some(cluster), _) => write!(f, "1 server of cluster {cluster}"),
            (None, _) => f.write_str("1 server"),
        }?;
        write!(f, ", max_payload {}", readable_bytes(self.payload_bytes_max))
    }
}

fn readable_bytes(bytes: usize) -> String {
    const MIB: usize = 1 << 20;
    if bytes >= MIB && bytes.is_multiple_of(MIB) {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{bytes} bytes")
    }
}
