//! What a V4L2 queue refuses, and what it lets go of.
//!
//! Errors: "Return Value" of `VIDIOC_QBUF`, `VIDIOC_REQBUFS`, `VIDIOC_EXPBUF`, `VIDIOC_S_FMT` and `VIDIOC_STREAMON` in
//! the kernel's V4L2 documentation.

use std::os::fd::AsRawFd;
use std::time::Duration;

use handover::prelude::*;
use handover::stray::Stray;
use handover::udmabuf;
use handover::v4l2::{Device, Direction, Memory, PixelFormat, Queue, QueueFormat};

use super::{refused, refuses};

/// Until when a queue that runs gives a buffer back.
const DONE: Duration = Duration::from_secs(2);

/// A size that every loop has, with rows of 256 bytes.
const SIZE: Size = px(64, 64);

type Claim = fn(&mut Cx, Role) -> Outcome;

const CLAIMS: [(&str, Claim); 13] = [
    (TOO_SMALL, too_small),
    ("a_slot_that_there_is_not", no_such_slot),
    ("a_slot_that_is_given_twice", given_twice),
    ("a_kind_of_memory_that_there_is_not", no_such_memory),
    ("another_format_while_there_are_buffers", another_format),
    ("buffers_for_a_second_user", second_user),
    ("a_start_without_buffers", start_without_buffers),
    ("other_buffers_while_it_runs", other_buffers),
    ("to_export_what_is_not_its_own", exports_foreign),
    (GIVEN_FOREIGN, given_foreign),
    (SECOND_GIVES, second_user_gives),
    (SECOND_START, second_user_starts),
    (STANDS, stands),
];

const TOO_SMALL: &str = "a_buffer_that_is_too_small";
const GIVEN_FOREIGN: &str = "a_dma_buf_in_place_of_its_own";
const SECOND_GIVES: &str = "a_buffer_of_a_second_user";
const SECOND_START: &str = "a_start_of_a_second_user";
const STANDS: &str = "to_give_back_what_is_not_done_when_it_stands";

/// Slot, plane and flags of an export. `O_APPEND` is not among the flags that are documented.
const EXPORTS: [(&str, (u32, u32, u32)); 3] = [
    ("a_slot_that_there_is_not", (7, 0, 0o2)),
    ("a_plane_that_there_is_not", (0, 7, 0o2)),
    ("an_unknown_flag", (0, 0, 0o2002)),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for stray in Stray::ALL {
        for video in [Video, DmaVideo] {
            let case = cases
                .add(format!("refusals::a_queue_refuses::{}::{video}", stray.as_str()), move |cx| {
                    refuses_stray(cx, video, stray)
                })
                .to(video)
                .needs(Need::Device(Udmabuf));
            if (stray, video) == (Stray::Pipe, Video) {
                case.must_fail_under("qbuf-unchecked");
            }
            if (stray, video) == (Stray::Eventfd, Video) {
                case.must_fail_under("refused-import-keeps-fd");
            }
            if (stray, video) == (Stray::Memfd, Video) {
                case.must_fail_under("refused-slot-queued");
            }
        }
    }
    for video in [Video, PlanarVideo] {
        for (name, claim) in CLAIMS {
            let case = cases
                .add(format!("refusals::a_queue_refuses::{name}::{video}"), move |cx| claim(cx, video))
                .to(video)
                .needs(Need::Device(Udmabuf));
            match name {
                // Of a queue whose buffers have several planes the fault knows nothing.
                GIVEN_FOREIGN | SECOND_GIVES if video == Video => _ = case.must_fail_under("qbuf-unchecked"),
                SECOND_START => _ = case.must_fail_under("stream-unchecked"),
                TOO_SMALL if video == Video => _ = case.must_fail_under("refused-slot-queued"),
                STANDS if video == Video => _ = case.must_fail_under("stream-unchecked"),
                _ => {}
            }
        }
        for (name, asked) in EXPORTS {
            let case = cases
                .add(format!("refusals::a_queue_exports_no::{name}::{video}"), move |cx| exports_none(cx, video, asked))
                .from(video);
            if video == Video {
                case.must_fail_under("expbuf-unchecked");
            }
        }
        cases
            .add(format!("refusals::a_queue_lets_go_of_exported_buffers::{video}"), move |cx| orphans(cx, video))
            .from(video)
            .must_fail_under("requeue-clears-exported");
    }
}

