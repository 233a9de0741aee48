//! Small programs over the pool: what must hold at their every step is asserted in the buffers that they use.

use handover::error::Error;
use rustix::io::Errno;
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use shuttle::thread;

use crate::programs::{SOON, explore};
use crate::share::pool::{Limits, Looking, Pool, Reader};
use crate::share::refused::ShareError;
use crate::share::sync::DEADLINES;

const FOR_EVER: std::time::Duration = std::time::Duration::MAX;

/// A buffer that notices when it is drawn into while somebody else uses it.
struct Canvas {
    drawers: AtomicUsize,
    readers: AtomicUsize,
    /// What was drawn; 0 while somebody draws.
    picture: AtomicU64,
    live: Arc<AtomicUsize>,
}

impl Canvas {
    fn new(live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, SeqCst);
        Self {
            drawers: AtomicUsize::new(0),
            readers: AtomicUsize::new(0),
            picture: AtomicU64::new(0),
            live: live.clone(),
        }
    }

    fn paint(&self, picture: u64) {
        assert_eq!(self.drawers.fetch_add(1, SeqCst), 0, "two draw into one buffer");
        self.picture.store(0, SeqCst);
        thread::yield_now();
        assert_eq!(self.readers.load(SeqCst), 0, "somebody draws into a buffer that is looked at");
        self.picture.store(picture, SeqCst);
        self.drawers.fetch_sub(1, SeqCst);
    }

    fn look(&self) -> u64 {
        self.readers.fetch_add(1, SeqCst);
        assert_eq!(self.drawers.load(SeqCst), 0, "somebody looks at a buffer that is drawn into");
        let picture = self.picture.load(SeqCst);
        thread::yield_now();
        assert_eq!(self.picture.load(SeqCst), picture, "a picture changed while it was looked at");
        assert_ne!(picture, 0, "a picture was shown that is not drawn");
        self.readers.fetch_sub(1, SeqCst);
        picture
    }
}

impl Drop for Canvas {
    fn drop(&mut self) {
        assert_eq!(self.drawers.load(SeqCst) + self.readers.load(SeqCst), 0, "a buffer is given up that is in use");
        self.live.fetch_sub(1, SeqCst);
    }
}

/// A pool whose memory is enough for `memory` buffers, and how many there are.
fn pool(limits: Limits, memory: usize) -> (Pool<Canvas>, Arc<AtomicUsize>) {
    let live = Arc::new(AtomicUsize::new(0));
    let of_maker = live.clone();
    let make = move |_| {
        thread::yield_now();
        assert!(limits.idle < FOR_EVER || of_maker.load(SeqCst) < limits.most, "the pool grows above its worst case");
        if of_maker.load(SeqCst) >= memory {
            return Err(Error::new("allocating", "a canvas", Errno::NOMEM).into());
        }
        Ok(Canvas::new(&of_maker))
    };
    (Pool::new(limits, make).unwrap(), live)
}

/// The answer, unless the deadline came first where deadlines come.
fn in_time<T>(answer: Result<T, ShareError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(ShareError::Failed(_)) if DEADLINES.get() => None,
        Err(error) => panic!("{error}"),
    }
}

/// Draws until a buffer was had, and shows it.
fn draw_and_show(pool: &Pool<Canvas>, picture: u64) -> u64 {
    loop {
        if let Some(drawing) = in_time(pool.draw("drawer", SOON)) {
            drawing.paint(picture);
            return drawing.show();
        }
    }
}

/// Looks at every new frame until `last`, each with `check`.
fn watch(mut reader: Reader<Canvas>, last: u64, check: impl Fn(&Looking<Canvas>)) {
    let mut before = 0;
    while before < last {
        if let Some(looking) = in_time(reader.next(SOON)) {
            assert!(looking.frame() > before, "frame {} comes after {before}", looking.frame());
            before = looking.frame();
            check(&looking);
        }
    }
}

/// One draws and two watch; each sees the frames that were shown, whole, in their order, and the last one.
fn one_draws_and_two_watch(limits: Limits, memory: usize) {
    explore(move || {
        let (pool, live) = pool(limits, memory);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let reader = pool.reader("watcher");
                thread::spawn(move || watch(reader, 3, |looking| assert_eq!(looking.look(), looking.frame())))
            })
            .collect();
        let mut own = pool.reader("drawer");
        for picture in 1..=3 {
            assert_eq!(draw_and_show(&pool, picture), picture);
            assert_eq!(own.latest().unwrap().frame(), picture, "the current frame is not the newest");
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        let report = pool.report();
        assert_eq!((report.shown, report.lost, own.skipped()), (3, 0, 0));
        assert!(report.needed <= limits.most.min(memory) && report.live <= limits.most, "{report}");
        pool.trim();
        assert_eq!(pool.report().live, live.load(SeqCst));
        drop((pool, own));
        assert_eq!(live.load(SeqCst), 0, "buffers outlive their pool");
    });
}

#[test]
fn what_is_looked_at_is_the_frame_that_was_shown() {
    one_draws_and_two_watch(Limits::on_demand(4, FOR_EVER), 4);
}

#[test]
fn two_buffers_are_enough() {
    one_draws_and_two_watch(Limits::fixed(2), 2);
}

