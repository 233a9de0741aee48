//! The planes of a screen: what they list, what they show, and how they lie over each other.
//!
//! What every exporter's frames look like on a plane above the lowest one is `matrix::*_to_overlay` and `*_to_cursor`. All
//! targets are computed: without other properties a plane is blended pre-multiplied over what lies below ("Plane Composition
//! Properties" in the kernel's KMS documentation).

use std::collections::BTreeSet;

use handover::prelude::*;

/// One plane of each kind is asked: those of a kind rarely differ.
const PLANES: [(Role, PlaneKind); 3] =
    [(Screen, PlaneKind::Primary), (Overlay, PlaneKind::Overlay), (Cursor, PlaneKind::Cursor)];

/// Even both ways, as subsampled formats want it, and no multiple of anything.
const SIZE: Size = px(66, 34);

/// Formats beside packed RGB that a plane may list, or not.
const OTHERS: [&[u8; 4]; 26] = [
    b"NV12", b"NV21", b"NV16", b"NV61", b"NV24", b"NV42", b"YU12", b"YV12", b"YU16", b"YV16", b"YU24", b"YV24",
    b"P010", b"P012", b"P016", b"P210", b"YUYV", b"YVYU", b"UYVY", b"VYUY", b"AYUV", b"XYUV", b"Y210", b"Y410",
    b"XR4H", b"C8  ",
];

/// Whether a plane shows `fourcc` by itself: of pixels that are numbers of a palette it may want that first, as i915 does.
fn stands_alone(fourcc: Fourcc) -> bool {
    fourcc.planes().is_some() && fourcc != Fourcc::new(b"C8  ")
}

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for (role, kind) in PLANES {
        cases
            .add(format!("planes::both_format_lists_agree::{kind}"), move |cx| both_lists_agree(cx, kind))
            .to(role)
            .must_fail_under("in-formats-invented");
        let case = cases
            .add(format!("planes::takes_what_it_lists::{kind}"), move |cx| takes_what_it_lists(cx, kind))
            .to(role)
            .must_fail_under("in-formats-invented");
        if role == Screen {
            case.must_fail_under("addfb2-planes-with-modifier");
        }
        cases
            .add(format!("planes::refuses_what_it_does_not_list::{kind}"), move |cx| refuses_the_rest(cx, kind))
            .to(role)
            .must_fail_under("addfb2-modifier-ignored")
            .must_fail_under("addfb2-modifier-of-32-bits");
        cases
            .add(format!("planes::refuses_in_a_test_what_is_not_in_its_frame::{kind}"), move |cx| {
                refuses_outside(cx, kind)
            })
            .to(role)
            .must_fail_under("test-only-accepts");
        let case = cases
            .add(format!("planes::shows_what_it_lists::{kind}"), move |cx| shows_what_it_lists(cx, role, kind))
            .from(Cpu)
            .to(role)
            .needs(Need::Seen);
        if role == Screen {
            case.must_fail_under("addfb2-red-blue").must_fail_under("red-blue-unwritten");
        }
    }
    cases
        .add("planes::shows_a_cursor_of_the_size_that_the_card_tells", shows_a_large_cursor)
        .must_fail_under("plane-moved")
        .from(Cpu)
        .to(Cursor)
        .needs(Need::Imports { role: Cursor, format: "AR24".to_owned() })
        .needs(Need::Seen);
    for (name, at) in [("top_left", (-21, -9)), ("bottom_right", (250, 140)), ("outside", (-SIZE_I.0, 3))] {
        cases
            .add(format!("planes::cuts_an_overlay_at_the_edge::{name}"), move |cx| cuts_at_the_edge(cx, at))
            .from(Cpu)
            .to(Overlay)
            .needs(Need::Imports { role: Overlay, format: "XR24".to_owned() })
            .needs(Need::Seen)
            .must_fail_under("plane-moved")
            .must_fail_under("plane-moved-unwritten");
    }
    for role in [Overlay, Cursor] {
        cases
            .add(format!("planes::blends_every_alpha::{role}"), move |cx| blends_every_alpha(cx, role))
            .from(Cpu)
            .to(role)
            .needs(Need::Imports { role, format: "AR24".to_owned() })
            .needs(Need::Seen)
            .must_fail_under("overlay-alpha-ignored");
    }
    cases
        .add("planes::lie_in_the_order_of_their_kinds", lie_in_order)
        .must_fail_under("planes-exchanged")
        .must_fail_under("cursor-red-blue")
        .from(Cpu)
        .to(Overlay)
        .needs(Need::Device(Cursor))
        .needs(Need::Imports { role: Overlay, format: "XR24".to_owned() })
        .needs(Need::Imports { role: Cursor, format: "AR24".to_owned() })
        .needs(Need::Seen);
    cases
        .add("planes::never_darken_what_they_are_blended_from", never_darken)
        .from(Cpu)
        .to(Overlay)
        .needs(Need::Imports { role: Overlay, format: "AR24".to_owned() })
        .needs(Need::Seen)
        .known(
            "vkms",
            "cases/findings/vkms-blend-wraps.md",
            "pixels differ: screen (writeback) does not see…holds one colour (#8567 4527 04e7",
        )
        .known("vkms", "cases/findings/vkms-blend-wraps.md", "screen (CRC): ")
        .must_fail_under("overlay-alpha-ignored");
    cases
        .add("planes::two_cards_show_one_buffer_at_once", two_cards_at_once)
        .must_fail_under("addfb2-red-blue")
        .from(Screen)
        .to(ScreenB)
        .needs(Need::Imports { role: ScreenB, format: "XR24".to_owned() })
        .needs(Need::Seen);
}

