//! How a pipe runs: one draws and shows frame after frame, and whoever looks does so meanwhile.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use handover::cx::Growth;
use handover::plot::Moment;
use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::constraints::{Constraints, Party};
use handover::share::pool::{Pool, Report};
use handover::share::refused::ShareError;

use super::buffers::{Gate, Roll, Slot, heaps};
use super::stage::{Eye, Saw, Stage, Word};
use super::{Late, PATIENCE, Plan, SIZE};

/// More than any stage waits for something itself, which is to attach and then to map.
const LATE: Duration = PATIENCE.saturating_mul(2).saturating_add(Duration::from_secs(2));

/// For so long at least the screen holds a frame whose buffer is to move.
const SHORTLY: Duration = Duration::from_millis(5);

/// A map that came meanwhile waits for the rest of that, and for as long as it takes to draw and show a frame.
const STALL: Duration = Duration::from_millis(1);

/// What runs: who draws, who looks from which frame on, and the buffers.
pub(super) struct Parts {
    fourcc: Fourcc,
    frames: u32,
    gpu: Gpu,
    /// The CPU looks from the beginning, the others join.
    eyes: Vec<(u32, Eye, Party)>,
    roll: Roll,
    pool: Pool<Slot>,
}

/// How a pipe ran.
#[derive(Default)]
pub(super) struct Ran {
    pub(super) times_ms: Vec<f64>,
    pub(super) moments: Vec<Moment>,
    /// Of every move: how long storage could not be mapped.
    pub(super) moves_ms: Vec<f64>,
    /// The longest that a move waited for mappings that were there before.
    pub(super) drain_ms: f64,
    /// The longest that a map waited for a move.
    pub(super) map_ms: f64,
    pub(super) report: Report,
    /// Memory of the kernel, frame by frame.
    pub(super) growth: Growth,
    /// The fewest mappings that others held while a frame was drawn, since the strict device has its first.
    in_use_least: Option<usize>,
}

/// A frame that the screen holds while its buffer is to move.
struct Held {
    frame: u64,
    buffer: Buffer,
    /// The move had begun by then.
    since: Instant,
    /// Until then at least the screen has held it.
    until: Option<Instant>,
    /// The longest that another one's map of it waited.
    stalled: Duration,
}

impl Parts {
    pub(super) fn open(cx: &mut Cx, plan: &Plan) -> Result<Self, Trouble> {
        let &Plan { fourcc, frames, .. } = plan;
        let gpu = cx.gpu(GpuA)?;
        let gate = Gate::default();
        let heaps = heaps(cx, &gate)?;
        let wish = Wish { fourccs: vec![fourcc], size: SIZE };
        let sample = Buffer::export(wish.clone(), heaps.clone());
        let mut eyes = vec![(1, Eye::Cpu)];
        for (from, late) in &plan.late {
            eyes.push((
                *from,
                match late {
                    Late::Contiguous => Eye::Loop(cx.video_loop(DmaVideo)?, gate.clone()),
                    Late::Converter => Eye::Converter(cx.converter()?),
                },
            ));
        }
        let roll = Roll::default();
        for guest in [Guest::Gpu(&gpu), Guest::Screen] {
            roll.join(cx.party_of(&guest, &sample)?);
        }
        let eyes = eyes.into_iter().map(|(from, eye)| {
            let party = cx.party_of(&eye.guest(), &sample)?;
            Ok((from, eye, party))
        });
        let eyes = eyes.collect::<Result<Vec<_>, Trouble>>()?;
        let pool = roll.pool(wish, heaps)?;
        Ok(Self { fourcc, frames, gpu, eyes, roll, pool })
    }

    pub(super) fn run(&self, cx: &mut Cx) -> Result<Ran, Trouble> {
        std::thread::scope(|scope| {
            let (to_us, words) = channel();
            let (ran, stages) = (Ran::default(), Vec::new());
            Run { parts: self, ran, stages, words, to_us, strict: None, strict_has_one: false, held: None }
                .frames(cx, scope)
        })
    }

    /// Frame `stamp`, in a buffer that may hold any older one.
    fn target(&self, stamp: u32) -> Result<Target> {
        Target::stamped(stamp, self.fourcc, SIZE)
    }
}

/// A pipe that runs.
struct Run<'p> {
    parts: &'p Parts,
    ran: Ran,
    stages: Vec<Stage>,
    words: Receiver<Word>,
    to_us: Sender<Word>,
    /// The place, among all who take part, of the one that storage must move for.
    strict: Option<usize>,
    strict_has_one: bool,
    held: Option<Held>,
}

