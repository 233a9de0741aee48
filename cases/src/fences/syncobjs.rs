//! DRM's syncobjs: boxes for fences, which several files hold, and timelines of them.
//!
//! What holds is what "DRM Sync Objects" in the kernel's documentation says. They are a card's, and the code is DRM's for
//! all of them. Of the sandbox's cards vgem alone has them, in a kernel that we build so.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use handover::faults::Thread;
use handover::kms::{Prime, Syncobj, Wait, Waited};
use handover::prelude::*;

use super::must_fail_under;

/// A look, which takes no time.
const LOOK: Wait = Wait { all: false, to_come: false, there: false, patience: Duration::ZERO };

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// A wait that ends.
const WAIT: Wait = Wait { patience: PATIENCE, ..LOOK };

/// Longer than an eventfd that is to be readable takes.
const SOON: Duration = Duration::from_secs(4);

/// What somebody does in the middle of another one's wait he does so long after it began.
const MEANWHILE: Duration = Duration::from_micros(200);

/// When a fence has to be there.
const IMPORTED: &str = "after the import of a sync file";

/// The end of a wait for one object.
const THROUGH: Waited = Waited::Through(0);

const IMPORT_DROPPED: &str = "syncobj-import-dropped";
const COPIES: &str = "syncobj-crosses-as-copy";
const AT_ONCE: &str = "syncobj-never-waits";
const KEEPS: &str = "syncobj-reset-keeps";
const AHEAD: &str = "syncobj-query-ahead";
const UNTOLD: &str = "syncobj-eventfd-lost";
const KEPT: &str = "syncobj-handle-kept";

pub(super) fn register(cases: &mut Cases<Cx>) {
    for card in [Vgem, Screen] {
        let mut add = |claim: &str, body: fn(&mut Cx, &Prime) -> Outcome, faults: &[&str]| {
            let name = format!("fences::{claim}::{card}");
            let case = cases.add(name, move |cx| with_syncobjs(cx, card, body)).from(card);
            if card == Vgem {
                must_fail_under(case, faults);
            }
        };
        add("a_syncobj_carries_a_sync_file", carries, &[IMPORT_DROPPED]);
        add("a_syncobj_holds_who_waits_until_its_fence_signals", waits, &[AT_ONCE]);
        add("a_syncobj_holds_nobody_beyond_a_deadline", deadline, &[AT_ONCE]);
        add("syncobjs_are_waited_for_one_or_all", one_or_all, &[AT_ONCE]);
        add("a_syncobj_is_waited_for_before_it_has_a_fence", to_come, &[AT_ONCE]);
        add("a_syncobj_is_waited_for_while_its_handle_goes", outlasts, &[AT_ONCE]);
        add("a_syncobj_is_reset_and_signalled", reset_and_signalled, &[KEEPS]);
        add("a_syncobj_counts_the_points_that_have_signalled", counts, &[AHEAD]);
        add("points_of_a_syncobj_signal_in_order", in_order, &[AHEAD]);
        add("a_syncobj_tells_an_eventfd", tells, &[UNTOLD]);
        let name = format!("fences::a_syncobj_crosses_as_an_fd::{card}");
        let crosses = cases.add(name, move |cx| crosses(cx, card)).from(card);
        if card == Vgem {
            must_fail_under(crosses, &[COPIES, KEPT]);
        }
    }
}

/// The card in `role`; a skip if it has no syncobjs.
fn card_with_syncobjs(cx: &mut Cx, role: Role) -> Result<Prime, Trouble> {
    let prime = cx.prime(role)?;
    missing_is_skip(prime.syncobj())?;
    Ok(prime)
}

fn with_syncobjs(cx: &mut Cx, role: Role, body: fn(&mut Cx, &Prime) -> Outcome) -> Outcome {
    let prime = card_with_syncobjs(cx, role)?;
    body(cx, &prime)
}

/// The fence of `object`, which has one since `then`.
fn fence_of(object: &Syncobj, then: &str) -> Result<SyncFile, Trouble> {
    let none = || {
        Finding::new(format!("{then}, a syncobj has no fence"))
            .row("syncobj", object.to_string())
            .row("like", "a fence that went into another object, or nowhere")
    };
    Ok(object.fence()?.ok_or_else(none)?)
}