/// [`SIZE`], signed.
const SIZE_I: (i32, i32) = (SIZE.width as i32, SIZE.height as i32);

/// `IN_FORMATS` and the plane's list without modifiers name the same formats.
fn both_lists_agree(cx: &mut Cx, kind: PlaneKind) -> Outcome {
    let plane = cx.screen()?.plane(kind)?.clone();
    let codes = |list: &[Fourcc]| list.iter().map(Fourcc::to_string).collect::<BTreeSet<_>>();
    let offered: Vec<Fourcc> = plane.offers.iter().map(|offer| offer.fourcc).collect();
    let (plain, offered) = (codes(&plane.formats), codes(&offered));
    let only = |one: &BTreeSet<String>, other| match one.difference(other).cloned().collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "nothing".to_owned(),
        some => some,
    };
    cx.claim("formats", !plane.formats.is_empty(), || Finding::new(format!("the {kind} plane lists no format")));
    cx.claim(format!("the formats of the {kind} plane"), plain == offered, || {
        let (offered, plain) = (only(&offered, &plain), only(&plain, &offered));
        let alone = format!("IN_FORMATS alone has {offered}, and the plane's own list alone has {plain}");
        Finding::new(format!("the two format lists of the {kind} plane differ: {alone}"))
            .row("like", "a list that is made apart from the other, or of another card")
    });
    cx.agree()
}

/// `size`, or of a cursor that does not take it the one that it is sure to take: hardware has few.
fn size_on(cx: &mut Cx, kind: PlaneKind, size: Size) -> Result<Size, Trouble> {
    let screen = cx.screen()?;
    let known = screen.plane(kind)?.formats.iter().copied().find(|fourcc| stands_alone(*fourcc));
    let Some(fourcc) = known.filter(|_| kind == PlaneKind::Cursor) else { return Ok(size) };
    let plain = screen.plain(fourcc, Modifier::LINEAR, size)?;
    Ok(match screen.answer(kind, &plain)? {
        Answer::Taken => size,
        Answer::NoFramebuffer(_) | Answer::NotOnPlane(_) => screen.cursor_size()?,
    })
}

