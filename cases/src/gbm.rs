//! What GBM says about buffers must be true: what it supports is made and lies where it says, what it does not is refused,
//! and of what it takes in it tells what it was told.
//!
//! Claims of its documentation are those of `gbm.h` and `gbm.c` in Mesa.

use handover::dmabuf::{SharedPlanes, SplitFrame, page_size};
use handover::gbm::{Bo, Gbm as Device, How, NodeKind, Usage};
use handover::prelude::*;
use handover::udmabuf;

const SIZE: Size = px(250, 130);

/// Every way to ask for rows one after the other.
fn ways() -> Vec<How> {
    let linear = || vec![Modifier::LINEAR];
    let mut ways: Vec<How> =
        [Usage::LINEAR, Usage::RENDERING | Usage::LINEAR, Usage::SCANOUT | Usage::LINEAR].map(How::Plain).to_vec();
    ways.push(How::Modifiers(linear()));
    ways.extend([Usage::default(), Usage::RENDERING].map(|usage| How::ModifiersFor(linear(), usage)));
    ways
}

/// What `how` asks a buffer to be good for.
fn usage(how: &How) -> Usage {
    match how {
        How::Plain(usage) | How::ModifiersFor(_, usage) => *usage,
        How::Modifiers(_) => Usage::default(),
    }
}

/// Uses that are for `gbm_bo_write`, with the size that they are asked for in.
const FOR_WRITING: [(&str, Usage, Size); 3] = [
    ("write", Usage::WRITE, SIZE),
    ("scanout_write", Usage(Usage::SCANOUT.0 | Usage::WRITE.0), SIZE),
    ("cursor_write", Usage(Usage::CURSOR.0 | Usage::WRITE.0), px(64, 64)),
];

