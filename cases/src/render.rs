//! A rendered picture is the same wherever its memory came from, and is what the reference rendered.
//!
//! Pictures from interpolation, sampling and blending have no computed target, so a golden judges them. That memory came
//! from elsewhere must not change one byte: the same scene in memory of the GPU's own is the target for that.

use handover::prelude::*;

/// Where the memory that is drawn into came from.
#[derive(Clone, Copy)]
enum Source {
    /// Exported by the second instance of the same driver.
    SecondInstance,
    /// Exported by the other driver.
    OtherDriver,
    /// A dumb buffer of the screen.
    Screen,
    /// A udmabuf.
    Udmabuf,
}

const IMPORTS: [(&str, Source); 4] = [
    ("its_second_instance", Source::SecondInstance),
    ("gpu_b", Source::OtherDriver),
    ("screen", Source::Screen),
    ("udmabuf", Source::Udmabuf),
];

/// All formats of the screens that lavapipe and GPUs render to with blending; AR24 keeps alpha in the comparison.
const FOURCC: Fourcc = Fourcc::AR24;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for scene in Scene::ALL {
        cases
            .add(format!("render::is_what_the_reference_rendered::{}", name(scene)), move |cx| is_golden(cx, scene))
            .from(GpuA)
            .must_fail_under("last-row-lost");
        for (source, from) in IMPORTS {
            let case = cases
                .add(format!("render::is_the_same_in_memory_of::{source}::{}", name(scene)), move |cx| {
                    is_the_same(cx, scene, from)
                })
                .from(match from {
                    Source::OtherDriver => GpuB,
                    Source::Screen => Screen,
                    Source::Udmabuf => Cpu,
                    Source::SecondInstance => GpuA,
                })
                .to(GpuA);
            if source == "udmabuf" && matches!(scene, Scene::Confetti) {
                case.must_fail_under("srgb-decoded");
            }
        }
        let case = cases
            .add(format!("render::is_shown_by_the_screen::{}", name(scene)), move |cx| is_shown(cx, scene))
            .from(GpuA)
            .to(Screen)
            .needs(Need::Seen);
        if matches!(scene, Scene::Confetti) {
            case.must_fail_under("addfb2-red-blue");
        }
    }
}

fn name(scene: Scene) -> String {
    scene.to_string().replace('-', "_")
}

/// Interpolation and blending round differently from one LLVM or GPU to the next: two steps of 255 are allowed, and edges of
/// primitives may cover a few pixels more or less.
fn is_golden(cx: &mut Cx, scene: Scene) -> Outcome {
    let gpu = cx.gpu(GpuA)?;
    let picture = rendered_in_own_memory(&gpu, scene)?;
    cx.golden(
        &gpu,
        &picture,
        &Tolerance::PerChannel {
            max: 2,
            pixels: 24,
            reason: "rounding of interpolation and blending, and coverage of edges, are the implementation's".into(),
        },
    )?;
    cx.agree()
}

/// Not one byte depends on where the memory came from.
fn is_the_same(cx: &mut Cx, scene: Scene, source: Source) -> Outcome {
    let gpu = cx.gpu(GpuA)?;
    let target = Target::from(rendered_in_own_memory(&gpu, scene)?);
    let buffer = memory_of(cx, source)?;
    let image = cx.import(&gpu, &buffer, &ImportRequest::default())?;
    image.render(scene)?;
    cx.sees(GpuA, &target, &image.read_back()?)?;
    cx.cpu_sees(&buffer, &target)?;
    cx.agree()
}

/// The screen shows the scene as it lies in memory that the screen itself did not make.
fn is_shown(cx: &mut Cx, scene: Scene) -> Outcome {
    let gpu = cx.gpu(GpuA)?;
    let target = Target::from(rendered_in_own_memory(&gpu, scene)?);
    let buffer = memory_of(cx, Source::Udmabuf)?;
    cx.import(&gpu, &buffer, &ImportRequest::default())?.render(scene)?;
    cx.screen_shows(&[(Layer::whole(&buffer), &target)])?;
    cx.agree()
}

fn rendered_in_own_memory(gpu: &Gpu, scene: Scene) -> Result<Picture, Trouble> {
    let image = missing_is_skip(gpu.create_image(&ImageRequest {
        size: scene::SIZE,
        fourcc: FOURCC,
        layout: Layout::Modifiers(vec![Modifier::LINEAR]),
        room: Room::Dedicated,
        export: vec![],
    }))?;
    // Not every GPU blends into LINEAR images.
    missing_is_skip(image.render(scene))?;
    Ok(image.read_back()?)
}

/// A frame of the scenes' size in memory of `source`, with an old pattern in it.
fn memory_of(cx: &mut Cx, source: Source) -> Result<Buffer, Trouble> {
    let buffer = match source {
        Source::Screen => {
            let dumb = cx.screen()?.dumb(FOURCC, scene::SIZE)?;
            cx.publish(Guest::Screen, dumb)?
        }
        Source::Udmabuf => {
            let gpu = cx.gpu(GpuA)?;
            cx.udmabuf(FOURCC, scene::SIZE, &[Guest::Gpu(&gpu), Guest::Cpu])?
        }
        Source::SecondInstance | Source::OtherDriver => {
            let gpu = if matches!(source, Source::OtherDriver) { cx.gpu(GpuB)? } else { cx.second_instance(GpuA)? };
            cx.draw(&gpu, &NewFrame::of(FOURCC, scene::SIZE), 5)?.buffer
        }
    };
    cx.cpu_writes(&buffer, &Pattern { stamp: 5 }.picture(FOURCC, scene::SIZE)?)?;
    Ok(buffer)
}