fn format() -> QueueFormat {
    QueueFormat::new(PixelFormat::new(b"XR24"), SIZE, 0)
}

/// The output queue of the loop, in a small format, and a buffer that it takes.
fn queue(cx: &mut Cx, video: Role) -> Result<(Queue, SharedFrame), Trouble> {
    let video = cx.video_loop(video)?;
    let mut queue = Queue::open(video.output(), Direction::Output)?;
    let given = queue.set_format(&format())?.clone();
    let pitch = given.planes.first().map_or(0, |plane| u64::from(plane.pitch));
    let frame = Frame::linear(Fourcc::XR24, given.size, Plane { offset: 0, pitch });
    // In one page there is one run of addresses, wherever it lies; this is more, which the first loop takes.
    let shared = udmabuf::for_frame(frame, 4096)?;
    Ok((queue, shared))
}

/// The queue takes a buffer, and lets go of it.
fn takes(queue: &mut Queue, shared: &SharedFrame) -> Outcome {
    queue.request(Memory::Dmabuf, 1)?;
    queue.give_dmabuf(0, shared)?;
    Ok(queue.release()?)
}

/// `bad` must be refused with one of `valid`, and leave everything as it was, also every slot of the queue.
fn refused_by(
    cx: &mut Cx,
    queue: &mut Queue,
    what: &str,
    valid: &[&str],
    bad: impl FnOnce(&mut Queue) -> Result<()>,
) -> Outcome {
    let before = queue.slots()?;
    refuses(cx, what, valid, |_| bad(queue));
    let like = "a refusal that takes the slot, gives it back or frees its buffer all the same";
    cx.equals_else(format!("slots after {what}"), before, queue.slots()?, like);
    Ok(())
}

fn refuses_stray(cx: &mut Cx, video: Role, stray: Stray) -> Outcome {
    let open = stray.open()?;
    let what = format!("{stray} (VIDIOC_QBUF)");
    if video == DmaVideo {
        // It wants contiguous memory, of which its own queue has some.
        let device = cx.video_loop(video)?;
        let mut queue = Queue::open(device.output(), Direction::Output)?;
        let bytes = queue.set_format(&format())?.planes.first().map_or(0, |plane| plane.bytes);
        queue.request(Memory::Dmabuf, 1)?;
        refused_by(cx, &mut queue, &what, &["EINVAL"], |queue| queue.give_number(0, open.number(), bytes))?;
        queue.release()?;
        queue.request(Memory::Own, 1)?;
        queue.give_own(0)?;
        queue.release()?;
        return cx.agree();
    }
    let (mut queue, shared) = queue(cx, video)?;
    let bytes = queue.format().planes.first().map_or(0, |plane| plane.bytes);
    queue.request(Memory::Dmabuf, 1)?;
    // A slot is given once: the good buffer is tried afterwards.
    refused_by(cx, &mut queue, &what, &["EINVAL"], |queue| queue.give_number(0, open.number(), bytes))?;
    queue.give_dmabuf(0, &shared)?;
    queue.release()?;
    takes(&mut queue, &shared)?;
    cx.agree()
}

/// `EINVAL`: "the buffer size is insufficient".
fn too_small(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared) = queue(cx, video)?;
    let (small, _) = udmabuf::create(4096)?;
    takes(&mut queue, &shared)?;
    queue.request(Memory::Dmabuf, 1)?;
    let number = small.fd.as_raw_fd();
    // 0 stands for the whole buffer.
    for length in [0, 4096] {
        refused_by(
            cx,
            &mut queue,
            &format!("a buffer of 4096 B, said to have {length} B (VIDIOC_QBUF)"),
            &["EINVAL"],
            |queue| queue.give_number(0, number, length),
        )?;
    }
    queue.release()?;
    takes(&mut queue, &shared)?;
    cx.agree()
}

fn no_such_slot(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared) = queue(cx, video)?;
    queue.request(Memory::Dmabuf, 1)?;
    refused_by(cx, &mut queue, "slot 7 of 1 (VIDIOC_QBUF)", &["EINVAL"], |queue| queue.give_dmabuf(7, &shared))?;
    queue.give_dmabuf(0, &shared)?;
    queue.release()?;
    cx.agree()
}

fn given_twice(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared) = queue(cx, video)?;
    queue.request(Memory::Dmabuf, 2)?;
    queue.give_dmabuf(0, &shared)?;
    refused_by(cx, &mut queue, "a slot that the device has (VIDIOC_QBUF)", &["EINVAL"], |queue| {
        queue.give_dmabuf(0, &shared)
    })?;
    queue.give_dmabuf(1, &shared)?;
    queue.release()?;
    takes(&mut queue, &shared)?;
    cx.agree()
}

