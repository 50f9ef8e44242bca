//! Two tun devices in two network namespaces, joined by threads that carry packets.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread::{self, JoinHandle};

use nix::libc;

use crate::netns::{ip, within};

/// Of both devices.
pub(crate) const NAME: &str = "tun0";

/// The devices; they go when it is dropped.
pub(crate) struct Tunnel {
    netns: [String; 2],
    carriers: Vec<JoinHandle<()>>,
}

/// Makes and joins them: one in each namespace, with its address.
pub(crate) fn join(ends: [(&str, Ipv4Addr); 2]) -> Tunnel {
    let [one, other] = ends.map(|(netns, address)| {
        let device = within(netns, open);
        ip(netns, &format!("addr add {address}/24 dev {NAME}\n link set {NAME} up"));
        device
    });
    let ways = [(one.try_clone().unwrap(), other.try_clone().unwrap()), (other, one)];
    let carriers = ways.map(|(from, to)| thread::spawn(|| carry(from, to)));
    Tunnel { netns: ends.map(|(netns, _)| netns.to_owned()), carriers: carriers.into() }
}

/// Each read is a packet, until a device is gone.
fn carry(mut from: File, mut to: File) {
    let mut packet = vec![0; 65_536];
    while let Ok(length) = from.read(&mut packet) {
        if to.write_all(&packet[..length]).is_err() {
            return;
        }
    }
}

fn open() -> File {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // `struct ifreq`: the name, then what its union holds.
    let mut request = [0_u8; 40];
    request[..NAME.len()].copy_from_slice(NAME.as_bytes());
    let flags = u16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap();
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the request has the size of `struct ifreq` and lives through the call.
    let made = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    device
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        for netns in &self.netns {
            // Readers of a device that is gone get an error, which ends them.
            drop(Command::new("ip").args(["-n", netns, "link", "del", NAME]).status());
        }
        for carrier in self.carriers.drain(..) {
            drop(carrier.join());
        }
    }
}
