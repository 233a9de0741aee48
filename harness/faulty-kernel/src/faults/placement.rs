//! Where the kernel says that storage lies.
//!
//! Source: `include/trace/events/dma.h`, "ftrace - Function Tracer" in the kernel's documentation (`trace_pipe`).

use std::os::fd::RawFd;
use std::sync::atomic::AtomicU64;

use super::{Done, Made, Named, every_other};
use crate::call::Answer;
use crate::filter::Filter;

pub(super) const ALL: &[Named] = &[("scatter-lists-move", scatter_lists_move)];

/// How far away every second scatter list is said to lie.
const FAR: u64 = 0x1000_0000;

/// The longest read that is looked at; the harness's is of 64 KiB.
const LONGEST: u64 = 1 << 20;

/// Every second scatter list that the trace tells of lies elsewhere.
fn scatter_lists_move() -> Made {
    let count = AtomicU64::new(0);
    Made::on(Filter::calls(&[libc::SYS_read]), move |call| {
        let [fd, address, length, ..] = call.arguments;
        let is_trace = call.name_of_file(fd as RawFd).is_ok_and(|name| name.ends_with("/trace_pipe"));
        if !is_trace || length > LONGEST {
            return Ok(Done::UNTOUCHED);
        }
        let mut bytes = vec![0; length as usize];
        let read = match rustix::io::read(call.device()?, &mut bytes) {
            Ok(read) => read,
            Err(errno) => return Ok(Done::as_it_was(Err(errno))),
        };
        let told = String::from_utf8_lossy(&bytes[..read]).into_owned();
        let moved: String = told
            .split_inclusive('\n')
            .map(|line| match line.contains(": dma_map_sg: ") && every_other(&count) {
                true => far_away(line).unwrap_or_else(|| line.to_owned()),
                false => line.to_owned(),
            })
            .collect();
        // What is longer than its reader has room for stays as it is.
        let moved = if moved.len() as u64 > length { told.clone() } else { moved };
        call.write(address, moved.as_bytes())?;
        Ok(Done { answer: Answer::Return(moved.len() as i64), fired: moved != told })
    })
}

/// A `dma_map_sg` line with other addresses as the device sees them.
fn far_away(line: &str) -> Option<String> {
    const BEGIN: &str = "dma_addrs={";
    let (before, rest) = line.split_once(BEGIN)?;
    let (addresses, behind) = rest.split_once('}')?;
    let moved: Option<Vec<String>> = addresses
        .split(',')
        .map(|address| {
            let address = u64::from_str_radix(address.trim().strip_prefix("0x")?, 16).ok()?;
            Some(format!("{:#x}", address.wrapping_add(FAR)))
        })
        .collect();
    Some(format!("{before}{BEGIN}{}}}{behind}", moved?.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_addresses_that_the_device_sees_are_others() {
        let line = "x-1 [000] ..... 1.0: dma_map_sg: vivid.0 dir=TO_DEVICE dma_addrs={0x1000,0x7000} sizes={0x1000,0x2000} \
                    phys_addrs={0x1000,0x7000}\n";
        let moved = far_away(line).unwrap();
        assert_eq!(moved, line.replacen("{0x1000,0x7000}", "{0x10001000,0x10007000}", 1));
        assert_eq!(far_away("x-1 [000] ..... 1.0: dma_map_sg: vivid.0"), None);
    }
}
