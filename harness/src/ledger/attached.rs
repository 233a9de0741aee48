//! Which devices are attached to a buffer that stays, and which were before? Pure.

use std::collections::BTreeMap;

use crate::placement::bufinfo::Entry;

/// Entries of the kernel's list, by inode.
type Entries = BTreeMap<u64, Entry>;

/// A buffer that stays, with other devices than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// As it was, and as it is.
    pub(super) was: Entry,
    pub(super) is: Entry,
}

impl Change {
    /// The devices that are attached now and were not before.
    pub(super) fn gained(&self) -> Vec<String> {
        beyond(&self.is.attached, &self.was.attached)
    }

    /// Those that were and are not any more.
    pub(super) fn lost(&self) -> Vec<String> {
        beyond(&self.was.attached, &self.is.attached)
    }
}

/// Those of `devices` that `others` has not; one that is attached twice is there twice. In what order they came is nobody's.
fn beyond(devices: &[String], others: &[String]) -> Vec<String> {
    let mut others = others.to_vec();
    let is_new = |device: &&String| match others.iter().position(|other| other == *device) {
        Some(at) => {
            others.swap_remove(at);
            false
        }
        None => true,
    };
    devices.iter().filter(is_new).cloned().collect()
}

/// The buffers that are there at both times, with other devices.
pub(super) fn changes(before: &Entries, after: &Entries) -> impl Iterator<Item = Change> {
    let both = before.iter().filter_map(|(inode, was)| Some((was, after.get(inode)?)));
    let changed = both.filter(|(was, is)| was.attached != is.attached);
    let changed = changed.map(|(was, is)| Change { was: was.clone(), is: is.clone() });
    changed.filter(|change| !change.gained().is_empty() || !change.lost().is_empty())
}

/// Has `entries` account for what came and went between two looks.
pub(super) fn account(entries: &mut Entries, before: &Entries, after: &Entries) {
    for change in changes(before, after) {
        if let Some(entry) = entries.get_mut(&change.is.buffer.inode) {
            entry.attached = beyond(&entry.attached, &change.lost());
            entry.attached.extend(change.gained());
        }
    }
}

/// `vkms, vivid.1`.
pub(super) fn names(devices: &[String]) -> String {
    if devices.is_empty() { "nobody".to_owned() } else { devices.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dmabuf::Identity;

    fn entries(attached: &[&str]) -> Entries {
        let buffer = Identity { inode: 7, exporter: Some("udmabuf".into()), size: 4096 };
        let attached = attached.iter().map(|name| (*name).to_owned()).collect();
        [(7, Entry { buffer, references: 1, attached, fences: Vec::new() })].into()
    }

    fn changed(before: &[&str], after: &[&str]) -> Vec<(String, String)> {
        let told = |change: Change| (names(&change.gained()), names(&change.lost()));
        changes(&entries(before), &entries(after)).map(told).collect()
    }

    #[test]
    fn a_device_that_came_or_went_is_told_also_if_it_was_there_before() {
        let pair = |gained: &str, lost: &str| vec![(gained.to_owned(), lost.to_owned())];
        assert_eq!(changed(&["vkms"], &["vkms", "vkms"]), pair("vkms", "nobody"));
        assert_eq!(changed(&["vkms", "vgem"], &["vgem"]), pair("nobody", "vkms"));
        assert_eq!(changed(&["vkms"], &["vivid.1"]), pair("vivid.1", "vkms"));
        assert_eq!(changed(&["vkms", "vgem"], &["vgem", "vkms"]), [], "who came first is no matter");
        assert_eq!(changes(&entries(&["vkms"]), &Entries::new()).count(), 0, "one that is gone is told of as such");
    }

    #[test]
    fn what_a_device_that_stays_attaches_is_accounted_for_and_nothing_else() {
        let mut known = entries(&["vgem"]);
        // Of the case, and not accounted for.
        account(&mut known, &entries(&["vgem", "vkms"]), &entries(&["vkms", "vivid.1"]));
        assert_eq!(known, entries(&["vivid.1"]));
    }
}
