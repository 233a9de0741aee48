//! A heap that promises more than there is.

use std::sync::Arc;

use handover::dmabuf::page_size;
use handover::error::Result;
use handover::share::agreement::Agreement;
use handover::share::heap::{Heap, Offer, Storage};
use handover_faults::made::fired;

/// Its largest buffer, by what it says: no machine has so much.
const LARGEST: u64 = 1 << 62;

/// Says that it gives buffers of any size, and gives a page for those that the one below does not have.
pub(crate) struct WithoutLimits {
    below: Arc<dyn Heap>,
    offer: Offer,
}

impl WithoutLimits {
    pub(crate) fn before(below: Arc<dyn Heap>) -> Self {
        let offer = Offer { largest: LARGEST, ..below.offer().clone() };
        Self { below, offer }
    }
}

impl Heap for WithoutLimits {
    fn offer(&self) -> &Offer {
        &self.offer
    }

    fn allocate(&self, agreement: &Agreement) -> Result<Storage> {
        if (1..=self.below.offer().largest).contains(&agreement.bytes) {
            return self.below.allocate(agreement);
        }
        fired();
        self.below.allocate(&Agreement { bytes: page_size(), ..agreement.clone() })
    }
}
