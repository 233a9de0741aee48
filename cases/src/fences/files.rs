//! Fences as files by themselves: what the kernel tells of them, and what becomes of them.

use std::time::{Duration, Instant};

use handover::fence::{FenceInfo, State};
use handover::prelude::*;

use super::BY;

pub(super) fn register(cases: &mut Cases<Cx>) {
    for by in BY {
        let name = |claim: &str| format!("fences::{claim}::{}", by.as_str());
        cases
            .add(name("a_sync_file_tells_who_signals_it_and_when_it_did"), move |cx| tells(cx, by))
            .must_fail_under("sync-file-misnamed");
        cases
            .add(name("a_fence_that_never_signals_is_named"), move |cx| never(cx, by))
            .must_fail_under("sync-file-never-waits");
    }
    cases.add("fences::a_merged_file_has_the_fences_that_are_pending", merged).must_fail_under("merge-forgets-second");
    cases.add("fences::a_fence_whose_maker_goes_has_failed", maker_goes).must_fail_under("fence-error-hidden");
}

/// The drivers whose fences we signal ourselves, by the kernel's names for them.
pub(super) const DRIVERS: [&str; 2] = ["sw_sync", "vgem"];

/// Why nobody can say whose the fences of `file` are, if nobody can.
pub(super) fn nameless(file: &SyncFile) -> Result<Option<Trouble>> {
    let is_told = |fence: &FenceInfo| !fence.driver.is_empty() && !fence.timeline.is_empty();
    let why = || Trouble::Skip(format!("not observable: {file}: the kernel tells no name of its driver and timeline"));
    Ok((!file.info()?.fences.iter().all(is_told)).then(why))
}

/// While it is pending it names its driver and has no time; then it has signalled, later than what signalled before.
fn tells(cx: &mut Cx, by: FenceBy) -> Outcome {
    let before = cx.timeline()?;
    let earlier = before.fence(1)?;
    before.advance(1)?;
    let pending = cx.pending_fence(by, None)?;
    let file = pending.file.try_clone()?;
    let info = file.info()?;
    cx.equals("the pending file", State::Pending, info.state);
    cx.equals("fences in it", 1, info.fences.len());
    let nameless = nameless(&file)?;
    for fence in &info.fences {
        let is_told = nameless.is_some() || DRIVERS.contains(&fence.driver.as_str());
        cx.claim("names", is_told, || {
            Finding::new("a pending fence tells another signaller than its own")
                .row("target", DRIVERS.join(" or "))
                .row("actual", format!("{}, timeline {}", fence.driver, fence.timeline))
                .row("like", "names of somebody else: who waits in vain asks the wrong one")
        });
        cx.claim("no time yet", fence.signalled_at.is_none(), || {
            Finding::new("a pending fence tells when it signalled")
        });
    }
    pending.signal()?;
    let (info, earlier) = (file.info()?, earlier.info()?);
    cx.equals("the signalled file", State::Signalled, info.state);
    let at = |info: &handover::fence::Info| info.fences.first().and_then(|fence| fence.signalled_at);
    let (first, second) = (at(&earlier), at(&info));
    cx.claim("time", first.is_some() && second >= first, || {
        Finding::new("a fence does not tell that it signalled after one that had signalled before")
            .row("earlier", format!("{first:?}"))
            .row("later", format!("{second:?}"))
    });
    cx.equals("the time at a second look", format!("{second:?}"), format!("{:?}", at(&file.info()?)));
    match nameless {
        // The rest of it was looked at.
        Some(why) if !cx.disagrees() => Err(why),
        _ => cx.agree(),
    }
}

