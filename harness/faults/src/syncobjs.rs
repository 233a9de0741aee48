//! DRM's syncobjs, by system calls.

use super::Class::{Aliasing, ErrorPath, Ownership, Synchronisation};
use super::Fault;
use super::Oracle::{Fences, References, Result};
use super::kernel::fault;

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE of a sync file returns 0 and does nothing",
        trigger: "DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE",
        modelled_on: "Mesa ae7bda27a06 (iris), whose sync files went into handle 0 and not into the syncobj",
        ..fault(
            "syncobj-import-dropped",
            Synchronisation,
            &[Fences],
            &["after the import of a sync file, a syncobj has no fence"],
        )
    },
    Fault {
        what: "DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE of a syncobj's file makes a new syncobj",
        trigger: "a file of a syncobj",
        modelled_on: "the class of payloads that cross as copies of their state; no single bug was looked up",
        ..fault(
            "syncobj-crosses-as-copy",
            Aliasing,
            &[Fences],
            &["after an import into the other handle of its object, a syncobj has no fence"],
        )
    },
    Fault {
        what: "DRM_IOCTL_SYNCOBJ_WAIT and DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT end at once, by the first that is waited for",
        trigger: "always",
        modelled_on: "Mesa 25.3.1 (vulkan/drm-syncobj), and 25.0.2 (freedreno), which did not wait for a fence to come",
        ..fault(
            "syncobj-never-waits",
            Synchronisation,
            &[Fences],
            &[
                "a wait for a syncobj did not wait for the fence",
                "a wait for a fence to come did not wait for the fence",
                "a wait for a syncobj whose handle goes did not wait for the fence",
                "a look at a syncobj whose fence is pending: ended by number 0, not ETIME",
                "a wait for all of two, one signalled: ended by number 0, not ETIME",
                "a look for a fence to come: ended by number 0, not ETIME",
            ],
        )
    },
    Fault {
        what: "DRM_IOCTL_SYNCOBJ_RESET returns 0 and leaves the fence",
        trigger: "always",
        modelled_on: "Mesa cb74cd816c0 (anv): a binary syncobj that was not reset before its next signal",
        ..fault(
            "syncobj-reset-keeps",
            Synchronisation,
            &[Fences],
            &["whether a syncobj that was reset has a fence: true, not false"],
        )
    },
    Fault {
        what: "DRM_IOCTL_SYNCOBJ_QUERY tells the last point that has a fence, whether or not it has signalled",
        trigger: "always",
        modelled_on: "smithay df79eeba, on a compositor's side: points of a timeline compared the wrong way round",
        ..fault(
            "syncobj-query-ahead",
            Synchronisation,
            &[Fences],
            &[
                "the point that has signalled, with 5 pending: 5, not 3",
                "the point that has signalled, with 2 done before 1: 2, not 0",
            ],
        )
    },
    Fault {
        what: "DRM_IOCTL_SYNCOBJ_EVENTFD returns 0 and never signals the eventfd",
        trigger: "a handle other than 0",
        modelled_on: "the class of waits that nobody wakes; no single bug was looked up",
        ..fault(
            "syncobj-eventfd-lost",
            Synchronisation,
            &[Fences],
            &["whether an eventfd has told of the fence while the fence is pending: false, not true"],
        )
    },
    Fault {
        what: "DRM_IOCTL_SYNCOBJ_DESTROY returns 0 and keeps the handle",
        trigger: "always",
        modelled_on: "Mesa 917d3b43f2b and 7c255788637 (radv): a syncobj that leaks",
        ..fault(
            "syncobj-handle-kept",
            Ownership,
            &[References],
            &["holds other syncobjs after the case than were made and not destroyed"],
        )
    },
    Fault {
        what: "the calls about syncobjs take wrong flags, handles, files and counts, and do something else or nothing",
        trigger: "what the card refuses; not waits and timelines",
        modelled_on: "the class of arguments that nobody checks; no single bug was looked up",
        ..fault(
            "syncobj-unchecked",
            ErrorPath,
            &[Result],
            &["a syncobj with an unknown flag is not refused", "the end of a syncobj that there is not is not refused"],
        )
    },
    Fault {
        what: "DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE leaves a handle of a new syncobj where it refuses",
        trigger: "flags, padding and files that the card refuses",
        modelled_on: "the class of error paths that do not undo; no single bug was looked up",
        ..fault(
            "syncobj-refusal-leaves-handle",
            ErrorPath,
            &[References],
            &["fails, and leaves something behind: card (vgem)", "has more: syncobj"],
        )
    },
];
