//! Frames are passed on in a pool of buffers: the rules S9 to S11, on real memory.

use std::time::{Duration, Instant};

use handover::error::Error;
use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::buffer::Attachment;
use handover::share::constraints::{Constraints, Party};
use handover::share::heap::Heaps;
use handover::share::heaps::Kind;
use handover::share::pool::{Drawing, Limits, Looking, Pool, Reader};

const FOURCC: Fourcc = Fourcc::XR24;
const SIZE: Size = px(64, 16);
const PATIENCE: Duration = Duration::from_secs(2);
const SHORTLY: Duration = Duration::from_millis(20);

pub(crate) fn register(cases: &mut Cases<Cx>) {
    cases.add("pool::pull_gives_a_buffer_that_nobody_looks_at", pull).must_fail_under("udmabuf-memory-twice");
    cases.add("pool::the_last_frame_is_current", last_is_current).must_fail_under("sync-backwards");
    cases
        .add("pool::push_shows_what_a_process_drew_into_its_own_buffers", push)
        .must_fail_under("udmabuf-memory-twice")
        .from(GpuA)
        .to(Screen)
        .needs(Need::Seen);
    cases
        .add("pool::push_takes_in_no_more_buffers_than_its_cap", push_at_cap)
        .must_fail_under("mapping-kept")
        .must_fail_under("pool-over-its-cap")
        .from(GpuA)
        .to(Screen)
        .needs(Need::Writeback);
    for readers in 1..=4 {
        let case = cases.add(format!("pool::grows_to_what_is_needed::{readers}_readers"), move |cx| grows(cx, readers));
        if readers == 1 {
            case.must_fail_under("frame-kept");
        }
    }
    cases.add("pool::waits_at_its_cap_until_a_buffer_comes_back", waits_at_cap).must_fail_under("timed-wait-at-once");
    cases
        .add("pool::waits_when_no_file_is_left_until_a_buffer_comes_back", waits_without_files)
        .must_fail_under("udmabuf-lacks-as-einval");
    cases.add("pool::shrinks_when_idle", shrinks).must_fail_under("udmabuf-kept").must_fail_under("frame-kept");
    for (name, kind, contiguous) in [("udmabuf", Kind::Udmabuf, false), ("contiguous", Kind::Expbuf, true)] {
        let case =
            cases.add(format!("pool::a_fixed_set_is_there_at_once::{name}"), move |cx| fixed(cx, kind, contiguous));
        if kind == Kind::Udmabuf {
            case.must_fail_under("allocation-deferred");
        }
    }
    cases
        .add("pool::who_drops_its_frame_gives_it_back", dropped)
        .must_fail_under("frame-kept")
        .fails_with("a drawer that dies");
    cases
        .add("pool::no_frame_is_seen_torn_by_three_readers", not_torn)
        .must_fail_under("sync-backwards")
        .must_fail_under("reader-unnoted")
        .fails_with("has different values in place of");
}

/// A buffer with its storage made, and the CPU attached.
struct Slot {
    buffer: Buffer,
    cpu: Attachment,
}

impl Slot {
    fn write(&self, value: u32) -> Result<(), Trouble> {
        let mapping = self.cpu.map(Access::Write)?;
        let words = value.to_ne_bytes().repeat((SIZE.width * SIZE.height) as usize);
        Ok(mapping.shared().dmabuf.map()?.write(0, &words)?)
    }

    /// The same in two halves, between which others come to their turn.
    fn write_slowly(&self, value: u32) -> Result<(), Trouble> {
        let mapping = self.cpu.map(Access::Write)?;
        let half = value.to_ne_bytes().repeat((SIZE.width * SIZE.height / 2) as usize);
        let mut bytes = mapping.shared().dmabuf.map()?;
        bytes.write(0, &half)?;
        std::thread::yield_now();
        Ok(bytes.write(half.len() as u64, &half)?)
    }

    /// The one value that all pixels have, or none.
    fn read(&self) -> Result<Option<u32>, Trouble> {
        let mapping = self.cpu.map(Access::Read)?;
        let bytes = mapping.shared().dmabuf.map()?.read(0..u64::from(SIZE.width * SIZE.height) * 4)?;
        let words: Vec<u32> = bytes.as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        Ok(words.iter().all(|word| *word == words[0]).then_some(words[0]))
    }
}

