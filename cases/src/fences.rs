//! Is access really ordered: is the fence there, on the right buffer, for the right access, and does the other side
//! wait for it?
//!
//! No claim depends on luck. Fences are pending until we signal them, and whoever should wait is watched meanwhile, for
//! longer than it takes without the fence. Where contents are at stake, `cx.reads_in_order` and `cx.writes_in_order` have
//! each handover lose without its fence, in both ways in which one can, before it has to hold with it; where none are,
//! `cx.held_back` has whoever should wait go on without it.

use handover::dmabuf::Dmabuf;
use handover::ends::{Exporter, Importer, Parcel, exporters, importers};
use handover::prelude::*;

mod bridge;
mod egl;
mod files;
mod implicit;
mod named;
mod opaque;
mod processor;
mod screen;
mod shortage;
mod syncobj_calls;
mod syncobjs;
mod video;
mod vulkan;

pub(crate) use screen::screen_sees;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    files::register(cases);
    syncobjs::register(cases);
    syncobj_calls::register(cases);
    named::register(cases);
    implicit::register(cases);
    processor::register(cases);
    bridge::register(cases);
    vulkan::register(cases);
    opaque::register(cases);
    shortage::register(cases);
    screen::register(cases);
    egl::register(cases);
    video::register(cases);
}

/// The fault that a claim about implicit fences must not survive.
const IMPLICIT_LOST: &str = "implicit-fence-lost";
/// The fault of a buffer whose readers hold back readers.
const READER_AS_WRITER: &str = "reader-taken-for-writer";
/// The fault of an importer that does not wait.
const IMPORT_IGNORED: &str = "imported-fence-ignored";
/// The fault of an exporter whose fence comes too soon.
const EXPORT_EARLY: &str = "exported-fence-early";

/// Which faults of a Vulkan driver a case with both GPUs claims to see, whose waiting one is `gpu`: these are of the first.
fn seen_on(gpu: Role, faults: &'static [&'static str]) -> &'static [&'static str] {
    if gpu == GpuA { faults } else { &[] }
}

/// States that `case` catches each of `faults`.
fn must_fail_under<'c>(case: &'c mut Case<Cx>, faults: &[&str]) -> &'c mut Case<Cx> {
    faults.iter().for_each(|fault| {
        case.must_fail_under(fault);
    });
    case
}

const SIZE: Size = px(64, 64);

/// How often a hazard is looked for that another thing which the machine does can hide.
const TRIES: usize = 3;

/// Both ways to have a fence that we signal.
const BY: [FenceBy; 2] = [FenceBy::SwSync, FenceBy::Vgem];

/// Everybody who hands a buffer out; the screens twice are the same driver, and what EGL draws into on GBM is GBM's.
fn owners() -> impl Iterator<Item = &'static dyn Exporter> {
    exporters().into_iter().filter(|exporter| ![ScreenB, GlesGbm].contains(&exporter.role()))
}

/// A frame of `from`'s, in the hands of the CPU while `work` runs.
fn with_frame(
    cx: &mut Cx,
    from: &'static dyn Exporter,
    work: impl FnOnce(&mut Cx, &Buffer, &SharedFrame) -> Result<(), Trouble>,
) -> Outcome {
    // OpenGL ES draws to no format with an unused component.
    let fourcc = if from.role() == Gles { Fourcc::AB24 } else { Fourcc::XR24 };
    let parcel = Parcel::of(fourcc, SIZE);
    if let Some(why) = from.lacks(cx, &parcel)? {
        return Err(Trouble::Skip(format!("{} can't hand it out: {why}", from.role())));
    }
    let exported = from.export(cx, &parcel, processor())?;
    let buffer = exported.buffer().clone();
    cx.mapped(&Guest::Cpu, &buffer, Access::Write, |cx, shared| work(cx, &buffer, shared))?;
    cx.agree()
}

/// Whether `seen` is less than all of `target`, which is drawn over the pattern of frame 0 and others between.
fn is_less(seen: &Picture, target: &Target) -> Result<bool> {
    let old = Pattern { stamp: 0 }.picture(target.picture.fourcc, target.picture.size)?;
    Ok(Generations { old, new: target.picture.clone() }.seen(seen)? != Seen::New)
}

/// The importer that every buffer suits.
fn processor() -> &'static dyn Importer {
    let cpu = importers().into_iter().find(|importer| importer.role() == Cpu);
    cpu.expect("the CPU is one of the importers")
}

/// The exporter that plays `role`.
fn exporter(role: Role) -> &'static dyn Exporter {
    exporters().into_iter().find(|exporter| exporter.role() == role).expect("the role is one of an exporter")
}

/// Who may go on at `dmabuf` now, asked in every way there is: fences exported for reading, writing and both, and
/// `poll`.
fn expect(cx: &mut Cx, when: &str, dmabuf: &Dmabuf, to_read: bool, to_write: bool) -> Result<(), Trouble> {
    let word = |ready: bool| if ready { "may go on" } else { "must wait" };
    for (what, ready) in [(Use::Read, to_read), (Use::Write, to_write), (Use::Both, to_write)] {
        let file = dmabuf.export_sync_file(what)?;
        let signalled = file.is_signalled()?;
        // Another way to the same fences.
        let polled = dmabuf.ready()?;
        let waits = if what == Use::Read { !polled.to_read } else { !polled.to_write };
        cx.claim(format!("fence to {what} {when}"), signalled == ready, || {
            Finding::new(format!("{when}, whoever is about to {what} {}, by the fence in the buffer", word(signalled)))
                .row("target", word(ready))
                .row("fence", file.to_string())
                .row(
                    "like",
                    match (ready, waits) {
                        (true, _) => "a fence that nobody has to wait for",
                        (false, true) => {
                            "a fence that is in the buffer, for poll waits for it, and is not the one exported"
                        }
                        (false, false) => "a fence that did not get into the buffer: poll does not wait either",
                    },
                )
        });
    }
    let polled = dmabuf.ready()?;
    let target = handover::fence::Ready { to_read, to_write };
    cx.claim(format!("poll {when}"), polled == target, || {
        Finding::new(format!("{when}, poll does not say who may go on"))
            .row("target", target.to_string())
            .row("actual", polled.to_string())
            .row("like", "the fence is not in the buffer, or poll looks at others than the exported fence does")
    });
    Ok(())
}
