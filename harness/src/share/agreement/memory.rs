//! What does a device need of memory that a heap does not provide?

use crate::share::constraints::MemoryNeeds;
use crate::share::heap::Offer;

/// A need that a heap does not meet.
pub(super) struct Objection {
    /// What it is about.
    pub(super) about: &'static str,
    /// What the device says of itself.
    pub(super) needs: String,
    /// What the heap says of itself.
    pub(super) provides: String,
}

/// How much memory it is about, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    /// The buffer. A device is given all of it, so all of its segments count.
    pub(super) whole: u128,
    /// What the device works with, from the start of the buffer. What lies behind that need not be one run with it.
    pub(super) worked_with: u128,
}

/// Whether `extent` in the memory of `offer` meets all of `needs`.
pub(super) fn meets(needs: &MemoryNeeds, offer: &Offer, extent: Extent) -> bool {
    named(needs, offer)
        && in_one_run(needs, offer, extent)
        && offer.address_bits <= needs.address_bits
        && needs.segments.is_none_or(|most| segments(needs, offer, extent.whole) <= most.into())
        && (offer.cpu || !needs.cpu)
}

/// Each of `needs` that `extent` in the memory of `offer` does not meet.
pub(super) fn objections(needs: &MemoryNeeds, offer: &Offer, extent: Extent) -> Vec<Objection> {
    let mut found = Vec::new();
    let mut object = |about, needs, provides| found.push(Objection { about, needs, provides });
    if let (false, Some(heaps)) = (named(needs, offer), &needs.heaps) {
        let names: Vec<&str> = heaps.iter().map(String::as_str).collect();
        object("heap", format!("imports memory of {} only", names.join(", ")), "is not among these".to_owned());
    }
    let runs = |bytes| format!("may provide {bytes} B in runs of {} B", offer.granule.max(1));
    if !in_one_run(needs, offer, extent) {
        object("contiguity", "needs contiguous memory".to_owned(), runs(extent.worked_with));
    }
    if offer.address_bits > needs.address_bits {
        let provides = format!("provides addresses of up to {} bits", offer.address_bits);
        object("addresses", format!("reaches addresses of {} bits", needs.address_bits), provides);
    }
    let bytes = extent.whole;
    let count = segments(needs, offer, bytes);
    if let Some(most) = needs.segments.filter(|most| count > (*most).into()) {
        let long = needs.segment_size.map(|most| format!(" of at most {most} B")).unwrap_or_default();
        let provides = if offer.contiguous { format!("provides one run of {bytes} B") } else { runs(bytes) };
        object(
            "segments",
            format!("takes at most {most} segments{long}"),
            format!("{provides}, which is {count} segments"),
        );
    }
    if needs.cpu && !offer.cpu {
        object("CPU access", "works through the CPU".to_owned(), "can't be mapped by the CPU".to_owned());
    }
    found
}

fn named(needs: &MemoryNeeds, offer: &Offer) -> bool {
    needs.heaps.as_ref().is_none_or(|heaps| heaps.contains(&offer.heap))
}

fn in_one_run(needs: &MemoryNeeds, offer: &Offer, extent: Extent) -> bool {
    !needs.contiguous || offer.contiguous || extent.worked_with <= offer.granule.into()
}

/// The most segments that it can come to: runs as short as the heap may make them, each cut where the device has to.
fn segments(needs: &MemoryNeeds, offer: &Offer, bytes: u128) -> u128 {
    let longest = u128::from(needs.segment_size.unwrap_or(u64::MAX));
    let run = if offer.contiguous { bytes.max(1) } else { offer.granule.max(1).into() };
    bytes.div_ceil(run).saturating_mul(run.div_ceil(longest))
}