fn no_such_memory(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared) = queue(cx, video)?;
    for memory in [0, 7] {
        takes(&mut queue, &shared)?;
        refused_by(cx, &mut queue, &format!("memory of kind {memory} (VIDIOC_REQBUFS)"), &["EINVAL"], |queue| {
            queue.request_number(memory)
        })?;
    }
    takes(&mut queue, &shared)?;
    cx.agree()
}

/// `EBUSY`: "the device is busy and cannot change the format", since there are buffers.
fn another_format(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared) = queue(cx, video)?;
    let before = queue.format().clone();
    queue.request(Memory::Dmabuf, 1)?;
    let other = QueueFormat::new(PixelFormat::new(b"XR24"), px(320, 180), 0);
    refused_by(cx, &mut queue, "another format while there are buffers (VIDIOC_S_FMT)", &["EBUSY"], |queue| {
        queue.set_format(&other).map(drop)
    })?;
    queue.give_dmabuf(0, &shared)?;
    queue.release()?;
    cx.equals("format afterwards", before.to_string(), queue.current_format()?.to_string());
    queue.set_format(&other)?;
    queue.set_format(&before)?;
    takes(&mut queue, &shared)?;
    cx.agree()
}

/// `EBUSY`: who asked for buffers first has the queue, until they are freed.
fn second_user(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared) = queue(cx, video)?;
    let node = cx.video_loop(video)?.output().node().to_owned();
    let again = Device::open(&node)?;
    let mut other = Queue::open(&again, Direction::Output)?;
    queue.request(Memory::Dmabuf, 1)?;
    refused_by(cx, &mut queue, "buffers for a second user (VIDIOC_REQBUFS)", &["EBUSY"], |_| {
        other.request(Memory::Dmabuf, 1).map(drop)
    })?;
    queue.give_dmabuf(0, &shared)?;
    queue.release()?;
    // Now it is the other's.
    takes(&mut other, &shared)?;
    cx.agree()
}

/// `EINVAL`: "the memory field […] is invalid".
fn given_foreign(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared) = queue(cx, video)?;
    let bytes = queue.format().planes.first().map_or(0, |plane| plane.bytes);
    takes(&mut queue, &shared)?;
    queue.request(Memory::Own, 1)?;
    refused_by(cx, &mut queue, "a dma-buf for a slot of the queue's own memory (VIDIOC_QBUF)", &["EINVAL"], |queue| {
        queue.give_number(0, shared.dmabuf.fd.as_raw_fd(), bytes)
    })?;
    queue.give_own(0)?;
    queue.release()?;
    takes(&mut queue, &shared)?;
    cx.agree()
}

/// The queue of `video` in the hands of its first user, with a buffer, and as a second user has it.
fn two_users(cx: &mut Cx, video: Role) -> Result<(Queue, SharedFrame, Queue), Trouble> {
    let (mut queue, shared) = queue(cx, video)?;
    let node = cx.video_loop(video)?.output().node().to_owned();
    let other = Queue::open(&Device::open(&node)?, Direction::Output)?;
    queue.request(Memory::Dmabuf, 1)?;
    Ok((queue, shared, other))
}

/// `EBUSY`: the queue is its first user's.
fn second_user_gives(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared, other) = two_users(cx, video)?;
    let bytes = queue.format().planes.first().map_or(0, |plane| plane.bytes);
    refused_by(cx, &mut queue, "a buffer of a second user (VIDIOC_QBUF)", &["EBUSY"], |_| {
        other.give_number(0, shared.dmabuf.fd.as_raw_fd(), bytes)
    })?;
    queue.give_dmabuf(0, &shared)?;
    queue.release()?;
    takes(&mut queue, &shared)?;
    cx.agree()
}

fn second_user_starts(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared, mut other) = two_users(cx, video)?;
    queue.give_dmabuf(0, &shared)?;
    refused_by(cx, &mut queue, "a start of a second user (VIDIOC_STREAMON)", &["EBUSY"], |_| other.start())?;
    if cx.disagrees() {
        return cx.agree();
    }
    queue.start()?;
    queue.release()?;
    takes(&mut queue, &shared)?;
    cx.agree()
}

