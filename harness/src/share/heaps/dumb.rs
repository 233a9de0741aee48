//! The heaps `vkms dumb`, `vgem dumb`: dumb buffers of a card, whose memory is made for being scanned out.

use super::{About, Allocated, Found, Kind, Source};
use crate::error::Result;
use crate::kms::DumbBuffers;

impl Source for DumbBuffers {
    fn allocate(&self, bytes: u64) -> Result<Allocated> {
        self.of_bytes(bytes).map(Allocated::from)
    }
}

pub(super) fn find(found: &mut Found) {
    let nodes = match DumbBuffers::nodes() {
        Ok(nodes) => nodes,
        Err(why) => return found.absent(Kind::Dumb, why),
    };
    let mut names = Vec::new();
    for node in nodes {
        match DumbBuffers::open(&node) {
            Err(why) => found.absent(Kind::Dumb, why),
            Ok(card) => {
                let mut name = format!("{} dumb", card.driver());
                if names.contains(&name) {
                    name = format!("{name} ({})", node.file_name().unwrap_or_default().to_string_lossy());
                }
                names.push(name.clone());
                found.add(Kind::Dumb, card, About { name, contiguous: false, largest: DumbBuffers::LARGEST });
            }
        }
    }
}
