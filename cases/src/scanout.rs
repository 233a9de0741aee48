//! A frame that a GPU drew is shown by a screen: every pixel of it, where it belongs, and nothing else.
//!
//! All targets are computed. Three readers look at each frame: the CPU at the buffer, the screen's writeback and its CRC.

use handover::prelude::*;
use handover::udmabuf;

use crate::screen;

/// Odd enough that a pitch computed from the width, or rounded, shows.
const SIZE: Size = px(250, 130);

/// Memory behind the frame: llvmpipe works in blocks of 4 rows and touches those behind the last one.
const SLACK: Room = Room::SubAllocated { before: 0, after: 65536 };

/// With this width a dumb buffer's pitch is a multiple of 16 bytes, see `vulkan::draws_with_any_pitch`.
const DUMB_WIDTH: u32 = 252;

/// Formats that screens and GPUs share somewhere; a machine that lacks one skips its case, and its lane must allow that.
const FORMATS: &[Fourcc] = &[
    Fourcc::XR24,
    Fourcc::AR24,
    Fourcc::XB24,
    Fourcc::AB24,
    Fourcc::RG24,
    Fourcc::BG24,
    Fourcc::RG16,
    Fourcc::BG16,
    Fourcc::XR30,
    Fourcc::XB30,
    Fourcc::XB48,
    Fourcc::AB48,
    Fourcc::XB4H,
    Fourcc::AB4H,
    Fourcc::R8,
];

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for &fourcc in FORMATS {
        for gpu in [GpuA, GpuB] {
            let frame = NewFrame::of(fourcc, SIZE);
            let case = add(cases, format!("shows_what_was_drawn::{gpu}::{fourcc}"), gpu, &frame, whole);
            if (gpu, fourcc) == (GpuA, Fourcc::XR24) {
                case.must_fail_under("addfb2-red-blue").must_fail_under("upside-down");
                case.must_fail_under("writeback-not-flushed");
            }
        }
    }
    // vkms takes no framebuffer below 10 px.
    for size in [px(11, 13), px(17, 31), px(64, 64), px(255, 127), px(319, 239), px(320, 240)] {
        let name = format!("shows_every_size::{}x{}", size.width, size.height);
        let case = add(cases, name, GpuA, &NewFrame::of(Fourcc::XR24, size), whole);
        if size == px(11, 13) {
            case.must_fail_under("addfb2-pitch");
        }
    }
    for (name, padding) in [("by_24_bytes", 24), ("by_264_bytes", 264), ("to_a_page", 4096 - 1000)] {
        for fourcc in [Fourcc::XR24, Fourcc::RG16] {
            let frame = NewFrame::of(fourcc, SIZE).padded(padding).in_room(SLACK);
            add(cases, format!("honours_a_padded_pitch::{name}::{fourcc}"), GpuA, &frame, whole)
                .must_fail_under("addfb2-pitch");
        }
    }
    for room in [Room::Dedicated, SLACK] {
        let name = if room == Room::Dedicated { "dedicated" } else { "sub_allocated_with_a_neighbour_behind" };
        for gpu in [GpuA, GpuB] {
            let frame = NewFrame::of(Fourcc::XR24, SIZE).in_room(room);
            let case = add(cases, format!("shows_memory_that_is::{name}::{gpu}"), gpu, &frame, whole);
            if (gpu, room) == (GpuA, Room::Dedicated) {
                case.must_fail_under("udmabuf-pages-swapped").must_fail_under("export-reallocates");
            }
        }
    }
    // Slack behind the frame keeps vkms, which adds the offset twice, inside the buffer.
    let before = Room::SubAllocated { before: 65536, after: 4 * 65536 };
    for fourcc in [Fourcc::XR24, Fourcc::RG16] {
        let frame = NewFrame::of(fourcc, SIZE).in_room(before);
        let case = add(cases, format!("honours_the_offset_of_a_frame::{fourcc}"), GpuA, &frame, whole);
        screen::adds_the_offset_twice(case, fourcc);
        case.must_fail_under("addfb2-offset-dropped");
    }
    for (name, crop) in [
        ("top_left", Rect { x: 0, y: 0, size: px(33, 17) }),
        ("inside", Rect { x: 13, y: 7, size: px(101, 53) }),
        ("bottom_right", Rect { x: 249, y: 129, size: px(1, 1) }),
        ("one_row", Rect { x: 0, y: 64, size: px(250, 1) }),
        ("one_column", Rect { x: 125, y: 0, size: px(1, 130) }),
    ] {
        let frame = NewFrame::of(Fourcc::XR24, SIZE);
        let case = add(cases, format!("crops::{name}"), GpuA, &frame, move |buffer| Layer {
            crop,
            at: (11, 5),
            ..Layer::whole(buffer)
        });
        // In its corner a crop can't be doubled.
        if name == "inside" || name.starts_with("one") {
            case.must_fail_under("crop-twice");
        }
    }
    cases
        .add("scanout::tells_two_frames_apart", tells_two_frames_apart)
        .must_fail_under("frame-skipped")
        .must_fail_under("writeback-of-frame-before")
        .must_fail_under("crc-of-frame-before")
        .from(GpuA)
        .to(Screen)
        .needs(Need::Writeback)
        .needs(Need::Crc);
    cases
        .add("scanout::shows_a_frame_drawn_while_it_is_on_screen", shows_a_redrawn_frame)
        .must_fail_under("release-late")
        .from(GpuA)
        .to(Screen)
        .needs(Need::Writeback);
    cases
        .add("scanout::shows_a_frame_whose_modifier_is_not_told", shows_untold)
        .must_fail_under("addfb2-red-blue")
        .from(Udmabuf)
        .to(Screen)
        .needs(Need::Writeback);
    for gpu in [GpuA, GpuB] {
        cases
            .add(format!("scanout::shows_what_was_drawn_into_its_own_buffer::{gpu}"), move |cx| {
                shows_its_own_buffer(cx, gpu)
            })
            .must_fail_under("addfb2-red-blue")
            .from(Screen)
            .to(gpu)
            .needs(Need::Writeback);
    }
}

