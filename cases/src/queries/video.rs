//! What a video device lists it does: formats and sizes can be had, what is tried is what is set, and there are buffers for it.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use handover::dmabuf::page_size;
use handover::prelude::*;
use handover::udmabuf;
use handover::v4l2::{Direction, Memory, PixelFormat, Queue, QueueFormat};

use crate::formats::{VIDEO, queues};

/// Small, and a size that most devices have.
const SIZE: Size = px(64, 64);

/// Sizes that few devices have, or none: for each there is one that they have instead.
const UNLIKELY: [Size; 3] = [px(1, 1), px(641, 363), px(65_535, 65_533)];

/// A code that no document has.
const UNHEARD: PixelFormat = PixelFormat::new(b"ZZ99");

pub(super) fn register(cases: &mut Cases<Cx>) {
    for role in VIDEO {
        let name = format!("queries::a_queue_does_what_it_lists::{role}");
        let case = cases.add(name, move |cx| does_what_it_lists(cx, role)).to(role).needs(Need::Device(Udmabuf));
        match role {
            Converter => _ = case.must_fail_under("try-fmt-otherwise"),
            Video => _ = case.must_fail_under("video-gone"),
            _ => {}
        }
        let name = format!("queries::a_queue_keeps_to_the_sizes_that_it_lists::{role}");
        let case = cases.add(name, move |cx| keeps_to_sizes(cx, role)).to(role);
        match role {
            Codec => {
                let says = "640x360 px of YU12 is listed, and VIDIOC_TRY_FMT makes YU12 640x368 px of it";
                case.known("vicodec", "cases/findings/vicodec-frame-sizes.md", says)
            }
            Video | DmaVideo | PlanarVideo => {
                let says = "VIDIOC_TRY_FMT makes 641x363 px of 641x363 px of YUYV, which is not listed";
                case.known("vivid", "cases/findings/vivid-frame-sizes.md", says)
            }
            _ => case.must_fail_under("frame-sizes-invented"),
        };
    }
}

fn does_what_it_lists(cx: &mut Cx, role: Role) -> Outcome {
    for (device, direction) in queues(cx, role)? {
        let mut queue = Queue::open(&device, direction)?;
        let before = queue.format().clone();
        let listed = queue.pixel_formats()?;
        cx.claim(format!("{queue} lists formats"), !listed.is_empty(), || {
            Finding::new("VIDIOC_ENUM_FMT lists no format").row("object", queue.to_string())
        });
        // A buffer of the same size is the same to the kernel.
        let mut had = BTreeSet::new();
        for pixel in listed {
            let wanted = QueueFormat::new(pixel, SIZE, 0);
            let tried = queue.try_format(&wanted)?;
            let set = queue.set_format(&wanted)?.clone();
            cx.claim(format!("{queue}, {pixel}"), set.pixel == pixel, || {
                Finding::new(format!("{pixel} is listed, and VIDIOC_S_FMT makes {} of it", set.pixel))
                    .row("object", queue.to_string())
            });
            cx.claim(format!("{queue}, {pixel} tried"), tried == set, || {
                Finding::new(format!("VIDIOC_TRY_FMT and VIDIOC_S_FMT make different things of {pixel} {SIZE}"))
                    .row("object", queue.to_string())
                    .row("tried", tried.to_string())
                    .row("set", set.to_string())
                    .row("like", "two ways to work out one format, of which one forgot something")
            });
            let sizes: Vec<u32> = set.planes.iter().map(|plane| plane.bytes).collect();
            if set.pixel == pixel && had.insert(sizes) {
                has_buffers(cx, &mut queue, role)?;
            }
            if cx.disagrees() {
                break;
            }
        }
        let answer = queue.try_format(&QueueFormat::new(UNHEARD, SIZE, 0));
        cx.claim(
            format!("{queue}, {UNHEARD}"),
            answer.is_err() || answer.is_ok_and(|got| got.pixel != UNHEARD),
            || {
                Finding::new(format!("{UNHEARD} is not listed, and VIDIOC_TRY_FMT takes it"))
                    .row("object", queue.to_string())
            },
        );
        queue.set_format(&before)?;
    }
    cx.agree()
}

/// `VIDIOC_ENUM_FRAMESIZES` tells sizes that the device has: of each format the smallest, the one after it and the largest are
/// tried. Of a size that it has not `VIDIOC_TRY_FMT` makes one that it has.
fn keeps_to_sizes(cx: &mut Cx, role: Role) -> Outcome {
    let (mut others, mut unlisted): (Vec<String>, Vec<String>) = Default::default();
    let mut tried = 0_u32;
    for (device, direction) in queues(cx, role)? {
        // Of a stream that is made of frames the size is theirs: "Stateful Video Encoder Interface".
        if role == Codec && direction == Direction::Capture && Arc::ptr_eq(&device, cx.codec()?.encoder()) {
            continue;
        }
        let queue = Queue::open(&device, direction)?;
        for pixel in queue.pixel_formats()? {
            let listed = queue.frame_sizes(pixel)?.unwrap_or_default();
            for size in listed.iter().flat_map(|sizes| sizes.some()) {
                let got = queue.try_format(&QueueFormat::new(pixel, size, 0))?;
                tried += 1;
                if (got.pixel, got.size) != (pixel, size) {
                    let made = format!("{} {}", got.pixel, got.size);
                    others
                        .push(format!("{size} of {pixel} is listed, and VIDIOC_TRY_FMT makes {made} of it ({queue})"));
                }
            }
            for asked in UNLIKELY.into_iter().filter(|_| !listed.is_empty()) {
                let QueueFormat { pixel: made, size, .. } = queue.try_format(&QueueFormat::new(pixel, asked, 0))?;
                if made == pixel && !listed.iter().any(|sizes| sizes.has(size)) {
                    let what = format!("VIDIOC_TRY_FMT makes {size} of {asked} of {pixel}, which is not listed");
                    unlisted.push(format!("{what} ({queue})"));
                }
            }
        }
    }
    if tried == 0 {
        return Err(Trouble::Skip(format!("{role} lists no sizes")));
    }
    cx.figure("sizes", tried.into());
    cx.claim("answers", unlisted.is_empty(), || {
        let first = unlisted.remove(0);
        Finding::new(first).row("also", unlisted.join("; "))
    });
    cx.claim("sizes", others.is_empty(), || {
        let first = others.remove(0);
        Finding::new(first)
            .row("also", others.join("; "))
            .row("tried", format!("{tried} sizes"))
            .row("like", "a range that is the format's, and not what this device makes")
    });
    cx.agree()
}

/// The queue has buffers of its own for the format that is set, and takes one of somebody else's that is large enough.
fn has_buffers(cx: &mut Cx, queue: &mut Queue, role: Role) -> Outcome {
    let planes = queue.format().planes.clone();
    let own = queue.request(Memory::Own, 1)?;
    cx.claim(format!("{queue}, {} buffers", queue.format().pixel), own > 0, || {
        Finding::new(format!("VIDIOC_REQBUFS for {} gives no buffer", queue.format()))
    });
    queue.release()?;
    let [plane] = planes.as_slice() else { return Ok(()) };
    // Nobody here has contiguous memory of any size.
    if role != DmaVideo {
        let (dmabuf, _) = udmabuf::create(u64::from(plane.bytes).next_multiple_of(page_size() as u64))?;
        queue.request(Memory::Dmabuf, 1)?;
        queue.give_number(0, dmabuf.fd.as_raw_fd(), plane.bytes)?;
        queue.release()?;
    }
    Ok(())
}
