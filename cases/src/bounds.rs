//! Who draws into a frame writes its pixels and nothing else: not before it, not between its rows, not behind it.
//!
//! The bytes there belong to others, since a buffer may hold more than one frame. They are seeded and looked at by the CPU.

use handover::prelude::*;
use handover::udmabuf;

/// Rows that are whole blocks of 4 by 4 pixels, and rows that are not: renderers work in such blocks.
const ROWS: [u32; 2] = [132, 130];

/// Not a multiple of 4 pixels either.
const WIDTH: u32 = 250;

/// Bytes of others on either side of the frame.
const OTHERS: u64 = 65536;

/// From one row to the next, in bytes: 88 more than a row has.
const PITCH: u64 = 1088;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for gpu in [GpuA, GpuB] {
        for rows in ROWS {
            cases
                .add(format!("bounds::exporter_stays_inside_its_frame::{gpu}::{rows}_rows"), move |cx| {
                    exporter_stays_inside(cx, gpu, px(WIDTH, rows))
                })
                .from(gpu)
                .must_fail_under("rows-behind-written");
            let case = cases
                .add(format!("bounds::importer_stays_inside_the_frame::{gpu}::{rows}_rows"), move |cx| {
                    importer_stays_inside(cx, gpu, px(WIDTH, rows))
                })
                .from(Cpu)
                .to(gpu)
                .needs(Need::Device(Udmabuf));
            if (gpu, rows) == (GpuA, 132) {
                case.must_fail_under("import-offset-ignored").must_fail_under("import-pitch-rounded");
            }
        }
    }
}

/// A GPU that draws into a part of its own memory leaves the rest of it alone.
fn exporter_stays_inside(cx: &mut Cx, gpu: Role, size: Size) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let frame = NewFrame::of(Fourcc::XR24, size).padded(PITCH - u64::from(WIDTH) * 4);
    let mut drawn = cx.draw(&gpu, &frame.in_room(Room::SubAllocated { before: OTHERS, after: OTHERS }), 6)?;
    seed_others(cx, &drawn.buffer, 9)?;
    cx.redraw(&gpu, &mut drawn, 7)?;
    cx.cpu_sees(&drawn.buffer, &drawn.target)?;
    others_are_intact(cx, &drawn.buffer, 9)?;
    cx.agree()
}

/// A GPU that draws into a part of somebody else's buffer leaves the rest of it alone.
fn importer_stays_inside(cx: &mut Cx, gpu: Role, size: Size) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let frame = Frame::linear(Fourcc::XR24, size, Plane { offset: OTHERS, pitch: PITCH });
    let shared = udmabuf::for_frame(frame, OTHERS)?;
    let buffer = cx.publish(Guest::Cpu, shared)?;
    seed_others(cx, &buffer, 9)?;
    let target = cx.draw_into(&gpu, &buffer, 7)?;
    cx.cpu_sees(&buffer, &target)?;
    others_are_intact(cx, &buffer, 9)?;
    cx.agree()
}

/// The bytes of `buffer` outside the frame get a seed of their own.
fn seed_others(cx: &mut Cx, buffer: &Buffer, stamp: u32) -> Outcome {
    cx.mapped(&Guest::Cpu, buffer, Access::Write, |_, shared| Ok(shared.seed_guards(stamp)?))
}

/// The bytes of `buffer` outside the frame are what they were seeded with.
fn others_are_intact(cx: &mut Cx, buffer: &Buffer, stamp: u32) -> Outcome {
    let damage = cx.mapped(&Guest::Cpu, buffer, Access::Read, |_, shared| Ok(shared.check_guards(stamp)?))?;
    cx.claim("bytes outside the frame", damage.is_none(), || {
        let found = damage.map_or_else(String::new, |damage| damage.to_string());
        Finding::new(format!("who drew into the frame wrote outside it: {found}"))
            .row("like", "work in blocks of pixels or rows, of which the last ones reach over the edge")
    });
    Ok(())
}
