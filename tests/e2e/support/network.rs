//! Several hosts on one machine: network namespaces, each with an address, a cable and a switch
//! between them. In a user namespace of their own, so that nobody has to be root, and gone with
//! the processes that hold them.

use std::{
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{Home, Process};

/// The switch that all hosts are plugged into.
const SWITCH: &str = "switch";
const MASK: u8 = 24;

/// A network and its hosts. Hosts are counted from 1, as their addresses are.
pub(crate) struct Network {
    /// Before the one that holds the user namespace.
    hosts: Vec<Holder>,
    holder: Holder,
}

/// A host of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host(u8);

impl Host {
    pub(crate) fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.0)
    }

    /// The end of its cable in the switch.
    fn port(self) -> String {
        format!("port{}", self.0)
    }
}

impl Network {
    /// An empty network.
    ///
    /// # Errors
    /// Why this machine has none: no such tools, or a kernel that does not let us.
    pub(crate) fn try_new() -> Result<Self, String> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--net"]);
        let holder = Holder::start(unshare)?;
        let network = Self { hosts: Vec::new(), holder };
        // What a kernel refuses, it refuses here.
        network.try_ip(&network.holder, &["link", "add", SWITCH, "type", "bridge"])?;
        network.try_ip(&network.holder, &["link", "set", SWITCH, "up"])?;
        network
            .try_ip(&network.holder, &["link", "add", "probe", "type", "veth", "peer", "name", "other"])?;
        network.ip(&network.holder, &["link", "del", "probe"]);
        Ok(network)
    }

    /// Plugs another host in.
    pub(crate) fn host(&mut self) -> Host {
        let host = Host(u8::try_from(self.hosts.len() + 1).unwrap());
        let mut unshare = self.holder.enter(&["--user"]);
        unshare.args(["unshare", "--net"]);
        let holder = Holder::start(unshare).unwrap();
        let (port, pid) = (host.port(), holder.pid());
        self.ip(&self.holder, &["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &pid]);
        self.ip(&self.holder, &["link", "set", &port, "master", SWITCH, "up"]);
        self.ip(&holder, &["address", "add", &format!("{}/{MASK}", host.address()), "dev", "eth0"]);
        self.ip(&holder, &["link", "set", "lo", "up"]);
        self.ip(&holder, &["link", "set", "eth0", "up"]);
        self.hosts.push(holder);
        host
    }

    /// Pulls a host's cable: what is on its way is lost, and nobody is told.
    pub(crate) fn cut(&self, host: Host) {
        self.ip(&self.holder, &["link", "set", &host.port(), "down"]);
    }

    /// Plugs it in again.
    pub(crate) fn heal(&self, host: Host) {
        self.ip(&self.holder, &["link", "set", &host.port(), "up"]);
    }

    /// Starts a program on a host.
    pub(crate) fn start(&self, host: Host, home: &Home, program: &Path, args: &[&str]) -> Process {
        let enter = self.hosts[usize::from(host.0) - 1].entering(&["--user", "--net"]);
        let command = enter.into_iter().chain([program.display().to_string()]);
        let command = command.chain(args.iter().map(ToString::to_string));
        home.start_program(Path::new("nsenter"), command)
    }

    fn ip(&self, on: &Holder, args: &[&str]) {
        self.try_ip(on, args).unwrap_or_else(|error| panic!("{error}"));
    }

    fn try_ip(&self, on: &Holder, args: &[&str]) -> Result<(), String> {
        let mut command = on.enter(&["--user", "--net"]);
        // Where `ip` is, which is not on every user's PATH.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        let ended = command.arg("ip").args(args).output().map_err(|error| format!("nsenter: {error}"))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ended.status.success().then_some(()).ok_or_else(|| format!("ip {}: {}", args.join(" "), said.trim()))
    }
}

/// A process whose namespaces others enter: a namespace is there as long as somebody is in it.
struct Holder(Child);

impl Holder {
    /// In the namespaces that a command makes before it runs what follows.
    fn start(mut unshare: Command) -> Result<Self, String> {
        // It says when it is in, and ends with its standard input.
        unshare.args(["sh", "-c", "echo in; exec cat"]);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = format!("{unshare:?}");
        let mut child = unshare.spawn().map_err(|error| format!("{shown}: {error}"))?;
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
        if read.is_ok() && line == "in\n" {
            return Ok(Self(child));
        }
        let ended = child.wait_with_output().map_err(|error| format!("{shown}: {error}"))?;
        Err(String::from_utf8_lossy(&ended.stderr).trim().to_owned())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn entering(&self, namespaces: &[&str]) -> Vec<String> {
        let own = ["--preserve-credentials".to_owned(), "--target".to_owned(), self.pid()];
        namespaces.iter().map(ToString::to_string).chain(own).collect()
    }

    fn enter(&self, namespaces: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.entering(namespaces));
        command
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