/// Shows all of a frame at the top left.
fn whole(buffer: &Buffer) -> Layer<'_, Buffer> {
    Layer::whole(buffer)
}

fn add<'c>(
    cases: &'c mut Cases<Cx>,
    claim: String,
    gpu: Role,
    frame: &NewFrame,
    layer: impl for<'a> Fn(&'a Buffer) -> Layer<'a, Buffer> + Send + Sync + 'static,
) -> &'c mut Case<Cx> {
    let frame = frame.clone();
    let format = frame.fourcc.to_string();
    cases
        .add(format!("scanout::{claim}"), move |cx| shows_what_was_drawn(cx, gpu, &frame, &layer))
        .from(gpu)
        .to(Screen)
        .needs(Need::Exports { role: gpu, format: format.clone() })
        .needs(Need::Imports { role: Screen, format })
        .needs(Need::Writeback)
}

/// What the GPU drew into a buffer of its own is what the CPU finds in the buffer and what the screen shows.
fn shows_what_was_drawn(
    cx: &mut Cx,
    gpu: Role,
    frame: &NewFrame,
    layer: &dyn for<'a> Fn(&'a Buffer) -> Layer<'a, Buffer>,
) -> Outcome {
    let device = cx.gpu(gpu)?;
    let drawn = cx.draw(&device, frame, 7)?;
    cx.cpu_sees_of(&format!("the cpu, by what {gpu} handed out,"), &drawn.buffer, &drawn.target)?;
    cx.screen_shows(&[(layer(&drawn.buffer), &drawn.target)])?;
    cx.agree()
}

