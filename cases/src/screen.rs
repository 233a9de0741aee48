//! The screen by itself: what the CPU wrote is what it shows. Where this fails, no frame of a GPU can be judged by the screen.
//!
//! All targets are computed.

use handover::prelude::*;

const SIZE: Size = px(250, 130);

/// Every packed RGB format that a screen lists somewhere.
const FORMATS: &[Fourcc] = &[
    Fourcc::XR24,
    Fourcc::AR24,
    Fourcc::XB24,
    Fourcc::AB24,
    Fourcc::RA24,
    Fourcc::BA24,
    Fourcc::RG24,
    Fourcc::BG24,
    Fourcc::RG16,
    Fourcc::BG16,
    Fourcc::XR48,
    Fourcc::AR48,
    Fourcc::XB48,
    Fourcc::AB48,
    Fourcc::XR30,
    Fourcc::AR30,
    Fourcc::XB4H,
    Fourcc::AB4H,
    Fourcc::R8,
];

/// Lists `case`, a frame of `fourcc` that does not begin its buffer, as shown wrong by vkms.
pub(crate) fn adds_the_offset_twice(case: &mut Case<Cx>, fourcc: Fourcc) {
    const FINDING: &str = "cases/findings/vkms-offset-twice.md";
    if fourcc.pixel().is_some() {
        // The checksum tells where it was read from; if there is nothing there, the picture is just empty.
        let twice = "with the offset of…added twice";
        // As black is written where there is no alpha.
        let nothing = ["holds one colour (#0000 0000 0000 ffff)", "holds bytes of 0x00"];
        let shapes = [twice.to_owned()].into_iter().chain(nothing.map(|text| format!("like a partial update:…{text}")));
        let shapes: Vec<String> =
            shapes.map(|shape| format!("screen (writeback) does not see the target…{shape}")).collect();
        case.known_as_one_of("vkms", FINDING, &shapes.iter().map(String::as_str).collect::<Vec<_>>());
        case.known("vkms", FINDING, &format!("screen (CRC, as of what is at byte…{twice}"));
        return;
    }
    // Of YUV the checksum is held against what was written back, and that agrees.
    let shapes = [
        "like a picture read with the offset of the first plane added to all planes once more",
        "like a picture read with all planes read from the dma-buf of the first one",
    ];
    let shapes = shapes.map(|shape| format!("screen (writeback) does not see the target…{shape}"));
    case.known_as_one_of("vkms", FINDING, &[&shapes[0], &shapes[1]]);
}

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for &fourcc in FORMATS {
        let case = cases
            .add(format!("screen::shows_what_the_cpu_wrote::{fourcc}"), move |cx| shows_what_the_cpu_wrote(cx, fourcc));
        if [Fourcc::XR24, Fourcc::AR24].contains(&fourcc) {
            case.must_fail_under("addfb2-red-blue");
        }
        if [Fourcc::XB24, Fourcc::AB24].contains(&fourcc) {
            case.must_fail_under("red-blue-unwritten");
        }
        case.from(Cpu).to(Screen).needs(Need::Imports { role: Screen, format: fourcc.to_string() }).needs(Need::Seen);
    }
    cases
        .add("screen::shows_its_own_memory", shows_its_own_memory)
        .from(Screen)
        .to(Screen)
        .needs(Need::Seen)
        .must_fail_under("dumb-rows-missing")
        .must_fail_under("addfb2-red-blue");
}

/// A buffer of plain pages, written by the CPU, imported by the screen.
fn shows_what_the_cpu_wrote(cx: &mut Cx, fourcc: Fourcc) -> Outcome {
    let buffer = cx.udmabuf(fourcc, SIZE, &[Guest::Cpu, Guest::Screen])?;
    shows(cx, &buffer, fourcc)
}

/// A dumb buffer of the screen, written by the CPU through its dma-buf.
fn shows_its_own_memory(cx: &mut Cx) -> Outcome {
    let dumb = cx.screen()?.dumb(Fourcc::XR24, SIZE)?;
    let buffer = cx.publish(Guest::Screen, dumb)?;
    shows(cx, &buffer, Fourcc::XR24)
}

fn shows(cx: &mut Cx, buffer: &Buffer, fourcc: Fourcc) -> Outcome {
    let target = Target::stamped(7, fourcc, SIZE)?;
    cx.cpu_writes(buffer, &target.picture)?;
    cx.cpu_sees(buffer, &target)?;
    cx.screen_shows(&[(Layer::whole(buffer), &target)])?;
    cx.agree()
}
