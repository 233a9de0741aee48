//! The screen's writeback by itself: what every other look at the screen relies on.

use std::time::Duration;

use handover::prelude::*;

const FRAMES: u32 = 40;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    cases
        .add("writeback::is_not_lost_between_commits_back_to_back", is_not_lost)
        .from(Screen)
        .needs(Need::Writeback)
        .known("vkms", "cases/findings/vkms-lost-writeback.md", "writebacks were lost");
}

/// A commit that follows at once does not cost the one before its writeback.
fn is_not_lost(cx: &mut Cx) -> Outcome {
    let race = cx.screen()?.race_writeback(FRAMES, Duration::ZERO)?;
    cx.claim("writeback fences", race.lost == 0, || {
        Finding::new(format!("{} of {} writebacks were lost: their fences did not signal", race.lost, race.jobs))
            .row("woken", format!("{} came to their end when a CRC capture was started", race.woken))
            .row("like", "the clean-up of a job switches the composer off under the next one")
    });
    cx.agree()
}
