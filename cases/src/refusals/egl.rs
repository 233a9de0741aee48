//! What `eglCreateImage(EGL_LINUX_DMA_BUF_EXT)` refuses.
//!
//! Errors: those of `EGL_EXT_image_dma_buf_import` and `EGL_EXT_image_dma_buf_import_modifiers`. They say nothing of an
//! fd that is no dma-buf. Whether it is taken is therefore not claimed, llvmpipe looks at it only when it draws, and no case does
//! that; whose the fd is they say, of any.

use handover::gles::{Attribute, Gles as Device, attributes_of};
use handover::prelude::*;
use handover::stray::Stray;

use super::{refused, words, works_after};

const SIZE: Size = px(64, 64);

type List = Vec<(Attribute, i64)>;
type Change = fn(&mut List);

fn without(list: &mut List, name: Attribute) {
    list.retain(|(other, _)| *other != name);
}

fn with(list: &mut List, name: Attribute, value: i64) {
    without(list, name);
    list.push((name, value));
}

const CHANGES: [(&str, Change, &[&str]); 16] = [
    // "the list of attributes is incomplete": EGL_BAD_PARAMETER.
    ("no_width", |list| without(list, Attribute::Width), &["EGL_BAD_PARAMETER"]),
    ("no_height", |list| without(list, Attribute::Height), &["EGL_BAD_PARAMETER"]),
    ("no_format", |list| without(list, Attribute::Fourcc), &["EGL_BAD_PARAMETER"]),
    ("no_fd", |list| without(list, Attribute::Fd(0)), &["EGL_BAD_PARAMETER"]),
    ("no_offset", |list| without(list, Attribute::Offset(0)), &["EGL_BAD_PARAMETER"]),
    ("no_pitch", |list| without(list, Attribute::Pitch(0)), &["EGL_BAD_PARAMETER"]),
    // "EGL_BAD_PARAMETER is generated if […] MODIFIER_LO is specified and MODIFIER_HI is not, or the other way round".
    ("half_a_modifier", |list| without(list, Attribute::ModifierHigh(0)), &["EGL_BAD_PARAMETER"]),
    ("the_other_half_of_a_modifier", |list| without(list, Attribute::ModifierLow(0)), &["EGL_BAD_PARAMETER"]),
    ("a_width_of_nothing", |list| with(list, Attribute::Width, 0), &["EGL_BAD_PARAMETER"]),
    ("a_negative_height", |list| with(list, Attribute::Height, -1), &["EGL_BAD_PARAMETER"]),
    // "EGL_BAD_MATCH is generated if the EGL_LINUX_DRM_FOURCC_EXT attribute is set to a format not supported by the
    // EGL."
    ("a_format_that_nobody_knows", |list| with(list, Attribute::Fourcc, 0x3939_5a5a), &["EGL_BAD_MATCH"]),
    // "EGL_BAD_ATTRIBUTE is generated if the value specified for EGL_YUV_COLOR_SPACE_HINT_EXT is not" one of those.
    ("an_unknown_color_space", |list| with(list, Attribute::ColorSpace, 1), &["EGL_BAD_ATTRIBUTE"]),
    ("an_unknown_range", |list| with(list, Attribute::SampleRange, 1), &["EGL_BAD_ATTRIBUTE"]),
    // eglCreateImage: "If an attribute specified in attrib_list is not one of the attributes listed,
    // EGL_BAD_PARAMETER".
    ("an_unknown_attribute", |list| with(list, Attribute::Unknown, 1), &["EGL_BAD_PARAMETER"]),
    // "EGL_BAD_ACCESS is generated if one or more of the values specified for a plane's pitch or offset isn't
    // supported".
    ("a_negative_pitch", |list| with(list, Attribute::Pitch(0), -256), &["EGL_BAD_ACCESS"]),
    ("no_pitch_between_rows", |list| with(list, Attribute::Pitch(0), 0), &["EGL_BAD_ACCESS"]),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for (name, change, valid) in CHANGES {
        cases
            .add(format!("refusals::egl_refuses::{name}"), move |cx| refuses(cx, name, (Fourcc::XR24, change), valid))
            .from(Udmabuf)
            .to(Gles);
    }
    for stray in Stray::ALL {
        let name = format!("refusals::egl_leaves_an_fd_to_its_owner::{}", stray.as_str());
        let case = cases.add(name, move |cx| leaves(cx, stray)).from(Udmabuf).to(Gles);
        match stray {
            Stray::Pipe => {
                case.must_fail_under("egl-import-takes-fd").fails_with("ends, and leaves something behind: fd")
            }
            Stray::Eventfd => case.must_fail_under("egl-import-keeps-fd"),
            _ => case,
        };
    }
    cases
        .add("refusals::egl_refuses::a_plane_too_few", |cx| {
            let change: Change = |list| {
                without(list, Attribute::Fd(1));
                without(list, Attribute::Offset(1));
                without(list, Attribute::Pitch(1));
                without(list, Attribute::ModifierLow(1));
                without(list, Attribute::ModifierHigh(1));
            };
            refuses(cx, "a_plane_too_few", (Fourcc::NV12, change), &["EGL_BAD_PARAMETER"])
        })
        .must_fail_under("egl-unchecked")
        .from(Udmabuf)
        .to(Gles);
}

/// "EGL does not take ownership of the file descriptors": whatever is answered to one that is no dma-buf, it stays whose it is, and
/// nothing stays of the image.
fn leaves(cx: &mut Cx, stray: Stray) -> Outcome {
    let (gles, _buffer, list) = taken(cx, Fourcc::XR24)?;
    let open = stray.open()?;
    let mut wrong = list.clone();
    with(&mut wrong, Attribute::Fd(0), open.number().into());
    gles.import_attributes(&list)?;
    let what = format!("an import of {stray} (EGL_LINUX_DMA_BUF_EXT)");
    let answer = cx.leaving_nothing(&what, |_| gles.import_attributes(&wrong));
    let said = answer.err().map(|error| error.cause.to_string());
    cx.fact("answer", said.as_deref().unwrap_or("taken, and destroyed again"));
    cx.claim(format!("the answer to {what}"), said.as_ref().is_none_or(|said| said.starts_with("EGL_BAD_")), || {
        Finding::new(format!("{what} fails without an error that says so"))
            .row("target", "an image, or EGL_BAD_…")
            .maybe("actual", said.clone())
    });
    works_after(cx, &what, |_| Ok(gles.import_attributes(&list)?))?;
    cx.agree()
}

/// What OpenGL ES takes, with the attributes for it.
fn taken(cx: &mut Cx, fourcc: Fourcc) -> Result<(Device, Buffer, List), Trouble> {
    let gles = cx.gles()?;
    let buffer = cx.udmabuf(fourcc, SIZE, &[Guest::Gles(&gles)])?;
    let list = cx.mapped(&Guest::Gles(&gles), &buffer, Access::Read, |_, shared| Ok(attributes_of(shared)))?;
    Ok((gles, buffer, list))
}

fn refuses(cx: &mut Cx, name: &str, (fourcc, change): (Fourcc, Change), valid: &[&str]) -> Outcome {
    let (gles, _buffer, list) = taken(cx, fourcc)?;
    let mut wrong = list.clone();
    change(&mut wrong);
    let good = |_: &mut Cx| Ok(gles.import_attributes(&list)?);
    refused(cx, &format!("an import by EGL with {}", words(name)), valid, good, |_| gles.import_attributes(&wrong))?;
    cx.agree()
}
