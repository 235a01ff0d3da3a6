//! A network of namespaces: every seat has an address and a wire of its own into one bridge.
//!
//! Who has which hardware address is written down in every seat by hand, and nobody asks. So a loss is one wrong line:
//! what one seat sends to another goes to nobody. Both see silence, as behind a dead cable or a rule that drops, and never an
//! error; it works in one direction alone; and it needs nothing of the kernel but namespaces, veth and a bridge.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use talon_tests_support::Host;

use crate::cable::Cable;

/// What all namespaces of all runs begin with.
const PREFIX: &str = "talon-";
/// Where `ip netns` keeps them.
const FOLDER: &str = "/run/netns";
/// A hardware address that nobody has.
const NOBODY: &str = "02:54:00:00:ff:ff";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// How seats are joined to the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wires {
    /// Pairs of veth. Delay comes from `tc netem`, which not every kernel has.
    Veth,
    /// A program's: this one carries every frame, and may take its time.
    Carried,
}

/// Seats, all joined until told otherwise. What is left of it ends when it is dropped.
#[derive(Debug)]
pub struct Network {
    hub: Namespace,
    seats: Vec<Seat>,
}

/// A namespace with one address.
#[derive(Debug)]
pub struct Seat {
    namespace: Namespace,
    number: u8,
    cable: Option<Cable>,
    is_delayed: AtomicBool,
}

impl Network {
    /// Why networks cannot be made here, if they cannot: found out by making what they are made of.
    pub fn missing() -> Option<String> {
        let attempt = || -> io::Result<()> {
            sweep();
            let namespace = Namespace::new()?;
            let name = &namespace.name;
            ip(&["-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two"])?;
            ip(&["-n", name, "link", "add", "bridge", "type", "bridge"])?;
            ip(&["-n", name, "link", "set", "one", "master", "bridge", "up"])?;
            Command::new("nsenter").arg(format!("--net={FOLDER}/{name}")).arg("true").status().map(|_| ())
        };
        attempt().err().map(|error| error.to_string())
    }

    /// The wires that can delay here: veth where the kernel has `tc netem`, else carried ones.
    ///
    /// # Errors
    /// Why neither can.
    pub fn wires_that_delay() -> io::Result<Wires> {
        let namespace = Namespace::new()?;
        let netem = run("tc", &["-n", &namespace.name, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]);
        match netem {
            Ok(()) => Ok(Wires::Veth),
            Err(no_netem) => match Cable::new((&namespace.name, "one"), (&namespace.name, "two")) {
                Ok(_) => Ok(Wires::Carried),
                Err(no_tap) => Err(io::Error::other(format!("{no_netem}; {no_tap}"))),
            },
        }
    }

    /// So many seats on one bridge.
    ///
    /// # Errors
    /// If the system refuses something; [`Network::missing`] tells beforehand whether it would.
    pub fn new(seats: u8, wires: Wires) -> io::Result<Network> {
        let hub = Namespace::new()?;
        ip(&["-n", &hub.name, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &hub.name, "link", "set", "bridge", "up"])?;
        let seats = (1..=seats).map(|number| Seat::new(&hub, number, wires)).collect::<io::Result<Vec<Seat>>>()?;
        let network = Network { hub, seats };
        network.heal()?;
        Ok(network)
    }

    /// The seat at this place, counted from 0.
    pub fn seat(&self, place: usize) -> &Seat {
        &self.seats[place]
    }

    /// From now on nothing that one seat sends reaches the other. The way back stays as it is.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn lose(&self, from: usize, to: usize) -> io::Result<()> {
        self.seats[from].write_down(&self.seats[to], NOBODY)
    }

    /// From now on nothing passes between the two sides.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn part(&self, one: &[usize], other: &[usize]) -> io::Result<()> {
        for (&left, &right) in one.iter().flat_map(|left| other.iter().map(move |right| (left, right))) {
            self.lose(left, right)?;
            self.lose(right, left)?;
        }
        Ok(())
    }

    /// From now on what a seat sends takes so much longer; what it receives does not.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn delay(&self, place: usize, delay: Duration) -> io::Result<()> {
        let seat = &self.seats[place];
        seat.is_delayed.store(!delay.is_zero(), Ordering::Relaxed);
        match &seat.cable {
            Some(cable) => cable.delay(delay),
            None => {
                let delay = format!("{}us", delay.as_micros());
                let name = &seat.namespace.name;
                let limit = ["limit", "10000"];
                let words = ["-n", name, "qdisc", "replace", "dev", "eth0", "root", "netem", "delay", &delay];
                run("tc", &[&words[..], &limit].concat())?;
            }
        }
        Ok(())
    }

    /// Ends all losses and delays.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn heal(&self) -> io::Result<()> {
        for (place, seat) in self.seats.iter().enumerate() {
            if seat.is_delayed.load(Ordering::Relaxed) {
                self.delay(place, Duration::ZERO)?;
            }
            for other in self.seats.iter().filter(|other| other.number != seat.number) {
                seat.write_down(other, &other.hardware_address())?;
            }
        }
        Ok(())
    }

    /// The namespace with the bridge.
    pub fn hub(&self) -> &str {
        &self.hub.name
    }
}

