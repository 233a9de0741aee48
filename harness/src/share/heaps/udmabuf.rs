//! The heap `udmabuf`: pages of a memfd, which stays with the storage so that they can be looked at.

use super::{About, Allocated, Kind, Looked, Source};
use crate::error::Result;
use crate::udmabuf;

/// Limit of a kernel that does not say, in MiB: the driver's default.
const LIMIT_MIB: u64 = 64;

struct Udmabuf;

impl Source for Udmabuf {
    fn allocate(&self, bytes: u64) -> Result<Allocated> {
        let (dmabuf, memfd) = udmabuf::create(bytes)?;
        Ok(Allocated { dmabuf, pages: Some(memfd), keep: None })
    }
}

pub(super) fn find() -> Looked {
    let mut looked = Looked::default();
    let limit = std::fs::read_to_string("/sys/module/udmabuf/parameters/size_limit_mb");
    let limit = limit.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(LIMIT_MIB);
    let largest = limit.saturating_mul(1 << 20).min(super::machine_memory());
    looked.add(Kind::Udmabuf, Udmabuf, About { name: udmabuf::HEAP.to_owned(), contiguous: false, largest });
    looked
}