/// Both files hold one fence, which has signalled: nobody else did so at that time.
fn same_fence(cx: &mut Cx, what: &str, into: &SyncFile, out: &SyncFile) -> Result<(), Trouble> {
    let (target, actual) = (into.info()?.fences, out.info()?.fences);
    cx.claim(what, target == actual, || {
        Finding::new(format!("{what} is another fence than the one that went in"))
            .row("target", format!("{target:?}"))
            .row("actual", format!("{actual:?}"))
    });
    Ok(())
}

/// What comes out is the fence that went in last, as a file of its own each time.
fn carries(cx: &mut Cx, prime: &Prime) -> Outcome {
    let object = prime.syncobj()?;
    cx.equals("whether a new syncobj has a fence", false, object.fence()?.is_some());
    let (first, second) = (cx.pending_fence(FenceBy::SwSync, None)?, cx.pending_fence(FenceBy::SwSync, None)?);
    let (one, two) = (first.file.try_clone()?, second.file.try_clone()?);
    object.import(&one)?;
    let (out, again) = (fence_of(&object, IMPORTED)?, fence_of(&object, IMPORTED)?);
    cx.claim("files of two exports", out.as_fd().as_raw_fd() != again.as_fd().as_raw_fd(), || {
        Finding::new("two exports of a syncobj's fence are one fd")
    });
    drop(again);
    cx.equals("whether what came out has signalled", false, out.is_signalled()?);
    object.import(&two)?;
    let replaced = fence_of(&object, IMPORTED)?;
    first.signal()?;
    cx.equals("whether what came out signals with the fence that went in", true, out.signals_within(PATIENCE)?);
    cx.equals("whether what came out later has signalled with the fence before", false, replaced.is_signalled()?);
    second.signal()?;
    cx.equals("whether what came out later signals with its fence", true, replaced.signals_within(PATIENCE)?);
    same_fence(cx, "what came out", &one, &out)?;
    same_fence(cx, "what came out later", &two, &replaced)?;
    cx.agree()
}

/// Handles of one file are of one object, whoever's they are, and it is there until the last of them and the file go.
fn crosses(cx: &mut Cx, card: Role) -> Outcome {
    let prime = card_with_syncobjs(cx, card)?;
    let other = cx.second_prime(card)?;
    let object = prime.syncobj()?;
    let file = object.share()?;
    let (theirs, again) = (other.take_syncobj(&file)?, prime.take_syncobj(&file)?);
    cx.claim("handles of one file", again.handle() != object.handle(), || {
        Finding::new("a handle that is taken of a syncobj's file is the one that there was, and goes with it")
    });
    drop(again);
    let (first, second) = (cx.pending_fence(FenceBy::SwSync, None)?, cx.pending_fence(FenceBy::SwSync, None)?);
    let into = first.file.try_clone()?;
    object.import(&into)?;
    let there = fence_of(&theirs, "after an import into the other handle of its object")?;
    cx.equals("whether the fence has signalled there", false, there.is_signalled()?);
    first.signal()?;
    cx.equals("a wait for it there", THROUGH, theirs.waits(WAIT)?);
    same_fence(cx, "what is there", &into, &there)?;
    theirs.reset()?;
    cx.equals("whether there is a fence here after a reset there", false, object.fence()?.is_some());
    theirs.import(&second.file)?;
    drop(object);
    fence_of(&theirs, "after the other handle of its object has gone")?;
    drop(theirs);
    let back = prime.take_syncobj(&file)?;
    fence_of(&back, "after all handles of its object but the file had gone")?;
    drop(file);
    cx.equals("a look at it before the signal", Waited::TooLate, back.waits(LOOK)?);
    second.signal()?;
    cx.equals("a wait for it after the signal", THROUGH, back.waits(WAIT)?);
    cx.agree()
}

/// Whoever waits goes on with the signal of the fence that the object has, and not before it.
fn waits(cx: &mut Cx, prime: &Prime) -> Outcome {
    let object = prime.syncobj()?;
    cx.held_back("a wait for a syncobj", (FenceBy::SwSync, None), &mut |cx, round| {
        match round.fence() {
            Some(file) => object.import(file)?,
            None => object.signal()?,
        }
        let waited = object.waits(WAIT)?;
        if waited == Waited::NoFence {
            cx.fact("the wait", "says that there is no fence (EINVAL)");
        }
        Ok(round.ends(waited == THROUGH)?)
    })?;
    cx.agree()
}

