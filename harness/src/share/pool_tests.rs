//! Does a pool grow, wait, recycle and shrink as it says? Every interleaving is tried in `tests/interleavings`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rustix::io::Errno;

use super::pool::{Drawing, Limits, Looking, Pool, Reader};
use super::refused::ShareError;
use crate::error::Error;

const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(20);
const FOR_EVER: Duration = Duration::MAX;

/// A buffer that counts itself.
#[derive(Debug)]
struct Counted(usize, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

fn error(errno: Errno) -> ShareError {
    Error::new("allocating", "a buffer", errno).into()
}

/// A pool on memory that is enough for `memory` buffers, numbered from 0; and how many there are.
fn pool(limits: Limits, memory: usize) -> Result<(Pool<Counted>, Arc<AtomicUsize>), ShareError> {
    let live = Arc::new(AtomicUsize::new(0));
    let of_maker = live.clone();
    let make = move |number| {
        if of_maker.load(SeqCst) == memory {
            return Err(error(Errno::NOMEM));
        }
        of_maker.fetch_add(1, SeqCst);
        Ok(Counted(number, of_maker.clone()))
    };
    Ok((Pool::new(limits, make)?, live))
}

#[test]
fn a_pool_grows_to_what_is_needed_and_recycles() {
    let (pool, live) = pool(Limits::on_demand(8, FOR_EVER), 8).expect("nothing is made yet");
    assert_eq!(live.load(SeqCst), 0, "made before anybody asked");
    let mut reader = pool.reader("screen");
    let mut held = None;
    for frame in 1..=10 {
        let drawing = pool.draw("gpu_a", SOON).expect("memory for eight");
        assert_eq!(drawing.show(), frame);
        // What was looked at before comes back only now.
        held = Some(reader.next(SOON).expect("a new frame"));
        assert_eq!(held.as_ref().map(Looking::frame), Some(frame));
    }
    drop(held);
    let report = pool.report();
    assert_eq!((report.needed, report.worst, report.live, report.lost), (2, 8, 2, 0), "{report}");
    let text =
        "needed 2 of 8 buffers (2 joined, 0 left, 2 live), 10 frames shown, 0 of them lost, 0 waits for a buffer";
    assert_eq!(report.to_string(), text);
}

#[test]
fn where_there_is_no_memory_the_next_buffer_is_the_one_that_comes_back() {
    for errno in [Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
        let make = move |number| if number < 2 { Ok(number) } else { Err(error(errno)) };
        let pool = Pool::new(Limits::on_demand(8, FOR_EVER), make).expect("nothing is made yet");
        let first = pool.draw("gpu_a", SOON).expect("memory for two");
        let second = pool.draw("gpu_a", SOON).expect("memory for two");
        let refused = pool.draw("gpu_b", SOON).expect_err("memory for two").to_string();
        for part in
            ["waiting of gpu_b for a buffer", "2 of 8 buffers", "gpu_a holds one for", "allocating", "pool_tests.rs"]
        {
            assert!(refused.contains(part), "{part} is not said: {refused}");
        }
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.draw("gpu_b", LATE).map(|drawing| *drawing));
            let asked = Instant::now();
            while pool.report().refused < 2 && asked.elapsed() < LATE {
                std::thread::yield_now();
            }
            drop(second);
            waiting.join().expect("no panic")
        });
        assert_eq!(waiting.expect("one came back"), 1);
        drop(first);
        let report = pool.report();
        assert_eq!((report.live, report.needed, report.refused, report.waits), (2, 2, 2, 2), "{report}");
        assert!((SOON..LATE).contains(&report.waited), "{report}");
    }
}

#[test]
fn without_any_memory_and_for_other_reasons_making_a_buffer_is_an_error_at_once() {
    let asked = Instant::now();
    let (none, _) = pool(Limits::on_demand(8, FOR_EVER), 0).expect("nothing is made yet");
    assert!(none.draw("gpu_a", LATE).expect_err("no memory").to_string().contains("ENOMEM"));
    let make = |number| if number == 0 { Ok(()) } else { Err(error(Errno::INVAL)) };
    let broken = Pool::new(Limits::on_demand(8, FOR_EVER), make).expect("nothing is made yet");
    let _first = broken.draw("gpu_a", SOON).expect("the first is fine");
    assert!(broken.draw("gpu_a", LATE).expect_err("not the second").to_string().contains("EINVAL"));
    assert!(asked.elapsed() < LATE);
}

