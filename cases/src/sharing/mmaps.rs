//! Rule S8 of the sharing core: CPU mmaps belong to the buffer, and show its storage wherever that is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::constraints::{Bytes, Constraints, Party};
use handover::share::refused::ShareError;

use super::{FOURCC, MEMORIES, Memory, SYSTEM, UDMABUF, easy, heap, heaps, name_of, only, stamped, wish};

pub(super) fn register(cases: &mut Cases<Cx>) {
    for memory in MEMORIES.into_iter().filter(|memory| *memory != UDMABUF) {
        let name = format!("sharing::a_cpu_mmap_follows_a_move::udmabuf_to_{memory}");
        let case = cases.add(name, move |cx| follows(cx, memory));
        if memory == SYSTEM {
            case.must_fail_under("mapping-not-replaced");
        }
    }
    cases.add("sharing::a_cpu_mmap_is_never_stale", is_never_stale).must_fail_under("mapping-not-replaced");
    cases
        .add("sharing::a_cpu_mmap_is_read_only_while_it_moves", is_read_only_while_it_moves)
        .must_fail_under("mapping-stays-writable");
    cases.add("sharing::a_cpu_mmap_keeps_its_layout", keeps_its_layout).must_fail_under("needs-unsaid");
}

/// S8: what the CPU has mapped shows the new storage at the same address, and reads and writes go there.
fn follows(cx: &mut Cx, to: Memory) -> Outcome {
    let there = name_of(&heap(cx, to)?);
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, to)?);
    let mmap = buffer.mmap("cpu mmap")?;
    let target = Target::from(stamped(5)?);
    cx.cpu_writes(&buffer, &target.picture)?;
    let _strict = buffer.attach(only(&there))?;
    let mut bytes = vec![0; mmap.length() as usize];
    mmap.peek(0, &mut bytes)?;
    cx.sees("the CPU mmap after the move", &target, &Picture::of_frame(mmap.frame(), &bytes)?)?;
    // A word written through the old address arrives in the new storage, and the other way round.
    mmap.access(Access::Write)?.write(4, &0xdead_beef_u32.to_ne_bytes())?;
    let attachment = buffer.attach(easy("cpu"))?;
    let mapping = attachment.map(Access::Read)?;
    let mut word = [0; 4];
    mapping.shared().dmabuf.map()?.read_into(4, &mut word)?;
    let like = "an address that still is of the storage before the move";
    cx.equals_else("the word that the CPU mmap wrote", Hex(0xdead_beef), Hex(u32::from_ne_bytes(word)), like);
    mapping.shared().dmabuf.map()?.write(8, &0xfeed_cafe_u32.to_ne_bytes())?;
    mmap.peek(8, &mut word)?;
    cx.equals("the word that the CPU mmap shows", Hex(0xfeed_cafe), Hex(u32::from_ne_bytes(word)));
    cx.agree()
}

/// How long a move waits for the reader to look at what it has made.
const LOOKS_WITHIN: Duration = Duration::from_secs(1);

/// S8: a reader that never stops looking at a CPU mmap sees each value that was there, and none that was there before.
fn is_never_stale(cx: &mut Cx) -> Outcome {
    let (one, other) = (name_of(&heap(cx, UDMABUF)?), name_of(&heap(cx, SYSTEM)?));
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let mmap = buffer.mmap("cpu mmap")?;
    mmap.access(Access::Write)?.write(0, &0_u32.to_ne_bytes())?;
    let (stop, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    let stale = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut last, mut stale) = (0, None);
            while !stop.load(Ordering::Relaxed) {
                let mut word = [0; 4];
                mmap.peek(0, &mut word)?;
                let seen = u32::from_ne_bytes(word);
                if seen < last {
                    stale = Some((last, seen));
                }
                last = seen;
                looks.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
            }
            Ok::<_, Trouble>(stale)
        });
        let moved = (1..40_u32).try_for_each(|value| {
            mmap.access(Access::Write)?.write(0, &value.to_ne_bytes())?;
            let strict = buffer.attach(only(if value % 2 == 0 { &one } else { &other }))?;
            drop(strict);
            // On a machine that is busy with other things the reader may not have its turn by itself.
            let (before, began) = (looks.load(Ordering::Relaxed), Instant::now());
            while looks.load(Ordering::Relaxed) == before && !reader.is_finished() && began.elapsed() < LOOKS_WITHIN {
                std::thread::sleep(Duration::from_micros(50));
            }
            Ok::<_, Trouble>(())
        });
        stop.store(true, Ordering::Relaxed);
        let looked = reader.join().map_err(|_| Finding::new("the reader panicked"))?;
        moved?;
        looked
    })?;
    cx.equals("moves", 39, buffer.moves().len());
    let looks = looks.into_inner();
    cx.claim("looks", looks >= 39, || {
        Finding::new(format!("the reader looked {looks} times, so it may have missed every move"))
    });
    cx.claim("no stale page", stale.is_none(), || {
        Finding::new("a CPU mmap showed a value that had been replaced")
            .row("seen", format!("after and then: {stale:?}"))
    });
    // A mapping that stays with the first storage for ever shows every value, too: its own.
    let attachment = buffer.attach(easy("cpu"))?;
    let mapping = attachment.map(Access::Read)?;
    let mut word = [0; 4];
    mapping.shared().dmabuf.map()?.read_into(0, &mut word)?;
    cx.equals("the word that the CPU mmap wrote last", 39, u32::from_ne_bytes(word));
    cx.agree()
}

