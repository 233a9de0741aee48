//! What a card refuses of syncobjs: files that are none, handles that there are not, flags and padding that mean nothing.
//!
//! Errors: `drm_syncobj_*_ioctl` in `drivers/gpu/drm/drm_syncobj.c`; `ENOENT` is for handles that somebody looks up to use
//! the fence, `EINVAL` for everything else.

use std::os::fd::{AsFd, AsRawFd};

use handover::kms::{BadSyncobj, Syncobj, Wait, Waited};
use handover::prelude::*;
use handover::stray::Stray;
use handover::udmabuf;

use crate::refusals::refuses as is_refused;

const CALLS: [(&str, BadSyncobj, &str); 13] = [
    ("a syncobj with an unknown flag", BadSyncobj::CreateWithUnknownFlag, "EINVAL"),
    ("the end of a syncobj that there is not", BadSyncobj::DestroyUnknown, "EINVAL"),
    ("the end of a syncobj with padding", BadSyncobj::DestroyWithPadding, "EINVAL"),
    ("a handle of a syncobj's file with an unknown flag", BadSyncobj::TakeWithUnknownFlag, "EINVAL"),
    ("a handle of a syncobj's file with padding", BadSyncobj::TakeWithPadding, "EINVAL"),
    ("a file of a syncobj that there is not", BadSyncobj::ShareUnknown, "EINVAL"),
    ("a file of a syncobj with an unknown flag", BadSyncobj::ShareWithUnknownFlag, "EINVAL"),
    ("a sync file of a syncobj that there is not", BadSyncobj::ExportUnknown, "ENOENT"),
    ("a sync file of a syncobj without a fence", BadSyncobj::ExportEmpty, "EINVAL"),
    ("a wait for a syncobj that there is not", BadSyncobj::WaitForUnknown, "ENOENT"),
    ("a wait for a syncobj with an unknown flag", BadSyncobj::WaitWithUnknownFlag, "EINVAL"),
    ("a reset of no syncobj", BadSyncobj::ResetNone, "EINVAL"),
    ("a signal of no syncobj", BadSyncobj::SignalNone, "EINVAL"),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for card in [Vgem, Screen] {
        let name = format!("fences::wrong_calls_about_syncobjs_are_refused::{card}");
        let case = cases.add(name, move |cx| refuses(cx, card)).from(card).needs(Need::Device(Udmabuf));
        if card == Vgem {
            case.must_fail_under("syncobj-unchecked").must_fail_under("syncobj-refusal-leaves-handle");
        }
    }
}

fn refuses(cx: &mut Cx, card: Role) -> Outcome {
    let prime = cx.prime(card)?;
    let object = missing_is_skip(prime.syncobj())?;
    let fence = cx.pending_fence(FenceBy::SwSync, None)?;
    let (dmabuf, _) = udmabuf::create(4096)?;
    let (eventfd, closed) = (Stray::Eventfd.open()?, Stray::Closed.open()?);
    let itself = object.share()?;
    let (sync_file, syncobj) = (fence.file.as_fd().as_raw_fd(), itself.as_fd().as_raw_fd());
    let files = [
        ("a dma-buf", dmabuf.fd.as_raw_fd()),
        ("a sync file", sync_file),
        ("a file of a syncobj", syncobj),
        ("an eventfd", eventfd.number()),
        ("a closed fd", closed.number()),
    ];
    works(cx, &object, "a syncobj")?;
    let refused = |cx: &mut Cx, what: &str, bad: BadSyncobj, valid: &str| {
        is_refused(cx, what, &[valid], |_| object.asks(bad));
        works(cx, &object, &format!("a syncobj after {what}"))
    };
    for (what, bad, valid) in CALLS {
        refused(cx, what, bad, valid)?;
    }
    for (file, fd) in files {
        if fd != syncobj {
            refused(cx, &format!("a handle of {file} as of a syncobj's"), BadSyncobj::TakeFrom(fd), "EINVAL")?;
        }
        if fd != sync_file {
            refused(cx, &format!("an import of {file} as a sync file"), BadSyncobj::ImportFrom(fd), "EINVAL")?;
        }
    }
    cx.agree()
}

/// It signals, is waited for and reset.
fn works(cx: &mut Cx, object: &Syncobj, what: &str) -> Outcome {
    object.signal()?;
    cx.equals(format!("a look at {what} that was signalled"), Waited::Through(0), object.waits(Wait::default())?);
    object.reset()?;
    cx.equals(format!("a look at {what} that was reset"), Waited::NoFence, object.waits(Wait::default())?);
    Ok(())
}
