//! The video pipe of the buffer-sharing proposal, on real devices: a GPU draws stamped frames, the screen shows them, and
//! after some frames a video device attaches that only takes contiguous memory, and later a converter that takes any.
//!
//! The buffers settle into new storage one after the other. The pipe may stutter, but each frame is on the screen and at each
//! video device once, whole, and in its turn: every stamp is compared to the last pixel.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use handover::plot::{self, Moment};
use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::buffer::Attachment;
use handover::share::constraints::{Bytes, Constraints, Party};
use handover::share::heap::Heaps;
use handover::share::heaps::Kind;
use handover::share::pool::{Limits, Looking, Pool, Report};
use handover::share::refused::ShareError;
use handover::v4l2::{Converter, Loopback};

/// Even, as vivid wants it, no multiple of a page, and with rows of RG16 that lie as close as the converter takes them.
const SIZE: Size = px(248, 130);

const PATIENCE: Duration = Duration::from_secs(2);

/// Frames before the video device attaches, and after it.
const BEFORE: u32 = 8;
const AFTER: u32 = 10;

/// The worst case: one drawn, one shown, one about to leave the screen, one in the encoder, and one to spare.
const WORST: usize = 5;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    cases
        .add("pipe::no_frame_is_lost_when_a_stricter_device_attaches", |cx| {
            let (before, after) = (BEFORE * cx.effort(), AFTER * cx.effort());
            runs(cx, &Plan { fourcc: Fourcc::XR24, late: vec![(before + 1, Late::Contiguous)], frames: before + after })
        })
        .from(GpuA)
        .to(Screen)
        .needs(Need::Writeback);
    cases
        .add("pipe::no_frame_is_lost_when_a_third_device_attaches_later", |cx| {
            let late = vec![(4, Late::Contiguous), (9, Late::Converter)];
            runs(cx, &Plan { fourcc: Fourcc::RG16, late, frames: 15 })
        })
        .from(GpuA)
        .to(Screen)
        .needs(Need::Writeback);
    cases.add("pipe::a_converter_takes_scattered_memory_but_one_pitch", takes_one_pitch);
    cases.add("pipe::leaves_nothing_behind", leaves_nothing_behind).from(GpuA).to(Screen).needs(Need::Writeback);
}

/// A video device that joins the pipe while it runs.
#[derive(Clone, Copy)]
enum Late {
    /// It only takes contiguous memory, and shows what it took.
    Contiguous,
    /// It takes any memory, and makes another format of what it took.
    Converter,
}

/// How a pipe is to run.
struct Plan {
    fourcc: Fourcc,
    /// Who joins, each with the first frame that it sees.
    late: Vec<(u32, Late)>,
    frames: u32,
}

/// An open video device.
enum Video {
    Loop(Loopback),
    Converter(Converter),
}

impl Video {
    fn open(cx: &mut Cx, late: Late) -> Result<Self, Trouble> {
        Ok(match late {
            Late::Contiguous => Self::Loop(cx.video_loop(DmaVideo)?),
            Late::Converter => Self::Converter(cx.converter()?),
        })
    }

    fn guest(&self) -> Guest<'_> {
        Guest::Video(match self {
            Self::Loop(video) => video.output(),
            Self::Converter(video) => video.device(),
        })
    }

    fn seen_of(&self, shared: &SharedFrame) -> Result<Picture> {
        match self {
            Self::Loop(video) => video.seen_of(shared),
            Self::Converter(video) => video.seen_of(shared),
        }
    }

    /// What it must see of `frame`.
    fn target(&self, frame: Target) -> Result<Target> {
        match self {
            Self::Loop(_) => Ok(frame),
            Self::Converter(_) => Ok(Target {
                picture: Converter::target(&frame.picture)?,
                before: frame.before.as_ref().map(Converter::target).transpose()?,
            }),
        }
    }
}