/// Whatever the plane lists can be made a framebuffer, and would be shown.
///
/// Of layouts other than LINEAR only their driver knows how many planes they have, so they are stated as not tried, and so is
/// what is nothing without a palette.
fn takes_what_it_lists(cx: &mut Cx, kind: PlaneKind) -> Outcome {
    let size = size_on(cx, kind, SIZE)?;
    let mut untried = Vec::new();
    for offer in cx.screen()?.plane(kind)?.offers.clone() {
        for modifier in offer.modifiers {
            let known = [Modifier::LINEAR, Modifier::INVALID].contains(&modifier) && stands_alone(offer.fourcc);
            if !known {
                untried.push(format!("{} {modifier}", offer.fourcc));
                continue;
            }
            let screen = cx.screen()?;
            let plain = screen.plain(offer.fourcc, modifier, size)?;
            let why = match screen.answer(kind, &plain)? {
                Answer::Taken => None,
                Answer::NoFramebuffer(why) | Answer::NotOnPlane(why) => Some(why.to_string()),
            };
            cx.claim(format!("{} {modifier}", offer.fourcc), why.is_none(), || {
                Finding::new(format!("the {kind} plane lists {} {modifier} and refuses it", offer.fourcc))
                    .row("answer", why.unwrap_or_default())
                    .row("frame", plain.to_string())
                    .row("like", "a list of formats for all modifiers, where each has formats of its own")
            });
        }
    }
    if !untried.is_empty() {
        cx.fact("not tried", untried.join(", "));
    }
    cx.agree()
}

/// What the plane does not list is refused, as a framebuffer or on the plane.
fn refuses_the_rest(cx: &mut Cx, kind: PlaneKind) -> Outcome {
    let size = size_on(cx, kind, SIZE)?;
    let plane = cx.screen()?.plane(kind)?.clone();
    let others = OTHERS.iter().map(|code| Fourcc::new(code));
    let formats = Fourcc::PACKED_RGB.iter().copied().chain(others);
    let foreign = plane
        .formats
        .iter()
        .flat_map(|&fourcc| [Modifier::FOREIGN, Modifier::FOREIGN_ABOVE_LINEAR].map(|modifier| (fourcc, modifier)));
    let asked: Vec<(Fourcc, Modifier)> = formats.map(|fourcc| (fourcc, Modifier::LINEAR)).chain(foreign).collect();
    for (fourcc, modifier) in asked {
        // A plane that says nothing of modifiers may still know some.
        let lists = plane.lists(fourcc, modifier) || plane.lists(fourcc, Modifier::INVALID);
        if lists || fourcc.planes().is_none() {
            continue;
        }
        let screen = cx.screen()?;
        let plain = screen.plain(fourcc, modifier, size)?;
        let answer = screen.answer(kind, &plain)?;
        cx.claim(format!("{fourcc} {modifier}"), !matches!(answer, Answer::Taken), || {
            Finding::new(format!("the {kind} plane takes {fourcc} {modifier}, which it does not list"))
                .row("frame", plain.to_string())
                .row(
                    "like",
                    match modifier {
                        Modifier::FOREIGN_ABOVE_LINEAR => "a modifier of which only the lower half is looked at",
                        _ => "a modifier or a format that nobody looks at on the way into the framebuffer",
                    },
                )
        });
    }
    cx.agree()
}

/// Pixels that a frame does not have are refused when they are asked for in a test, and so would never be shown.
///
/// Every driver must: the kernel looks before it does (`ENOSPC`, "Atomic Mode Setting" in its KMS documentation).
fn refuses_outside(cx: &mut Cx, kind: PlaneKind) -> Outcome {
    let fourcc = cx.screen()?.plane(kind)?.formats.iter().copied().find(|fourcc| stands_alone(*fourcc));
    let fourcc = fourcc.ok_or_else(|| Finding::new(format!("the {kind} plane lists no format that is known here")))?;
    let size = size_on(cx, kind, SIZE)?;
    let screen = cx.screen()?;
    let plain = screen.plain(fourcc, Modifier::LINEAR, size)?;
    let answer = screen.answer(kind, &plain)?;
    // Else it would refuse the rest for that, too.
    cx.claim("all of the frame", matches!(answer, Answer::Taken), || {
        Finding::new(format!("the {kind} plane lists {fourcc} and refuses it"))
            .row("answer", format!("{answer:?}"))
            .row("frame", plain.to_string())
    });
    for crop in [
        Rect { x: 2, y: 0, size },
        Rect { x: 0, y: 2, size },
        Rect { x: 0, y: 0, size: px(size.width, size.height + 2) },
    ] {
        let answer = cx.screen()?.answer_to_part(kind, &plain, crop)?;
        let is_refused = matches!(&answer, Answer::NotOnPlane(error) if error.to_string().contains("ENOSPC"));
        cx.claim(format!("{crop}"), is_refused, || {
            Finding::new(format!("the {kind} plane says in a test that it would show pixels that are not in the frame"))
                .row("crop", crop.to_string())
                .row("target", "the test-only commit fails, as ENOSPC")
                .row("actual", format!("{answer:?}"))
                .row("like", "a driver that checks when it commits, and not when it is asked")
                .row("frame", plain.to_string())
        });
    }
    cx.agree()
}

