//! The video pipe of the buffer-sharing proposal, on real devices: a GPU draws stamped frames, the screen shows them, and
//! after some frames a video device attaches that only takes contiguous memory.
//!
//! The buffers settle into new storage one after the other. The pipe may stutter, but each frame is on the screen and at the
//! video device once, whole, and in its turn: every stamp is compared to the last pixel.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use handover::plot::{self, Moment};
use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::buffer::Attachment;
use handover::share::constraints::Party;
use handover::share::heap::Heaps;
use handover::share::heaps::Kind;
use handover::share::pool::{Limits, Looking, Pool, Report};
use handover::v4l2::Loopback;

/// Even, as vivid wants it, and no multiple of a page.
const SIZE: Size = px(250, 130);

const FOURCC: Fourcc = Fourcc::XR24;

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
            runs(cx, before, after)
        })
        .from(GpuA)
        .to(Screen)
        .needs(Need::Writeback);
    cases.add("pipe::leaves_nothing_behind", leaves_nothing_behind).from(GpuA).to(Screen).needs(Need::Writeback);
}

/// A buffer of the pool, with what the GPU made of its storage.
struct Stage {
    buffer: Buffer,
    /// Whoever takes part from the beginning.
    _attached: Vec<Attachment>,
    /// The video device, once it takes part.
    video: Option<Attachment>,
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

fn pool(heaps: Heaps, parties: Vec<Party>) -> Result<Stages, Trouble> {
    let limits = Limits::on_demand(WORST, Duration::from_secs(60));
    Ok(Pool::new(limits, move |_| {
        let buffer = Buffer::export(Wish { fourccs: vec![FOURCC], size: SIZE }, heaps.clone());
        let attached = parties.iter().map(|party| buffer.attach(party.clone())).collect::<Result<_, _>>()?;
        Ok(Mutex::new(Stage { buffer, _attached: attached, video: None, image: None }))
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

/// Frame `stamp`, in a buffer that may hold any older one.
fn target(stamp: u32) -> Result<Target> {
    Target::stamped(stamp, FOURCC, SIZE)
}

/// The video device takes the frame, and sees it; it takes part in this buffer from now on.
fn encode(cx: &mut Cx, video: &Loopback, looking: &Looking<Mutex<Stage>>) -> Result<Option<f64>, Trouble> {
    let stage = &mut *open(looking);
    let mut moved = None;
    if stage.video.is_none() {
        let party = cx.party_of(&Guest::Video(video), &stage.buffer)?;
        stage.video = Some(stage.buffer.attach(party)?);
        moved = stage.buffer.moves().last().map(|moved| moved.stall().as_secs_f64() * 1e3);
    }
    let seen = cx.mapped(&Guest::Video(video), &stage.buffer, Access::Read, |_, shared| Ok(video.seen_of(shared)?))?;
    let stamp = u32::try_from(looking.frame()).unwrap_or(u32::MAX);
    cx.sees(format!("video, frame {stamp}"), &target(stamp)?, &seen)?;
    Ok(moved)
}

/// How a pipe ran.
struct Ran {
    times_ms: Vec<f64>,
    moments: Vec<Moment>,
    stalls_ms: Vec<f64>,
    report: Report,
}

fn run(cx: &mut Cx, pool: &Stages, gpu: &Gpu, video: &Loopback, before: u32, after: u32) -> Result<Ran, Trouble> {
    let (mut screen, mut encoder) = (pool.reader("screen"), None);
    let (mut on_screen, mut encoding) = (None, VecDeque::new());
    let mut ran = Ran { times_ms: Vec::new(), moments: Vec::new(), stalls_ms: Vec::new(), report: pool.report() };
    for stamp in 1..=before + after {
        let began = Instant::now();
        let drawing = pool.draw("gpu_a", PATIENCE)?;
        draw(cx, gpu, &mut open(&drawing), stamp)?;
        let frame = drawing.show();
        if stamp == before + 1 {
            // Its first frame is the current one.
            encoder = Some(pool.reader("encoder"));
            ran.moments.push(Moment { frame: stamp as usize, what: "the video device attaches".into() });
        }
        cx.equals(format!("number of frame {stamp}"), u64::from(stamp), frame);
        let shown = screen.next(PATIENCE)?;
        cx.equals(format!("frame on the screen at {stamp}"), frame, shown.frame());
        cx.screen_shows(&[(Layer::whole(&open(&shown).buffer), &target(stamp)?)])?;
        if cx.disagrees() {
            // Of thousands of frames the first wrong one tells most.
            break;
        }
        // Only now has the one before left the screen.
        on_screen = Some(shown);
        if let Some(encoder) = &mut encoder {
            // The encoder is two frames behind, so that three buffers are in use at a time.
            encoding.push_back(encoder.next(PATIENCE)?);
            if encoding.len() > 2
                && let Some(looking) = encoding.pop_front()
                && let Some(stall) = encode(cx, video, &looking)?
            {
                ran.stalls_ms.push(stall);
                ran.moments.push(Moment { frame: stamp as usize, what: format!("a buffer moves, {stall:.1} ms") });
            }
        }
        ran.times_ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    // What the screen shows stays where it is.
    cx.black_screen()?;
    for looking in encoding {
        encode(cx, video, &looking)?;
    }
    drop(on_screen);
    cx.equals("frames that the screen missed", 0, screen.skipped());
    cx.equals("frames that the video device missed", 0, encoder.map_or(0, |encoder| encoder.skipped()));
    ran.report = pool.report();
    Ok(ran)
}

fn parts(cx: &mut Cx) -> Result<(Gpu, Loopback, Stages), Trouble> {
    let gpu = cx.gpu(GpuA)?;
    let video = cx.video_with_contiguous_memory()?;
    let heaps = heaps(cx)?;
    let sample = Buffer::export(Wish { fourccs: vec![FOURCC], size: SIZE }, heaps.clone());
    let parties = [Guest::Gpu(&gpu), Guest::Screen]
        .iter()
        .map(|guest| cx.party_of(guest, &sample))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((gpu, video, pool(heaps, parties)?))
}

fn runs(cx: &mut Cx, before: u32, after: u32) -> Outcome {
    let (gpu, video, pool) = parts(cx)?;
    let Ran { mut times_ms, moments, stalls_ms, report } = run(cx, &pool, &gpu, &video, before, after)?;
    cx.save_text("timing.svg", &plot::frame_times("frames of the pipe", &times_ms, &moments))?;
    cx.fact("pool", report);
    cx.claim("buffers move once each", (1..=report.joined).contains(&stalls_ms.len()), || {
        Finding::new(format!("{} moves of {} buffers", stalls_ms.len(), report.joined))
    });
    cx.equals("frames that nobody saw", 0, report.lost);
    cx.claim("more than one buffer is in flight", report.needed >= 3, || {
        Finding::new(format!("{} buffers were in use at once, so nothing overlapped", report.needed))
    });
    times_ms.sort_by(f64::total_cmp);
    cx.figure("frames", times_ms.len() as f64);
    cx.figure("frame_ms_median", times_ms[times_ms.len() / 2]);
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
        let (gpu, video, pool) = parts(cx)?;
        let began = Instant::now();
        let ran = run(cx, &pool, &gpu, &video, 2 + BEFORE * effort, 3 + AFTER * effort)?;
        (frames, took) = (ran.times_ms.len(), began.elapsed().as_secs_f64());
        worst = ran.stalls_ms.iter().copied().fold(0.0, f64::max);
        buffers = ran.report.needed;
        drop((pool, video, gpu));
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
