//! The screen's writeback by itself: what every other look at the screen relies on.

use std::time::Duration;

use handover::prelude::*;

/// Jobs in a race; it ends with the first loss.
const JOBS: u32 = 200;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    cases
        .add("writeback::is_not_lost_between_commits_5_ms_apart", |cx| is_not_lost(cx, 20, Duration::from_millis(5)))
        .must_fail_under("writeback-lost")
        .from(Screen)
        .needs(Need::Writeback);
    cases
        .add("writeback::has_every_format_that_it_lists", has_every_format)
        .must_fail_under("writeback-formats-invented")
        .from(Cpu)
        .to(Screen)
        .needs(Need::Writeback);
    cases
        .add("writeback::is_not_lost_between_commits_back_to_back", |cx| is_not_lost(cx, JOBS, Duration::ZERO))
        .from(Screen)
        .needs(Need::Writeback)
        .known("vkms", "cases/findings/vkms-lost-writeback.md", "writebacks were lost");
}

/// A commit that follows does not cost the one before its writeback.
///
/// Each job is committed when the one before is on the screen, before its fence: the kernel's documentation leaves open
/// what becomes of that job, but not that every later user of the device gets its fences one job late. Waiting for each fence
/// loses jobs too, only less often; see the finding.
fn is_not_lost(cx: &mut Cx, jobs: u32, pause: Duration) -> Outcome {
    let black = cx.screen()?.dumb(Fourcc::XR24, px(64, 64))?;
    let black = cx.publish(Guest::Screen, black)?;
    cx.show(&[Layer::whole(&black)])?;
    let race = cx.screen()?.race_writeback(jobs, pause)?;
    cx.claim("writeback fences", race.lost == 0, || {
        Finding::new(format!("{} of {} writebacks were lost: their fences did not signal", race.lost, race.jobs))
            .row("woken", format!("{} came to their end when a CRC capture was started", race.woken))
            .row("like", "the clean-up of a job switches the composer off under the next one")
    });
    cx.agree()
}

/// Small, and odd both ways.
const SIZE: Size = px(33, 17);

/// Each format of `WRITEBACK_PIXEL_FORMATS` can be written back in, and holds the picture.
fn has_every_format(cx: &mut Cx) -> Outcome {
    let listed = cx.screen()?.writeback_formats().to_vec();
    let buffer = cx.udmabuf(Fourcc::XR24, SIZE, &[Guest::Screen])?;
    let target = Target::stamped(7, Fourcc::XR24, SIZE)?;
    cx.cpu_writes(&buffer, &target.picture)?;
    for fourcc in listed {
        if fourcc.pixel().is_none() {
            cx.fact("not tried", fourcc);
            continue;
        }
        let written = match cx.screen_writes(fourcc, &buffer, &target) {
            Err(Trouble::Fail(why)) => Err(why),
            other => Ok(other?),
        };
        cx.claim(format!("{fourcc} written back"), written.is_ok(), || {
            let why = written.err().map_or_else(String::new, |why| why.summary);
            Finding::new(format!("{fourcc} is listed for writeback, and {why}")).row(
                "like",
                "a list that is not the connector's own: what planes can show, or another device can write",
            )
        });
    }
    cx.agree()
}
