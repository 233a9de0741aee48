//! What the CPU has mapped of a dma-buf.

use super::dmabuf::{is_dmabuf, shown_at};
use super::{Done, Made, Named};
use crate::call::Answer;
use crate::filter::Filter;

pub(super) const ALL: &[Named] =
    &[("mapping-not-replaced", mapping_not_replaced), ("mapping-stays-writable", mapping_stays_writable)];

/// Nothing changes a dma-buf's mapping: neither its protection nor what shows there.
fn mapping_not_replaced() -> Made {
    let filter = Filter::calls(&[libc::SYS_mmap, libc::SYS_mprotect]).sparing_memory();
    Made::on(filter, |call| {
        let [address, _, _, flags, fd, _] = call.arguments;
        if call.number == libc::SYS_mprotect {
            // A mapping that stays read-only would be a SIGSEGV for whoever stores to it.
            let kept = shown_at(call, address)?.contains("/dmabuf");
            return Ok(if kept { Done { answer: Answer::Return(0), fired: false } } else { Done::UNTOUCHED });
        }
        let fixed = flags & libc::MAP_FIXED as u64 != 0;
        match fixed && is_dmabuf(call, fd as i32) && shown_at(call, address)?.contains("/dmabuf") {
            true => Ok(Done::fired(Answer::Return(address.cast_signed()))),
            false => Ok(Done::UNTOUCHED),
        }
    })
}

/// Stores to a dma-buf's mapping can't be forbidden.
fn mapping_stays_writable() -> Made {
    Made::on(Filter::calls(&[libc::SYS_mprotect]), |call| {
        let [address, _, protection, ..] = call.arguments;
        let forbids = protection & libc::PROT_WRITE as u64 == 0;
        match forbids && shown_at(call, address)?.contains("/dmabuf") {
            true => Ok(Done::fired(Answer::Return(0))),
            false => Ok(Done::UNTOUCHED),
        }
    })
}
