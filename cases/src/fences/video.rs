//! Video devices and fences: V4L2 has none, so a program waits before it queues a frame; and gets buffers back in their
//! order.

use std::time::{Duration, Instant};

use handover::fence::Holder;
use handover::prelude::*;
use handover::v4l2::{Direction, Memory, Queue};

use super::{IMPLICIT_LOST, SIZE, exporter, with_frame};

const SOON: Duration = Duration::from_secs(5);

/// The fault of a queue that gives back other buffers than it is done with.
const WRONG_INDEX: &str = "dqbuf-wrong-index";

/// In an order that is not that of their numbers.
const ORDER: [u32; 4] = [2, 0, 3, 1];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for from in [Udmabuf, DmaHeap] {
        cases
            .add(format!("fences::a_video_device_reads_after_a_wait_in_poll::{from}"), move |cx| polled(cx, from))
            .from(from)
            .to(Video)
            .must_fail_under(IMPLICIT_LOST);
    }
    for video in [Video, DmaVideo, PlanarVideo] {
        let name = format!("fences::buffers_come_back_in_the_order_of_the_queue::{video}");
        let case = cases.add(name, move |cx| in_order(cx, video)).from(video);
        // The fault is one of queues with one plane.
        if video != PlanarVideo {
            case.must_fail_under(WRONG_INDEX);
        }
    }
    cases
        .add("fences::a_fence_in_a_buffer_leaves_the_order_of_the_queue", in_order_with_a_fence)
        .from(Udmabuf)
        .to(Video)
        .must_fail_under(WRONG_INDEX);
}

/// The program waits in `poll` for the writer, then has the device take the frame.
fn polled(cx: &mut Cx, from: Role) -> Outcome {
    let video = cx.video_loop(Video)?;
    with_frame(cx, exporter(from), |cx, buffer, shared| {
        cx.reads_in_order("video", shared, (FenceBy::SwSync, Put::InBuffer), &mut |cx, turn| {
            shared.dmabuf.wait(Use::Read, SOON)?;
            let guest = Guest::Video(video.output());
            let actual = cx.mapped(&guest, buffer, Access::Read, |_, shared| Ok(video.seen_of(shared)?))?;
            Ok(turn.generations.seen(&actual)?)
        })
    })
}

/// Capture fills buffers in the order in which it was given them, and gives them back in it, none with an earlier frame.
fn in_order(cx: &mut Cx, role: Role) -> Outcome {
    let video = cx.video_loop(role)?;
    let mut capture = Queue::open(video.capture(), Direction::Capture)?;
    // Who was there before may have left a format of several planes.
    let pitch = u64::from(SIZE.width) * 4;
    capture.set_frame(&Frame::linear(Fourcc::XR24, SIZE, Plane { offset: 0, pitch }))?;
    capture.request(Memory::Own, ORDER.len() as u32)?;
    for slot in ORDER {
        capture.give_own(slot)?;
    }
    capture.start()?;
    come_back(cx, &mut capture)?;
    cx.agree()
}

/// The first buffer of the queue is one that somebody else still reads, for longer than all of them take without him:
/// whether the device waits for him or not, no other buffer overtakes it.
fn in_order_with_a_fence(cx: &mut Cx) -> Outcome {
    let video = cx.video_loop(Video)?;
    let filler = Guest::Filler(video.capture());
    let mut buffers = Vec::new();
    for _ in ORDER {
        let buffer = cx.udmabuf(Fourcc::XR24, SIZE, &[filler])?;
        let frame = cx.hold(&filler, &buffer, Access::Write, |shared| {
            Ok(SharedFrame { dmabuf: shared.dmabuf.try_clone()?, frame: shared.frame.clone() })
        })?;
        buffers.push(frame);
    }
    let mut capture = Queue::open(video.capture(), Direction::Capture)?;
    capture.set_frame(&buffers[0].frame)?;
    capture.request(Memory::Dmabuf, ORDER.len() as u32)?;
    let first = &buffers[ORDER[0] as usize].dmabuf;
    let mut took = Duration::ZERO;
    for fenced in [false, true] {
        let reader = fenced.then(|| cx.pending_fence(FenceBy::SwSync, Some((first, Use::Read)))).transpose()?;
        let began = Instant::now();
        for slot in ORDER {
            capture.give_dmabuf(slot, &buffers[slot as usize])?;
        }
        capture.start()?;
        let holder = reader.map(|reader| Holder::start(took * 3, || Ok(()), reader.into_signal())).transpose()?;
        come_back(cx, &mut capture)?;
        took = began.elapsed();
        if let Some(released) = holder.map(Holder::other_is_through).transpose()? {
            cx.fact(
                "the device",
                if released.overtaken { "does not wait for the reader" } else { "waits for the reader" },
            );
        }
        capture.stop()?;
    }
    cx.agree()
}

/// The buffers that were given in [`ORDER`] come back in it.
fn come_back(cx: &mut Cx, capture: &mut Queue) -> Result<(), Trouble> {
    let mut done = Vec::new();
    for _ in ORDER {
        done.push(capture.take(SOON)?);
    }
    let words = |numbers: Vec<u32>| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let came = words(done.iter().map(|done| done.index).collect());
    cx.claim("the order of the buffers", came == words(ORDER.to_vec()), || {
        Finding::new(format!("VIDIOC_DQBUF gives the buffers back in the order {came}"))
            .row("target", format!("{}, as they were queued", words(ORDER.to_vec())))
            .row("like", "what is told of another buffer than the one that was taken out")
    });
    let frames: Vec<u32> = done.iter().map(|done| done.sequence).collect();
    // vivid numbers frames by its clock, and two that it makes late come out with one number.
    cx.claim("frames count up", frames.windows(2).all(|pair| pair[0] <= pair[1]), || {
        Finding::new("a buffer that came back later holds an earlier frame").row("frames", words(frames.clone()))
    });
    Ok(())
}
