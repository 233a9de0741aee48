//! The heaps `vkms dumb`, `vgem dumb`: dumb buffers of a card, whose memory is made for being scanned out.

use super::{About, Allocated, Kind, Looked, Source};
use crate::error::Result;
use crate::kms::DumbBuffers;

impl Source for DumbBuffers {
    fn allocate(&self, bytes: u64) -> Result<Allocated> {
        self.of_bytes(bytes).map(Allocated::from)
    }
}

pub(super) fn find() -> Looked {
    let nodes = match DumbBuffers::nodes() {
        Ok(nodes) => nodes,
        Err(why) => return Looked::none(why),
    };
    let mut looked = Looked::default();
    let mut names = Vec::new();
    for node in nodes {
        match DumbBuffers::open(&node) {
            Err(why) => looked.absent.push(why),
            Ok(card) => {
                let mut name = format!("{} dumb", card.driver());
                if names.contains(&name) {
                    name = format!("{name} ({})", node.file_name().unwrap_or_default().to_string_lossy());
                }
                names.push(name.clone());
                looked.add(Kind::Dumb, card, About { name, contiguous: false, largest: DumbBuffers::LARGEST });
            }
        }
    }
    looked
}
