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

/// Whether `bytes` of the memory of `offer` meet all of `needs`.
pub(super) fn meets(needs: &MemoryNeeds, offer: &Offer, bytes: u128) -> bool {
    named(needs, offer)
        && whole(needs, offer, bytes)
        && offer.address_bits <= needs.address_bits
        && needs.segments.is_none_or(|most| segments(needs, offer, bytes) <= most.into())
        && (offer.cpu || !needs.cpu)
}

/// Each of `needs` that `bytes` of the memory of `offer` do not meet.
pub(super) fn objections(needs: &MemoryNeeds, offer: &Offer, bytes: u128) -> Vec<Objection> {
    let mut found = Vec::new();
    let mut object = |about, needs, provides| found.push(Objection { about, needs, provides });
    if let (false, Some(heaps)) = (named(needs, offer), &needs.heaps) {
        let names: Vec<&str> = heaps.iter().map(String::as_str).collect();
        object("heap", format!("imports memory of {} only", names.join(", ")), "is not among these".to_owned());
    }
    let runs = format!("may provide {bytes} B in runs of {} B", offer.granule.max(1));
    if !whole(needs, offer, bytes) {
        object("contiguity", "needs contiguous memory".to_owned(), runs.clone());
    }
    if offer.address_bits > needs.address_bits {
        let provides = format!("provides addresses of up to {} bits", offer.address_bits);
        object("addresses", format!("reaches addresses of {} bits", needs.address_bits), provides);
    }
    let count = segments(needs, offer, bytes);
    if let Some(most) = needs.segments.filter(|most| count > (*most).into()) {
        let long = needs.segment_size.map(|most| format!(" of at most {most} B")).unwrap_or_default();
        let provides = if offer.contiguous { format!("provides one run of {bytes} B") } else { runs };
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

fn whole(needs: &MemoryNeeds, offer: &Offer, bytes: u128) -> bool {
    !needs.contiguous || offer.contiguous || bytes <= offer.granule.into()
}

/// The most segments that it can come to: runs as short as the heap may make them, each cut where the device has to.
fn segments(needs: &MemoryNeeds, offer: &Offer, bytes: u128) -> u128 {
    let longest = u128::from(needs.segment_size.unwrap_or(u64::MAX));
    let run = if offer.contiguous { bytes.max(1) } else { offer.granule.max(1).into() };
    bytes.div_ceil(run).saturating_mul(run.div_ceil(longest))
}