/// It ends when it is to end, if nobody signals, and not before.
fn deadline(cx: &mut Cx, prime: &Prime) -> Outcome {
    const SHORT: Duration = Duration::from_millis(4);
    let object = prime.syncobj()?;
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    object.import(&pending.file)?;
    let like = "an object without a fence, or a wait that looks at none";
    cx.equals_else("a look at a syncobj whose fence is pending", Waited::TooLate, object.waits(LOOK)?, like);
    let began = Instant::now();
    let waited = object.waits(Wait { patience: SHORT, ..WAIT })?;
    let took = began.elapsed();
    cx.equals("a wait of 4 ms for a fence that is pending", Waited::TooLate, waited);
    cx.claim("deadline", took >= SHORT && took < PATIENCE, || {
        Finding::new(format!(
            "a wait of {} ms for a syncobj took {:.1} ms",
            SHORT.as_millis(),
            took.as_secs_f64() * 1e3
        ))
    });
    pending.signal()?;
    cx.equals("a look at a syncobj whose fence has signalled", THROUGH, object.waits(LOOK)?);
    cx.agree()
}

/// One that has signalled is enough, and is told, or all must have.
fn one_or_all(cx: &mut Cx, prime: &Prime) -> Outcome {
    const ALL: Wait = Wait { all: true, ..LOOK };
    let (waiting, done) = (prime.syncobj()?, prime.syncobj()?);
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    waiting.import(&pending.file)?;
    let both = [&waiting, &done];
    cx.equals(
        "a wait for one of two, of which one has no fence",
        Waited::NoFence,
        prime.wait_for_syncobjs(&both, LOOK)?,
    );
    done.signal()?;
    cx.equals("a wait for one of two, the second signalled", Waited::Through(1), prime.wait_for_syncobjs(&both, LOOK)?);
    let turned = [&done, &waiting];
    cx.equals("a wait for one of two, the first signalled", THROUGH, prime.wait_for_syncobjs(&turned, LOOK)?);
    cx.equals("a wait for all of two, one signalled", Waited::TooLate, prime.wait_for_syncobjs(&both, ALL)?);
    pending.signal()?;
    let waited = prime.wait_for_syncobjs(&both, Wait { all: true, ..WAIT })?;
    cx.claim("a wait for all of two", matches!(waited, Waited::Through(_)), || {
        Finding::new(format!("a wait for all of two, both signalled: {waited}"))
    });
    cx.agree()
}

/// Where there is no fence, who says so waits for one, and then for its signal; who does not is refused.
fn to_come(cx: &mut Cx, prime: &Prime) -> Outcome {
    const TO_COME: Wait = Wait { to_come: true, ..WAIT };
    let object = prime.syncobj()?;
    cx.equals("a wait for a syncobj without a fence", Waited::NoFence, object.waits(LOOK)?);
    let look = object.waits(Wait { to_come: true, ..LOOK })?;
    cx.equals("a look for a fence to come", Waited::TooLate, look);
    let waiting = missing_is_skip(Thread::this())?;
    cx.held_back("a wait for a fence to come", (FenceBy::SwSync, None), &mut |cx, round| {
        object.reset()?;
        let file = round.fence_fd()?;
        let over = AtomicBool::new(false);
        let begun = thread::scope(|scope| {
            let comes = scope.spawn(|| {
                let begun = waiting.sleeps_in_ioctl(|| over.load(Ordering::SeqCst), PATIENCE);
                if begun.is_err() {
                    thread::sleep(MEANWHILE);
                }
                file.as_ref().map_or_else(|| object.signal(), |file| object.import(file)).map(|()| begun)
            });
            let waited = object.waits(TO_COME);
            over.store(true, Ordering::SeqCst);
            round.ends(matches!(waited, Ok(THROUGH)))?;
            let begun = ended(comes)?;
            waited?;
            Ok::<_, Trouble>(begun)
        })?;
        // One that is over without having begun did not wait for the fence, and is told of as that.
        if let Err(why) = begun {
            cx.fact("not observed", format!("whether the wait had begun: {}", why.0));
        }
        Ok(())
    })?;
    cx.agree()
}

/// What another thread has done.
fn ended<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T, Trouble> {
    let panicked = |_| Trouble::from(Finding::new("the other thread panicked"));
    Ok(thread.join().map_err(panicked)??)
}

