//! Imports that fail since the kernel has no memory, or the process no fd: the only failures of a Vulkan import that a
//! program can bring about without invalid usage. After each the fd is still its owner's, and the same import works.

use handover::cx::Files;
use handover::faults::{Faults, Thread};
use handover::gbm::Usage;
use handover::gles::Through;
use handover::observed::Observed;
use handover::prelude::*;

use super::{SIZE, drawn};
use crate::drivers::LAVAPIPE_25_0;

/// More allocations, or fds, than any import needs.
const MOST: u32 = 400;

/// What came of an import that is dropped at once.
type Answer = Result<Result<()>, Trouble>;

type Import = fn(&mut Cx, &SharedFrame) -> Answer;

const IMPORTS: [(&str, Role, Import); 6] = [
    ("gpu_a", GpuA, |cx, shared| Ok(cx.gpu(GpuA)?.import_image(shared, &ImportRequest::default()).map(drop))),
    ("gpu_b", GpuB, |cx, shared| Ok(cx.gpu(GpuB)?.import_image(shared, &ImportRequest::default()).map(drop))),
    ("gles", Gles, |cx, shared| Ok(cx.gles()?.import(shared, Through::Texture2d).map(drop))),
    ("gbm", Gbm, |cx, shared| Ok(cx.gbm()?.gives.import(shared, Usage::default()).map(drop))),
    ("vgem", Vgem, |cx, shared| Ok(cx.prime(Vgem)?.import(&shared.dmabuf).map(drop))),
    ("screen", Screen, |cx, shared| Ok(cx.screen()?.takes(shared).map(drop))),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for (name, to, import) in IMPORTS {
        let case = cases
            .add(format!("ownership::a_failed_import_leaves_the_fd::without_memory::{name}"), move |cx| {
                without_memory(cx, to, import)
            })
            .from(Udmabuf)
            .to(to)
            .needs(Need::FailingAllocations);
        if to == GpuA {
            let finding = "cases/findings/lavapipe-refused-import.md";
            case.known(LAVAPIPE_25_0, finding, "was closed by somebody else while it was in use");
        }
        if to == GpuB {
            case.must_fail_under("refused-import-takes-fd");
        }
        cases
            .add(format!("ownership::a_failed_import_leaves_the_fd::without_fds::{name}"), move |cx| {
                without_fds(cx, import)
            })
            .from(Udmabuf)
            .to(to);
    }
}

/// Whether an answer is a refusal of the driver's. Handing it an fd of its own takes one, which is ours to get and may fail, too.
fn is_refused(answer: &Answer) -> bool {
    matches!(answer, Ok(Err(error)) if !["fcntl", "fstat"].iter().any(|own| error.op.starts_with(own)))
}

/// The files that are open, and how many, which takes less to ask.
struct Open {
    files: Observed<Files>,
    count: Observed<usize>,
}

impl Open {
    fn now(cx: &Cx) -> Self {
        Self { files: cx.files(), count: cx.open_files() }
    }

    /// What must be so after an import that failed or worked.
    fn as_before(&self, cx: &mut Cx, shared: &SharedFrame, after: &str) {
        cx.claim("the fd", shared.dmabuf.is_open(), || {
            Finding::new(format!("the fd of the buffer is closed after an {after}, and it is its owner's"))
        });
        let count = cx.open_files();
        match (&self.count, &count) {
            (Ok(before), Ok(now)) if before != now => cx.no_file_stays(1, after, &self.files),
            _ => cx.unchanged(format!("open files after an {after}"), &self.count, &count),
        }
    }
}

fn without_memory(cx: &mut Cx, to: Role, import: Import) -> Outcome {
    let shared = drawn(7)?;
    import(cx, &shared)??;
    let faults = Faults::open()?;
    let open = Open::now(cx);
    let mut refused = 0_u32;
    // OpenGL ES and GBM do with what the kernel makes anyway. With others, what failed may have been an allocation on the way that
    // nobody misses; three times that is no chance.
    let does_without = [Gles, Gbm].contains(&to);
    for _ in 0..if does_without { 1 } else { 3 } {
        for n in 1..MOST {
            // So that this process needs no memory of its own meanwhile: what is freed here is kept by the allocator.
            drop(vec![0_u8; 96 << 10]);
            let what = format!("import without memory for allocation {n}");
            let refuses = |answer: &Result<(Answer, bool)>| matches!(answer, Ok((Ok(Err(_)), _)));
            let nth = |cx: &mut Cx| faults.nth(&Thread::current(), n, || import(cx, &shared));
            let (answer, failed) = cx.failing_by(&format!("an {what}"), refuses, nth)?;
            refused += u32::from(is_refused(&answer));
            answer?.ok();
            open.as_before(cx, &shared, &what);
            if cx.disagrees() || !failed {
                break;
            }
            import(cx, &shared)??;
        }
        if refused > 0 || cx.disagrees() {
            break;
        }
    }
    drop(faults);
    cx.figure("refused", refused.into());
    if refused == 0 && does_without && !cx.disagrees() {
        return Err(Trouble::Skip("no allocation of the kernel's that fails makes an import fail".to_owned()));
    }
    cx.claim("imports that failed", refused > 0, || Finding::new("no import failed, whatever allocation did"));
    import(cx, &shared)??;
    seen(cx, &shared)
}

fn without_fds(cx: &mut Cx, import: Import) -> Outcome {
    let shared = drawn(7)?;
    import(cx, &shared)??;
    let open = Open::now(cx);
    let (mut worked, mut refused) = (0, 0_u32);
    for left in 0..24 {
        let what = format!("import with {left} fds left");
        let refuses = |answer: &Result<Answer, Trouble>| matches!(answer, Ok(Ok(Err(_))));
        let limited = |cx: &mut Cx| cx.with_files_left(left, |cx| import(cx, &shared));
        let answer = cx.failing_by(&format!("an {what}"), refuses, limited)?;
        open.as_before(cx, &shared, &what);
        refused += u32::from(is_refused(&answer));
        worked += i32::from(answer?.is_ok());
        import(cx, &shared)??;
        if cx.disagrees() || worked > 1 {
            break;
        }
    }
    cx.figure("refused", refused.into());
    cx.claim("an import that works", worked > 0, || Finding::new("with 23 fds left no import works"));
    if refused == 0 && !cx.disagrees() {
        return Err(Trouble::Skip("no import fails for lack of an fd".to_owned()));
    }
    seen(cx, &shared)
}

fn seen(cx: &mut Cx, shared: &SharedFrame) -> Outcome {
    let target = Target::from(Pattern { stamp: 7 }.picture(Fourcc::XR24, SIZE)?);
    cx.sees("cpu", &target, &shared.read_back()?)?;
    cx.agree()
}
