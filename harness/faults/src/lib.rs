//! Which faults does Handover have to see, and which oddities must it let pass?
//!
//! Each is a real bug of a driver, a kernel or a library, narrowed down to one deed that can be done on purpose; or, as a
//! control, something unusual that the documents allow. They are data: what does the deed is `handover-faulty-vulkan` for
//! Vulkan and the faulty system calls for everything below. Cases name the faults that they are built to see with
//! `must_fail_under`, and `handover faults` holds them to it.
//!
//! The harness itself knows none of these: to it, a faulty driver is a driver.
//!
//! How many there are of each class, beside how many of the 189 public bugs of drivers and kernels that they are drawn from:
//!
//! | class | faults | bugs |
//! |---|---|---|
//! | layout | 49 | 34 |
//! | modifier | 24 | 26 |
//! | format | 16 | 16 |
//! | ownership | 35 | 30 |
//! | handle | 17 | 13 |
//! | aliasing | 14 | 5 |
//! | coherency | 12 | 14 |
//! | queue family | 7 | 7 |
//! | synchronisation | 35 | 22 |
//! | KMS | 13 | 13 |
//! | error path | 27 | 9 |
//!
//! Error paths, aliasing and synchronisation have more than their share: each call that refuses, each way in and each kind of fence
//! wants one of its own. Modifiers, formats, coherency and KMS have less, since devices of memory alone know LINEAR, have no caches of
//! their own and blend in one place.

use std::fmt;

use serde::{Deserialize, Serialize};

mod answers;
mod controls;
mod displays;
mod fences;
mod kernel;
mod lifetimes;
pub mod made;
mod meanings;
mod sharing;
mod storage;
mod syncobjs;
mod transfers;
mod unchecked;
mod vulkan;
mod waits;

/// One deed: what is done, where, when, and how a good message speaks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its name, as `must_fail_under` and the command line have it: `a-z`, `0-9` and `-`.
    pub name: &'static str,
    /// Its number in the list that the project began with, such as `P01` or `B01`; empty if it is not of that list.
    pub id: &'static str,
    /// Whether it must be seen, or let pass.
    pub kind: Kind,
    /// Between whom it sits.
    pub seam: Seam,
    /// What sort of bug it is.
    pub class: Class,
    /// Exactly what is done, in one sentence.
    pub what: &'static str,
    /// When it is done.
    pub trigger: &'static str,
    /// The public bugs that it repeats; of a control, the text that allows it.
    pub modelled_on: &'static str,
    /// What can see it.
    pub seen_by: &'static [Oracle],
    /// Texts of which at least one must be in the message of a case that sees it, so that the message names the right object
    /// or cause; none for a control.
    pub names: &'static [&'static str],
    /// Of a control: texts of which one is in the reason of every skip that it causes, for what it takes away. Whatever else is
    /// skipped under it, and is not without, is a loss.
    pub skips: &'static [&'static str],
    /// Of a control of some devices: the roles that they play. Others meet it at most where they look at these devices besides,
    /// and need not all be run. Empty if it is about everybody.
    pub about: &'static [&'static str],
    /// Of a control: whether it is made at once with others of its seam that are, since it takes nothing away and has nothing
    /// to do with what they change.
    pub shares: bool,
    /// Why no case sees it yet, or comes near it. One that is detected or let pass has none.
    pub gap: Option<&'static str>,
}

impl Fault {
    /// Whether its name is one that can stand in a path and on a command line: `a-z`, `0-9` and `-`, and not empty.
    pub fn has_a_proper_name(&self) -> bool {
        let is_proper = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !self.name.is_empty() && !self.name.starts_with('-') && self.name.chars().all(is_proper)
    }
}

/// Whether it must be seen, or let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A bug: some case must fail.
    Fault,
    /// Legal, if unusual: every case must end as it does without.
    Control,
}

/// Where a fault sits, below everything of the harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seam {
    /// A Vulkan driver, `handover-faulty-vulkan`, in the place of the first GPU's.
    VulkanA,
    /// The same in the place of the second GPU's.
    VulkanB,
    /// System calls of the worker and of all that it starts, rewritten on their way into the kernel or out of it.
    Kernel,
    /// An EGL vendor and a GBM backend, `handover-faulty-egl-gbm`, in the place of Mesa's.
    EglGbm,
    /// A layer between the sharing core and the devices and heaps around it, `handover-faulty-core`.
    Core,
}

/// What sort of bug a fault is: the classes of the corpus that the faults are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Pitch, offset, planes, size, offset of a binding.
    Layout,
    /// Which modifiers there are, and what they can do.
    Modifier,
    /// Format, order of channels, alpha, YUV, range.
    Format,
    /// Who owns fds, handles and objects, and for how long.
    Ownership,
    /// Handle types, memory types, sizes, and questions about them.
    Handle,
    /// One buffer is two, or two are one.
    Aliasing,
    /// Caches, and flushes that do not reach everything.
    Coherency,
    /// Queue families, and transitions of image layouts.
    QueueFamily,
    /// Fences, semaphores, and implicit synchronisation.
    Synchronisation,
    /// Framebuffers, planes, blending, CRC and writeback.
    Kms,
    /// Refusals, limits and result codes.
    ErrorPath,
}

