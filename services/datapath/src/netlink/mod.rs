//! Asking the kernel by `rtnetlink(7)` for what sysfs does not tell of another network namespace.
//!
//! Everything here is about the network namespace of the calling thread.

pub mod filters;
pub mod links;

use std::fs::File;
use std::io::{self, Read, Write};

use nix::libc::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The kernel hands over 32 KiB at most (`net/netlink/af_netlink.c`, `max_recvmsg_len`).
const BUFFER: usize = 64 << 10;
/// What is listed may change meanwhile, and the kernel says so: times that a list is asked for.
const ATTEMPTS: usize = 8;

/// The bodies of all answers to a question for a list.
fn list(kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    for _attempt in 1..ATTEMPTS {
        match exchange(kind, NLM_F_DUMP, body) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answers => return answers,
        }
    }
    exchange(kind, NLM_F_DUMP, body)
}

/// Orders a change, and waits until it is made.
fn change(kind: u16, body: &[u8]) -> io::Result<()> {
    exchange(kind, NLM_F_ACK, body).map(drop)
}

fn exchange(kind: u16, flags: i32, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let mut socket = File::from(socket);
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let flags = u16::try_from(NLM_F_REQUEST | flags).map_err(io::Error::other)?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    // Number and sender: one question per socket.
    request.extend([0; 8]);
    request.extend(body);
    socket.write_all(&request)?;

    let (mut answers, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    loop {
        let read = socket.read(&mut buffer)?;
        let mut rest = buffer.get(..read).unwrap_or_default();
        while !rest.is_empty() {
            let (message, after) = Message::first(rest).ok_or(io::ErrorKind::InvalidData)?;
            rest = after;
            if i32::from(message.flags) & NLM_F_DUMP_INTR != 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match i32::from(message.kind) {
                NLMSG_DONE => return Ok(answers),
                NLMSG_ERROR => {
                    let errno = i32::from_ne_bytes(array(message.body, 0).ok_or(io::ErrorKind::InvalidData)?);
                    return if errno == 0 { Ok(answers) } else { Err(io::Error::from_raw_os_error(-errno)) };
                }
                _ => answers.push(message.body.to_vec()),
            }
        }
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first message, and what comes after it; none when it is not whole.
    fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(u32::from_ne_bytes(array(bytes, 0)?)).ok()?;
        let kind = u16::from_ne_bytes(array(bytes, 4)?);
        let flags = u16::from_ne_bytes(array(bytes, 6)?);
        let body = bytes.get(HEADER..length)?;
        Some((Self { kind, flags, body }, after(bytes, length)))
    }
}

/// Attributes by number, in their order; they end where one is not whole.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// `NLA_TYPE_MASK`: the highest two bits are flags.
    const KIND: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(array(bytes, 0)?));
        let kind = u16::from_ne_bytes(array(bytes, 2)?) & KIND;
        let value = bytes.get(4..length)?;
        bytes = after(bytes, length);
        Some((kind, value))
    })
}

/// The first attribute of this number.
fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A text attribute: it ends at its zero byte.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

/// Messages and attributes begin at multiples of 4.
fn after(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_aligned_and_end_where_one_is_cut() {
        let bytes = [6, 0, 3, 0x80, b'l', b'o', 0, 0, 5, 0, 7, 0, 9, 0, 0, 0, 99, 0, 1, 0];
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found, [(3, &b"lo"[..]), (7, &[9][..])]);
        assert_eq!(attribute(&bytes, 7), Some(&[9][..]));
    }

    #[test]
    fn an_answer_that_is_an_error_is_one() {
        // No message has number 0xffff.
        let refused = list(u16::MAX, &[0; 16]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(nix::libc::EOPNOTSUPP), "{refused}");
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_no_panic(bytes: Vec<u8>) {
            let _none = Message::first(&bytes);
            let mut total = 0;
            for (_, value) in attributes(&bytes) {
                total += value.len() + 4;
            }
            prop_assert!(total <= bytes.len());
        }
    }
}