/// A handle that goes meanwhile takes neither the wait with it nor the fence.
fn outlasts(cx: &mut Cx, prime: &Prime) -> Outcome {
    const WHO: &str = "a wait for a syncobj whose handle goes";
    let waiting = missing_is_skip(Thread::this())?;
    cx.held_back(WHO, (FenceBy::SwSync, None), &mut |cx, round| {
        let mut meanwhile = MEANWHILE;
        loop {
            let object = prime.syncobj()?;
            match round.fence() {
                Some(file) => object.import(file)?,
                None => object.signal()?,
            }
            let over = AtomicBool::new(false);
            let (waited, begun) = thread::scope(|scope| {
                let goes = scope.spawn(|| {
                    let begun = waiting.sleeps_in_ioctl(|| over.load(Ordering::SeqCst), PATIENCE);
                    if begun.is_err() {
                        thread::sleep(meanwhile);
                    }
                    object.destroy().map(|()| begun)
                });
                let waited = object.waits(WAIT);
                over.store(true, Ordering::SeqCst);
                if !matches!(waited, Ok(Waited::NoHandle)) {
                    round.ends(matches!(waited, Ok(THROUGH)))?;
                }
                let begun = ended(goes)?;
                Ok::<_, Trouble>((waited?, begun))
            })?;
            match waited {
                // The wait came too late, by the other things that the machine has to do.
                Waited::NoHandle if meanwhile < PATIENCE => meanwhile *= 2,
                Waited::NoHandle => return Err(Finding::new(format!("{WHO} is refused with {waited}")).into()),
                // One that is over without having begun did not wait for the fence, and is told of as that.
                _ => {
                    if let Err(why) = begun {
                        cx.fact("not observed", format!("whether the wait had begun: {}", why.0));
                    }
                    return Ok(());
                }
            }
        }
    })?;
    cx.agree()
}

/// Both are done to the object alone: files of a fence that it had are as they were.
fn reset_and_signalled(cx: &mut Cx, prime: &Prime) -> Outcome {
    let object = prime.syncobj()?;
    object.signal()?;
    cx.equals("a look at a syncobj that was signalled", THROUGH, object.waits(LOOK)?);
    cx.equals("whether its fence has signalled", true, fence_of(&object, "after it was signalled")?.is_signalled()?);
    object.reset()?;
    let like = "a fence that stays in the object, so that the next wait ends by an old signal";
    cx.equals_else("whether a syncobj that was reset has a fence", false, object.fence()?.is_some(), like);
    cx.equals("a look at a syncobj that was reset", Waited::NoFence, object.waits(LOOK)?);
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    let into = pending.file.try_clone()?;
    object.import(&into)?;
    let out = fence_of(&object, IMPORTED)?;
    object.signal()?;
    cx.equals("a look at a syncobj that was signalled in place of its fence", THROUGH, object.waits(LOOK)?);
    cx.equals("whether the fence before has signalled", false, into.is_signalled()?);
    object.reset()?;
    cx.equals("whether what came out before has signalled", false, out.is_signalled()?);
    pending.signal()?;
    cx.equals("whether it signals with its fence", true, out.signals_within(PATIENCE)?);
    cx.agree()
}