fn pool(cx: &mut Cx, kind: Kind, contiguous: bool, limits: Limits) -> Result<Pool<Slot>, Trouble> {
    let heaps = cx.heaps(kind)?.into_iter().filter(|heap| heap.offer().contiguous == contiguous);
    let heaps = Heaps::new(heaps.take(1));
    if heaps.is_empty() {
        return Err(Trouble::Skip(format!("no {kind} heap here is what this needs")));
    }
    Ok(Pool::new(limits, move |_| {
        let buffer = Buffer::export(Wish { fourccs: vec![FOURCC], size: SIZE }, heaps.clone());
        let cpu = buffer.attach(Party { name: "cpu".to_owned(), constraints: Constraints::cpu(&[FOURCC]) })?;
        buffer.allocate()?;
        Ok(Slot { buffer, cpu })
    })?)
}

fn on_demand(cx: &mut Cx, most: usize) -> Result<Pool<Slot>, Trouble> {
    pool(cx, Kind::Udmabuf, false, Limits::on_demand(most, Duration::from_secs(60)))
}

/// S9, S10: who asks for a buffer never gets the one that is current, nor one that a reader has.
fn pull(cx: &mut Cx) -> Outcome {
    let pool = on_demand(cx, 8)?;
    let mut reader = pool.reader("reader");
    let mut held = Vec::new();
    for value in 1..=6 {
        let drawing = pool.draw("drawer", PATIENCE)?;
        drawing.write(value)?;
        let inode = |slot: &Slot| {
            Ok::<_, Trouble>(match slot.buffer.storage() {
                Some(storage) => storage.shared.dmabuf.identity()?.inode,
                None => 0,
            })
        };
        let here = inode(&drawing)?;
        for (value, looking) in &held {
            let looking: &Looking<Slot> = looking;
            let other = inode(looking)?;
            cx.claim("another buffer", here != other, || {
                Finding::new(format!("the buffer of frame {value} is drawn into while it is looked at"))
            });
        }
        drawing.show();
        held.push((value, reader.next(PATIENCE)?));
        if held.len() > 3 {
            drop(held.remove(0));
        }
        for (kept, looking) in &held {
            let seen = looking.read()?;
            cx.claim(format!("frame {kept}"), seen == Some(*kept), || {
                let seen = Seen(seen);
                Finding::new(format!(
                    "frame {kept}, which is looked at, became {seen} when frame {value} was drawn into another dma-buf"
                ))
                .row("like", "two dma-bufs of one memory")
            });
        }
    }
    cx.agree()
}

/// S9: the frame that was shown last is the one that a reader sees; those that it missed are counted.
fn last_is_current(cx: &mut Cx) -> Outcome {
    let pool = on_demand(cx, 4)?;
    let mut reader = pool.reader("reader");
    for value in 1..=5 {
        let drawing = pool.draw("drawer", PATIENCE)?;
        drawing.write(value)?;
        drawing.show();
    }
    let looking = reader.next(PATIENCE)?;
    cx.equals("the frame", 5, looking.frame());
    let seen = Seen(looking.read()?);
    cx.claim("the contents", seen.0 == Some(5), || {
        Finding::new(format!("the contents of the last frame: {seen}, not {}", Seen(Some(5)))).row(
            "like",
            "an access of the CPU whose end brings back what was there when it began, or a write that stays elsewhere",
        )
    });
    cx.equals("frames that the reader missed", 4, reader.skipped());
    cx.equals("frames that nobody saw", 4, pool.report().lost);
    cx.agree()
}

/// A client of Wayland: a process with a GPU, which makes its buffers itself and brings them into a pool for the screen.
struct Client {
    pool: Pool<Buffer>,
    screen: Reader<Buffer>,
    on_screen: Option<Looking<Buffer>>,
}

impl Client {
    /// Of `most` buffers, none of which the pool could make.
    fn new(most: usize) -> Result<Self, Trouble> {
        let pool = Pool::new(Limits::on_demand(most, Duration::from_secs(60)), |_| {
            Err(Error::missing("making a buffer", "a pool", "the client brings its own").into())
        })?;
        Ok(Self { screen: pool.reader("screen"), pool, on_screen: None })
    }

    /// A buffer of the client's own, with frame `stamp` in it.
    fn makes(cx: &mut Cx, stamp: u32) -> Result<Buffer, Trouble> {
        let shared = cx.peer(GpuA)?.draw(FOURCC, SIZE, stamp)?;
        cx.publish_memory("a client", shared)
    }

    /// The client draws frame `stamp` into a buffer that came back.
    fn draws(&self, cx: &mut Cx, stamp: u32) -> Result<Drawing<Buffer>, Trouble> {
        let drawing = self.pool.draw("client", PATIENCE)?;
        cx.mapped(&Guest::Peer(GpuA), &drawing, Access::Write, |cx, shared| {
            Ok(cx.peer(GpuA)?.draw_into(shared, false, stamp)?)
        })?;
        Ok(drawing)
    }

