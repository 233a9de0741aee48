//! Layouts that nobody has to take: an offset or a pitch that is no multiple of anything. Who takes one must have the pixels from
//! where it says.
//!
//! No interface names a multiple. `EGL_EXT_image_dma_buf_import`: "EGL_BAD_ACCESS is generated if one or more of the values
//! specified for a plane's pitch or offset isn't supported"; Mesa's gallium has EGL_BAD_ALLOC for whatever its driver does not take,
//! which is no lack where another frame is taken in before and afterwards. `gbm_bo_import` may refuse and need not say why. `ADDFB2`
//! wants rows that do not overlap and end inside the buffer (`framebuffer_check`), and leaves the rest to the driver (`EINVAL`).
//! Vulkan is `vulkan::draws_with_any_pitch_it_accepts`.

use handover::gbm::Usage;
use handover::gles::Through;
use handover::prelude::*;
use handover::udmabuf;

use super::{judge, words};

/// In whole blocks of pixels, so that only the layout is odd.
const SIZE: Size = px(60, 16);

/// Bytes of a row of it in XR24.
const ROW: u64 = 240;

/// What everybody takes.
const EVEN: Plane = Plane { offset: 0, pitch: 256 };

/// Bytes behind the frame, so that none of it is outside its buffer.
const BEHIND: u64 = 4096;

const PLANES: [(&str, Plane); 4] = [
    ("an_offset_of_one_pixel", Plane { offset: 4, ..EVEN }),
    ("an_offset_of_half_a_pixel", Plane { offset: 2, ..EVEN }),
    ("a_pitch_of_one_pixel_more", Plane { pitch: ROW + 4, ..EVEN }),
    ("a_pitch_of_half_a_pixel_more", Plane { pitch: ROW + 2, ..EVEN }),
];

/// Who takes a frame in.
struct Taker {
    to: Role,
    /// The refusals that it may give.
    valid: &'static [&'static str],
    /// A fault that moves what is seen by a whole pixel, and of which layout.
    fault: &'static str,
    of: &'static str,
}

const TAKERS: [Taker; 3] = [
    Taker {
        to: Gles,
        valid: &["EGL_BAD_ACCESS", "EGL_BAD_ALLOC"],
        fault: "egl-offset-ignored",
        of: "an_offset_of_one_pixel",
    },
    Taker { to: Gbm, valid: &["E", "no errno is set"], fault: "gbm-offset-ignored", of: "an_offset_of_one_pixel" },
    Taker { to: Screen, valid: &["EINVAL"], fault: "addfb2-pitch", of: "a_pitch_of_one_pixel_more" },
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for Taker { to, valid, fault, of } in TAKERS {
        for (name, plane) in PLANES {
            // Where a frame begins on the screen is `scanout::honours_the_offset_of_a_frame`, with what vkms makes of it.
            if to == Screen && plane.offset > 0 {
                continue;
            }
            let case = cases
                .add(format!("refusals::refuses_a_layout_or_has_the_pixels::{to}::{name}"), move |cx| {
                    refuses_or_sees(cx, to, (name, plane), valid)
                })
                .from(Udmabuf)
                .to(to);
            if name == of {
                case.must_fail_under(fault);
            }
        }
    }
}

/// What everybody takes is seen before and afterwards.
fn refuses_or_sees(cx: &mut Cx, to: Role, (name, plane): (&str, Plane), valid: &[&str]) -> Outcome {
    for plane in [EVEN, plane, EVEN] {
        let shared = udmabuf::for_frame(Frame::linear(Fourcc::XR24, SIZE, plane), BEHIND)?;
        let target = Target::stamped(7, Fourcc::XR24, SIZE)?;
        for picture in target.before.iter().chain([&target.picture]) {
            shared.write(picture)?;
        }
        match sees(cx, to, shared, &target)? {
            Ok(()) => {}
            Err(refusal) if plane != EVEN => {
                cx.fact("refused", refusal.to_string());
                judge(cx, &format!("a frame with {}", words(name)), valid, Err(refusal));
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
    cx.agree()
}

/// Whether `to` takes `shared` in, and then must see `target` in it.
fn sees(cx: &mut Cx, to: Role, shared: SharedFrame, target: &Target) -> Result<Result<()>, Trouble> {
    let (reader, seen) = match to {
        Gles => {
            let gles = cx.gles()?;
            let image = cx.failing("an import by EGL (eglCreateImage)", |_| gles.import(&shared, Through::Texture2d));
            ("gles (2D texture)".to_owned(), image.map(|image| image.sampled_picture()))
        }
        Gbm => {
            let gbm = cx.gbm()?.gives;
            let bo = cx.failing("an import by GBM (gbm_bo_import)", |_| gbm.import(&shared, Usage::default()));
            (gbm.name(), bo.map(|bo| bo.read()))
        }
        _ => {
            let prime = cx.prime(Screen)?;
            let taken = prime.import(&shared.dmabuf)?;
            if let Err(refusal) = cx.failing("ADDFB2", |_| prime.add_framebuffer(&taken.add_fb(&shared))) {
                cx.skips_foreign(&shared)?;
                return Ok(Err(refusal));
            }
            let buffer = cx.publish_memory("nobody", shared)?;
            cx.screen_shows(&[(Layer::whole(&buffer), target)])?;
            return Ok(Ok(()));
        }
    };
    match seen {
        Ok(actual) => Ok(Ok(cx.sees(reader, target, &actual?)?)),
        Err(refusal) => Ok(Err(refusal)),
    }
}
