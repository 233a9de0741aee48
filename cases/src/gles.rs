//! What OpenGL ES and EGL say about dma-bufs must be true: what they list works, what they do not list is refused.

use handover::dmabuf::Edge;
use handover::error::Cause;
use handover::gbm::NodeKind;
use handover::gles::{GlImage, Gles as Device, ListedModifier, Through, can_create};
use handover::prelude::*;
use handover::udmabuf;

use crate::drivers::{LLVMPIPE_GL, MADE_CODE, crashes};

const SIZE: Size = px(250, 130);

/// On the GBM platform it is the same renderer, behind another winsys: so few formats, of every size of pixel.
const ON_GBM: [Fourcc; 3] = [Fourcc::XR24, Fourcc::RG16, Fourcc::AB4H];

const WAYS: [(&str, Through); 2] = [("plain", Through::Texture2d), ("external", Through::External)];

/// What EGL documents for dma-bufs that it does not take. Lacks, of memory or of files, are called something else.
const REFUSALS: [&str; 3] = ["EGL_BAD_ACCESS", "EGL_BAD_MATCH", "EGL_BAD_PARAMETER"];

/// Of where rows lie Mesa's gallium says the last; it is no lack, as the same buffer is taken in before and afterwards.
const LAYOUT_REFUSALS: [&str; 4] = [REFUSALS[0], REFUSALS[1], REFUSALS[2], "EGL_BAD_ALLOC"];

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for (name, through) in WAYS {
        for &fourcc in Fourcc::PACKED_RGB {
            let case = cases
                .add(format!("gles::samples_what_it_lists::{name}::{fourcc}"), move |cx| samples(cx, fourcc, through));
            case.from(Udmabuf).to(Gles).needs(Need::Imports { role: Gles, format: fourcc.to_string() });
            if [Fourcc::AR24, Fourcc::AB24].contains(&fourcc) {
                case.must_fail_under("egl-alpha-ignored");
            }
        }
        let case = cases.add(format!("gles::a_shader_learns_the_size_of_a_texture::{name}"), move |cx| {
            learns_the_size(cx, through)
        });
        case.from(Udmabuf).to(Gles);
        match through {
            Through::Texture2d => case.must_fail_under("egl-height-rounded").must_fail_under("egl-import-takes-fd"),
            Through::External => {
                case.known(LLVMPIPE_GL, "cases/findings/llvmpipe-external-size.md", "the height that a shader is told")
            }
        };
    }
    for node in [NodeKind::Card, NodeKind::Render] {
        for fourcc in ON_GBM {
            for (name, through) in WAYS {
                let case = cases
                    .add(format!("gles::samples_on_gbm::{node}::{name}::{fourcc}"), move |cx| {
                        samples_on_gbm(cx, node, fourcc, through)
                    })
                    .from(Udmabuf)
                    .to(Gles);
                case.info.opens.push(format!("gles on gbm ({node})"));
                if (node, fourcc, through) == (NodeKind::Render, Fourcc::XR24, Through::Texture2d) {
                    case.must_fail_under("egl-red-blue");
                }
            }
            let case = cases
                .add(format!("gles::draws_on_gbm::{node}::{fourcc}"), move |cx| draws_on_gbm(cx, node, fourcc))
                .from(Udmabuf)
                .to(Gles);
            if (node, fourcc) == (NodeKind::Render, Fourcc::XR24) {
                case.must_fail_under("egl-red-blue");
            }
        }
        cases
            .add(format!("gles::exports_on_gbm::{node}"), move |cx| exports_on_gbm(cx, node))
            .from(Gles)
            .to(Cpu)
            .must_fail_under("egl-pitch-too-large")
            .must_fail_under("egl-export-row-late");
    }
    cases.add("gles::hands_on_what_it_took_in", hands_on).from(Udmabuf).to(Gles).known(
        LLVMPIPE_GL,
        "cases/findings/mesa-export-no-fd.md",
        "success, but no fd",
    );
    for (name, through) in WAYS {
        cases
            .add(format!("gles::takes_in_every_format_that_it_lists::{name}"), move |cx| {
                takes_in_what_it_lists(cx, through)
            })
            .from(Udmabuf)
            .to(Gles)
            .must_fail_under("egl-format-invented");
    }
    cases
        .add("gles::takes_in_every_modifier_that_it_lists", takes_in_modifiers)
        .from(Udmabuf)
        .to(Gles)
        .must_fail_under("egl-modifier-invented");
    cases
        .add("gles::leaves_no_file_open", leaves_no_file_open)
        .from(Udmabuf)
        .to(Gles)
        .must_fail_under("egl-import-keeps-fd");
    cases
        .add("gles::refuses_external_formats_as_plain_textures", refuses_external_formats)
        .from(Udmabuf)
        .to(Gles)
        .known(LLVMPIPE_GL, "cases/findings/mesa-external-only.md", "listed as external only, and taken in");
    let case = cases.add("gles::refuses_a_frame_that_ends_behind_its_buffer", |cx| {
        refuses_a_layout(cx, "a frame behind its end", |plane| plane.offset = 1 << 20)
    });
    case.from(Udmabuf).to(Gles);
    case.known(LLVMPIPE_GL, "cases/findings/llvmpipe-import-bounds.md", "a frame behind its end was imported");
    let case = cases.add("gles::refuses_a_pitch_shorter_than_a_row", |cx| {
        refuses_a_layout(cx, "a pitch of half a row", |plane| plane.pitch = 512)
    });
    case.from(Udmabuf).to(Gles);
    case.known(LLVMPIPE_GL, "cases/findings/llvmpipe-import-bounds.md", "a pitch of half a row was imported");
    for rows in [132, 130] {
        let name = format!("gles::draws_to_a_frame_that_ends_with_its_buffer::{rows}_rows");
        let case = cases.add(name, move |cx| draws_the_last_row(cx, rows)).from(Udmabuf).to(Gles);
        match rows.is_multiple_of(4) {
            true => case.must_fail_under("egl-red-blue"),
            false => crashes(case, LLVMPIPE_GL, "cases/findings/llvmpipe-rows-behind.md", MADE_CODE),
        };
    }
    cases
        .add("gles::knows_no_modifier_of_a_format_that_it_does_not_list", knows_no_modifier)
        .to(Gles)
        .must_fail_under("egl-modifiers-lost");
    cases
        .add("gles::lists_modifiers_of_every_format_or_of_none", lists_modifiers)
        .to(Gles)
        .must_fail_under("egl-modifiers-lost");
    cases
        .add("gles::takes_in_what_it_exports", takes_in_what_it_exports)
        .from(Gles)
        .must_fail_under("egl-export-modifier-invented")
        .must_fail_under("egl-export-planes-endless")
        .must_fail_under("egl-export-pitch-zero");
    for (name, through) in WAYS {
        let name = format!("gles::samples_a_frame_whose_modifier_is_not_told::{name}");
        let case = cases.add(name, move |cx| samples_untold(cx, through)).from(Udmabuf).to(Gles);
        if through == Through::Texture2d {
            case.must_fail_under("egl-offset-ignored");
        }
    }
    cases
        .add("gles::refuses_a_format_that_it_does_not_list", refuses_a_format)
        .from(Udmabuf)
        .to(Gles)
        .must_fail_under("egl-unchecked");
    cases
        .add("gles::refuses_every_other_format_that_is_known", refuses_unlisted)
        .from(Udmabuf)
        .to(Gles)
        .must_fail_under("egl-unchecked");
    cases
        .add("gles::refuses_a_modifier_that_it_does_not_list", refuses_a_modifier)
        .from(Udmabuf)
        .to(Gles)
        .must_fail_under("egl-unchecked");
    cases
        .add("gles::refuses_a_modifier_that_only_its_upper_half_tells_from_linear", refuses_a_modifier_above_linear)
        .from(Udmabuf)
        .to(Gles)
        .must_fail_under("egl-modifier-of-32-bits");
}