    /// What was drawn is pushed, and must be what the screen then shows.
    fn pushes(&mut self, cx: &mut Cx, drawing: Drawing<Buffer>, stamp: u32) -> Result<(), Trouble> {
        let frame = drawing.show();
        let looking = self.screen.next(PATIENCE)?;
        cx.equals(format!("frame on the screen at {stamp}"), frame, looking.frame());
        let target = Target::from(Pattern { stamp }.picture(FOURCC, SIZE)?);
        cx.screen_shows(&[(Layer::whole(&*looking), &target)])?;
        // Only now has the one before left the screen.
        self.on_screen = Some(looking);
        Ok(())
    }
}

/// S9: a process draws into buffers of its own and pushes them; the screen shows each frame, and what it no longer shows
/// goes back to be drawn into again.
fn push(cx: &mut Cx) -> Outcome {
    let mut client = Client::new(3)?;
    for stamp in 1..=8 {
        let drawing = match stamp {
            1..=3 => {
                let own = Client::makes(cx, stamp)?;
                client.pool.adopt("client", own, PATIENCE)?
            }
            _ => client.draws(cx, stamp)?,
        };
        client.pushes(cx, drawing, stamp)?;
    }
    let report = client.pool.report();
    cx.equals("buffers that joined", 3, report.joined);
    cx.equals("buffers that left", 0, report.left);
    cx.equals("frames that nobody saw", 0, report.lost);
    cx.equals("frames that the screen missed", 0, client.screen.skipped());
    cx.agree()
}

/// S9, S11: at its cap a pool takes in no buffer of a client's, and says who has the others; one that comes back makes room,
/// and leaves for the new one.
fn push_at_cap(cx: &mut Cx) -> Outcome {
    const CAP: usize = 2;
    let mut client = Client::new(CAP)?;
    for stamp in 1..=2 {
        let own = Client::makes(cx, stamp)?;
        let drawing = client.pool.adopt("client", own, PATIENCE)?;
        client.pushes(cx, drawing, stamp)?;
    }
    // One is on the screen, and the other drawn into.
    let drawing = client.draws(cx, 3)?;
    let before = cx.dmabufs()?;
    let third = Client::makes(cx, 4)?;
    let said = match client.pool.adopt("client", third, SHORTLY) {
        Ok(_joined) => "it joined".to_owned(),
        Err(refused) => refused.to_string(),
    };
    let named = ["2 of 2 buffers", "client holds one", "screen holds one"].iter().all(|part| said.contains(part));
    cx.claim("the refusal", named, || {
        Finding::new("a client brought more buffers than the pool may have, or was not told who has them")
            .row("said", said.clone())
            .row("buffers", format!("{}, of at most {CAP}", client.pool.report().live))
            .row("like", "a limit that is counted otherwise than it was set")
    });
    cx.equals("buffers in the pool", CAP, client.pool.report().live);
    let after = cx.dmabufs()?;
    cx.claim("dma-bufs after the refusal", after == before, || {
        Finding::new("the buffer that the pool refused is still there when its client has let go")
            .row("dma-bufs", format!("{after}, and {before} before it was made"))
            .row("like", "a mapping, or another reference, that is never ended")
    });
    // Nothing is lost for that: the frame that was being drawn comes next.
    client.pushes(cx, drawing, 3)?;
    let fourth = Client::makes(cx, 4)?;
    let drawing = client.pool.adopt("client", fourth, PATIENCE)?;
    client.pushes(cx, drawing, 4)?;
    let report = client.pool.report();
    cx.equals("buffers in the pool afterwards", CAP, report.live);
    cx.equals("buffers that joined", 3, report.joined);
    cx.equals("buffers that left", 1, report.left);
    cx.equals("dma-bufs afterwards", before, cx.dmabufs()?);
    cx.agree()
}

/// S11: as many buffers are made as are in use at once, and no more.
fn grows(cx: &mut Cx, readers: usize) -> Outcome {
    let pool = on_demand(cx, 16)?;
    let mut held = std::collections::VecDeque::new();
    let mut reader = pool.reader("reader");
    for value in 1..=20 {
        let drawing = pool.draw("drawer", PATIENCE)?;
        drawing.write(value)?;
        drawing.show();
        held.push_back(reader.next(PATIENCE)?);
        while held.len() > readers {
            held.pop_front();
        }
    }
    // One is drawn into while the readers have theirs.
    let of = format!("for {readers} reader{}", if readers == 1 { "" } else { "s" });
    let like = "buffers that do not come back from who is done with them, so that new ones are made";
    cx.equals_else(format!("buffers that were made {of}"), readers + 1, pool.report().joined, like);
    cx.equals(format!("buffers that were needed {of}"), readers + 1, pool.report().needed);
    cx.equals("the worst case", 16, pool.report().worst);
    cx.agree()
}