/// Where a frame lies in the buffer that GBM takes in.
const PLACES: [(&str, u64); 2] = [("at_its_start", 0), ("behind_others", 65536)];

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for &fourcc in Fourcc::PACKED_RGB {
        cases
            .add(format!("gbm::makes_just_what_it_supports::{fourcc}"), move |cx| makes_what_it_supports(cx, fourcc))
            .from(Gbm);
    }
    cases
        .add("gbm::makes_just_what_it_supports::formats_that_nobody_reads", makes_others)
        .from(Gbm)
        .must_fail_under("gbm-supports-anything");
    cases
        .add("gbm::takes_in_what_it_supports", takes_in_what_it_supports)
        .from(Udmabuf)
        .to(Gbm)
        .must_fail_under("gbm-supports-anything");
    for (name, usage, size) in FOR_WRITING {
        cases
            .add(format!("gbm::makes_what_it_supports_for_writing::{name}"), move |cx| for_writing(cx, usage, size))
            .from(Gbm)
            .known("backend drm", "cases/findings/gbm-write-usage.md", "is said to be supported, and refused");
    }
    cases.add("gbm::makes_what_it_supports_on_a_render_node", on_a_render_node).from(Gbm).known(
        "vgem",
        "cases/findings/gbm-dumb-render-node.md",
        "is said to be supported, and refused",
    );
    let case = cases.add("gbm::counts_planes_of_just_what_it_supports", counts_planes).from(Gbm);
    for says in ["what GBM says of RG24 LINEAR contradicts itself", "what GBM says of BG24 LINEAR contradicts itself"] {
        case.known("vgem", "cases/findings/gbm-plane-count.md", says);
    }
    case.must_fail_under("gbm-supports-anything");
    cases
        .add("gbm::refuses_a_modifier_of_another_vendor", refuses_a_modifier)
        .from(Udmabuf)
        .to(Gbm)
        .must_fail_under("gbm-unchecked");
    cases
        .add("gbm::refuses_a_modifier_that_only_its_upper_half_tells_from_linear", refuses_a_modifier_above_linear)
        .from(Udmabuf)
        .to(Gbm)
        .must_fail_under("gbm-modifier-of-32-bits");
    cases.add("gbm::says_why_it_refuses", says_why).from(Gbm).known(
        "backend drm",
        "cases/findings/gbm-no-errno.md",
        "no errno is set",
    );
    for node in [NodeKind::Card, NodeKind::Render] {
        for (place, offset) in PLACES {
            let name = format!("gbm::tells_where_a_frame_lies_that_it_took_in::{node}::{place}");
            let case = cases.add(name, move |cx| tells_where(cx, node, offset)).from(Udmabuf).to(Gbm);
            for fault in [
                "gbm-pitch-too-large",
                "gbm-pitch-zero",
                "gbm-planes-endless",
                "gbm-modifier-invented",
                "gbm-modifier-untold",
            ] {
                case.must_fail_under(fault);
            }
            if offset > 0 {
                case.known("vgem", "cases/findings/llvmpipe-imported-offset.md", "offset in bytes: 0, not");
            }
        }
        cases
            .add(format!("gbm::has_the_pixels_of_a_frame_whose_modifier_is_not_told::{node}"), move |cx| {
                untold(cx, node)
            })
            .from(Udmabuf)
            .to(Gbm)
            .must_fail_under("gbm-offset-ignored");
        for fourcc in [Fourcc::NV12, Fourcc::YU12] {
            cases
                .add(format!("gbm::hands_on_the_dma_buf_of_each_plane::{node}::{fourcc}"), move |cx| {
                    hands_on_planes(cx, node, fourcc)
                })
                .from(Udmabuf)
                .to(Gbm)
                .known("vgem", "cases/findings/gbm-planes-of-first.md", "hands on plane 1 in another dma-buf than");
        }
        let case = cases
            .add(format!("gbm::hands_on_what_it_took_in::{node}"), move |cx| hands_on(cx, node))
            .from(Udmabuf)
            .to(Gbm)
            .must_fail_under("gbm-pitch-too-large");
        if node == NodeKind::Card {
            case.must_fail_under("prime-import-copies");
        }
    }
    cases
        .add("gbm::refuses_a_frame_that_ends_behind_its_buffer", |cx| {
            refuses(cx, "a frame behind its end", |plane| plane.offset = 1 << 20)
        })
        .from(Udmabuf)
        .to(Gbm)
        .known("vgem", "cases/findings/llvmpipe-import-bounds.md", "a frame behind its end");
    cases
        .add("gbm::refuses_a_pitch_shorter_than_a_row", |cx| {
            refuses(cx, "a pitch of half a row", |plane| plane.pitch = 512)
        })
        .from(Udmabuf)
        .to(Gbm)
        .known("vgem", "cases/findings/llvmpipe-import-bounds.md", "a pitch of half a row");
    cases.add("gbm::leaves_no_file_open", leaves_no_file_open).from(Gbm).must_fail_under("gbm-export-keeps-fd");
}

/// Whether it was made says whether it is supported.
fn as_supported(cx: &mut Cx, gbm: &Device, fourcc: Fourcc, size: Size, how: &How) -> Option<Bo> {
    let supported = gbm.supports(fourcc, usage(how));
    let made = gbm.create(fourcc, size, how);
    let what = format!("{fourcc} {how}");
    let refusal = made.as_ref().err().map(ToString::to_string);
    cx.claim(&what, supported == made.is_ok(), || match refusal {
        Some(why) => Finding::new(format!("{what} is said to be supported, and refused"))
            .row("refusal", why)
            .row("like", "an answer that does not ask the device, or not about all of what is wanted"),
        None => Finding::new(format!("{what} is not said to be supported, and made"))
            .row("like", "an answer about another use, or another device"),
    });
    made.ok()
}

/// `gbm_device_is_format_supported` tells what is made, in every way; and what GBM writes, the CPU finds where GBM says.
fn makes_what_it_supports(cx: &mut Cx, fourcc: Fourcc) -> Outcome {
    let gbm = cx.gbm()?.gives;
    for how in ways() {
        let Some(bo) = as_supported(cx, &gbm, fourcc, SIZE, &how) else { continue };
        let frame = bo.frame().clone();
        cx.equals(format!("format {how}"), fourcc, frame.fourcc);
        cx.equals(format!("modifier {how}"), Modifier::LINEAR, frame.modifier);
        let planes = gbm.planes(fourcc, frame.modifier)?.unwrap_or(0);
        cx.equals(format!("planes {how}"), planes as usize, frame.planes.len());
        let target = Target::stamped(7, fourcc, SIZE)?;
        let buffer = cx.publish(Guest::Gbm(&gbm), bo.export()?)?;
        if let Some(before) = &target.before {
            cx.cpu_writes(&buffer, before)?;
        }
        cx.mapped(&Guest::Gbm(&gbm), &buffer, Access::Write, |_, _| Ok(bo.write(&target.picture)?))?;
        cx.cpu_sees(&buffer, &target)?;
        cx.sees("gbm, whose buffer it is,", &target, &bo.read()?)?;
    }
    cx.agree()
}