/// A picture that the CPU wrote, in memory of nobody's, as a texture.
fn texture<T>(
    cx: &mut Cx,
    fourcc: Fourcc,
    through: Through,
    look: impl FnOnce(&GlImage) -> Result<T>,
) -> Result<T, Trouble> {
    let gles = cx.gles()?;
    texture_of(cx, &gles, fourcc, through, look)
}

fn texture_of<T>(
    cx: &mut Cx,
    gles: &Device,
    fourcc: Fourcc,
    through: Through,
    look: impl FnOnce(&GlImage) -> Result<T>,
) -> Result<T, Trouble> {
    let buffer = cx.udmabuf(fourcc, SIZE, &[Guest::Gles(gles)])?;
    cx.cpu_writes(&buffer, &Pattern { stamp: 7 }.picture(fourcc, SIZE)?)?;
    let image = cx.hold(&Guest::Gles(gles), &buffer, Access::Read, |shared| gles.import(shared, through))?;
    Ok(look(&image)?)
}

/// Every pixel of every format arrives in the shader.
fn samples(cx: &mut Cx, fourcc: Fourcc, through: Through) -> Outcome {
    let seen = texture(cx, fourcc, through, GlImage::sampled_picture)?;
    cx.sees("gles", &Target::stamped(7, fourcc, SIZE)?, &seen)?;
    cx.agree()
}