/// S8: while contents are copied, a store through a CPU mmap would be lost; so there is a moment in a move when the kernel
/// lets nobody store, and none afterwards.
fn is_read_only_while_it_moves(cx: &mut Cx) -> Outcome {
    // Large enough for the copy to take many ms, in which the watcher has its turn.
    let large = Wish { size: px(700, 700), ..wish() };
    let buffer = Buffer::export(large, heaps(cx, UDMABUF, SYSTEM)?);
    let mmap = buffer.mmap("cpu mmap")?;
    mmap.access(Access::Write)?.write(0, &[1, 2, 3, 4])?;
    let (stop, seen) = (AtomicBool::new(false), AtomicBool::new(false));
    let read_only = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        maps.lines().any(|line| line.contains(" r--s ") && line.contains("dmabuf"))
    };
    cx.equals("whether it is read-only before", false, read_only());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) && !seen.load(Ordering::Relaxed) {
                seen.fetch_or(read_only(), Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        let most = Instant::now() + Duration::from_secs(8);
        let mut moved = Ok(());
        while moved.is_ok() && !seen.load(Ordering::Relaxed) && Instant::now() < most {
            moved = buffer.relocate(Duration::from_secs(1));
        }
        stop.store(true, Ordering::Relaxed);
        moved
    })?;
    cx.claim("read-only during a move", seen.load(Ordering::Relaxed), || {
        Finding::new("while storage moves a CPU mmap can be stored to, and what is stored then is lost")
            .row("moves", buffer.moves().len().to_string())
            .row("like", "an mprotect that does nothing, or a move without one")
    });
    cx.equals("whether it is read-only afterwards", false, read_only());
    cx.figure("moves", buffer.moves().len() as f64);
    cx.agree()
}

/// S8: a device that needs another pitch is refused while the CPU has the buffer mapped, and gets it afterwards.
fn keeps_its_layout(cx: &mut Cx) -> Outcome {
    let buffer = Buffer::export(wish(), heap(cx, UDMABUF)?);
    let mmap = buffer.mmap("cpu mmap")?;
    let wide = || Party {
        name: "wide".to_owned(),
        constraints: Constraints { pitch: Bytes::aligned(4096), ..Constraints::cpu(&[FOURCC]) },
    };
    let said = match buffer.attach(wide()) {
        Err(ShareError::Refused(refusal)) => refusal.to_string(),
        Err(other) => other.to_string(),
        Ok(_) => {
            let why = "a device with another pitch is let in, and the layout can't change under a CPU mmap";
            let like = "a device that does not say which pitch it needs";
            return Err(Finding::new(why).row("like", like).into());
        }
    };
    let named = said.contains("cpu mmap") && said.contains("wide");
    cx.claim("the refusal", named, || Finding::new("the refusal does not name both").row("said", said.clone()));
    drop(mmap);
    let granted = buffer.attach(wide());
    cx.equals("the attach afterwards", true, granted.is_ok());
    cx.agree()
}

/// A word as a debugger shows it.
#[derive(PartialEq)]
struct Hex(u32);

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}