/// Two frames that differ look different to every reader: a reader that sees the same in both sees nothing.
fn tells_two_frames_apart(cx: &mut Cx) -> Outcome {
    let gpu = cx.gpu(GpuA)?;
    let first = cx.draw(&gpu, &NewFrame::of(Fourcc::XR24, SIZE), 3)?;
    let second = cx.draw(&gpu, &NewFrame::of(Fourcc::XR24, SIZE), 4)?;
    let one = cx.show(&[Layer::whole(&first.buffer)])?;
    let other = cx.show(&[Layer::whole(&second.buffer)])?;
    let [crc, other_crc] = [one.crc, other.crc].map(|crc| crc.map(|crc| crc.values));
    let same = (one.writeback == other.writeback, crc == other_crc);
    cx.differ("writeback of two frames", one.writeback, other.writeback)?;
    cx.differ("CRC of two frames", crc, other_crc)?;
    match same {
        (true, false) => cx.fact("like", "a writeback of the frame before: the CRC tells the two apart"),
        (false, true) => cx.fact("like", "the CRC of the frame before: the writeback tells the two apart"),
        _ => {}
    }
    cx.screen_shows(&[(Layer::whole(&first.buffer), &first.target)])?;
    cx.screen_shows(&[(Layer::whole(&second.buffer), &second.target)])?;
    cx.agree()
}

/// A buffer that stays on the screen shows its next frame after the next commit, and no row of the one before.
fn shows_a_redrawn_frame(cx: &mut Cx) -> Outcome {
    let gpu = cx.gpu(GpuA)?;
    let mut drawn = cx.draw(&gpu, &NewFrame::of(Fourcc::XR24, SIZE), 1)?;
    for stamp in 2..6 {
        cx.screen_shows(&[(Layer::whole(&drawn.buffer), &drawn.target)])?;
        cx.redraw(&gpu, &mut drawn, stamp)?;
    }
    cx.screen_shows(&[(Layer::whole(&drawn.buffer), &drawn.target)])?;
    cx.agree()
}

/// A framebuffer without `DRM_MODE_FB_MODIFIERS` leaves the modifier to the driver: memory that no GPU laid out is shown as the same
/// frame is that is told to be LINEAR.
fn shows_untold(cx: &mut Cx) -> Outcome {
    let frame = Frame::linear(Fourcc::XR24, SIZE, Plane { offset: 0, pitch: 1088 });
    let (told, other) = (udmabuf::for_frame(frame.clone(), 0)?, udmabuf::for_frame(frame.clone(), 0)?);
    let target = Target::stamped(7, Fourcc::XR24, SIZE)?;
    told.write(&target.picture)?;
    other.write(&Pattern { stamp: 8 }.picture(Fourcc::XR24, SIZE)?)?;
    let buffer = cx.publish_memory(Udmabuf, SharedFrame { dmabuf: told.dmabuf.try_clone()?, frame: frame.clone() })?;
    cx.screen_shows(&[(Layer::whole(&buffer), &target)])?;
    let untold = Frame { modifier: Modifier::INVALID, ..frame };
    let untold = SharedFrame { dmabuf: told.dmabuf.try_clone()?, frame: untold };
    let mut seen = Vec::new();
    // Another frame in between, so that one that is still shown is not taken for the next.
    for shared in [&told, &other, &untold] {
        let shown = cx.screen()?.show(&[Layer::whole(shared)], None)?;
        seen.push(shown.writeback.map_err(|why| Trouble::Skip(why.to_string()))?);
    }
    let [told, other, untold] = seen.as_slice() else { return cx.agree() };
    cx.claim("two frames", told != other, || Finding::new("two frames look the same on the screen"));
    let target = Target { picture: told.clone(), before: Some(other.clone()) };
    cx.sees("screen (writeback), of a frame whose modifier is not told,", &target, untold)?;
    cx.black_screen()?;
    cx.agree()
}

/// The screen exports its own memory, the GPU imports it and draws, the screen shows it: PRIME the other way round.
fn shows_its_own_buffer(cx: &mut Cx, gpu: Role) -> Outcome {
    // More rows than are shown, since a GPU may want more memory behind the last one.
    let mut shared = cx.screen()?.dumb(Fourcc::XR24, px(DUMB_WIDTH, SIZE.height + 16))?;
    shared.frame.size.height = SIZE.height;
    let gpu = cx.gpu(gpu)?;
    let buffer = cx.publish(Guest::Screen, shared)?;
    let target = cx.draw_into(&gpu, &buffer, 9)?;
    cx.cpu_sees(&buffer, &target)?;
    cx.screen_shows(&[(Layer::whole(&buffer), &target)])?;
    cx.agree()
}
