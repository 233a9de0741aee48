//! Waits that end when they should not, and messages between processes.
//!
//! Source: futex(2), unix(7).

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketType, send};

use super::{Done, Made, Named};
use crate::call::Answer;
use crate::fields::Fields;
use crate::filter::Filter;

pub(super) const ALL: &[Named] = &[("timed-wait-at-once", timed_wait_at_once), ("message-twice", message_twice)];

/// A wait with a deadline has no patience.
fn timed_wait_at_once() -> Made {
    Made::on(Filter::calls(&[libc::SYS_futex]), |call| {
        let [_, operation, _, deadline, ..] = call.arguments;
        let waits = matches!(operation as i32 & libc::FUTEX_CMD_MASK, libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET);
        Ok(match waits && deadline != 0 {
            true => Done::fired(Answer::Fail(Errno::TIMEDOUT)),
            false => Done::UNTOUCHED,
        })
    })
}

/// A message of a packet socket without fds arrives twice.
fn message_twice() -> Made {
    Made::on(Filter::calls(&[libc::SYS_sendmsg]), |call| {
        // `struct msghdr`: the parts, how many they are, and the length of the control data.
        const PARTS: usize = 16;
        const COUNT: usize = 24;
        const CONTROL_LENGTH: usize = 40;
        let header = Fields(call.read(call.arguments[1], 56)?);
        if header.u64(COUNT) != 1 || header.u64(CONTROL_LENGTH) != 0 {
            return Ok(Done::UNTOUCHED);
        }
        let socket = call.device()?;
        if rustix::net::sockopt::socket_type(&socket)? != SocketType::SEQPACKET {
            return Ok(Done::UNTOUCHED);
        }
        let part = Fields(call.read(header.u64(PARTS), 16)?);
        let bytes = call.read(part.u64(0), part.u64(8) as usize)?;
        let sent = send(socket, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        Ok(Done { answer: Answer::Continue, fired: sent.is_ok() })
    })
}
