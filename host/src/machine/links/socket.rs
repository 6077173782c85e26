//! Asks the kernel's rtnetlink, one request after the other.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN, NetlinkBuffer, NetlinkMessage, NetlinkPayload,
    NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::machine::{ErrorKind, MachineError};

/// The kernel answers within the system call that asks, so an answer that is not there is lost.
const LOST: Duration = Duration::from_secs(5);
/// How often a table is read again that changed while it was read.
const READINGS: usize = 20;
/// `NLMSGERR_ATTR_MSG` and the length of a message's header, from the kernel's headers.
const ATTRIBUTE_MESSAGE: u16 = 1;
const HEADER: usize = 16;

/// What the kernel answered instead of what was asked for.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    /// The class.
    pub(super) errno: Errno,
    /// The kernel's own words, where it has some.
    said: Option<String>,
}

impl Refusal {
    pub(super) fn new(errno: Errno, said: impl Into<String>) -> Refusal {
        Refusal {
            errno,
            said: Some(said.into()),
        }
    }

    /// The error for whoever wanted something: `tried` reads on after "cannot".
    pub(super) fn during(&self, tried: &str) -> MachineError {
        let kind = match self.errno {
            Errno::EXIST | Errno::ADDRINUSE => ErrorKind::Exists,
            Errno::NODEV | Errno::NOENT | Errno::SRCH => ErrorKind::NotFound,
            Errno::BUSY => ErrorKind::Busy,
            Errno::NETDOWN | Errno::TIMEDOUT => ErrorKind::Unreachable,
            Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC | Errno::MFILE | Errno::NFILE => {
                ErrorKind::Exhausted
            }
            Errno::INVAL
            | Errno::RANGE
            | Errno::LOOP
            | Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::ADDRNOTAVAIL => ErrorKind::Invalid,
            Errno::PERM
            | Errno::ACCESS
            | Errno::OPNOTSUPP
            | Errno::PROTONOSUPPORT
            | Errno::AFNOSUPPORT => ErrorKind::Missing,
            _ => ErrorKind::Other,
        };
        let hint = match self.errno {
            Errno::PERM => "; dockside needs the capability CAP_NET_ADMIN for this",
            Errno::NETDOWN => "; the link that it stands on must be up",
            Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                "; the running kernel lacks this, or the module for it"
            }
            _ => "",
        };
        let error = io::Error::from(self.errno);
        let message = match &self.said {
            Some(said) => format!("cannot {tried}: {said} ({error}){hint}"),
            None => format!("cannot {tried}: {error}{hint}"),
        };
        MachineError::new(kind, message)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        match error.raw_os_error() {
            Some(code) => Refusal {
                errno: Errno::from_raw_os_error(code),
                said: None,
            },
            None => Refusal::new(Errno::IO, error.to_string()),
        }
    }
}

/// A conversation with the kernel of the network namespace in which it began.
#[derive(Default)]
pub(super) struct Kernel {
    socket: Option<Socket>,
    sequence: u32,
}

impl Kernel {
    /// Asks for a change. The answer is complete when the kernel has done it.
    pub(super) fn change(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), Refusal> {
        self.ask(message, NLM_F_ACK | flags).map(|_| ())
    }