#[test]
fn where_memory_is_short_drawers_wait() {
    one_draws_and_two_watch(Limits::on_demand(4, FOR_EVER), 2);
}

#[test]
fn giving_up_buffers_takes_none_from_anybody() {
    one_draws_and_two_watch(Limits::on_demand(3, std::time::Duration::ZERO), 8);
}

/// What one gives up is memory for another, who may have been refused it just before.
#[test]
fn memory_that_was_given_up_is_there_for_the_next() {
    let limits = Limits::on_demand(3, std::time::Duration::ZERO);
    one_draws_and_two_watch(limits, 2);
    // One who looks once, so that nothing but its memory is heard of it afterwards.
    explore(move || {
        let (pool, _) = pool(limits, 2);
        let mut reader = pool.reader("passer-by");
        let passer_by = thread::spawn(move || in_time(reader.next(SOON)).map(|looking| looking.look()));
        for picture in 1..=3 {
            assert_eq!(draw_and_show(&pool, picture), picture);
        }
        passer_by.join().unwrap();
    });
}

#[test]
fn several_that_draw_wait_for_each_other() {
    explore(|| {
        let (pool, _) = pool(Limits::on_demand(4, FOR_EVER), 2);
        let reader = pool.reader("reader");
        let watcher = thread::spawn(move || watch(reader, 4, |looking| assert!(looking.look() > 0)));
        let drawers: Vec<_> = (0..2)
            .map(|n| {
                let pool = pool.clone();
                thread::spawn(move || {
                    let mut own = pool.reader("drawer");
                    for picture in [1, 2] {
                        let frame = draw_and_show(&pool, 10 * n + picture);
                        assert!(own.latest().unwrap().frame() >= frame, "the current frame is not the newest");
                    }
                })
            })
            .collect();
        drawers.into_iter().for_each(|drawer| drawer.join().unwrap());
        watcher.join().unwrap();
        assert_eq!((pool.report().shown, pool.report().needed), (4, 2));
    });
}

/// One buffer goes round, made before or by the first who asks: whoever gives it back, not shown, wakes the next.
fn one_buffer_for_three(limits: Limits) {
    explore(move || {
        let (pool, _) = pool(limits, 8);
        let drawers: Vec<_> = (1..=3)
            .map(|picture| {
                let pool = pool.clone();
                thread::spawn(move || {
                    if let Some(drawing) = in_time(pool.draw("drawer", SOON)) {
                        drawing.paint(picture);
                    }
                })
            })
            .collect();
        drawers.into_iter().for_each(|drawer| drawer.join().unwrap());
        let report = pool.report();
        assert_eq!((report.live, report.needed, report.shown), (1, 1, 0), "{report}");
    });
}

#[test]
fn a_buffer_that_was_not_shown_comes_back() {
    one_buffer_for_three(Limits::fixed(1));
}

#[test]
fn who_asks_at_once_makes_no_buffer_too_many() {
    one_buffer_for_three(Limits::on_demand(1, FOR_EVER));
}

#[test]
fn buffers_of_the_drawers_own_join_and_come_back_like_others() {
    explore(|| {
        let (pool, made) = pool(Limits::on_demand(2, FOR_EVER), 2);
        let adopted = Arc::new(AtomicUsize::new(0));
        let pusher = {
            let (pool, live) = (pool.clone(), adopted.clone());
            thread::spawn(move || {
                for picture in [1, 2] {
                    if let Some(drawing) = in_time(pool.adopt("pusher", Canvas::new(&live), SOON)) {
                        drawing.paint(picture);
                        drawing.show();
                    }
                    assert!(pool.report().live <= 2, "the pool grows above its worst case");
                }
            })
        };
        if let Some(drawing) = in_time(pool.draw("drawer", SOON)) {
            drawing.paint(3);
            drawing.show();
        }
        pusher.join().unwrap();
        assert!(pool.report().live <= 2);
        assert_eq!(pool.report().live, made.load(SeqCst) + adopted.load(SeqCst));
    });
}

/// Making a buffer fails once, for a reason of its own: that is an error for one, and nobody waits for it in vain.
#[test]
fn a_maker_that_fails_is_asked_again() {
    explore(|| {
        let failed = AtomicUsize::new(0);
        let live = Arc::new(AtomicUsize::new(0));
        let make = move |_| {
            thread::yield_now();
            match failed.fetch_add(1, SeqCst) {
                0 => Err(Error::new("allocating", "a canvas", Errno::IO).into()),
                _ => Ok(Canvas::new(&live)),
            }
        };
        let pool = Pool::new(Limits::on_demand(2, FOR_EVER), make).unwrap();
        let drawers: Vec<_> = (1..=3)
            .map(|picture| {
                let pool = pool.clone();
                thread::spawn(move || match pool.draw("drawer", SOON) {
                    Ok(drawing) => {
                        drawing.paint(picture);
                        0
                    }
                    Err(error) => usize::from(error.to_string().contains("EIO")),
                })
            })
            .collect();
        let failures: usize = drawers.into_iter().map(|drawer| drawer.join().unwrap()).sum();
        assert!(failures == 1 || DEADLINES.get(), "{failures} were told of one failure");
    });
}