/// The same for formats whose pixels nobody here can read: their planes must lie in their buffer.
fn makes_others(cx: &mut Cx) -> Outcome {
    let gbm = cx.gbm()?.gives;
    for fourcc in Fourcc::known().filter(|fourcc| fourcc.pixel().is_none()) {
        for how in ways() {
            let Some(bo) = as_supported(cx, &gbm, fourcc, SIZE, &how) else { continue };
            let planes = gbm.planes(fourcc, Modifier::LINEAR)?.unwrap_or(0);
            cx.equals(format!("planes of {fourcc} {how}"), planes as usize, bo.frame().planes.len());
            cx.equals(format!("format of {fourcc} {how}"), fourcc, bo.export()?.frame.fourcc);
        }
    }
    cx.agree()
}

/// What can be made can be taken in, with as many planes as the format has.
fn takes_in_what_it_supports(cx: &mut Cx) -> Outcome {
    let gbm = cx.gbm()?.gives;
    let supported = Fourcc::known().filter(|fourcc| gbm.supports(*fourcc, Usage::LINEAR));
    let frames: Vec<_> = supported.filter_map(crate::gles::roomy).collect();
    cx.claim("formats", !frames.is_empty(), || Finding::new("GBM supports no format LINEAR that is known here"));
    let bytes = frames.iter().map(|(_, bytes)| *bytes).max().unwrap_or(4096);
    let (dmabuf, _) = udmabuf::create(bytes)?;
    let first = Frame::linear(Fourcc::XR24, px(1, 1), Plane { offset: 0, pitch: 4096 });
    let buffer = cx.publish(Guest::Cpu, SharedFrame { dmabuf, frame: first })?;
    let imports = cx.mapped(&Guest::Gbm(&gbm), &buffer, Access::Read, |_, shared| {
        let import = |(frame, _): (Frame, u64)| {
            let (fourcc, planes) = (frame.fourcc, frame.planes.len());
            let told = SharedFrame { dmabuf: shared.dmabuf.try_clone()?, frame };
            let taken = gbm.import(&told, Usage::default());
            Ok((fourcc, planes, taken.map(|bo| bo.frame().planes.len()).map_err(|why| why.to_string())))
        };
        frames.into_iter().map(import).collect::<Result<Vec<_>, Trouble>>()
    })?;
    for (fourcc, planes, taken) in imports {
        match taken {
            Ok(taken) => cx.equals(format!("planes of {fourcc} that was taken in"), planes, taken),
            Err(why) => cx.claim(fourcc, false, || {
                Finding::new(format!("{fourcc} LINEAR is said to be supported, and refused when it is taken in"))
                    .row("refusal", why)
            }),
        }
    }
    cx.agree()
}

/// The same for buffers that `gbm_bo_write` is to fill, of formats that are made for other uses.
fn for_writing(cx: &mut Cx, usage: Usage, size: Size) -> Outcome {
    let gbm = cx.gbm()?.gives;
    for fourcc in [Fourcc::XR24, Fourcc::AR24, Fourcc::AB24, Fourcc::R8] {
        as_supported(cx, &gbm, fourcc, size, &How::Plain(usage));
    }
    cx.agree()
}

/// What the render node says that it supports can be had there.
fn on_a_render_node(cx: &mut Cx) -> Outcome {
    let device = cx.gbm()?;
    let gbm = device.node(NodeKind::Render)?;
    as_supported(cx, gbm, Fourcc::XR24, SIZE, &How::Plain(Usage::RENDERING | Usage::LINEAR));
    cx.agree()
}