    /// Asks for one object.
    pub(super) fn get(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>, Refusal> {
        let answer = self.ask(message, NLM_F_ACK)?;
        match answer.into_iter().next() {
            Some(Some(object)) => Ok(Some(object)),
            Some(None) => Err(Refusal::new(
                Errno::BADMSG,
                "the kernel's answer cannot be understood",
            )),
            None => Ok(None),
        }
    }

    /// Reads a table. What cannot be understood is not ours, and is passed over.
    pub(super) fn table(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        let answer = self.ask(message, NLM_F_DUMP)?;
        Ok(answer.into_iter().flatten().collect())
    }

    fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<Option<RouteNetlinkMessage>>, Refusal> {
        #[cfg(test)]
        super::tests::instant();
        for _ in 0..READINGS {
            let answer = match self.exchange(message.clone(), flags) {
                Ok(answer) => answer,
                Err(Failure::Refused(refusal)) => return Err(refusal),
                Err(Failure::Socket(error)) => {
                    // The rest of an answer may still be under way.
                    self.socket = None;
                    return Err(error.into());
                }
            };
            if let Some(objects) = answer {
                return Ok(objects);
            }
        }
        Err(Refusal::new(
            Errno::BUSY,
            "the kernel's tables change faster than they can be read",
        ))
    }

    /// One request and its whole answer; none if a table changed while it was read.
    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Option<Vec<Option<RouteNetlinkMessage>>>, Failure> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);

        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(open().map_err(Failure::Socket)?),
        };
        let kernel = SocketAddr::new(0, 0);
        socket
            .send_to(&bytes, &kernel, 0)
            .map_err(Failure::Socket)?;

        let mut objects = Vec::new();
        let mut torn = false;
        loop {
            let (datagram, from) = socket.recv_from_full().map_err(Failure::Socket)?;
            if from.port_number() != 0 {
                continue;
            }
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let part = NetlinkBuffer::new_checked(rest).map_err(Failure::garbled)?;
                let length = part.length() as usize;
                let this = rest.get(..length).unwrap_or_default();
                rest = rest
                    .get(length.next_multiple_of(4).max(HEADER)..)
                    .unwrap_or_default();
                if part.sequence_number() != sequence {
                    continue;
                }
                torn |= part.flags() & NLM_F_DUMP_INTR != 0;
                match part.message_type() {
                    NLMSG_ERROR | NLMSG_DONE => {
                        let body = this.get(HEADER..).unwrap_or_default();
                        let ended = part.message_type() == NLMSG_DONE;
                        return match verdict(body, part.flags(), ended) {
                            None => Ok((!torn).then_some(objects)),
                            Some(refusal) if refusal.errno == Errno::INTR => Ok(None),
                            Some(refusal) => Err(Failure::Refused(refusal)),
                        };
                    }
                    NLMSG_OVERRUN => return Err(Failure::Socket(Errno::NOBUFS.into())),
                    _ => objects.push(object(this)),
                }
            }
        }
    }
}

enum Failure {
    /// The kernel said no.
    Refused(Refusal),
    /// The conversation broke.
    Socket(io::Error),
}

impl Failure {
    fn garbled(error: netlink_packet_core::DecodeError) -> Failure {
        Failure::Socket(io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    // The kernel gives its reason in words, does not send the request back, and filters what it lists.
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    socket.set_netlink_get_strict_chk(true)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(LOST))?;
    Ok(socket)
}

fn object(bytes: &[u8]) -> Option<RouteNetlinkMessage> {
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)
        .ok()?
        .payload
    {
        NetlinkPayload::InnerMessage(object) => Some(object),
        _ => None,
    }
}

/// The error that ends an answer, if any: a negative number, then, for an error, the request's header, then attributes.
fn verdict(body: &[u8], flags: u16, ended: bool) -> Option<Refusal> {
    let code = body
        .first_chunk::<4>()
        .map_or(0, |code| i32::from_ne_bytes(*code));
    if code == 0 {
        return None;
    }
    let skipped = if ended { 4 } else { 4 + HEADER };
    let has_attributes = flags & NLM_F_ACK_TLVS != 0 && (ended || flags & NLM_F_CAPPED != 0);
    let attributes = body
        .get(skipped..)
        .filter(|_| has_attributes)
        .unwrap_or_default();
    let said = NlasIterator::new(attributes)
        .flatten()
        .find(|attribute| attribute.kind() == ATTRIBUTE_MESSAGE)
        .map(|attribute| {
            String::from_utf8_lossy(attribute.value())
                .trim_end_matches(['\0', '.'])
                .to_owned()
        });
    Some(Refusal {
        errno: Errno::from_raw_os_error(code.saturating_neg()),
        said,
    })
}
