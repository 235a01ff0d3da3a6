//! A wire that is a program: for delays where the kernel has no `tc netem`.
//!
//! Each end is a TAP device. What goes in at one end is written out at the other when its time has come, in order; a delay
//! is on the way from the seat to the hub. The threads end when the devices go, which is when their namespaces do.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;

use crate::network::ip;

/// How many frames are on the way at most; more are lost, as on any wire.
const FRAMES_MAX: usize = 10_000;
/// An Ethernet frame at the usual MTU is 1514 bytes; these devices hand over nothing larger.
const FRAME_BYTES_MAX: usize = 2048;

nix::ioctl_readwrite_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);

/// A running wire.
#[derive(Debug)]
pub(crate) struct Cable {
    delay_us: Arc<AtomicU64>,
}

impl Cable {
    /// Between two namespaces, each given with the name that the device has there.
    pub(crate) fn new(hub: (&str, &str), seat: (&str, &str)) -> io::Result<Cable> {
        let (hub, seat) = (tap(hub)?, tap(seat)?);
        let delay_us = Arc::new(AtomicU64::new(0));
        carry(seat.try_clone()?, hub.try_clone()?, Arc::clone(&delay_us));
        carry(hub, seat, Arc::new(AtomicU64::new(0)));
        Ok(Cable { delay_us })
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
    }
}

/// A new TAP device in this namespace under this name.
fn tap((namespace, name): (&str, &str)) -> io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // It is made where this thread is, and then moved: both ends may have the name that another device has here.
    let made = format!("tap{}-{}", std::process::id(), file.as_raw_fd());
    let unnamed: [libc::c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
    let mut request = libc::ifreq {
        ifr_name: unnamed,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(made.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives until the call is over.
    unsafe { tun_set_iff(file.as_raw_fd(), &mut request) }?;
    ip(&["link", "set", &made, "netns", namespace, "name", name])?;
    Ok(file)
}

/// Two threads for one way: one notes when a frame came, the other waits until it is due.
fn carry(mut from: File, mut to: File, delay_us: Arc<AtomicU64>) {
    let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(FRAMES_MAX);
    thread::spawn(move || {
        let mut frame = [0; FRAME_BYTES_MAX];
        // An error: the device is gone.
        while let Ok(length) = from.read(&mut frame) {
            let due = Instant::now() + Duration::from_micros(delay_us.load(Ordering::Relaxed));
            if let Err(TrySendError::Disconnected(_)) = sender.try_send((due, frame[..length].to_vec())) {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, frame) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // A frame for a device that is not up is lost; one for a device that is gone, too.
            let _ = to.write_all(&frame);
        }
    });
}