/// S11: at its cap the pool waits, has an end to its waiting, names who holds what, and goes on when one comes back.
fn waits_at_cap(cx: &mut Cx) -> Outcome {
    let pool = on_demand(cx, 2)?;
    let one = pool.draw("the first", PATIENCE)?;
    let two = pool.draw("the second", PATIENCE)?;
    let began = Instant::now();
    let said = pool.draw("the third", SHORTLY).err().map(|error| error.to_string()).unwrap_or_default();
    let named = said.contains("the first") && said.contains("the second") && said.contains("the third");
    cx.claim("who holds the buffers", named, || Finding::new("a wait in vain does not say for whom").row("said", said));
    cx.claim("an end", began.elapsed() >= SHORTLY, || {
        Finding::new(format!("a wait of {} ms ended before its deadline", SHORTLY.as_millis()))
            .row("waited", format!("{} µs", began.elapsed().as_micros()))
            .row("like", "a timer that fires early, or a deadline that is taken for one that has passed")
    });
    let granted = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.draw("the third", PATIENCE).is_ok());
        std::thread::sleep(SHORTLY);
        drop(one);
        waiter.join().unwrap_or(false)
    });
    cx.equals("the buffer that came back", true, granted);
    drop(two);
    cx.agree()
}

/// S11: so does a pool that can't grow for want of file descriptors, however many of those that it takes are left, and nothing
/// is left over of the attempt.
fn waits_without_files(cx: &mut Cx) -> Outcome {
    let pool = on_demand(cx, 8)?;
    drop(pool.draw("the first", PATIENCE)?);
    let before = cx.files();
    for left in 0.. {
        let one = pool.draw("the first", PATIENCE)?;
        let (refused, granted) = cx.with_files_left(left, |_| {
            let refused = pool.draw("the second", SHORTLY).err().map(|error| error.to_string());
            drop(one);
            (refused, pool.draw("the second", PATIENCE).is_ok())
        })?;
        let Some(said) = refused else {
            cx.figure("files_to_grow", left as f64);
            cx.claim("refusals", left > 0, || Finding::new("the pool grows though no file is left"));
            break;
        };
        cx.claim(format!("EMFILE with {left} files left"), said.contains("EMFILE"), || {
            Finding::new("without a file left, growing does not fail with EMFILE")
                .row("said", said)
                .row("files", format!("{left} left"))
                .row("like", "a lack of files that is told as something else")
        });
        cx.equals(format!("the buffer that came back with {left} files left"), true, granted);
        cx.no_file_stays(1, "attempt to grow", &before);
        if cx.disagrees() {
            break;
        }
    }
    cx.claim("reported", pool.report().refused > 0, || Finding::new("the pool does not report that it could not grow"));
    cx.agree()
}

/// S11: buffers that were free for long are given up, and the kernel has them back.
fn shrinks(cx: &mut Cx) -> Outcome {
    let pool = pool(cx, Kind::Udmabuf, false, Limits::on_demand(8, SHORTLY))?;
    let before = cx.dmabufs()?;
    let all = (0..5).map(|_| pool.draw("drawer", PATIENCE)).collect::<Result<Vec<_>, _>>()?;
    cx.equals("dma-bufs while five are drawn into", before + 5, cx.dmabufs()?);
    drop(all);
    std::thread::sleep(SHORTLY * 2);
    pool.trim();
    let (left, after) = (pool.report().live, cx.dmabufs()?);
    cx.claim("buffers that are left", left == 0, || {
        Finding::new(format!("{left} of 5 buffers stay in a pool that nobody has drawn into for long"))
            .row("like", "who was done with a buffer did not say so")
    });
    cx.claim("dma-bufs afterwards", after == before + left, || {
        Finding::new(format!(
            "{} dma-bufs of buffers that a pool gave up are still there",
            after.saturating_sub(before + left)
        ))
        .row("like", "a reference that is never put")
    });
    cx.agree()
}