/// What can see a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oracle {
    /// Pixels or bytes are compared.
    Pixels,
    /// An answer about a layout or a modifier is held against another.
    Layout,
    /// Answers about what a device can do are held against each other, or against what it then does.
    Capability,
    /// Open fds are counted, and looked at.
    Fds,
    /// Handles, references and objects of the kernel are counted.
    References,
    /// The state of a fence is watched.
    Fences,
    /// The result of a call is what the documents say.
    Result,
}

macro_rules! named {
    ($type:ident: $($variant:ident = $name:literal),+ $(,)?) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $name),+ })
            }
        }
    };
}

named!(Kind: Fault = "fault", Control = "control");
named!(
    Seam: VulkanA = "gpu_a's driver", VulkanB = "gpu_b's driver", Kernel = "system calls", EglGbm = "EGL and GBM",
    Core = "devices and heaps of the core",
);
named!(
    Class: Layout = "layout", Modifier = "modifier", Format = "format", Ownership = "ownership", Handle = "handle",
    Aliasing = "aliasing", Coherency = "coherency", QueueFamily = "queue family", Synchronisation = "synchronisation",
    Kms = "KMS", ErrorPath = "error path",
);

/// Every fault and every control, seam by seam.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    let seams = [vulkan::ALL, lifetimes::ALL, kernel::ALL, controls::ALL, unchecked::ALL, storage::ALL, waits::ALL];
    seams
        .into_iter()
        .chain([fences::ALL, syncobjs::ALL, answers::ALL, sharing::ALL, transfers::ALL, meanings::ALL, displays::ALL])
        .flatten()
}

/// The fault or control of this name.
pub fn find(name: &str) -> Option<&'static Fault> {
    all().find(|fault| fault.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn names_and_numbers_are_nobody_elses() {
        let names: BTreeSet<&str> = all().map(|fault| fault.name).collect();
        assert_eq!(names.len(), all().count());
        let numbered = || all().filter(|fault| !fault.id.is_empty());
        let numbers: BTreeSet<&str> = numbered().map(|fault| fault.id).collect();
        assert_eq!(numbers.len(), numbered().count());
    }

    /// Which there must be whatever else changes: the listed ones, those of our own, and none that nobody has to see.
    #[test]
    fn none_gets_lost() {
        let ids: BTreeSet<&str> = all().map(|fault| fault.id).collect();
        let listed = (1..=20).map(|n| format!("P{n:02}")).chain((1..=6).map(|n| format!("B{n:02}")));
        let missing: Vec<String> = listed.filter(|id| !ids.contains(id.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let own = |kind| all().filter(move |fault| fault.kind == kind && fault.id.is_empty());
        assert!(own(Kind::Fault).count() >= 200 && own(Kind::Control).count() >= 16);
        let beside_vulkan = own(Kind::Fault).filter(|fault| matches!(fault.seam, Seam::EglGbm | Seam::Core));
        assert!(beside_vulkan.count() >= 20);
        let unseen: Vec<&str> = all().filter(|fault| fault.gap.is_some()).map(|fault| fault.name).collect();
        assert!(unseen.is_empty(), "a fault that was seen once may not be let go by a gap: {unseen:?}");
    }

    #[test]
    fn the_table_of_classes_counts_them() {
        let mut counts: BTreeMap<Class, usize> = BTreeMap::new();
        for fault in all().filter(|fault| fault.kind == Kind::Fault) {
            *counts.entry(fault.class).or_default() += 1;
        }
        let table = include_str!("lib.rs");
        let row = |(class, count): (&Class, &usize)| format!("//! | {class} | {count} | ");
        let missing: Vec<String> = counts.iter().map(row).filter(|row| !table.contains(row.as_str())).collect();
        assert!(missing.is_empty(), "the rows at the top of this file are to begin so: {missing:?}");
    }

    #[test]
    fn each_says_everything() {
        for fault in all() {
            let name = fault.name;
            assert!(fault.has_a_proper_name(), "{name}");
            assert!([fault.what, fault.trigger, fault.modelled_on].iter().all(|text| text.len() > 4), "{name}");
            match fault.kind {
                Kind::Fault => {
                    assert!(!fault.names.is_empty() && !fault.seen_by.is_empty() && fault.skips.is_empty(), "{name}");
                    assert!(fault.about.is_empty() && !fault.shares, "{name}");
                    // A word or two are in many a message.
                    assert!(fault.names.iter().all(|text| text.split_whitespace().count() > 1), "{name}");
                }
                Kind::Control => {
                    assert!(fault.names.is_empty(), "{name}");
                    assert!(!fault.shares || (fault.skips.is_empty() && fault.about.is_empty()), "{name}");
                }
            }
        }
    }
}