/// A format that no buffer has has no planes with any modifier, and one that buffers have has some.
fn counts_planes(cx: &mut Cx) -> Outcome {
    let gbm = cx.gbm()?.gives;
    for &fourcc in Fourcc::PACKED_RGB {
        let (supported, planes) = (gbm.supports(fourcc, Usage::LINEAR), gbm.planes(fourcc, Modifier::LINEAR)?);
        cx.claim(fourcc, supported == planes.is_some(), || {
            let finding = format!("what GBM says of {fourcc} LINEAR contradicts itself");
            let like = match supported {
                true => "a format that is said to be supported, and that the driver does not know",
                false => "planes of a format that the driver does not have",
            };
            Finding::new(finding)
                .row("supported", supported.to_string())
                .row("planes", format!("{planes:?}"))
                .row("like", like)
        });
    }
    cx.agree()
}

/// A modifier that the device has not has no planes, is not made, and is not taken in; a choice goes to the other one.
fn refuses_a_modifier(cx: &mut Cx) -> Outcome {
    let gbm = cx.gbm()?.gives;
    if let Some(planes) = gbm.planes(Fourcc::XR24, Modifier::FOREIGN)? {
        return Err(Trouble::Skip(format!(
            "XR24 {} has {planes} planes, so it is no foreign one here",
            Modifier::FOREIGN
        )));
    }
    let foreign = vec![Modifier::FOREIGN];
    for how in [How::Modifiers(foreign.clone()), How::ModifiersFor(foreign, Usage::RENDERING)] {
        cx.claim(format!("refusal {how}"), gbm.create(Fourcc::XR24, SIZE, &how).is_err(), || {
            Finding::new(format!("XR24 {how} was made, though it has no planes"))
        });
    }
    let either = vec![Modifier::FOREIGN, Modifier::LINEAR];
    let chosen = gbm.create(Fourcc::XR24, SIZE, &How::Modifiers(either))?.frame().modifier;
    cx.equals("modifier that is chosen", Modifier::LINEAR, chosen);
    took_in(cx, &gbm, SIZE, |frame| frame.modifier = Modifier::FOREIGN, "a modifier of another vendor")?;
    cx.agree()
}

/// One that is told from LINEAR by its upper half alone.
fn refuses_a_modifier_above_linear(cx: &mut Cx) -> Outcome {
    let gbm = cx.gbm()?.gives;
    let above = Modifier::FOREIGN_ABOVE_LINEAR;
    if gbm.planes(Fourcc::XR24, above)?.is_some() {
        return Err(Trouble::Skip(format!("XR24 {above} has planes, so it is no foreign one here")));
    }
    let what = "a modifier whose lower half is that of LINEAR";
    took_in(cx, &gbm, SIZE, |frame| frame.modifier = above, what)?;
    cx.agree()
}

/// "If an error occurs during allocation NULL will be returned and errno set."
fn says_why(cx: &mut Cx) -> Outcome {
    let gbm = cx.gbm()?.gives;
    let refusals = [
        (Fourcc::new(b"ZZ99"), How::Plain(Usage::LINEAR)),
        (Fourcc::RA24, How::Plain(Usage::LINEAR)),
        (Fourcc::XR24, How::Modifiers(vec![Modifier::FOREIGN])),
    ];
    for (fourcc, how) in refusals {
        let Err(error) = gbm.create(fourcc, SIZE, &how) else { continue };
        let why = error.to_string();
        cx.claim(format!("errno of {fourcc} {how}"), !why.contains("no errno is set"), || {
            Finding::new(format!("{fourcc} {how} is refused, and no errno is set"))
        });
    }
    cx.agree()
}

/// A multiple of 256, which all hardware takes, and not the next one above a row.
const LENT_PITCH: u64 = 1280;

/// An XR24 picture in memory of nobody's, `offset` bytes from its start.
fn lent(cx: &mut Cx, offset: u64) -> Result<(Buffer, Target), Trouble> {
    let frame = Frame::linear(Fourcc::XR24, SIZE, Plane { offset, pitch: LENT_PITCH });
    let buffer = cx.publish(Guest::Cpu, udmabuf::for_frame(frame, 65536)?)?;
    let target = Target::stamped(7, Fourcc::XR24, SIZE)?;
    cx.cpu_writes(&buffer, &target.picture)?;
    Ok((buffer, target))
}

