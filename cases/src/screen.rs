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
    let shapes = match fourcc.pixel() {
        // As the offset of 64 KiB happens to be whole rows, none, or more than the frame: behind it the buffer is empty.
        Some(_) => [8, 32, 64, 128]
            .map(|rows| format!("like a picture moved {rows} px up, as by an origin applied twice"))
            .into_iter()
            .chain(
                [
                    "like an offset…B too small",
                    "like a partial update:…holds one colour (#0000 0000 0000 ffff)",
                    // Where what was written back has no alpha.
                    "like a partial update:…holds bytes of 0x00",
                ]
                .map(str::to_owned),
            )
            .collect(),
        None => vec![
            "like a picture read with the offset of the first plane added to all planes once more".to_owned(),
            "like a picture read with all planes read from the dma-buf of the first one".to_owned(),
        ],
    };
    let says = |shape: String| format!("screen (writeback) does not see the target…{shape}");
    let shapes: Vec<String> = shapes.into_iter().map(says).collect();
    case.known_as_one_of("vkms", FINDING, &shapes.iter().map(String::as_str).collect::<Vec<_>>());
    // Of YUV the checksum is held against what was written back, and that agrees.
    if fourcc.pixel().is_some() {
        case.known("vkms", FINDING, "screen (CRC): ");
    }
}

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for &fourcc in FORMATS {
        let case = cases
            .add(format!("screen::shows_what_the_cpu_wrote::{fourcc}"), move |cx| shows_what_the_cpu_wrote(cx, fourcc));
        if [Fourcc::XR24, Fourcc::AR24].contains(&fourcc) {
            case.must_fail_under("addfb2-red-blue");
        }
        case.from(Cpu)
            .to(Screen)
            .needs(Need::Imports { role: Screen, format: fourcc.to_string() })
            .needs(Need::Writeback);
    }
    cases
        .add("screen::shows_its_own_memory", shows_its_own_memory)
        .from(Screen)
        .to(Screen)
        .needs(Need::Writeback)
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