/// Every pixel of an imported dma-buf arrives in the shader on the GBM platform, too.
fn samples_on_gbm(cx: &mut Cx, node: NodeKind, fourcc: Fourcc, through: Through) -> Outcome {
    let gles = cx.gles_on_gbm(node)?;
    cx.fact("on", format!("{}, {}", gles.name(), gles.identity()));
    let seen = texture_of(cx, &gles, fourcc, through, GlImage::sampled_picture)?;
    cx.sees(gles.name(), &Target::stamped(7, fourcc, SIZE)?, &seen)?;
    cx.agree()
}

/// What the GBM platform draws to an imported dma-buf is in it.
fn draws_on_gbm(cx: &mut Cx, node: NodeKind, fourcc: Fourcc) -> Outcome {
    let gles = cx.gles_on_gbm(node)?;
    cx.fact("on", format!("{}, {}", gles.name(), gles.identity()));
    draws(cx, &gles, fourcc, SIZE, 4)
}

/// `gles` draws to a frame in memory of nobody's with rows on pages of their own, and `rows_behind` rows behind them.
fn draws(cx: &mut Cx, gles: &Device, fourcc: Fourcc, size: Size, rows_behind: u64) -> Outcome {
    const PITCH: u64 = 4096;
    let frame = Frame::linear(fourcc, size, Plane { offset: 0, pitch: PITCH });
    let buffer = cx.publish(Guest::Cpu, udmabuf::for_frame(frame, rows_behind * PITCH)?)?;
    let target = Target::stamped(7, fourcc, size)?;
    if let Some(before) = &target.before {
        cx.cpu_writes(&buffer, before)?;
    }
    // Whoever draws behind the end shall not draw, unseen, into what happens to lie there.
    let mut edge = None;
    let image = cx.hold(&Guest::Gles(gles), &buffer, Access::Write, |shared| {
        edge = Some(Edge::behind_the_next(shared.dmabuf.size)?);
        gles.import(shared, Through::Texture2d)
    })?;
    image.draw_pattern(7)?;
    drop(edge);
    cx.cpu_sees_of("the cpu, where OpenGL ES drew,", &buffer, &target)?;
    cx.agree()
}

/// A frame may end with its buffer, whatever blocks a renderer works in.
fn draws_the_last_row(cx: &mut Cx, rows: u32) -> Outcome {
    let gles = cx.gles()?;
    draws(cx, &gles, Fourcc::XR24, px(250, rows), 0)
}