impl<'p> Run<'p> {
    fn frames<'s>(mut self, cx: &mut Cx, scope: &'s Scope<'s, '_>) -> Result<Ran, Trouble>
    where
        'p: 's,
    {
        let pool = &self.parts.pool;
        let mut screen = pool.reader("screen");
        let mut on_screen = None;
        for stamp in 1..=self.parts.frames {
            let began = Instant::now();
            // Each may be one frame behind: that one is at the devices while the next is drawn and shown.
            self.hear(cx, 1)?;
            let drawing = pool.draw("gpu_a", PATIENCE)?;
            drawing.draw(cx, &self.parts.gpu, stamp)?;
            self.count_in_use();
            let frame = drawing.show();
            cx.equals(format!("number of frame {stamp}"), u64::from(stamp), frame);
            let shown = screen.next(PATIENCE)?;
            cx.equals(format!("frame on the screen at {stamp}"), frame, shown.frame());
            self.release();
            cx.screen_shows(&[(Layer::whole(&shown.buffer), &self.parts.target(stamp)?)])?;
            if cx.disagrees() {
                // Of thousands of frames the first wrong one tells most.
                break;
            }
            self.pass_on(cx, scope, stamp, &shown.buffer)?;
            // Only now has the one before left the screen.
            on_screen = Some(shown);
            self.ran.growth.sample()?;
            self.ran.times_ms.push(began.elapsed().as_secs_f64() * 1e3);
        }
        // What the screen shows stays where it is.
        self.release();
        cx.black_screen()?;
        drop(on_screen);
        cx.equals("frames that the screen missed", 0, screen.skipped());
        self.hear(cx, 0)?;
        for stage in std::mem::take(&mut self.stages) {
            cx.equals(format!("frames that {} missed", stage.name), 0, stage.missed());
        }
        self.settle(cx)?;
        self.ran.report = pool.report();
        Ok(self.ran)
    }

    /// Whoever looks is given the frame `stamp`, which is on the screen in `buffer`; those whose first one it is join now.
    fn pass_on<'s>(&mut self, cx: &mut Cx, scope: &'s Scope<'s, '_>, stamp: u32, buffer: &Buffer) -> Result<(), Trouble>
    where
        'p: 's,
    {
        let before = self.stages.len();
        let mut strict = None;
        for (_, eye, party) in self.parts.eyes.iter().filter(|(from, ..)| *from == stamp) {
            let (number, place) = (self.stages.len(), self.parts.roll.join(party.clone()));
            // Its first frame is the current one.
            let reader = self.parts.pool.reader(party.name.clone());
            let who = (place, party.clone());
            self.stages.push(Stage::start(scope, (number, eye), who, reader, self.to_us.clone()));
            self.ran.moments.push(Moment { frame: stamp as usize, what: format!("{} joins", party.name) });
            if eye.is_strict() {
                (strict, self.strict) = (Some(number), Some(place));
            }
        }
        if let Some(strict) = strict {
            // It alone at first, so that everybody else comes to a buffer that is about to move.
            self.stages[strict].give()?;
            self.held = asked_to_move(cx, stamp.into(), buffer)?;
        }
        for stage in self.stages.iter_mut().enumerate().filter(|(n, _)| Some(*n) != strict).map(|(_, stage)| stage) {
            stage.give()?;
        }
        if self.held.as_ref().is_some_and(|held| held.until.is_none()) {
            let began = Instant::now();
            while !self.stages[..before].iter().all(|stage| stage.maps(stamp.into())) && began.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_micros(200));
            }
            std::thread::sleep(SHORTLY);
        }
        Ok(())
    }

    /// Counts who holds a mapping while a frame has been drawn and is not shown yet.
    fn count_in_use(&mut self) {
        if self.strict_has_one {
            let count = self.parts.roll.made().iter().map(|made| made.buffer.mappings()).sum();
            self.ran.in_use_least = Some(self.ran.in_use_least.map_or(count, |least| least.min(count)));
        }
    }

    /// Another frame is about to be shown, or none.
    fn release(&mut self) {
        if let Some(held) = &mut self.held {
            held.until.get_or_insert_with(Instant::now);
        }
    }

    /// Hears of what was seen, until each stage has `most` frames left to tell of.
    fn hear(&mut self, cx: &mut Cx, most: usize) -> Result<(), Trouble> {
        while let Some(slow) = self.stages.iter().find(|stage| stage.owed > most) {
            let Word { stage, said } = match self.words.recv_timeout(LATE) {
                Ok(word) => word,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let text = format!("{} has seen nothing for {} s", slow.name, LATE.as_secs());
                    return Err(Finding::new(text).row("frames that it was given", slow.owed.to_string()).into());
                }
            };
            self.stages[stage].owed -= 1;
            self.saw(cx, stage, *said?)?;
        }
        Ok(())
    }

    fn saw(&mut self, cx: &mut Cx, stage: usize, saw: Saw) -> Result<(), Trouble> {
        let (_, eye, party) = &self.parts.eyes[stage];
        let Saw { taken, picture, moved } = saw;
        let (frame, stalled) = (taken.looking.frame(), taken.mapping.stalled());
        cx.observed(&eye.guest(), &taken.looking.buffer, &taken.mapping, Access::Read)?;
        let stamp = u32::try_from(frame).unwrap_or(u32::MAX);
        cx.sees(format!("{}, frame {stamp}", party.name), &eye.target(self.parts.target(stamp)?)?, &picture)?;
        if let Some(moved) = moved {
            let what = format!("a buffer moves, {:.1} ms", ms(moved.stall()));
            self.ran.moments.push(Moment { frame: stamp as usize, what });
        }
        if let Some(held) = self.held.as_mut().filter(|held| held.frame == frame) {
            held.stalled = held.stalled.max(stalled);
        }
        self.strict_has_one |= eye.is_strict();
        self.ran.map_ms = self.ran.map_ms.max(ms(stalled));
        Ok(())
    }

    /// What must be so of moves, once all frames are through.
    fn settle(&mut self, cx: &mut Cx) -> Result<(), Trouble> {
        let Some(strict) = self.strict.filter(|_| !cx.disagrees()) else { return Ok(()) };
        let made = self.parts.roll.made();
        let older = made.iter().filter(|made| made.parties <= strict);
        cx.claim(
            "buffers that had to move",
            older.clone().filter(|made| !made.buffer.moves().is_empty()).count() > 1,
            || Finding::new("less than two buffers moved while the pipe ran"),
        );
        let party = self.parts.eyes.iter().find(|(_, eye, _)| eye.is_strict()).map(|(.., party)| party);
        for (party, made) in older.filter(|made| made.buffer.moves().is_empty()).filter_map(|made| Some((party?, made)))
        {
            // It lay idle since, and the device that joined has not met it.
            made.buffer.attach_within(party.clone(), PATIENCE)?;
        }
        for (n, made) in made.iter().enumerate() {
            let moves = made.buffer.moves();
            cx.equals(format!("moves of buffer {n}"), usize::from(made.parties <= strict), moves.len());
            for moved in moves {
                self.ran.moves_ms.push(ms(moved.stall()));
                self.ran.drain_ms = self.ran.drain_ms.max(ms(moved.drained));
            }
        }
        if let Some(held) = &self.held {
            held.check(cx);
        }
        if let Some(least) = self.ran.in_use_least {
            cx.claim("frames in use while one is drawn", least >= 2, || {
                let text = "while a frame was drawn, the screen and the video device did not each hold one";
                Finding::new(text).row("the fewest mappings", least.to_string())
            });
        }
        Ok(())
    }
}