/// The functions that ask where the planes lie answer what the import was told, and that is where the pixels are.
fn tells_where(cx: &mut Cx, node: NodeKind, offset: u64) -> Outcome {
    let device = cx.gbm()?;
    let gbm = device.node(node)?;
    let (buffer, target) = lent(cx, offset)?;
    let bo = cx.hold(&Guest::Gbm(gbm), &buffer, Access::Read, |shared| gbm.import(shared, Usage::default()))?;
    let frame = bo.frame().clone();
    cx.sees(gbm.name(), &target, &bo.read()?)?;
    cx.equals("format", Fourcc::XR24, frame.fourcc);
    let like = "the modifier of what the device would make itself, and not of what it took in";
    cx.equals_else("the modifier that gbm_bo_get_modifier tells", Modifier::LINEAR, frame.modifier, like);
    cx.equals("planes", 1, frame.planes.len());
    for plane in &frame.planes {
        let like = "a pitch that is computed anew, by the alignment of the device";
        cx.equals_else("the pitch in bytes that gbm_bo_get_stride_for_plane tells", LENT_PITCH, plane.pitch, like);
        cx.equals("offset in bytes", offset, plane.offset);
    }
    cx.agree()
}

/// `DRM_FORMAT_MOD_INVALID` leaves the modifier to the driver: memory that no GPU laid out lies as it is told.
fn untold(cx: &mut Cx, node: NodeKind) -> Outcome {
    let device = cx.gbm()?;
    let gbm = device.node(node)?;
    let (buffer, target) = lent(cx, 65536)?;
    let bo = cx.hold(&Guest::Gbm(gbm), &buffer, Access::Read, |shared| {
        let frame = Frame { modifier: Modifier::INVALID, ..shared.frame.clone() };
        gbm.import(&SharedFrame { dmabuf: shared.dmabuf.try_clone()?, frame }, Usage::default())
    })?;
    cx.sees(gbm.name(), &target, &bo.read()?)?;
    cx.agree()
}

/// What was taken in is handed on as the same dma-buf.
fn hands_on(cx: &mut Cx, node: NodeKind) -> Outcome {
    let device = cx.gbm()?;
    let gbm = device.node(node)?;
    let (buffer, target) = lent(cx, 0)?;
    let (first, second) = cx.mapped(&Guest::Gbm(gbm), &buffer, Access::Read, |_, shared| {
        let handed_on = gbm.import(shared, Usage::default())?.export()?;
        Ok((shared.dmabuf.identity()?.inode, handed_on))
    })?;
    let handed_on = second.dmabuf.identity()?.inode;
    cx.claim("inode of the dma-buf", first == handed_on, || {
        Finding::new(format!("gbm ({node}) hands on another buffer than it took in"))
            .row("target", format!("dma-buf {first}"))
            .row("actual", format!("dma-buf {handed_on}"))
            .row("like", "an import that makes a buffer of its own, such as a copy")
    });
    cx.sees("cpu, after the bo is gone,", &target, &second.read_back()?)?;
    cx.agree()
}

