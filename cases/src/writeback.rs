//! The screen's writeback by itself: what every other look at the screen relies on.

use handover::prelude::*;

const FRAMES: u32 = 40;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    cases
        .add("writeback::is_not_lost_between_commits_back_to_back", is_not_lost)
        .from(Screen).needs(Need::Writeback)
        .known("https://docs.kernel.org/gpu/vkms.html", "writebacks were lost");
}

/// A commit that follows at once does not cost the one before its writeback.
fn is_not_lost(cx: &mut Cx) -> Outcome {
    let size = cx.screen()?.size();
    let shared = cx.screen()?.dumb(Fourcc::XR24, size)?;
    let lost = cx.screen()?.writebacks_lost(&Layer::whole(&shared), FRAMES)?;
    cx.claim("writeback fences", lost == 0, || {
        Finding::new(format!("{lost} of {FRAMES} writebacks were lost: their fences did not signal"))
    });
    cx.agree()
}