impl Held {
    /// The move waited for as long as the screen held the frame, and who mapped it meanwhile waited for the move.
    fn check(&self, cx: &mut Cx) {
        let Self { frame, buffer, since, until, stalled } = self;
        let held = until.map_or(SHORTLY, |until| until - *since);
        let Some(moved) = buffer.moves().first().copied() else { return };
        let times = format!(
            "held for {:.3} ms, drained for {:.3} ms, stall {:.3} ms, map stalled for {:.3} ms",
            ms(held),
            ms(moved.drained),
            ms(moved.stall()),
            ms(*stalled)
        );
        let drained = moved.drained >= held && moved.stall() >= held;
        cx.claim("a move waits for the screen", drained, || {
            let text = format!("frame {frame} was on the screen, and its storage did not wait to move until it left");
            Finding::new(text).row("times", times.clone())
        });
        cx.claim("a map waits for a move", *stalled >= STALL, || {
            let text =
                format!("frame {frame} was mapped while its storage was about to move, and no stall was measured");
            Finding::new(text).row("target", format!("{} ms at least", ms(STALL))).row("times", times)
        });
    }
}

/// Waits until `buffer` is about to move, which is on the screen with `frame` and so can't.
fn asked_to_move(cx: &mut Cx, frame: u64, buffer: &Buffer) -> Result<Option<Held>, Trouble> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        // Whoever has no demands is let in at once, unless storage is being moved.
        let easy = Party { name: "nobody".to_owned(), constraints: Constraints::cpu(&buffer.wish().fourccs) };
        match buffer.attach_within(easy, Duration::ZERO) {
            Err(ShareError::Busy(_)) => {
                let (since, stalled) = (Instant::now(), Duration::ZERO);
                return Ok(Some(Held { frame, buffer: buffer.clone(), since, until: None, stalled }));
            }
            Err(other) => return Err(other.into()),
            Ok(_) if !buffer.moves().is_empty() => {
                cx.claim("a frame on the screen stays", false, || {
                    Finding::new(format!("the storage of frame {frame} moved while it was on the screen"))
                });
                return Ok(None);
            }
            Ok(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
    let text = format!("a device joined that storage must move for, but that of frame {frame} was not asked to");
    Err(Finding::new(text).row("waited", format!("{} s", PATIENCE.as_secs())).into())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