/// Whatever packed RGB format the plane lists, its pixels are shown as they are meant.
fn shows_what_it_lists(cx: &mut Cx, role: Role, kind: PlaneKind) -> Outcome {
    let size = size_on(cx, kind, SIZE)?;
    let plane = cx.screen()?.plane(kind)?.clone();
    let (mut unseen, mut seen) = (Vec::new(), false);
    for fourcc in plane.formats.iter().copied().filter(|fourcc| fourcc.pixel().is_some()) {
        let dumb = cx.screen()?.dumb(fourcc, size)?;
        let buffer = cx.publish(Guest::Screen, dumb)?;
        let target = Target::stamped(7, fourcc, size)?;
        cx.cpu_writes(&buffer, &target.picture)?;
        let shown = match kind {
            PlaneKind::Primary => cx.screen_shows(&[(Layer::whole(&buffer), &target)]),
            PlaneKind::Overlay | PlaneKind::Cursor => cx.plane_shows(role, &buffer, &target),
        };
        match shown {
            // Of one format nobody may be able to tell what is shown, and of the next he can.
            Err(Trouble::Skip(why)) => unseen.push(format!("{fourcc}: {why}")),
            shown => {
                shown?;
                seen = true;
            }
        }
        if cx.disagrees() {
            // The others' buffers would only bury this one.
            break;
        }
    }
    if !seen && !unseen.is_empty() {
        return Err(Trouble::Skip(unseen.join("; ")));
    }
    if !unseen.is_empty() {
        cx.fact("not seen", unseen.join("; "));
    }
    cx.agree()
}

/// The size that the card says is sure to be taken for a cursor is taken, and shown.
fn shows_a_large_cursor(cx: &mut Cx) -> Outcome {
    let size = cx.screen()?.cursor_size()?;
    let (buffer, target) = written(cx, pattern(7, Fourcc::AR24, size)?)?;
    cx.plane_shows(Cursor, &buffer, &target)?;
    cx.agree()
}

/// A buffer of the screen's own with `picture`, and what must be seen of it.
fn written(cx: &mut Cx, picture: Picture) -> Result<(Buffer, Target), Trouble> {
    let dumb = cx.screen()?.dumb(picture.fourcc, picture.size)?;
    let buffer = cx.publish(Guest::Screen, dumb)?;
    cx.cpu_writes(&buffer, &picture)?;
    Ok((buffer, Target { before: Some(picture.clone()), picture }))
}

fn pattern(stamp: u32, fourcc: Fourcc, size: Size) -> Result<Picture> {
    Pattern { stamp }.picture(fourcc, size)
}

/// What of a frame lies outside the screen is not shown, and the rest is where it belongs.
fn cuts_at_the_edge(cx: &mut Cx, at: (i32, i32)) -> Outcome {
    let (lower, lower_target) = written(cx, pattern(3, Fourcc::XR24, px(288, 160))?)?;
    let (upper, upper_target) = written(cx, pattern(7, Fourcc::XR24, SIZE)?)?;
    let layer = Layer { at, plane: Some(PlaneKind::Overlay), ..Layer::whole(&upper) };
    cx.screen_shows(&[(Layer::whole(&lower), &lower_target), (layer, &upper_target)])?;
    cx.agree()
}