/// A texture of the GBM platform's own is handed out, and the CPU finds in it what was drawn.
fn exports_on_gbm(cx: &mut Cx, node: NodeKind) -> Outcome {
    let gles = cx.gles_on_gbm(node)?;
    let image = gles.create(Fourcc::AB24, SIZE)?;
    let buffer = cx.publish(Guest::Gles(&gles), image.export()?)?;
    let target = Target::stamped(7, Fourcc::AB24, SIZE)?;
    if let Some(before) = &target.before {
        cx.cpu_writes(&buffer, before)?;
    }
    cx.mapped(&Guest::Gles(&gles), &buffer, Access::Write, |_, _| Ok(image.draw_pattern(7)?))?;
    cx.cpu_sees(&buffer, &target)?;
    cx.agree()
}

/// An image that was taken in is handed on as the same dma-buf.
fn hands_on(cx: &mut Cx) -> Outcome {
    let gles = cx.gles()?;
    if !gles.exports() {
        return Err(Trouble::Skip("gles lacks EGL_MESA_image_dma_buf_export".to_owned()));
    }
    let buffer = cx.udmabuf(Fourcc::AR24, SIZE, &[Guest::Gles(&gles)])?;
    let (first, second) = cx.mapped(&Guest::Gles(&gles), &buffer, Access::Read, |_, shared| {
        let handed_on = gles.import(shared, Through::Texture2d)?.export()?;
        Ok((shared.dmabuf.identity()?.inode, handed_on.dmabuf.identity()?.inode))
    })?;
    cx.equals("inode of the dma-buf", first, second);
    cx.agree()
}

/// Planes one behind the other, each row on a multiple of 256 bytes; `None` if the format is not known here.
pub(crate) fn roomy(fourcc: Fourcc) -> Option<(Frame, u64)> {
    let (mut planes, mut end) = (Vec::new(), 0);
    for shape in fourcc.planes()? {
        let pitch = shape.row(SIZE.width).next_multiple_of(256);
        planes.push(Plane { offset: end, pitch });
        end += (pitch * u64::from(shape.rows(SIZE.height))).next_multiple_of(4096);
    }
    Some((Frame { size: SIZE, fourcc, modifier: Modifier::LINEAR, planes }, end))
}

/// What `through` makes of every format that is listed with LINEAR, and that `chosen` chooses by its entry: why it is refused.
fn imports_of(
    cx: &mut Cx,
    through: Through,
    chosen: fn(&ListedModifier) -> bool,
) -> Result<Vec<(Fourcc, Option<String>)>, Trouble> {
    let gles = cx.gles()?;
    let linear = |listed: &ListedModifier| listed.modifier == Modifier::LINEAR && chosen(listed);
    let mut frames = Vec::new();
    for fourcc in gles.formats()? {
        if gles.modifiers(fourcc)?.iter().any(linear) {
            // A format whose planes are not known here is one more to learn, and no claim of EGL's that is false.
            frames.extend(roomy(fourcc));
        }
    }
    answers_to(cx, through, frames)
}

/// Why each of the frames is refused, in a buffer with room for each.
fn answers_to(
    cx: &mut Cx,
    through: Through,
    frames: Vec<(Frame, u64)>,
) -> Result<Vec<(Fourcc, Option<String>)>, Trouble> {
    let gles = cx.gles()?;
    let bytes = frames.iter().map(|(_, bytes)| *bytes).max().unwrap_or(4096);
    let (dmabuf, _) = udmabuf::create(bytes)?;
    let first = Frame::linear(Fourcc::XR24, px(1, 1), Plane { offset: 0, pitch: 4096 });
    let buffer = cx.publish(Guest::Cpu, SharedFrame { dmabuf, frame: first })?;
    cx.mapped(&Guest::Gles(&gles), &buffer, Access::Read, |cx, shared| {
        let mut import = |(frame, _): (Frame, u64)| {
            let fourcc = frame.fourcc;
            let told = SharedFrame { dmabuf: shared.dmabuf.try_clone()?, frame };
            let what = format!("an import of {fourcc} (eglCreateImage)");
            Ok((fourcc, cx.failing(&what, |_| gles.import(&told, through)).err().map(|why| why.to_string())))
        };
        frames.into_iter().map(&mut import).collect()
    })
}

