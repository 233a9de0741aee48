//! What does this process have open and mapped that others may have, too? For a peer, which asks itself after every request:
//! what was looked at before is not looked at again, as far as that can be told.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::RawFd;

use super::files::{self, Node, node};
use super::mappings::Mappings;
use crate::observed::Observed;

/// The dma-bufs and `sync_file`s of this process.
pub(crate) struct Shared {
    /// Files of its own alone, by number.
    own: BTreeMap<RawFd, Node>,
    mappings: Option<Mappings>,
    /// The dma-bufs that are mapped, with the sum of all mappings when they were looked for.
    mapped: Option<(u64, Vec<u64>)>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { own: BTreeMap::new(), mappings: Mappings::open().ok(), mapped: None }
    }
}

impl Shared {
    /// Those that are open now.
    pub(crate) fn files(&mut self) -> Observed<BTreeMap<RawFd, Node>> {
        let numbers = files::numbers()?;
        self.own.retain(|number, _| numbers.contains(number));
        let mut shared = BTreeMap::new();
        for number in numbers {
            let Some(node) = node(number).filter(|node| self.own.get(&number) != Some(node)) else { continue };
            let Ok(link) = fs::read_link(files::link(number)) else { continue };
            let link = link.to_string_lossy();
            if link.starts_with("/dmabuf") || link == "anon_inode:sync_file" {
                shared.insert(number, node);
            } else if !link.starts_with("anon_inode:") {
                // Those that begin so are all one inode, and what has the number next may be another's, too.
                self.own.insert(number, node);
            }
        }
        Ok(shared)
    }

    /// The dma-bufs that are mapped now, by inode. A sum of mappings that is what it was is taken for the same ones.
    pub(crate) fn mapped(&mut self) -> Vec<u64> {
        let sum = self.mappings.as_ref().and_then(Mappings::sum);
        match &self.mapped {
            Some((before, mapped)) if Some(*before) == sum => mapped.clone(),
            _ => {
                let mapped: Vec<u64> = files::mappings().into_keys().collect();
                self.mapped = sum.map(|sum| (sum, mapped.clone()));
                mapped
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, OwnedFd};

    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::io::{DupFlags, dup3};

    use super::*;
    use crate::udmabuf;

    #[test]
    fn a_file_of_its_own_is_looked_at_again_when_another_has_its_number() {
        let mut number: OwnedFd = memfd_create("own", MemfdFlags::CLOEXEC).expect("memfd");
        let at = number.as_raw_fd();
        let mut shared = Shared::default();
        let is_shared = |shared: &mut Shared| shared.files().expect("procfs").contains_key(&at);
        assert!(!is_shared(&mut shared) && shared.own.contains_key(&at));
        // In the sandbox; elsewhere there may be none.
        let Ok((dmabuf, _)) = udmabuf::create(4096) else { return };
        dup3(&dmabuf.fd, &mut number, DupFlags::CLOEXEC).expect("dup3");
        assert!(is_shared(&mut shared) && !shared.own.contains_key(&at));
        let inode = dmabuf.inode();
        assert!(!shared.mapped().contains(&inode));
        let mapping = dmabuf.map().expect("mappable");
        assert!(shared.mapped().contains(&inode));
        drop(mapping);
        assert!(!shared.mapped().contains(&inode));
    }
}