/// Each plane comes with an fd of a dma-buf of its own, and is handed on as that one, where it lies.
fn hands_on_planes(cx: &mut Cx, node: NodeKind, fourcc: Fourcc) -> Outcome {
    const PLAIN: Size = px(64, 64);
    let device = cx.gbm()?;
    let gbm = device.node(node)?;
    let shapes = fourcc.planes().unwrap_or_default();
    let place = |n: usize| Plane { offset: 0, pitch: shapes[n].row(PLAIN.width).next_multiple_of(256) };
    let planes: Vec<Plane> = (0..shapes.len()).map(place).collect();
    let bytes = |n: usize| (planes[n].pitch * u64::from(shapes[n].rows(PLAIN.height))).next_multiple_of(page_size());
    let dmabufs =
        (0..shapes.len()).map(|n| udmabuf::create(bytes(n)).map(|(dmabuf, _)| dmabuf)).collect::<Result<_>>()?;
    let frame = Frame { size: PLAIN, fourcc, modifier: Modifier::LINEAR, planes };
    let split = SplitFrame::new(frame, dmabufs)?;
    let target = Target::stamped(7, fourcc, PLAIN)?;
    split.write(&target.picture)?;
    let handed_on = gbm.import(&split, Usage::default())?.export_planes()?;
    cx.equals("planes", split.frame().planes.len(), handed_on.frame().planes.len());
    let others: Vec<usize> = (0..shapes.len().min(handed_on.frame().planes.len()))
        .filter(|n| split.dmabuf_of(*n).inode() != handed_on.dmabuf_of(*n).inode())
        .collect();
    cx.claim("dma-buf of each plane", others.is_empty(), || {
        let n = others[0];
        let told = |shared: &SplitFrame| format!("dma-buf {}", shared.dmabuf_of(n).inode());
        Finding::new(format!("gbm ({node}) hands on plane {n} in another dma-buf than it took it in"))
            .row("target", told(&split))
            .row("actual", told(&handed_on))
            .row("planes", format!("{others:?}"))
    });
    let pitches = |shared: &SplitFrame| {
        format!("{:?}", shared.frame().planes.iter().map(|plane| plane.pitch).collect::<Vec<_>>())
    };
    cx.equals("pitches in bytes", pitches(&split), pitches(&handed_on));
    if !cx.disagrees() {
        cx.sees("cpu, of what was handed on,", &target, &handed_on.read_back()?)?;
    }
    cx.agree()
}

/// A LINEAR XR24 frame in memory of nobody's, `change`d, must not be taken in. As it is it must, before and after: GBM documents
/// no errno for what it refuses, so that is what tells a refusal from a shortage.
fn took_in(cx: &mut Cx, gbm: &Device, size: Size, change: impl FnOnce(&mut Frame), what: &str) -> Outcome {
    let buffer = cx.udmabuf(Fourcc::XR24, size, &[Guest::Gbm(gbm)])?;
    let taken = cx.mapped(&Guest::Gbm(gbm), &buffer, Access::Read, |_, shared| {
        let mut frame = shared.frame.clone();
        change(&mut frame);
        let changed = SharedFrame { dmabuf: shared.dmabuf.try_clone()?, frame };
        gbm.import(shared, Usage::default())?;
        let answer = gbm.import(&changed, Usage::default()).map(|_| changed.to_string());
        gbm.import(shared, Usage::default())?;
        Ok(answer)
    })?;
    match taken {
        Ok(taken) => cx.claim(what, false, || {
            Finding::new(format!("{what} was taken in"))
                .row("taken", taken)
                .row("like", "an import that does not ask the driver, which would have refused it")
        }),
        Err(why) => {
            cx.fact("refused", why);
            cx.claim(what, true, || Finding::new(what));
        }
    }
    Ok(())
}

/// Layouts that lead outside the buffer, or outside a row, are refused: `gbm_bo_map` would lead there.
fn refuses(cx: &mut Cx, what: &'static str, change: fn(&mut Plane)) -> Outcome {
    let gbm = cx.gbm()?.gives;
    took_in(cx, &gbm, SIZE, |frame| frame.planes.iter_mut().for_each(change), what)?;
    cx.agree()
}

/// Making, handing out, taking in, mapping and letting go leaves as many files open as there were.
fn leaves_no_file_open(cx: &mut Cx) -> Outcome {
    let gbm = cx.gbm()?.gives;
    let picture = Pattern { stamp: 7 }.picture(Fourcc::XR24, SIZE)?;
    let once = || -> Result<()> {
        let bo = gbm.create(Fourcc::XR24, SIZE, &How::Plain(Usage::LINEAR))?;
        let taken = gbm.import(&bo.export()?, Usage::default())?;
        taken.write(&picture)?;
        bo.read().map(drop)
    };
    // What is made at first and kept is no leak.
    once()?;
    let before = cx.files();
    for _ in 0..8 {
        once()?;
    }
    cx.no_file_stays(8, "exports and imports by GBM", &before);
    cx.agree()
}
