//! Memory that nobody can have: udmabuf, dma-heaps, and the calls on a dma-buf itself.
//!
//! Errors: `udmabuf_create` in `drivers/dma-buf/udmabuf.c` (`EBADFD` for what is no memory file, `EINVAL` for the
//! rest), `dma_heap_ioctl_allocate` in `drivers/dma-buf/dma-heap.c`, `dma_buf_ioctl`, `dma_buf_llseek` and
//! `dma_buf_mmap_internal` in `drivers/dma-buf/dma-buf.c`.

use std::os::fd::AsRawFd;

use handover::dma_heap::{self, Allocation};
use handover::dmabuf::Misuse;
use handover::prelude::*;
use handover::stray::Stray;
use handover::udmabuf::{self, Asked, Sealed};

use super::{refused, words};

const BYTES: u64 = 65536;

/// What is asked of a memory file of so many bytes.
const UDMABUFS: [(&str, Sealed, u64, u64); 8] = [
    ("no_bytes", Sealed::Shrink, 0, 0),
    ("half_a_page", Sealed::Shrink, 0, 2048),
    ("an_offset_within_a_page", Sealed::Shrink, 512, 4096),
    ("more_than_the_file_has", Sealed::Shrink, 0, 2 * BYTES),
    ("an_offset_behind_the_end", Sealed::Shrink, BYTES, 4096),
    ("more_than_any_limit", Sealed::Shrink, 0, u64::MAX - 4095),
    ("a_file_that_may_shrink", Sealed::Not, 0, BYTES),
    ("a_file_that_nobody_may_write", Sealed::ShrinkAndWrite, 0, BYTES),
];

/// What is changed about an allocation that a heap would make.
type Change = fn(&mut Allocation);

const HEAP: [(&str, Change, &str); 5] = [
    ("no_bytes", |asked| asked.len = 0, "EINVAL"),
    ("more_than_fits_in_64_bits", |asked| asked.len = u64::MAX, "EINVAL"),
    ("an_fd_where_the_answer_goes", |asked| asked.fd = 1, "EINVAL"),
    // O_APPEND
    ("an_unknown_flag_of_the_fd", |asked| asked.fd_flags |= 0o2000, "EINVAL"),
    ("an_unknown_flag_of_the_heap", |asked| asked.heap_flags = 1, "EINVAL"),
];

/// Who exports the dma-buf that is misused.
const EXPORTERS: [Role; 2] = [Udmabuf, DmaHeap];

const MISUSES: [(&str, Misuse, &str); 13] = [
    ("a_sync_without_direction", Misuse::Sync(0), "EINVAL"),
    ("an_end_of_sync_without_direction", Misuse::Sync(4), "EINVAL"),
    ("a_sync_with_an_unknown_flag", Misuse::Sync(0x11), "EINVAL"),
    ("a_seek_into_the_middle", Misuse::Seek(4096), "EINVAL"),
    ("a_seek_from_where_it_is", Misuse::SeekFromHere, "EINVAL"),
    ("a_mapping_longer_than_the_buffer", Misuse::Map { offset: 0, length: 2 * BYTES }, "EINVAL"),
    ("a_mapping_that_begins_behind_the_end", Misuse::Map { offset: BYTES, length: 4096 }, "EINVAL"),
    ("a_mapping_that_ends_behind_the_end", Misuse::Map { offset: BYTES - 4096, length: 8192 }, "EINVAL"),
    ("an_export_of_fences_without_direction", Misuse::ExportSyncFile(0), "EINVAL"),
    ("an_export_of_fences_with_an_unknown_flag", Misuse::ExportSyncFile(0x11), "EINVAL"),
    ("an_import_of_fences_without_direction", Misuse::ImportSyncFile { flags: 0, fd: -1 }, "EINVAL"),
    ("a_call_that_there_is_not", Misuse::NoSuchCall, "ENOTTY"),
    ("reading_as_from_a_file", Misuse::Read, "EINVAL"),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for (name, sealed, offset, size) in UDMABUFS {
        let body = move |cx: &mut Cx| {
            let memfd = udmabuf::memory(BYTES, sealed)?;
            refuses_udmabuf(cx, &words(name), Asked { memfd: memfd.as_raw_fd(), offset, size }, "EINVAL")
        };
        let case = cases.add(format!("refusals::udmabuf_refuses::{name}"), body).from(Udmabuf);
        case.must_fail_under("udmabuf-unchecked");
    }
    for stray in Stray::ALL.into_iter().filter(|stray| *stray != Stray::Memfd) {
        let body = move |cx: &mut Cx| {
            let open = stray.open()?;
            let asked = Asked { memfd: open.number(), offset: 0, size: BYTES };
            refuses_udmabuf(cx, &stray.to_string(), asked, "EBADFD")
        };
        cases.add(format!("refusals::udmabuf_refuses::{}", stray.as_str()), body).from(Udmabuf);
    }
    for (name, change, valid) in HEAP {
        cases
            .add(format!("refusals::a_dma_heap_refuses::{name}"), move |cx| refuses_allocation(cx, name, change, valid))
            .from(DmaHeap)
            .must_fail_under("heap-unchecked");
    }
    for exporter in EXPORTERS {
        for (name, misuse, valid) in MISUSES {
            let case = cases
                .add(format!("refusals::a_dma_buf_refuses::{name}::{exporter}"), move |cx| {
                    refuses_misuse(cx, exporter, (&words(name), misuse), valid)
                })
                .from(exporter);
            if let Misuse::Sync(_) = misuse {
                case.must_fail_under("sync-unchecked");
            }
        }
        for stray in Stray::ALL {
            cases
                .add(format!("refusals::a_dma_buf_refuses_as_fence::{}::{exporter}", stray.as_str()), move |cx| {
                    refuses_as_fence(cx, exporter, stray)
                })
                .from(exporter);
        }
        cases
            .add(format!("refusals::a_dma_buf_refuses_as_fence::itself::{exporter}"), move |cx| {
                refuses_itself_as_fence(cx, exporter)
            })
            .from(exporter)
            .must_fail_under("import-sync-file-unchecked");
    }
}