impl Seat {
    fn new(hub: &Namespace, number: u8, wires: Wires) -> io::Result<Seat> {
        let namespace = Namespace::new()?;
        let mut seat = Seat { namespace, number, cable: None, is_delayed: AtomicBool::new(false) };
        let (name, port) = (&seat.namespace.name, format!("port{number}"));
        match wires {
            Wires::Veth => {
                ip(&["link", "add", &port, "netns", &hub.name, "type", "veth", "peer", "name", "eth0", "netns", name])?;
            }
            Wires::Carried => seat.cable = Some(Cable::new((&hub.name, &port), (name, "eth0"))?),
        }
        ip(&["-n", &hub.name, "link", "set", &port, "master", "bridge", "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "link", "set", "eth0", "address", &seat.hardware_address(), "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{}/24", seat.address()), "dev", "eth0"])?;
        Ok(seat)
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 83, 0, self.number))
    }

    fn hardware_address(&self) -> String {
        format!("02:54:00:00:00:{:02x}", self.number)
    }

    /// It as the place of a node.
    pub fn host(&self) -> Host {
        Host { address: self.address(), namespace: Some(self.namespace.name.clone()) }
    }

    /// Takes this seat: see [`Entry::enter`].
    ///
    /// # Errors
    /// If the system refuses.
    pub fn enter(&self) -> io::Result<()> {
        self.entry().enter()
    }

    /// The way in, for another thread to take.
    pub fn entry(&self) -> Entry {
        Entry { path: format!("{FOLDER}/{}", self.namespace.name) }
    }

    fn write_down(&self, other: &Seat, hardware_address: &str) -> io::Result<()> {
        let (name, address) = (&self.namespace.name, other.address().to_string());
        ip(&["-n", name, "neigh", "replace", &address, "lladdr", hardware_address, "dev", "eth0", "nud", "permanent"])
    }
}

/// The way into a seat.
#[derive(Clone, Debug)]
pub struct Entry {
    path: String,
}

impl Entry {
    /// From now on the calling thread's new connections, and the processes it starts, are in the seat's namespace. A
    /// thread cannot go back.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn enter(&self) -> io::Result<()> {
        setns(File::open(&self.path)?, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
    }
}

/// A network namespace, deleted when dropped.
#[derive(Debug)]
struct Namespace {
    name: String,
}

impl Namespace {
    fn new() -> io::Result<Namespace> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        Ok(Namespace { name })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("the namespace {} stays: {error}", self.name);
        }
    }
}

/// Deletes what runs that were killed have left behind.
fn sweep() {
    for entry in std::fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if let Some(process) = process.and_then(|process| process.parse::<u32>().ok())
            && !std::path::Path::new(&format!("/proc/{process}")).exists()
        {
            // Another run may be sweeping, too.
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

pub(crate) fn ip(words: &[&str]) -> io::Result<()> {
    run("ip", words)
}

fn run(program: &str, words: &[&str]) -> io::Result<()> {
    let command = || format!("{program} {}", words.join(" "));
    let output = Command::new(program)
        .args(words)
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", command())))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("`{}`: {}", command(), complaint.trim().replace('\n', " "))))
}

/// Says on the standard error, past the test harness, which keeps what passing tests print, that something was not tested.
pub fn say_skipped(what: &str, why: &str) {
    let line = "!".repeat(100);
    let text = format!(
        "\n{line}\n!!! SKIPPED: {what}\n!!! Why: {why}\n!!! It takes root, `ip` and `tc` (Debian: iproute2), `nsenter` (util-linux), and a \
         kernel with\n!!! network namespaces, veth and bridges; for delays, also netem or /dev/net/tun. Nothing of it was tested in this run.\n{line}\n"
    );
    // There is nowhere else to say it.
    let _ = io::stderr().write_all(text.as_bytes());
}
