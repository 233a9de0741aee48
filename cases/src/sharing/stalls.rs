//! Whoever maps while storage moves waits for the move.

use std::time::{Duration, Instant};

use handover::prelude::*;

use super::{SHORTLY, SYSTEM, UDMABUF, easy, heaps, only, stamped, wish};

/// How long the move waits for whoever has the buffer mapped, which lets go far sooner.
const PATIENCE: Duration = Duration::from_secs(2);

/// S6: a map that comes while storage moves stalls, and then shows the new storage with the contents of the old.
pub(super) fn a_map_waits(cx: &mut Cx) -> Outcome {
    // On a machine that is busy with other things the latecomer may find the move done, and has shown nothing.
    let mut stalled = Duration::ZERO;
    for pause in [SHORTLY, SHORTLY * 4, SHORTLY * 16] {
        stalled = map_while_it_moves(cx, pause)?;
        if stalled > Duration::ZERO {
            break;
        }
    }
    cx.claim("the latecomer stalled", stalled > Duration::ZERO, || Finding::new("a map did not wait for a move"));
    cx.figure("stall_ms", stalled.as_secs_f64() * 1e3);
    cx.agree()
}

/// How long a map stalled that came `pause` after a move had begun, which could end only `pause` later.
fn map_while_it_moves(cx: &mut Cx, pause: Duration) -> Result<Duration, Trouble> {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let target = Target::from(stamped(4)?);
    cx.cpu_writes(&buffer, &target.picture)?;
    let holder = buffer.attach(easy("holder"))?;
    let late = buffer.attach(easy("latecomer"))?;
    let held = holder.map(Access::Read)?;
    let (stalled, heap, generation) = std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            let began = Instant::now();
            let moved = buffer.attach_within(only("system"), PATIENCE);
            (moved, began.elapsed())
        });
        // The mover marks the buffer as moving before it waits.
        std::thread::sleep(pause);
        let waiter = scope.spawn(|| {
            late.map(Access::Read)
                .map(|mapping| (mapping.stalled(), mapping.storage().heap.clone(), mapping.generation()))
        });
        std::thread::sleep(pause);
        drop(held);
        let (moved, took) = mover.join().map_err(|_| Finding::new("the mover panicked"))?;
        let _strict = match moved {
            Err(error) if took < PATIENCE => {
                return Err(Finding::new("a move was given up before its deadline")
                    .row("target", format!("at most {} ms for the holder to end", PATIENCE.as_millis()))
                    .row("actual", format!("{error}, after {} ms", took.as_millis()))
                    .into());
            }
            moved => moved?,
        };
        let waited = waiter.join().map_err(|_| Finding::new("the latecomer panicked"))?;
        Ok::<_, Trouble>(waited?)
    })?;
    // Who comes before the move sees what was there.
    if stalled.is_zero() {
        return Ok(stalled);
    }
    cx.equals("the heap that the latecomer sees", "system".to_owned(), heap);
    cx.equals("the storage that the latecomer sees", 2, generation);
    cx.cpu_sees(&buffer, &target)?;
    Ok(stalled)
}