/// Every alpha from transparent to opaque, with the most colour that it may have, half of it, and none.
fn blends_every_alpha(cx: &mut Cx, role: Role) -> Outcome {
    let kind = if role == Cursor { PlaneKind::Cursor } else { PlaneKind::Overlay };
    let size = size_on(cx, kind, px(256, 12))?;
    let pixel = |n: u32| {
        let (alpha, y) = (n % 256, n / 256);
        // B, G, R: of pre-multiplied pixels none is above alpha.
        let colours = [alpha, alpha / 2, 0];
        let turned = |channel: usize| colours[(channel + y as usize) % 3] as u8;
        [turned(0), turned(1), turned(2), alpha as u8]
    };
    let bytes = (0..size.width * size.height).flat_map(pixel).collect();
    let (buffer, target) = written(cx, Picture { size, fourcc: Fourcc::AR24, bytes })?;
    cx.plane_shows(role, &buffer, &target)?;
    cx.agree()
}

/// The cursor lies over the overlay, which lies over the lowest plane.
fn lie_in_order(cx: &mut Cx) -> Outcome {
    let (lower, lower_target) = written(cx, pattern(3, Fourcc::XR24, px(120, 90))?)?;
    let (middle, middle_target) = written(cx, pattern(5, Fourcc::XR24, px(100, 80))?)?;
    // Opaque, so that the order is all that decides.
    let size = size_on(cx, PlaneKind::Cursor, px(64, 64))?;
    let mut pointer = pattern(7, Fourcc::AR24, size)?;
    pointer.bytes.chunks_exact_mut(4).for_each(|pixel| pixel[3] = 0xff);
    let (upper, upper_target) = written(cx, pointer)?;
    let at = |buffer, at, kind| Layer { at, plane: Some(kind), ..Layer::whole(buffer) };
    cx.screen_shows(&[
        (Layer::whole(&lower), &lower_target),
        (at(&middle, (10, 7), PlaneKind::Overlay), &middle_target),
        (at(&upper, (33, 19), PlaneKind::Cursor), &upper_target),
    ])?;
    cx.agree()
}

/// A colour that is blended over another one is not darker than itself: `out = fg + (1 - fg.alpha) * bg`.
///
/// The sum may pass white, as it does for the glow of a pointer; then it is white.
fn never_darken(cx: &mut Cx) -> Outcome {
    let (width, height) = (64, 16);
    let lower = Picture { size: px(width, height), fourcc: Fourcc::XR24, bytes: vec![0xe0; 64 * 16 * 4] };
    let glow = [0x40, 0x80, 0xc0, 0x20].repeat(64 * 16);
    let upper = Picture { size: px(width, height), fourcc: Fourcc::AR24, bytes: glow };
    let (lower, lower_target) = written(cx, lower)?;
    let (upper, upper_target) = written(cx, upper)?;
    let layer = Layer { plane: Some(PlaneKind::Overlay), ..Layer::whole(&upper) };
    cx.screen_shows(&[(Layer::whole(&lower), &lower_target), (layer, &upper_target)])?;
    cx.agree()
}

/// A buffer of one card is on the screens of both, and goes on being shown by the one when the other lets go of it.
fn two_cards_at_once(cx: &mut Cx) -> Outcome {
    let (buffer, mut target) = written(cx, pattern(7, Fourcc::XR24, px(250, 130))?)?;
    for stamp in [8, 9] {
        cx.screen_shows(&[(Layer::whole(&buffer), &target)])?;
        cx.shows_on(ScreenB, &[(Layer::whole(&buffer), &target)])?;
        let next = pattern(stamp, Fourcc::XR24, px(250, 130))?;
        cx.cpu_writes(&buffer, &next)?;
        target = Target { before: Some(std::mem::replace(&mut target.picture, next.clone())), picture: next };
    }
    cx.black_screen_of(ScreenB)?;
    cx.screen_shows(&[(Layer::whole(&buffer), &target)])?;
    cx.agree()
}