/// The wait for it ends at its deadline, and says which fence it was.
fn never(cx: &mut Cx, by: FenceBy) -> Outcome {
    const PATIENCE: Duration = Duration::from_millis(4);
    const NOTHING: &str = "nothing";
    let pending = cx.pending_fence(by, None)?;
    let info = pending.file.info()?;
    cx.equals("fences in it", 1, info.fences.len());
    let told = |name: &str| if name.is_empty() { "not told".to_owned() } else { name.to_owned() };
    let began = Instant::now();
    let waited = pending.file.wait(PATIENCE);
    let took = began.elapsed();
    // As the verdict of a case would have it that waits for it.
    let said = match waited.map_err(Trouble::from) {
        Err(Trouble::Fail(finding)) => finding.to_string(),
        Err(Trouble::Skip(why)) => format!("a skip: {why}"),
        Ok(()) => NOTHING.to_owned(),
    };
    let named = info.fences.iter().all(|fence| {
        let name = format!("driver {}, timeline {}", told(&fence.driver), told(&fence.timeline));
        said.contains(&name)
    });
    if said == NOTHING {
        cx.claim("the wait", false, || {
            Finding::new("a wait for a fence that never signals ended as if it had signalled")
                .row("like", "a wait that returns before it has asked the fence")
        });
    }
    cx.claim("named", named && said.contains("within 4 ms") && said.contains(&info.name), || {
        Finding::new("the wait for a fence that never signals does not say which one it is").row("said", said.clone())
    });
    cx.claim("deadline", took >= PATIENCE && took < Duration::from_secs(5), || {
        Finding::new(format!("a wait of {} ms took {:.1} ms", PATIENCE.as_millis(), took.as_secs_f64() * 1e3))
    });
    // Nobody else waits for ever, either: whoever gives up on it lets it go.
    let file = pending.file.try_clone()?;
    drop(pending);
    cx.equals("the fence that was dropped has signalled", true, file.is_signalled()?);
    cx.agree()
}

/// Fences of two timelines are two, of one timeline one, and a pending one stays when the other has signalled.
fn merged(cx: &mut Cx) -> Outcome {
    let (one, other) = (cx.timeline()?, cx.timeline()?);
    let [a, b, later] = [one.fence(1)?, other.fence(1)?, one.fence(2)?];
    let both = a.merged_with(&b, "both")?;
    let info = both.info()?;
    cx.equals("the name of the merged file", "both", info.name.as_str());
    let both_of = info.fences.len();
    cx.claim("fences in it", both_of == 2, || {
        Finding::new(format!("SYNC_IOC_MERGE of fences of two timelines makes a file with {both_of} of them"))
            .row("fences", format!("{:?}", info.fences))
            .row("like", "one fence that stands for both, so that who waits goes on too early")
    });
    cx.equals("points of one timeline", 1, a.merged_with(&later, "points")?.info()?.fences.len());
    one.advance(1)?;
    cx.equals("the merged file with one fence signalled", State::Pending, both.info()?.state);
    let pending = a.merged_with(&b, "again")?;
    cx.equals("a file merged of one that has signalled and one that has not", State::Pending, pending.info()?.state);
    other.advance(1)?;
    cx.equals("the merged file with both signalled", State::Signalled, both.info()?.state);
    cx.equals("a file merged of what has signalled", State::Signalled, a.merged_with(&b, "done")?.info()?.state);
    cx.equals("the later point of a timeline", State::Pending, later.info()?.state);
    one.advance(1)?;
    cx.agree()
}

/// Nobody waits for ever: whoever was to signal and is gone leaves fences that have failed.
fn maker_goes(cx: &mut Cx) -> Outcome {
    let timeline = cx.timeline()?;
    let (signalled, pending) = (timeline.fence(1)?, timeline.fence(2)?);
    let both = signalled.merged_with(&pending, "both")?;
    timeline.advance(1)?;
    drop(timeline);
    cx.equals("what had signalled", State::Signalled, signalled.info()?.state);
    for (what, file) in [("what was pending", &pending), ("what was merged with it", &both)] {
        cx.equals(format!("{what} lets go"), true, file.is_signalled()?);
        let state = file.info()?.state;
        cx.claim(what, matches!(state, State::Failed(_)), || {
            Finding::new(format!("{what} is {state}, though nobody signalled it"))
                .row("like", "an error that is not told, so that who waited takes unfinished work for done")
        });
    }
    cx.agree()
}