#[test]
fn a_fixed_set_is_made_at_once_or_not_at_all() {
    let (fixed, live) = pool(Limits::fixed(3), 3).expect("memory for three");
    assert_eq!(live.load(SeqCst), 3);
    let all: Vec<_> = (0..3).map(|_| fixed.draw("encoder", SOON).expect("three")).collect();
    fixed.draw("encoder", SOON).expect_err("a fourth");
    drop(all);
    assert_eq!((fixed.trim(), fixed.report().live), (0, 3));

    let live = Arc::new(AtomicUsize::new(0));
    let of_maker = live.clone();
    let make = move |number| match number {
        0..2 => {
            of_maker.fetch_add(1, SeqCst);
            Ok(Counted(number, of_maker.clone()))
        }
        _ => Err(error(Errno::NOMEM)),
    };
    let refused = Pool::new(Limits::fixed(3), make).expect_err("memory for two").to_string();
    assert!(refused.contains("ENOMEM"), "{refused}");
    assert_eq!(live.load(SeqCst), 0, "kept though the pool was refused");
}

#[test]
fn what_is_not_needed_for_long_is_given_up_and_what_is_used_stays() {
    let (pool, live) = pool(Limits { least: 1, most: 4, idle: SOON }, 4).expect("memory for four");
    let burst: Vec<_> = (0..4).map(|_| pool.draw("gpu_a", SOON).expect("four")).collect();
    drop(burst);
    std::thread::sleep(SOON * 2);
    // One is in use, and what else there is has been free for too long.
    let drawing = pool.draw("gpu_a", SOON).expect("four");
    assert_eq!(live.load(SeqCst), 1);
    drawing.show();
    std::thread::sleep(SOON * 2);
    assert_eq!((pool.trim(), pool.report().live), (0, 1), "the current frame was given up");
    let report = pool.report();
    assert_eq!((report.joined, report.left, report.needed), (4, 3, 4), "{report}");
}

#[test]
fn of_the_free_buffers_the_one_that_came_back_last_is_next() {
    let (pool, _) = pool(Limits::on_demand(3, FOR_EVER), 3).expect("nothing is made yet");
    let mut all: Vec<_> = (0..3).map(|_| pool.draw("gpu_a", SOON).expect("three")).collect();
    // Neither in the order in which they were made nor against it.
    for last in [1, 2, 0] {
        let at = all.iter().position(|drawing| drawing.0 == last).expect("all three");
        let drawing = all.swap_remove(at);
        drop(drawing);
    }
    for _ in 0..4 {
        assert_eq!(pool.draw("gpu_a", SOON).expect("free").0, 0, "those that are not needed must grow old");
    }
    let again: Vec<_> = (0..3).map(|_| pool.draw("gpu_a", SOON).expect("free")).collect();
    assert_eq!(again.iter().map(|drawing| drawing.0).collect::<Vec<_>>(), [0, 2, 1]);
}

#[test]
fn pull_and_push_run_on_one_pool() {
    let (pool, live) = pool(Limits::on_demand(2, FOR_EVER), 2).expect("nothing is made yet");
    let own = |number| {
        live.fetch_add(1, SeqCst);
        Counted(number, live.clone())
    };
    assert_eq!(pool.adopt("client", own(10), SOON).expect("room for two").show(), 1);
    let mut reader = pool.reader("compositor");
    let first = reader.next(SOON).expect("current when the reader came");
    assert_eq!((first.frame(), first.0), (1, 10));
    assert_eq!(pool.draw("client", SOON).expect("room for two").show(), 2);
    let refused = pool.adopt("client", own(11), SOON).expect_err("both are in use").to_string();
    assert!(refused.contains("compositor holds one for") && refused.contains("frame 2 is current"), "{refused}");
    // The first comes back, and is replaced by one of the client's own.
    drop(first);
    assert_eq!(pool.adopt("client", own(13), SOON).expect("one came back").show(), 3);
    let third = reader.next(SOON).expect("a new frame");
    assert_eq!((third.frame(), third.0, reader.skipped()), (3, 13, 1));
    let report = pool.report();
    assert_eq!((report.live, report.left, report.lost), (2, 1, 1), "{report}");
    assert_eq!(live.load(SeqCst), 2);
}