/// S7, S11: a fixed set, as VIDIOC_REQBUFS makes it, is there before the first frame and neither grows nor shrinks.
fn fixed(cx: &mut Cx, kind: Kind, contiguous: bool) -> Outcome {
    cx.heaps(kind)?;
    let before = cx.dmabufs()?;
    let pool = pool(cx, kind, contiguous, Limits::fixed(3))?;
    let made = cx.dmabufs()?.saturating_sub(before);
    cx.claim("dma-bufs", made == 3, || {
        Finding::new(format!("a fixed set of 3 buffers has {made} dma-bufs before its first frame")).row(
            "like",
            "an exporter that defers its allocation, and learns of a lack of memory when it is too late to say so",
        )
    });
    let all = (0..3).map(|_| pool.draw("drawer", PATIENCE)).collect::<Result<Vec<_>, _>>()?;
    cx.equals("a fourth one", true, pool.draw("drawer", SHORTLY).is_err());
    drop(all);
    pool.trim();
    cx.equals("buffers that are left", 3, pool.report().live);
    drop(pool);
    cx.equals("dma-bufs afterwards", before, cx.dmabufs()?);
    cx.agree()
}

/// S10: who is gone, with a frame that it drew or looked at, holds nothing: a buffer is free whenever one is asked for.
fn dropped(cx: &mut Cx) -> Outcome {
    let pool = on_demand(cx, 2)?;
    for value in 1..=10 {
        let mut reader = pool.reader("a reader that dies");
        let drawing = match pool.draw("drawer", SHORTLY) {
            Ok(drawing) => drawing,
            Err(error) => {
                return Err(Finding::new(format!(
                    "frame {value} can't be drawn for want of a buffer that somebody has who is gone"
                ))
                .row("said", error.to_string())
                .into());
            }
        };
        drawing.write(value)?;
        drawing.show();
        let looking = reader.next(PATIENCE)?;
        let died = std::thread::scope(|scope| {
            scope.spawn(move || {
                let _held = (looking, reader);
            });
            // Half way through drawing.
            drop(pool.draw("a drawer that dies", PATIENCE)?);
            Ok::<_, Trouble>(())
        });
        died?;
    }
    cx.equals("buffers that were made", 2, pool.report().joined);
    cx.agree()
}

/// S10: while one draws as fast as it can, three others look: each frame that one of them sees is whole, and newer than the
/// one before.
fn not_torn(cx: &mut Cx) -> Outcome {
    let pool = on_demand(cx, 6)?;
    let frames = 60 * cx.effort()?;
    let seen = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|n| {
                let mut reader = pool.reader(format!("reader {n}"));
                scope.spawn(move || {
                    let (mut last, mut looks, mut wrong) = (0, 0_u32, None);
                    while last < u64::from(frames) {
                        let looking = reader.next(PATIENCE)?;
                        let (frame, is_next) = (looking.frame(), looking.frame() > last);
                        let mut values = [looking.read()?, None];
                        // For as long as it is looked at.
                        std::thread::sleep(Duration::from_micros(200));
                        values[1] = looking.read()?;
                        for value in values {
                            // That it is torn says more than what else is wrong.
                            let told = value.is_some() && wrong.is_some();
                            if (value != u32::try_from(frame).ok() || !is_next) && !told {
                                wrong = Some(torn(frame, last, &Seen(value)));
                            }
                        }
                        last = frame;
                        looks += 1;
                    }
                    Ok::<_, Trouble>((looks, wrong))
                })
            })
            .collect();
        for value in 1..=frames {
            let drawing = pool.draw("drawer", PATIENCE)?;
            drawing.write_slowly(value)?;
            drawing.show();
            std::thread::yield_now();
        }
        readers
            .into_iter()
            .map(|reader| reader.join().map_err(|_| Finding::new("a reader panicked"))?)
            .collect::<Result<Vec<_>, Trouble>>()
    })?;
    cx.figure("looks", seen.iter().map(|(looks, _)| looks).sum::<u32>().into());
    for (looks, wrong) in seen {
        let nothing = || Finding::new("a reader saw nothing");
        cx.claim("a reader", looks > 0 && wrong.is_none(), || wrong.unwrap_or_else(nothing));
    }
    cx.agree()
}

/// What is wrong with a frame that somebody looks at.
fn torn(frame: u64, last: u64, seen: &Seen) -> Finding {
    let like = match seen.0 {
        None => "a frame that is drawn into while somebody reads it",
        Some(value) if u64::from(value) > frame => "a frame that is drawn into while somebody reads it",
        Some(value) if u64::from(value) == frame => "a frame that a reader was given twice",
        Some(_) => "a frame whose drawing was lost, or one that was handed out before",
    };
    Finding::new(format!("a reader saw frame {frame} has {seen} in place of {frame}, after frame {last}"))
        .row("like", like)
}

/// What all pixels hold.
#[derive(PartialEq)]
struct Seen(Option<u32>);

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value} in every pixel"),
            None => f.write_str("different values"),
        }
    }
}