/// Every format that is listed with LINEAR is taken in, by a texture for which it is listed.
fn takes_in_what_it_lists(cx: &mut Cx, through: Through) -> Outcome {
    let chosen = match through {
        Through::External => |_: &ListedModifier| true,
        Through::Texture2d => |listed: &ListedModifier| !listed.external_only,
    };
    let imports = imports_of(cx, through, chosen)?;
    if imports.is_empty() {
        return Err(Trouble::Skip("EGL lists LINEAR for no format that is known here".to_owned()));
    }
    for (fourcc, refusal) in imports {
        cx.claim(fourcc, refusal.is_none(), || {
            Finding::new(format!("{fourcc} LINEAR is listed, and refused"))
                .row("said", refusal.unwrap_or_default())
                .row("like", "a list of formats of which one was not tried on this device")
        });
    }
    cx.agree()
}

/// Modifiers whose frames have as many planes as LINEAR ones, and all in whole pages: LINEAR and Intel's X, Y and 4 tiling
/// (`drm_fourcc.h`). Of others only their driver knows how many planes they have, so they can't be tried with any buffer.
const PLAIN_MODIFIERS: [u64; 4] = [0, 0x0100_0000_0000_0001, 0x0100_0000_0000_0002, 0x0100_0000_0000_0009];

