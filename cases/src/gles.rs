//! What OpenGL ES and EGL say about dma-bufs must be true: what they list works, what they do not list is refused.

use handover::gles::{GlImage, Through};
use handover::prelude::*;
use handover::share::core::Access;

const SIZE: Size = px(250, 130);

const WAYS: [(&str, Through); 2] = [("plain", Through::Texture2d), ("external", Through::External)];

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for (name, through) in WAYS {
        for &fourcc in Fourcc::PACKED_RGB {
            cases
                .add(format!("gles::samples_what_it_lists::{name}::{fourcc}"), move |cx| samples(cx, fourcc, through))
                .from(Udmabuf)
                .to(Gles)
                .needs(Need::Imports { role: Gles, format: fourcc.to_string() });
        }
        let case = cases.add(format!("gles::a_shader_learns_the_size_of_a_texture::{name}"), move |cx| {
            learns_the_size(cx, through)
        });
        case.from(Udmabuf).to(Gles);
        if through == Through::External {
            case.known("llvmpipe", "cases/findings/llvmpipe-external-size.md", "the height that a shader is told");
        }
    }
    cases.add("gles::lists_at_least_one_modifier_of_each_format", lists_modifiers).to(Gles);
    cases.add("gles::refuses_a_format_that_it_does_not_list", refuses_a_format).from(Udmabuf).to(Gles);
    cases.add("gles::refuses_a_modifier_that_it_does_not_list", refuses_a_modifier).from(Udmabuf).to(Gles);
}

/// A picture that the CPU wrote, in memory of nobody's, as a texture.
fn texture<T>(
    cx: &mut Cx,
    fourcc: Fourcc,
    through: Through,
    look: impl FnOnce(&GlImage) -> Result<T>,
) -> Result<T, Trouble> {
    let gles = cx.gles()?;
    let buffer = cx.udmabuf(fourcc, SIZE, &[Guest::Gles(&gles)])?;
    cx.cpu_writes(&buffer, &Pattern { stamp: 7 }.picture(fourcc, SIZE)?)?;
    let image = cx.hold(&Guest::Gles(&gles), &buffer, Access::Read, |shared| gles.import(shared, through))?;
    Ok(look(&image)?)
}

/// Every pixel of every format arrives in the shader.
fn samples(cx: &mut Cx, fourcc: Fourcc, through: Through) -> Outcome {
    let seen = texture(cx, fourcc, through, GlImage::sampled_picture)?;
    cx.sees("gles", &Target::stamped(7, fourcc, SIZE)?, &seen)?;
    cx.agree()
}

/// `textureSize` tells width and height.
fn learns_the_size(cx: &mut Cx, through: Through) -> Outcome {
    let (width, height) = texture(cx, Fourcc::XR24, through, GlImage::told_size)?;
    cx.equals("the height that a shader is told of the texture", SIZE.height as f32, height);
    cx.equals("the width that a shader is told of the texture", SIZE.width as f32, width);
    cx.agree()
}

/// A format that can be imported has a modifier with which.
fn lists_modifiers(cx: &mut Cx) -> Outcome {
    let gles = cx.gles()?;
    let formats = gles.formats()?;
    cx.claim("formats", !formats.is_empty(), || Finding::new("EGL imports dma-bufs, and lists no format"));
    for fourcc in formats {
        let modifiers = gles.modifiers(fourcc)?;
        cx.claim(format!("modifiers of {fourcc}"), !modifiers.is_empty(), || {
            Finding::new(format!("EGL lists {fourcc} for import, and no modifier of it"))
        });
    }
    cx.agree()
}

/// An import of `change`d LINEAR XR24 must be refused.
fn must_be_refused(cx: &mut Cx, what: &str, change: impl FnOnce(&mut Frame)) -> Outcome {
    let gles = cx.gles()?;
    let buffer = cx.udmabuf(Fourcc::XR24, SIZE, &[Guest::Gles(&gles)])?;
    let refused = cx.mapped(&Guest::Gles(&gles), &buffer, Access::Read, |_, shared| {
        let mut frame = shared.frame.clone();
        change(&mut frame);
        let changed = SharedFrame { dmabuf: shared.dmabuf.try_clone()?, frame };
        // As the one and as the other kind of texture: neither may take it.
        Ok(WAYS.iter().all(|(_, through)| gles.import(&changed, *through).is_err()))
    })?;
    cx.claim(what, refused, || Finding::new(format!("{what} was imported, though EGL does not list it")));
    cx.agree()
}

fn refuses_a_format(cx: &mut Cx) -> Outcome {
    let unheard = Fourcc::new(b"ZZ99");
    must_be_refused(cx, "a format that nobody knows", |frame| frame.fourcc = unheard)
}

fn refuses_a_modifier(cx: &mut Cx) -> Outcome {
    // Another vendor's, which no software renderer and no other vendor's GPU lists.
    must_be_refused(cx, "a modifier of another vendor", |frame| frame.modifier = Modifier(0x0200_0000_0000_0001))
}