#[test]
fn frames_that_nobody_looked_at_are_counted() {
    let (pool, _) = pool(Limits::on_demand(3, FOR_EVER), 3).expect("nothing is made yet");
    let (mut slow, mut fast) = (pool.reader("slow"), pool.reader("fast"));
    assert!(slow.latest().is_none(), "nothing was shown yet");
    assert!(slow.next(SOON).expect_err("nothing was shown yet").to_string().contains("waiting of slow for a frame"));
    for frame in 1..=6 {
        pool.draw("gpu_a", SOON).expect("three buffers").show();
        // The fast one sees 1 and 4, the slow one 6 only.
        if frame % 3 == 1 {
            assert_eq!(fast.next(SOON).expect("a new frame").frame(), frame);
        }
    }
    assert_eq!(slow.latest().expect("current").frame(), 6);
    assert_eq!(slow.latest().expect("still current").frame(), 6);
    assert_eq!((slow.skipped(), fast.skipped(), pool.report().lost), (5, 2, 3));
}

#[test]
fn a_reader_that_dies_releases_what_it_held() {
    let (pool, _) = pool(Limits::fixed(2), 2).expect("memory for two");
    let mut reader = pool.reader("dying");
    pool.draw("gpu_a", SOON).expect("both are free").show();
    let dead = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let looking = reader.next(SOON).expect("a frame");
                std::panic::resume_unwind(Box::new(looking.frame()));
            })
            .join()
    });
    assert_eq!(dead.expect_err("it died").downcast_ref(), Some(&1u64));
    pool.draw("gpu_a", SOON).expect("the other is free").show();
    drop(pool.draw("gpu_a", SOON).expect("the first came back"));
}

#[test]
fn a_maker_that_panics_stops_nobody_else() {
    let make = |number| if number == 0 { panic!("of the maker") } else { Ok(number) };
    let pool = Pool::new(Limits::on_demand(2, FOR_EVER), make).expect("nothing is made yet");
    let draw = || drop(pool.draw("gpu_a", SOON));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(draw)).expect_err("the maker panics");
    // The next one that the maker is asked for is not the first any more.
    drop(pool.adopt("gpu_a", 7, SOON).expect("room for two"));
    let both = [pool.draw("gpu_b", SOON), pool.draw("gpu_b", SOON)];
    assert_eq!(both.map(|drawing| *drawing.expect("room for two")), [7, 1]);
}

/// One call.
#[derive(Clone, Debug)]
enum Call {
    Draw,
    Adopt,
    Show(usize),
    Abandon(usize),
    Look(usize),
    Release(usize),
    Trim,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let which = 0..8usize;
    let call = prop_oneof![
        4 => Just(Call::Draw),
        1 => Just(Call::Adopt),
        4 => which.clone().prop_map(Call::Show),
        1 => which.clone().prop_map(Call::Abandon),
        4 => which.clone().prop_map(Call::Look),
        3 => which.prop_map(Call::Release),
        1 => Just(Call::Trim),
    ];
    prop::collection::vec(call, 1..60)
}

/// What a pool is, said in another way: sets of buffers, by the number that is in them.
#[derive(Default)]
struct Model {
    most: usize,
    memory: usize,
    made: usize,
    /// In the order in which they came back.
    free: Vec<usize>,
    drawn: BTreeSet<usize>,
    /// The frame, its buffer, and whether it was looked at.
    current: Option<(u64, usize, bool)>,
    /// Of each buffer, how often it is looked at.
    looked_at: BTreeMap<usize, usize>,
    needed: usize,
    shown: u64,
    lost: u64,
}

impl Model {
    fn used(&self) -> BTreeSet<usize> {
        let current = self.current.map(|(_, buffer, _)| buffer);
        self.drawn.iter().chain(self.looked_at.keys()).copied().chain(current).collect()
    }

    fn live(&self) -> usize {
        self.used().len() + self.free.len()
    }

    fn take(&mut self, buffer: usize) -> Option<usize> {
        self.drawn.insert(buffer);
        self.needed = self.needed.max(self.used().len());
        Some(buffer)
    }