/// `EINVAL`: a queue that stands has nothing to give back, and nobody waits for it to.
fn stands(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared) = queue(cx, video)?;
    queue.request(Memory::Dmabuf, 1)?;
    queue.give_dmabuf(0, &shared)?;
    refused_by(cx, &mut queue, "taking a buffer back from a queue that stands (VIDIOC_DQBUF)", &["EINVAL"], |queue| {
        queue.take(Duration::ZERO).map(drop)
    })?;
    queue.release()?;
    // It may begin with two only.
    queue.request(Memory::Dmabuf, 2)?;
    queue.give_dmabuf(0, &shared)?;
    queue.give_dmabuf(1, &shared)?;
    queue.start()?;
    queue.take(DONE)?;
    queue.release()?;
    takes(&mut queue, &shared)?;
    cx.agree()
}

fn start_without_buffers(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared) = queue(cx, video)?;
    refused_by(cx, &mut queue, "a start without buffers (VIDIOC_STREAMON)", &["EINVAL"], |queue| queue.start())?;
    queue.request(Memory::Dmabuf, 1)?;
    queue.give_dmabuf(0, &shared)?;
    queue.start()?;
    queue.release()?;
    takes(&mut queue, &shared)?;
    cx.agree()
}

/// `EBUSY`: "[…] or the streaming is in progress".
fn other_buffers(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared) = queue(cx, video)?;
    queue.request(Memory::Dmabuf, 2)?;
    queue.give_dmabuf(0, &shared)?;
    queue.give_dmabuf(1, &shared)?;
    queue.start()?;
    refuses(cx, "other buffers while it runs (VIDIOC_REQBUFS)", &["EBUSY"], |_| queue.request_number(4));
    queue.stop()?;
    queue.release()?;
    takes(&mut queue, &shared)?;
    cx.agree()
}

/// `EINVAL`: what was imported is not the queue's to export.
fn exports_foreign(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, shared) = queue(cx, video)?;
    queue.request(Memory::Dmabuf, 1)?;
    queue.give_dmabuf(0, &shared)?;
    refused_by(cx, &mut queue, "an export of what was imported (VIDIOC_EXPBUF)", &["EINVAL"], |queue| {
        queue.export(0).map(drop)
    })?;
    queue.release()?;
    queue.request(Memory::Own, 1)?;
    drop(queue.export(0)?);
    queue.release()?;
    takes(&mut queue, &shared)?;
    cx.agree()
}

fn exports_none(cx: &mut Cx, video: Role, (slot, plane, flags): (u32, u32, u32)) -> Outcome {
    let (mut queue, _) = queue(cx, video)?;
    queue.request(Memory::Own, 1)?;
    let good = |_: &mut Cx| Ok(queue.export(0).map(drop)?);
    let what = format!("VIDIOC_EXPBUF of slot {slot}, plane {plane}, flags {flags:#o}");
    refused(cx, &what, &["EINVAL"], good, |_| queue.export_as(slot, plane, flags).map(drop))?;
    queue.release()?;
    cx.agree()
}

/// `V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS`: a queue frees its buffers though they are exported, and who has one keeps its
/// bytes. Without it, `EBUSY`.
fn orphans(cx: &mut Cx, video: Role) -> Outcome {
    let (mut queue, _) = queue(cx, video)?;
    let keeps = queue.keeps_exported()?;
    queue.request(Memory::Own, 1)?;
    let exported = queue.export(0)?;
    let bytes: Vec<u8> = (0..4096_u32).map(|n| (n * 7 + 3) as u8).collect();
    exported.map()?.write(0, &bytes)?;
    if !keeps {
        let what = "freeing a buffer that is exported (VIDIOC_REQBUFS)";
        refuses(cx, what, &["EBUSY"], |_| queue.request(Memory::Own, 0).map(drop));
        cx.sees_bytes("cpu, afterwards,", &bytes, &exported.map()?.read(0..4096)?)?;
        // Nobody has it any more.
        drop(exported);
        queue.request(Memory::Own, 0)?;
        return cx.agree();
    }
    queue.request(Memory::Own, 0)?;
    // Others take the place of what was freed.
    queue.request(Memory::Own, 2)?;
    cx.sees_bytes("cpu, after the queue freed it,", &bytes, &exported.map()?.read(0..4096)?)?;
    queue.release()?;
    let listed = cx.is_listed(&exported.identity()?)?;
    cx.claim("kept", listed, || Finding::new("the buffer is gone, though its fd is open"));
    cx.agree()
}