/// A dma-buf with words in it that must stay.
fn written(cx: &mut Cx, exporter: Role) -> Result<Storage, Trouble> {
    let heap = cx.heap(exporter)?;
    let frame = Frame::linear(Fourcc::R8, px(256, 256), Plane { offset: 0, pitch: 256 });
    let storage = heap.allocate(&Agreement { heap: heap.offer().heap.clone(), frame, bytes: BYTES })?;
    storage.shared.write(&Pattern { stamp: 7 }.picture(Fourcc::R8, px(256, 256))?)?;
    Ok(storage)
}

/// The pixels of [`written`] are what they were.
fn intact(cx: &mut Cx, storage: &Storage) -> Outcome {
    let target = Target::from(Pattern { stamp: 7 }.picture(Fourcc::R8, px(256, 256))?);
    Ok(cx.sees("cpu", &target, &storage.shared.read_back()?)?)
}

fn refuses_udmabuf(cx: &mut Cx, what: &str, asked: Asked, valid: &str) -> Outcome {
    let good = |_: &mut Cx| {
        let memfd = udmabuf::memory(BYTES, Sealed::Shrink)?;
        udmabuf::ask(Asked { memfd: memfd.as_raw_fd(), offset: 0, size: BYTES })?;
        Ok(())
    };
    refused(cx, &format!("UDMABUF_CREATE of {what}"), &[valid], good, |_| udmabuf::ask(asked).map(drop))?;
    cx.agree()
}

fn refuses_allocation(cx: &mut Cx, with: &str, change: Change, valid: &str) -> Outcome {
    for name in dma_heap::names()? {
        let mut asked = Allocation::of(BYTES);
        change(&mut asked);
        let good = |_: &mut Cx| Ok(dma_heap::allocate(&name, BYTES).map(drop)?);
        let what = format!("an allocation from {name} with {}", words(with));
        refused(cx, &what, &[valid], good, |_| dma_heap::ask(&name, asked).map(drop))?;
    }
    cx.agree()
}

/// The call of `misuse` as it should be, where there is one; the bytes are what they were.
fn well_used(cx: &mut Cx, storage: &Storage, misuse: Misuse) -> Outcome {
    let dmabuf = &storage.shared.dmabuf;
    match misuse {
        Misuse::Seek(_) | Misuse::SeekFromHere => {
            // To its end, which tells its size, and back.
            let size = dmabuf.length()?;
            cx.claim("lseek to its end", size >= BYTES, || {
                Finding::new(format!("lseek says that a buffer of {BYTES} B ends after {size} B"))
            });
        }
        Misuse::ExportSyncFile(_) => drop(dmabuf.export_sync_file(Use::Write)?),
        Misuse::ImportSyncFile { .. } => dmabuf.import_sync_file(Use::Write, &dmabuf.export_sync_file(Use::Write)?)?,
        // The CPU's look begins with DMA_BUF_IOCTL_SYNC, and maps; nothing can be read as from a file.
        Misuse::Sync(_) | Misuse::Map { .. } | Misuse::NoSuchCall | Misuse::Read => {}
    }
    intact(cx, storage)
}

fn refuses_misuse(cx: &mut Cx, exporter: Role, (what, misuse): (&str, Misuse), valid: &str) -> Outcome {
    let storage = written(cx, exporter)?;
    let good = |cx: &mut Cx| well_used(cx, &storage, misuse);
    let what = format!("{what} ({})", misuse.call());
    refused(cx, &what, &[valid], good, |_| storage.shared.dmabuf.misuse(misuse))?;
    cx.agree()
}

/// `DMA_BUF_IOCTL_IMPORT_SYNC_FILE` of what is no `sync_file`: `sync_file_get_fence` has none.
fn refuses_as_fence(cx: &mut Cx, exporter: Role, stray: Stray) -> Outcome {
    let open = stray.open()?;
    let misuse = Misuse::ImportSyncFile { flags: 2, fd: open.number() };
    refuses_misuse(cx, exporter, (&format!("{stray} as a fence"), misuse), "EINVAL")
}

fn refuses_itself_as_fence(cx: &mut Cx, exporter: Role) -> Outcome {
    let storage = written(cx, exporter)?;
    let dmabuf = &storage.shared.dmabuf;
    let misuse = Misuse::ImportSyncFile { flags: 2, fd: dmabuf.fd.as_raw_fd() };
    let good = |cx: &mut Cx| well_used(cx, &storage, misuse);
    let what = format!("a dma-buf as a fence ({})", misuse.call());
    refused(cx, &what, &["EINVAL"], good, |_| dmabuf.misuse(misuse))?;
    cx.agree()
}
