//! The devices and heaps around the sharing core. What does them is `handover-faulty-core`.

use super::Class::{Aliasing, ErrorPath, Format, Handle, Layout, Ownership, Synchronisation};
use super::Oracle::{Layout as Layouts, Pixels, References, Result};
use super::kernel::fault;
use super::{Class, Fault, Oracle, Seam};

/// A fault of a device or a heap.
const fn around(name: &'static str, class: Class, seen_by: &'static [Oracle], names: &'static [&'static str]) -> Fault {
    Fault { seam: Seam::Core, ..fault(name, class, seen_by, names) }
}

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "a page of each heap is allocated when a buffer is exported, and kept as long as the buffer",
        trigger: "always",
        modelled_on: "exporters that allocate before anybody maps: dma-heaps, udmabuf, VIDIOC_REQBUFS",
        ..around(
            "export-allocates",
            Ownership,
            &[References],
            &["50 exports made…dma-bufs, and nobody has mapped", "3 attachments made…dma-bufs, and nobody has mapped"],
        )
    },
    Fault {
        what: "whether anything suits all devices is found out only when storage is to be made, after their mappings have ended",
        trigger: "a device whose constraints collide",
        modelled_on: "the class of checks that are made at the commit only; no single bug was looked up",
        ..around(
            "refusal-late",
            ErrorPath,
            &[Result],
            &["that nothing can satisfy is told to wait", "the refusal of a format that is not wished did not come"],
        )
    },
    Fault {
        what: "storage that moves may get another of the formats that were wished for",
        trigger: "a device that does not take the format that is there",
        modelled_on: "gamescope 5228f370 and smithay 25968e99, which put a buffer where its format does not belong",
        ..around(
            "move-converts",
            Format,
            &[Layouts],
            &["a device that takes another format of the wish is not refused"],
        )
    },
    Fault {
        what: "the second half of the contents is lost where storage moves",
        trigger: "every move",
        modelled_on: "gfxstream bbe8f9190: a transfer that ends before the picture does",
        ..around(
            "move-loses-contents",
            Aliasing,
            &[Pixels],
            &[
                "to 129 hold bytes of 0x00, the others the target",
                "of plane 1 (U V) differ…hold bytes of 0x00, the others the target",
                "on every byte is 0x00, the others the target",
            ],
        )
    },
    Fault {
        what: "a device that attaches does not say which pitch, which size and how many rows and bytes behind its frame it needs",
        trigger: "constraints that have such needs",
        modelled_on: "mutter ab3931fec8, 9b663f44e6 and 82c0f9c57d: a pitch that is assumed, and not asked for",
        ..around(
            "needs-unsaid",
            Layout,
            &[Layouts, Result],
            &[
                "and the layout can't change under a CPU mmap",
                "two devices that can't share got memory",
                "a converter got a pitch that it does not take",
                "the refusal of what a peer demands did not come",
                "the refusal of what two peers demand together did not come",
                "got memory that breaks its constraints: plane 0 has a pitch of",
                "bytes of the buffer: 262144, not 4096",
            ],
        )
    },
    Fault {
        what: "a device of another process goes by the name that it gives itself",
        trigger: "an attachment by message",
        modelled_on: "the class of clients that are believed who they are; no single bug was looked up",
        ..around(
            "name-taken",
            Handle,
            &[Result],
            &[
                "who is in the way…does not say \"peer 4711 calling itself",
                "does not say \"busy: a hoarder calling itself",
            ],
        )
    },
    Fault {
        what: "a device says of each mapping that it will last an hour at most, however long it asked for",
        trigger: "always",
        modelled_on: "the class of deadlines that are not handed on; no single bug was looked up",
        ..around("stay-unsaid", Synchronisation, &[Result], &["who overstays is not named first"])
    },
    Fault {
        what: "a device that is done with a mapping does not say so",
        trigger: "always",
        modelled_on: "Mesa f56e22e4967 (radv) and 0aa6a818ef6 (kms winsys), whose references stay",
        ..around(
            "unmap-forgotten",
            Ownership,
            &[References],
            &["storage can't move though every mapping has ended", "mappings are counted that have ended"],
        )
    },
    Fault {
        what: "an exporter that is told to make its storage at once makes it at the first map",
        trigger: "always",
        modelled_on: "GEM on shmem (vgem, vkms): drm_gem_map_attach makes the pages that CREATE_DUMB did not",
        ..around(
            "allocation-deferred",
            ErrorPath,
            &[References, Result],
            &["storage that is to be made at once is not there", "a fixed set of 3 buffers has"],
        )
    },
    Fault {
        what: "who is done with a frame of a pool, drawn or looked at, does not say so every third time",
        trigger: "always",
        modelled_on: "mutter 918dd0c293, obs fb09098fd: a release that is never signalled, and a producer that waits for it",
        ..around(
            "frame-kept",
            Ownership,
            &[References],
            &[
                "buffers that were made for 1 reader…, not 2",
                "a drawer that dies",
                "stay in a pool that nobody has drawn into",
            ],
        )
    },
    Fault {
        what: "a pool may have one buffer more than it was made for",
        trigger: "always",
        modelled_on: "the class of limits that are off by one; no single bug was looked up",
        ..around(
            "pool-over-its-cap",
            ErrorPath,
            &[Result, References],
            &["a client brought more buffers than the pool may have"],
        )
    },
    Fault {
        what: "who serves other processes says of a request that it refuses that it is done",
        trigger: "a request that can't be granted",
        modelled_on: "the class of errors that end where they were found; no single bug was looked up",
        ..around("refusal-unsaid", ErrorPath, &[Result], &["a lie was not refused"])
    },
    Fault {
        what: "who serves another process keeps for it what it held when it went",
        trigger: "a peer that ends, however it does",
        modelled_on: "Mesa f56e22e4967 (radv) and 0aa6a818ef6 (kms winsys), whose references stay",
        ..around(
            "orphans-kept",
            Ownership,
            &[References],
            &["parties afterwards…what a process held that has gone is kept"],
        )
    },
    Fault {
        what: "a frame that another process hands out is not held against the size of its buffer",
        trigger: "a frame that ends behind its buffer",
        modelled_on: "mutter ab3931fec8: a layout that is assumed, and not asked for",
        ..around("frame-unmeasured", Layout, &[Result], &["the refusal of a frame that is none did not come"])
    },
    Fault {
        what: "a frame that another process hands out is taken whatever comes along with it: the first file if that is a dma-buf, and \
               else memory of one's own",
        trigger: "no file, more than one, or one that is no dma-buf",
        modelled_on: "wl_shm beside linux-dmabuf: a file that is not told to be the one or the other; no single bug was looked up",
        ..around(
            "frame-files-untold",
            Ownership,
            &[Result],
            &["the refusal of files that are not one dma-buf did not come"],
        )
    },
    Fault {
        what: "who looks at a frame of a pool is not known to, so that it is drawn into meanwhile",
        trigger: "always",
        modelled_on: "gamescope f35e1b38: a buffer that is released while it is still referenced",
        ..around(
            "reader-unnoted",
            Synchronisation,
            &[Pixels],
            &["a reader saw frame…a frame that is drawn into while somebody reads it"],
        )
    },
    Fault {
        what: "a heap offers buffers of 4 EiB, and gives a page for what it does not have",
        trigger: "a length of 0, or beyond what the heap has",
        modelled_on: "Mesa e074a08a6de (anv): a size that does not fit into its number",
        ..around(
            "heap-without-limits",
            Layout,
            &[Result],
            &["B as what it does not offer", "a buffer of 4 TiB was allocated, and has 4096 B"],
        )
    },
];
