//! The network itself: a test of partitions is worth nothing if nothing is parted.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use talon_chaos_tests::{Network, Wires, say_skipped};

/// Answers every byte with the same byte, on the seat's address; one connection after the other.
fn echo(network: &Network, place: usize) -> SocketAddr {
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            network.seat(place).enter().expect("the seat can be taken");
            sender.send(TcpListener::bind((network.seat(place).address(), 0)).expect("a free port"))
        });
    });
    let listener = receiver.recv().expect("a listener");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        }
    });
    address
}

fn round_trip(stream: &mut TcpStream, wait: Duration) -> Result<Duration, ErrorKind> {
    let begun = Instant::now();
    stream.set_read_timeout(Some(wait)).expect("a time above zero");
    stream.write_all(b"x").map_err(|error| error.kind())?;
    stream.read_exact(&mut [0]).map_err(|error| error.kind())?;
    Ok(begun.elapsed())
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(700);

/// From seat 0, against an echo at seat 1, while seat 2 is to hear nothing of it.
fn losses_are_silent(network: &Network, one: SocketAddr, two: SocketAddr) {
    let mut to_one = TcpStream::connect_timeout(&one, LONG).expect("all are joined");
    let mut to_two = TcpStream::connect_timeout(&two, LONG).expect("all are joined");
    let soon = |stream: &mut TcpStream| round_trip(stream, SHORT);
    assert!(soon(&mut to_one).is_ok() && soon(&mut to_two).is_ok());
    for (lost, from, to) in [("there", 0, 1), ("back", 1, 0)] {
        network.lose(from, to).expect("it can be lost");
        assert_eq!(soon(&mut to_one), Err(ErrorKind::WouldBlock), "silence, and no error: the way {lost} is lost");
        let stranger = TcpStream::connect_timeout(&one, SHORT).map(|_| ()).map_err(|error| error.kind());
        assert_eq!(stranger, Err(ErrorKind::TimedOut), "a new connection, too: the way {lost} is lost");
        assert!(soon(&mut to_two).is_ok(), "the others hear nothing of it");
        network.heal().expect("it can be healed");
        to_one.set_read_timeout(Some(LONG)).expect("a time above zero");
        to_one.read_exact(&mut [0]).expect("TCP has kept what was lost, and sends it again");
        assert!(soon(&mut to_one).is_ok());
    }
}

fn delays_are_felt(network: &Network, one: SocketAddr, wires: Wires) {
    const DELAY: Duration = Duration::from_millis(200);
    let mut stream = TcpStream::connect_timeout(&one, LONG).expect("all are joined");
    network.delay(0, DELAY).expect("it can be delayed");
    let slow = round_trip(&mut stream, LONG).expect("it comes late, but it comes");
    assert!(slow >= DELAY, "{slow:?}");
    network.delay(0, Duration::ZERO).expect("it can be hurried");
    println!("{wires:?}: a round trip with {DELAY:?} of delay took {slow:?}");
}

/// Runs `look` in seat 0 of a network.
fn from_seat_zero(wires: Wires, look: impl Fn(&Network, SocketAddr, SocketAddr) + Sync) {
    let network = &Network::new(3, wires).expect("a network can be made here");
    let (one, two) = (echo(network, 1), echo(network, 2));
    thread::scope(|scope| {
        scope.spawn(|| {
            network.seat(0).enter().expect("the seat can be taken");
            look(network, one, two);
        });
    });
}

#[test]
fn a_wire_loses_one_way_or_both_and_nobody_is_told() {
    match Network::missing() {
        Some(why) => say_skipped("losses on wires", &why),
        None => from_seat_zero(Wires::Veth, losses_are_silent),
    }
}

#[test]
fn a_wire_delays() {
    if let Some(why) = Network::missing() {
        return say_skipped("delays on wires", &why);
    }
    match Network::wires_that_delay() {
        Ok(wires) => from_seat_zero(wires, |network, one, _| delays_are_felt(network, one, wires)),
        Err(why) => say_skipped("delays on wires", &why.to_string()),
    }
}