/// Every modifier that is listed for XR24 is taken in with a buffer that has room for it, whatever is in there.
fn takes_in_modifiers(cx: &mut Cx) -> Outcome {
    let gles = cx.gles()?;
    let listed = gles.modifiers(Fourcc::XR24)?;
    if listed.is_empty() {
        return Err(Trouble::Skip("EGL lists no modifier of XR24".to_owned()));
    }
    let (plain, others): (Vec<_>, Vec<_>) =
        listed.into_iter().map(|listed| listed.modifier).partition(|modifier| PLAIN_MODIFIERS.contains(&modifier.0));
    if !others.is_empty() {
        cx.fact("not tried", others.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    // Rows of whole tiles, and as many of them: a tile is 4 KiB, 512 B or 128 B wide.
    let (dmabuf, _) = udmabuf::create(1024 * 256)?;
    let frame = Frame::linear(Fourcc::XR24, px(256, 256), Plane { offset: 0, pitch: 1024 });
    let buffer = cx.publish(Guest::Cpu, SharedFrame { dmabuf, frame })?;
    let answers = cx.mapped(&Guest::Gles(&gles), &buffer, Access::Read, |_, shared| {
        let import = |modifier: &Modifier| {
            let frame = Frame { modifier: *modifier, ..shared.frame.clone() };
            let told = SharedFrame { dmabuf: shared.dmabuf.try_clone()?, frame };
            Ok((*modifier, gles.import(&told, Through::External).err().map(|why| why.to_string())))
        };
        plain.iter().map(import).collect::<Result<Vec<_>, Trouble>>()
    })?;
    for (modifier, refusal) in answers {
        cx.claim(modifier, refusal.is_none(), || {
            Finding::new(format!("EGL lists XR24 with the modifier {modifier}, and refuses to take it in"))
                .row("said", refusal.unwrap_or_default())
                .row("like", "a list of what the hardware has, and not of what this driver takes")
        });
    }
    cx.agree()
}

/// A frame that is taken in and let go leaves no file open, and no buffer behind.
fn leaves_no_file_open(cx: &mut Cx) -> Outcome {
    const TIMES: u32 = 8;
    let gles = cx.gles()?;
    let frame = Frame::linear(Fourcc::XR24, px(64, 64), Plane { offset: 0, pitch: 256 });
    let once = || gles.import(&udmabuf::for_frame(frame.clone(), 0)?, Through::Texture2d).map(drop);
    // What is made at first and kept is no leak.
    once()?;
    let (files, dmabufs) = (cx.files(), cx.dmabufs()?);
    for _ in 0..TIMES {
        once()?;
    }
    cx.no_file_stays(TIMES, "imports by EGL", &files);
    cx.equals(format!("dma-bufs after {TIMES} imports by EGL"), dmabufs, cx.dmabufs()?);
    cx.agree()
}

/// What is listed as external only is not taken for a plain texture.
fn refuses_external_formats(cx: &mut Cx) -> Outcome {
    let imports = imports_of(cx, Through::Texture2d, |listed| listed.external_only)?;
    if imports.is_empty() {
        return Err(Trouble::Skip("EGL lists no format LINEAR that is external only".to_owned()));
    }
    let taken = imports.iter().filter(|(_, refusal)| refusal.is_none()).map(|(fourcc, _)| fourcc.to_string());
    let taken: Vec<_> = taken.collect();
    cx.claim("formats that are external only", taken.is_empty(), || {
        let finding =
            format!("{} of {} formats are listed as external only, and taken in as", taken.len(), imports.len());
        Finding::new(format!("{finding} GL_TEXTURE_2D")).row("formats", taken.join(" "))
    });
    cx.agree()
}

/// `eglQueryDmaBufModifiersEXT`: "EGL_BAD_PARAMETER is generated if […] the format is not supported".
fn knows_no_modifier(cx: &mut Cx) -> Outcome {
    let gles = cx.gles()?;
    let listed = gles.formats()?;
    let unheard = Fourcc::new(b"ZZ99");
    let (mut asked, mut told) = (0, Vec::new());
    for &fourcc in Fourcc::PACKED_RGB.iter().chain([&unheard]).filter(|fourcc| !listed.contains(fourcc)) {
        asked += 1;
        if let Ok(modifiers) = gles.modifiers(fourcc) {
            told.push(format!("{fourcc}, with {} modifiers", modifiers.len()));
        }
    }
    cx.claim(format!("modifiers of {asked} formats"), told.is_empty(), || {
        let many = told.len();
        Finding::new(format!("EGL lists {many} of {asked} formats not for import, and answers for their modifiers"))
            .row("target", "EGL_BAD_PARAMETER")
            .row("said", told.join("\n"))
            .row("like", "a list that is not looked at, or an answer for whatever is asked")
    });
    cx.agree()
}

/// `textureSize` tells width and height.
fn learns_the_size(cx: &mut Cx, through: Through) -> Outcome {
    let (width, height) = texture(cx, Fourcc::XR24, through, GlImage::told_size)?;
    let rounded = "a size in whole blocks or tiles that gets out, and moves whatever is sampled by it";
    cx.equals_else("the height that a shader is told of the texture", SIZE.height as f32, height, rounded);
    cx.equals_else("the width that a shader is told of the texture", SIZE.width as f32, width, rounded);
    cx.agree()
}

/// A driver that knows modifiers knows them for every format; one that knows none lists none. Of pixels of more than 8 bytes, and of
/// several planes, drivers may know LINEAR alone, and not say so.
fn lists_modifiers(cx: &mut Cx) -> Outcome {
    let gles = cx.gles()?;
    let formats = gles.formats()?;
    cx.claim("formats", !formats.is_empty(), || Finding::new("EGL imports dma-bufs, and lists no format"));
    let (mut with, mut without) = (0_u32, Vec::new());
    for fourcc in formats.into_iter().filter(|fourcc| fourcc.pixel().is_some()) {
        match gles.modifiers(fourcc)?.is_empty() {
            true => without.push(fourcc.to_string()),
            false => with += 1,
        }
    }
    cx.fact("modifiers", format!("of {with} formats"));
    let is_one = with == 0 || without.is_empty();
    cx.claim("modifiers of every format, or of none", is_one, || {
        let first = without.first().cloned().unwrap_or_default();
        Finding::new(format!("EGL lists {first} for import, and no modifier of it, though it does of others"))
            .row("without", without.join(", "))
    });
    cx.agree()
}

/// What is exported is of a format that is listed for import, with a modifier that is listed of it; LINEAR, or none that has a
/// number, if none is. Its own driver takes it in, and shows what was drawn.
fn takes_in_what_it_exports(cx: &mut Cx) -> Outcome {
    let gles = cx.gles()?;
    if !gles.exports() {
        return Err(Trouble::Skip("gles lacks EGL_MESA_image_dma_buf_export".to_owned()));
    }
    let listed = gles.formats()?;
    for &fourcc in Fourcc::PACKED_RGB.iter().filter(|fourcc| can_create(**fourcc)) {
        let image = gles.create(fourcc, SIZE)?;
        let shared = image.export()?;
        let Frame { fourcc: told, modifier, .. } = shared.frame;
        cx.claim(format!("{fourcc} listed"), listed.contains(&told), || {
            Finding::new(format!("{told} is exported, and not listed for import")).row("made", fourcc)
        });
        if cx.disagrees() {
            return cx.agree();
        }
        let modifiers: Vec<Modifier> = gles.modifiers(told)?.into_iter().map(|listed| listed.modifier).collect();
        let known = match modifiers.is_empty() {
            true => [Modifier::LINEAR, Modifier::INVALID].contains(&modifier),
            false => modifiers.contains(&modifier),
        };
        cx.claim(format!("modifier of {told}"), known, || {
            Finding::new(format!("{told} {modifier} is exported, and not listed for import"))
                .row("listed", format!("{modifiers:?}"))
                .row("like", "a modifier that is not the image's own")
        });
        if cx.disagrees() {
            return cx.agree();
        }
        image.draw_pattern(7)?;
        let seen = gles.import(&shared, Through::External)?.sampled_picture()?;
        cx.sees(format!("gles, of {fourcc} that it exported,"), &Target::stamped(7, fourcc, SIZE)?, &seen)?;
    }
    cx.agree()
}

/// Who made a frame may not know modifiers, and who takes it in not ask for one (`EGL_EXT_image_dma_buf_import` alone): of memory
/// that no GPU laid out it lies as it is told.
fn samples_untold(cx: &mut Cx, through: Through) -> Outcome {
    let gles = cx.gles()?;
    // Multiples of 256, which all hardware takes.
    let frame = Frame::linear(Fourcc::XR24, SIZE, Plane { offset: 65536, pitch: 1280 });
    let shared = udmabuf::for_frame(frame, 65536)?;
    let target = Target::stamped(7, Fourcc::XR24, SIZE)?;
    for picture in target.before.iter().chain([&target.picture]) {
        shared.write(picture)?;
    }
    let frame = Frame { modifier: Modifier::INVALID, ..shared.frame.clone() };
    let image = gles.import(&SharedFrame { dmabuf: shared.dmabuf.try_clone()?, frame }, through)?;
    let reader = match through {
        Through::Texture2d => "gles (2D texture)",
        Through::External => "gles (external texture)",
    };
    cx.sees(reader, &target, &image.sampled_picture()?)?;
    cx.agree()
}

/// An import of `change`d LINEAR XR24 must be refused, as the one and as the other kind of texture. As it is it must be taken.
fn must_be_refused(cx: &mut Cx, what: &str, valid: &[&str], change: impl FnOnce(&mut Frame)) -> Outcome {
    let gles = cx.gles()?;
    let buffer = cx.udmabuf(Fourcc::XR24, SIZE, &[Guest::Gles(&gles)])?;
    let answers = cx.mapped(&Guest::Gles(&gles), &buffer, Access::Read, |cx, shared| {
        let mut frame = shared.frame.clone();
        change(&mut frame);
        let changed = SharedFrame { dmabuf: shared.dmabuf.try_clone()?, frame };
        let mut answers = Vec::new();
        for (name, through) in WAYS {
            gles.import(shared, through)?;
            let import = format!("an import of {what} as {name} texture (eglCreateImage)");
            answers.push((name, cx.failing(&import, |_| gles.import(&changed, through)).err()));
            gles.import(shared, through)?;
        }
        Ok(answers)
    })?;
    let refused = answers.iter().all(|(_, refusal)| refusal.is_some());
    cx.claim(what, refused, || {
        let taken: Vec<&str> = answers.iter().filter(|(_, no)| no.is_none()).map(|(name, _)| *name).collect();
        Finding::new(format!("{what} was imported"))
            .row("as", format!("{} texture", taken.join(" and ")))
            .row("like", "a frame that is taken for another one, or not looked at before somebody samples it")
    });
    for (name, error) in answers.into_iter().filter_map(|(name, refusal)| Some((name, refusal?))) {
        let documented = matches!(&error.cause, Cause::Code(code) if valid.contains(&code.as_str()));
        cx.claim(format!("refusal as {name} texture"), documented, || {
            let finding = Finding::new(format!("{what} is refused as {name} texture, and not with an error for it"));
            finding.row("said", error.to_string()).row("valid", valid.join(", "))
        });
    }
    cx.agree()
}

/// "EGL_BAD_ACCESS is generated if a plane's pitch or offset isn't supported", and none outside the buffer can be.
fn refuses_a_layout(cx: &mut Cx, what: &str, change: fn(&mut Plane)) -> Outcome {
    must_be_refused(cx, what, &LAYOUT_REFUSALS, |frame| frame.planes.iter_mut().for_each(change))
}

fn refuses_a_format(cx: &mut Cx) -> Outcome {
    must_be_refused(cx, "a format that nobody knows", &REFUSALS, |frame| frame.fourcc = Fourcc::new(b"ZZ99"))
}

/// Every format that is known here and that EGL does not list is refused, as the one and as the other kind of texture.
fn refuses_unlisted(cx: &mut Cx) -> Outcome {
    let listed = cx.gles()?.formats()?;
    let unlisted =
        Fourcc::PACKED_RGB.iter().copied().chain(Fourcc::all_yuv()).filter(|fourcc| !listed.contains(fourcc));
    let frames: Vec<_> = unlisted.filter_map(roomy).collect();
    if frames.is_empty() {
        return Err(Trouble::Skip("EGL lists every format that is known here".to_owned()));
    }
    let listed: Vec<_> = [Fourcc::XR24].into_iter().filter_map(roomy).collect();
    for (name, through) in WAYS {
        for (fourcc, refusal) in answers_to(cx, through, frames.clone())? {
            cx.claim(format!("{fourcc} as {name} texture"), refusal.is_some(), || {
                Finding::new(format!("EGL does not list {fourcc} for import, and takes it in as {name} texture"))
            });
        }
        for (fourcc, refusal) in answers_to(cx, through, listed.clone())? {
            cx.claim(format!("{fourcc} as {name} texture afterwards"), refusal.is_none(), || {
                Finding::new(format!("{fourcc} is not taken in as {name} texture after other formats were refused"))
                    .maybe("said", refusal)
            });
        }
    }
    cx.agree()
}

/// Only its upper half tells it from LINEAR.
fn refuses_a_modifier_above_linear(cx: &mut Cx) -> Outcome {
    let what = "a modifier whose lower half is that of LINEAR";
    must_be_refused(cx, what, &REFUSALS, |frame| frame.modifier = Modifier::FOREIGN_ABOVE_LINEAR)
}

fn refuses_a_modifier(cx: &mut Cx) -> Outcome {
    must_be_refused(cx, "a modifier of another vendor", &REFUSALS, |frame| frame.modifier = Modifier::FOREIGN)
}