/// A buffer of the pool, with what the GPU made of its storage.
struct Stage {
    buffer: Buffer,
    /// Whoever takes part from the beginning.
    _attached: Vec<Attachment>,
    /// The video devices that take part by now, by their place in the plan.
    late: BTreeMap<usize, Attachment>,
    image: Option<(u64, Image)>,
}

type Stages = Pool<Mutex<Stage>>;

fn open(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Heaps for before and after: plain pages are cheaper, and only one other heap is contiguous.
fn heaps(cx: &mut Cx) -> Result<Heaps, Trouble> {
    let mut found = cx.heaps(Kind::Udmabuf)?;
    found.extend(cx.heaps(Kind::Expbuf)?.into_iter().filter(|heap| heap.offer().contiguous));
    Ok(Heaps::new(found))
}

fn pool(wish: Wish, heaps: Heaps, parties: Vec<Party>) -> Result<Stages, Trouble> {
    let limits = Limits::on_demand(WORST, Duration::from_secs(60));
    Ok(Pool::new(limits, move |_| {
        let buffer = Buffer::export(wish.clone(), heaps.clone());
        let attached = parties.iter().map(|party| buffer.attach(party.clone())).collect::<Result<_, _>>()?;
        Ok(Mutex::new(Stage { buffer, _attached: attached, late: BTreeMap::new(), image: None }))
    })?)
}

/// The GPU draws the pattern of `stamp`; it imports storage that it has not seen before.
fn draw(cx: &mut Cx, gpu: &Gpu, stage: &mut Stage, stamp: u32) -> Result<(), Trouble> {
    let Stage { buffer, image, .. } = stage;
    cx.mapped(&Guest::Gpu(gpu), buffer, Access::Write, |_, shared| {
        let generation = buffer.generation();
        if image.as_ref().is_none_or(|(seen, _)| *seen != generation) {
            *image = Some((generation, gpu.import_image(shared, &ImportRequest::default())?));
        }
        match image {
            Some((_, image)) => Ok(image.draw_pattern(stamp)?),
            None => Ok(()),
        }
    })
}

/// What runs: who draws, who joins and when, and the buffers.
struct Parts {
    fourcc: Fourcc,
    frames: u32,
    gpu: Gpu,
    late: Vec<(u32, Video)>,
    pool: Stages,
}

impl Parts {
    fn open(cx: &mut Cx, plan: &Plan) -> Result<Self, Trouble> {
        let &Plan { fourcc, frames, .. } = plan;
        let gpu = cx.gpu(GpuA)?;
        let late = plan.late.iter().map(|(from, late)| Ok((*from, Video::open(cx, *late)?)));
        let late = late.collect::<Result<_, Trouble>>()?;
        let (wish, heaps) = (Wish { fourccs: vec![fourcc], size: SIZE }, heaps(cx)?);
        let sample = Buffer::export(wish.clone(), heaps.clone());
        let guests = [Guest::Gpu(&gpu), Guest::Screen];
        let parties = guests.iter().map(|guest| cx.party_of(guest, &sample)).collect::<Result<_, _>>()?;
        Ok(Self { fourcc, frames, gpu, late, pool: pool(wish, heaps, parties)? })
    }

    /// Frame `stamp`, in a buffer that may hold any older one.
    fn target(&self, stamp: u32) -> Result<Target> {
        Target::stamped(stamp, self.fourcc, SIZE)
    }

    /// Video device `n` takes the frame, and sees it; it takes part in this buffer from now on. If the buffer moved for
    /// that, the stall in ms.
    fn encode(&self, cx: &mut Cx, n: usize, looking: &Looking<Mutex<Stage>>) -> Result<Option<f64>, Trouble> {
        let (video, stage) = (&self.late[n].1, &mut *open(looking));
        let before = stage.buffer.moves().len();
        if !stage.late.contains_key(&n) {
            let party = cx.party_of(&video.guest(), &stage.buffer)?;
            stage.late.insert(n, stage.buffer.attach(party)?);
        }
        let stall = stage.buffer.moves().get(before).map(|moved| moved.stall().as_secs_f64() * 1e3);
        let seen = cx.mapped(&video.guest(), &stage.buffer, Access::Read, |_, shared| Ok(video.seen_of(shared)?))?;
        let stamp = u32::try_from(looking.frame()).unwrap_or(u32::MAX);
        cx.sees(format!("video {n}, frame {stamp}"), &video.target(self.target(stamp)?)?, &seen)?;
        Ok(stall)
    }

    fn run(&self, cx: &mut Cx) -> Result<Ran, Trouble> {
        let mut screen = self.pool.reader("screen");
        let (mut encoders, mut on_screen) = (BTreeMap::new(), None);
        let mut ran = Ran::default();
        for stamp in 1..=self.frames {
            let began = Instant::now();
            let drawing = self.pool.draw("gpu_a", PATIENCE)?;
            draw(cx, &self.gpu, &mut open(&drawing), stamp)?;
            let frame = drawing.show();
            for (n, _) in self.late.iter().enumerate().filter(|(_, (from, _))| *from == stamp) {
                // Its first frame is the current one.
                encoders.insert(n, (self.pool.reader(format!("video {n}")), VecDeque::new()));
                ran.moments.push(Moment { frame: stamp as usize, what: format!("video device {n} attaches") });
            }
            cx.equals(format!("number of frame {stamp}"), u64::from(stamp), frame);
            let shown = screen.next(PATIENCE)?;
            cx.equals(format!("frame on the screen at {stamp}"), frame, shown.frame());
            cx.screen_shows(&[(Layer::whole(&open(&shown).buffer), &self.target(stamp)?)])?;
            if cx.disagrees() {
                // Of thousands of frames the first wrong one tells most.
                break;
            }
            // Only now has the one before left the screen.
            on_screen = Some(shown);
            for (n, (reader, encoding)) in &mut encoders {
                // An encoder is two frames behind, so that three buffers are in use at a time.
                encoding.push_back(reader.next(PATIENCE)?);
                if encoding.len() > 2
                    && let Some(looking) = encoding.pop_front()
                    && let Some(stall) = self.encode(cx, *n, &looking)?
                {
                    ran.stalls_ms.push(stall);
                    ran.moments.push(Moment { frame: stamp as usize, what: format!("a buffer moves, {stall:.1} ms") });
                }
            }
            ran.times_ms.push(began.elapsed().as_secs_f64() * 1e3);
        }
        // What the screen shows stays where it is.
        cx.black_screen()?;
        drop(on_screen);
        cx.equals("frames that the screen missed", 0, screen.skipped());
        for (n, (reader, encoding)) in encoders {
            for looking in encoding {
                self.encode(cx, n, &looking)?;
            }
            cx.equals(format!("frames that video device {n} missed"), 0, reader.skipped());
        }
        ran.report = self.pool.report();
        Ok(ran)
    }
}

/// How a pipe ran.
#[derive(Default)]
struct Ran {
    times_ms: Vec<f64>,
    moments: Vec<Moment>,
    stalls_ms: Vec<f64>,
    report: Report,
}

fn runs(cx: &mut Cx, plan: &Plan) -> Outcome {
    let Ran { mut times_ms, moments, stalls_ms, report } = Parts::open(cx, plan)?.run(cx)?;
    cx.save_text("timing.svg", &plot::frame_times("frames of the pipe", &times_ms, &moments))?;
    cx.fact("pool", report);
    // The first of the late devices makes them move; storage that suits it suits the others as well.
    cx.claim("buffers move once each", (1..=report.joined).contains(&stalls_ms.len()), || {
        Finding::new(format!("{} moves of {} buffers", stalls_ms.len(), report.joined))
    });
    cx.equals("frames that nobody saw", 0, report.lost);
    cx.claim("more than one buffer is in flight", report.needed >= 3, || {
        Finding::new(format!("{} buffers were in use at once, so nothing overlapped", report.needed))
    });
    times_ms.sort_by(f64::total_cmp);
    cx.figure("frames", times_ms.len() as f64);
    cx.figure("frame_ms_median", times_ms.get(times_ms.len() / 2).copied().unwrap_or_default());
    cx.figure("frame_ms_most", times_ms.last().copied().unwrap_or_default());
    cx.figure("stall_ms_most", stalls_ms.iter().copied().fold(0.0, f64::max));
    cx.figure("buffers_needed", report.needed as f64);
    cx.figure("buffers_worst_case", report.worst as f64);
    cx.agree()
}

/// After a long run of the pipe nothing is held that was not held after a short one.
fn leaves_nothing_behind(cx: &mut Cx) -> Outcome {
    // Some things are made once and kept: what a device told, a small buffer of each heap, the screen's writeback.
    let (mut ledgers, mut frames, mut took, mut worst, mut buffers) = (Vec::new(), 0, 0.0, 0.0, 0);
    for effort in [0, cx.effort()] {
        let late = vec![(3 + BEFORE * effort, Late::Contiguous), (4 + BEFORE * effort, Late::Converter)];
        let plan = Plan { fourcc: Fourcc::RG16, late, frames: 6 + (BEFORE + AFTER) * effort };
        let parts = Parts::open(cx, &plan)?;
        let began = Instant::now();
        let ran = parts.run(cx)?;
        (frames, took) = (ran.times_ms.len(), began.elapsed().as_secs_f64());
        worst = ran.stalls_ms.iter().copied().fold(0.0, f64::max);
        buffers = ran.report.needed;
        drop(parts);
        cx.black_screen()?;
        ledgers.push(cx.ledger()?);
    }
    cx.nothing_more(&ledgers[0], &ledgers[1]);
    cx.figure("frames", frames as f64);
    cx.figure("frames_per_s", frames as f64 / took);
    cx.figure("stall_ms_most", worst);
    cx.figure("buffers_needed", buffers as f64);
    cx.agree()
}

/// What is gathered of a converter is what it can do: the rows must touch, and the memory may be anything.
fn takes_one_pitch(cx: &mut Cx) -> Outcome {
    let video = Video::open(cx, Late::Converter)?;
    let (guest, heaps) = (video.guest(), Heaps::new(cx.heaps(Kind::Udmabuf)?));
    let wish = Wish { fourccs: vec![Fourcc::RG16], size: SIZE };
    let buffer = Buffer::export(wish.clone(), heaps.clone());
    let party = cx.party_of(&guest, &buffer)?;
    cx.equals("whether it needs contiguous memory", false, party.constraints.memory.contiguous);
    cx.equals("the least pitch in bytes", 496, party.constraints.pitch.min);
    cx.equals("the largest pitch in bytes", 496, party.constraints.pitch.max);
    let target = Target::stamped(3, Fourcc::RG16, SIZE)?;
    let _attached = buffer.attach(party.clone())?;
    cx.cpu_writes(&buffer, &target.picture)?;
    let seen = cx.mapped(&guest, &buffer, Access::Read, |_, shared| Ok(video.seen_of(shared)?))?;
    cx.sees("video", &video.target(target)?, &seen)?;
    // A device with a wider pitch can't have the same buffer.
    let buffer = Buffer::export(wish, heaps);
    let pitch = Bytes::aligned(512);
    let wide =
        Party { name: "wide".to_owned(), constraints: Constraints { pitch, ..Constraints::cpu(&[Fourcc::RG16]) } };
    let (_wide, attached) = (buffer.attach(wide)?, buffer.attach(party)?);
    let said = match attached.map(Access::Read) {
        Err(ShareError::Refused(refusal)) => refusal.to_string(),
        Err(other) => return Err(Finding::new(format!("it is refused for another reason: {other}")).into()),
        Ok(_) => return Err(Finding::new("a converter got a pitch that it does not take").into()),
    };
    let named = said.contains("pitch") && said.contains("wide") && said.contains(attached.name());
    cx.claim("the refusal", named, || Finding::new("the refusal does not name who collides").row("said", said.clone()));
    cx.agree()
}