/// A point has signalled when its fence and all before it have, and who asks for less than a point has it with that point.
fn counts(cx: &mut Cx, prime: &Prime) -> Outcome {
    let line = prime.syncobj()?;
    missing_is_skip(line.signal_point(3))?;
    let looks = |cx: &mut Cx, when: &str, points: &[(u64, Waited)]| -> Result<(), Trouble> {
        for (point, target) in points {
            cx.equals(format!("a look at point {point}, {when}"), *target, line.waits_for(*point, LOOK)?);
        }
        Ok(())
    };
    cx.equals("the point that has signalled", 3, line.reached()?);
    looks(cx, "3 signalled", &[(2, THROUGH), (3, THROUGH), (4, Waited::NoFence)])?;
    let to_come = Wait { to_come: true, ..LOOK };
    cx.equals("a look for point 4 to come", Waited::TooLate, line.waits_for(4, to_come)?);
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    let binary = prime.syncobj()?;
    binary.import(&pending.file)?;
    binary.transfer(0, &line, 5)?;
    let like = "the last point that has a fence, in the place of the last that has signalled";
    cx.equals_else("the point that has signalled, with 5 pending", 3, line.reached()?, like);
    cx.equals("the last point that has a fence", 5, line.submitted()?);
    looks(cx, "5 pending", &[(3, THROUGH), (4, Waited::TooLate), (5, Waited::TooLate), (6, Waited::NoFence)])?;
    let there = Wait { there: true, ..LOOK };
    cx.equals("a look at whether point 5 has a fence", THROUGH, line.waits_for(5, there)?);
    cx.equals("a look at whether point 6 has a fence", Waited::TooLate, line.waits_for(6, there)?);
    let back = prime.syncobj()?;
    line.transfer(5, &back, 0)?;
    let out = fence_of(&back, "after a point was transferred into it")?;
    cx.equals("whether what came back of point 5 has signalled", false, out.is_signalled()?);
    pending.signal()?;
    cx.equals("a wait for point 5", THROUGH, line.waits_for(5, WAIT)?);
    cx.equals("the point that has signalled after the signal", 5, line.reached()?);
    looks(cx, "5 signalled", &[(4, THROUGH), (6, Waited::NoFence)])?;
    cx.equals("whether what came back signals with it", true, out.signals_within(PATIENCE)?);
    cx.agree()
}

/// A later point that is done waits for an earlier one that is not; and one that comes out of order holds up all.
fn in_order(cx: &mut Cx, prime: &Prime) -> Outcome {
    let line = prime.syncobj()?;
    let at = |cx: &mut Cx, point: u64| -> Result<_, Trouble> {
        let pending = cx.pending_fence(FenceBy::SwSync, None)?;
        let binary = prime.syncobj()?;
        binary.import(&pending.file)?;
        missing_is_skip(binary.transfer(0, &line, point))?;
        Ok(pending)
    };
    let (first, second) = (at(cx, 1)?, at(cx, 2)?);
    second.signal()?;
    cx.equals("the point that has signalled, with 2 done before 1", 0, line.reached()?);
    cx.equals("a look at point 2 while 1 is pending", Waited::TooLate, line.waits_for(2, LOOK)?);
    first.signal()?;
    cx.equals("a wait for point 2 when 1 is done", THROUGH, line.waits_for(2, WAIT)?);
    cx.equals("the point that has signalled, with both done", 2, line.reached()?);
    let late = at(cx, 1)?;
    cx.equals("the last point that has a fence, with 1 once more", 2, line.submitted()?);
    cx.equals("a look at point 2 while 1 is pending once more", Waited::TooLate, line.waits_for(2, LOOK)?);
    late.signal()?;
    cx.equals("a wait for point 2 when that is done", THROUGH, line.waits_for(2, WAIT)?);
    cx.equals("the point that has signalled in the end", 2, line.reached()?);
    cx.agree()
}

/// It is readable when the fence is there, or has signalled, as it was asked for; and at once for what has been.
fn tells(cx: &mut Cx, prime: &Prime) -> Outcome {
    let object = prime.syncobj()?;
    let (signal, there) = (missing_is_skip(object.tell(0, false))?, object.tell(0, true)?);
    let readable = |cx: &mut Cx, when: &str, of: [bool; 2]| -> Result<(), Trouble> {
        for (what, target, told) in [("signal", of[0], &signal), ("fence", of[1], &there)] {
            let patience = if target { SOON } else { Duration::ZERO };
            let like =
                if target { "an eventfd that was registered with nobody" } else { "one that is told of another event" };
            let what = format!("whether an eventfd has told of the {what} {when}");
            cx.equals_else(what, target, told.within(patience)?, like);
        }
        Ok(())
    };
    readable(cx, "before there is a fence", [false, false])?;
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    object.import(&pending.file)?;
    readable(cx, "while the fence is pending", [false, true])?;
    pending.signal()?;
    // Whoever is not told once is waited for no second time.
    if cx.disagrees() {
        return cx.agree();
    }
    readable(cx, "after the signal", [true, true])?;
    let line = prime.syncobj()?;
    line.signal_point(1)?;
    line.signal_point(2)?;
    for (what, told) in [("fence", object.tell(0, false)?), ("point before the last", line.tell(1, false)?)] {
        cx.equals(format!("whether it tells at once of a {what} that has signalled"), true, told.within(SOON)?);
    }
    cx.agree()
}