    fn draw(&mut self) -> Option<usize> {
        if let Some(buffer) = self.free.pop() {
            return self.take(buffer);
        }
        if self.live() >= self.most.min(self.memory) {
            return None;
        }
        self.made += 1;
        self.take(self.made - 1)
    }

    fn adopt(&mut self) -> Option<usize> {
        if self.live() == self.most {
            self.free.pop()?;
        }
        self.made += 1;
        self.take(self.made - 1)
    }

    fn show(&mut self, buffer: usize) -> u64 {
        self.drawn.remove(&buffer);
        self.shown += 1;
        if let Some((_, before, seen)) = self.current.replace((self.shown, buffer, false)) {
            self.lost += u64::from(!seen);
            if !self.looked_at.contains_key(&before) {
                self.free.push(before);
            }
        }
        self.shown
    }

    fn look(&mut self) -> Option<(u64, usize)> {
        let (frame, buffer, seen) = self.current.as_mut()?;
        *seen = true;
        *self.looked_at.entry(*buffer).or_default() += 1;
        Some((*frame, *buffer))
    }

    fn release(&mut self, buffer: usize) {
        let count = self.looked_at.get_mut(&buffer).expect("it is looked at");
        *count -= 1;
        if *count == 0 {
            self.looked_at.remove(&buffer);
            if !self.used().contains(&buffer) {
                self.free.push(buffer);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pool_does_what_its_model_does(calls in calls(), most in 1..5usize, memory in 1..5usize) {
        let mut model = Model { most, memory, ..Model::default() };
        // Adopted buffers need no memory of the maker's, but the maker counts them, as a kernel would.
        let live = Arc::new(AtomicUsize::new(0));
        let of_maker = live.clone();
        let make = move |number| match of_maker.load(SeqCst) < memory {
            true => {
                of_maker.fetch_add(1, SeqCst);
                Ok(Counted(number, of_maker.clone()))
            }
            false => Err(error(Errno::NOMEM)),
        };
        let pool = Pool::new(Limits::on_demand(most, FOR_EVER), make).expect("nothing is made yet");
        let mut readers: Vec<Reader<Counted>> = (0..2).map(|n| pool.reader(n.to_string())).collect();
        let mut drawn: Vec<Drawing<Counted>> = Vec::new();
        let mut looked_at: Vec<Looking<Counted>> = Vec::new();
        for call in calls {
            match call {
                Call::Draw => {
                    let target = model.draw();
                    let actual = pool.draw("model", Duration::ZERO).ok();
                    prop_assert_eq!(actual.as_ref().map(|drawing| drawing.0), target);
                    drawn.extend(actual);
                }
                Call::Adopt => {
                    live.fetch_add(1, SeqCst);
                    let own = Counted(model.made, live.clone());
                    let target = model.adopt();
                    let actual = pool.adopt("model", own, Duration::ZERO).ok();
                    prop_assert_eq!(actual.as_ref().map(|drawing| drawing.0), target);
                    drawn.extend(actual);
                }
                Call::Show(which) if which < drawn.len() => {
                    let drawing = drawn.swap_remove(which);
                    let target = model.show(drawing.0);
                    prop_assert_eq!(drawing.show(), target);
                }
                Call::Abandon(which) if which < drawn.len() => {
                    let drawing = drawn.swap_remove(which);
                    model.drawn.remove(&drawing.0);
                    model.free.push(drawing.0);
                }
                Call::Look(which) => {
                    let actual = readers[which % 2].latest();
                    prop_assert_eq!(actual.as_ref().map(|looking| (looking.frame(), looking.0)), model.look());
                    looked_at.extend(actual);
                }
                Call::Release(which) if which < looked_at.len() => {
                    model.release(looked_at.swap_remove(which).0);
                }
                Call::Trim => prop_assert_eq!(pool.trim(), 0),
                _ => {}
            }
            let report = pool.report();
            let actual = (report.live, report.joined, report.needed, report.shown, report.lost);
            prop_assert_eq!(actual, (model.live(), model.made, model.needed, model.shown, model.lost));
            prop_assert_eq!(live.load(SeqCst), model.live());
            prop_assert!(report.live <= most);
        }
    }
}
