//! What a case works with: the devices by role, and readers whose opinions are compared with the target.
//!
//! A case asks as many readers as can look at its buffer, and ends with [`Cx::agree`]. Each reader's picture is compared
//! with the target on its own, so the finding can say who disagrees with whom. What the validation layer said, and
//! who was open, is added here to every case; no case has to ask.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::asked;
use crate::case::{
    Bench, CaseNotes, CaseStart, DeviceIdentity, GoldenMode, Need, Outcome, Record, Role, Told, Trouble, Witness,
};
use crate::compare::{Tolerance, compare, compare_bytes};
use crate::devices::{Devices, Unplayed};
use crate::dmabuf::{Dmabuf, scratch};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::format::Fourcc;
use crate::frame::Size;
use crate::golden::{self, Blessing, Goldens, Origin};
use crate::guess::{Known, Suspects, guess, moved_bytes};
use crate::ledger::{self, objects};
use crate::observed::{NotObservable, Observed};
use crate::pattern::Pattern;
use crate::picture::Picture;
use crate::placement::Observer;
use crate::placement::probe::Importer;
use crate::png;
use crate::restart::again;
use crate::run::heap;
use crate::share::agreement::Wish;
use crate::share::buffer::{Attachment, Buffer, Mapping};
use crate::share::constraints::Constraints;
use crate::share::core::Access;
use crate::share::heap::{Heaps, Storage};
use crate::share::heaps::Kind;
use crate::vk::{Features, Gpu, Image, ImportRequest, Span, Unbound};
use agreed::Agreed;
use heap_use::HeapUse;

mod agreed;
mod artifacts;
mod crc;
mod failing;
mod fenced;
mod frames;
mod heap_use;
mod held_back;
mod holdings;
mod leaks;
mod limits;
mod loops;
mod needs;
mod parts;
mod readers;
mod refusals;
mod roles;
mod sharing;
mod watch;
mod yuv;

pub use fenced::{FenceBy, Put, Turn};
pub use frames::{Drawn, NewFrame, Target};
pub use held_back::Round;
pub use holdings::{Growth, Holdings};
pub use leaks::Files;
pub use needs::{missing_is_skip, refused_layout_is_skip};
pub use sharing::{Guest, Held};
pub use watch::{Deed, settled};

impl From<NotObservable> for Trouble {
    fn from(why: NotObservable) -> Self {
        Self::Skip(why.to_string())
    }
}

/// A value of at most so many bytes can stand in the first line of a finding.
const SHORT: usize = 48;

/// So many findings beside the first are told with it.
const ALSO: usize = 20;

/// The bench that cases run on.
#[derive(Default)]
pub struct Cx {
    devices: Devices,
    observer: Option<Observer>,
    /// Who takes dma-bufs, found by trial when they are first needed.
    importers: Option<Vec<Arc<Importer>>>,
    /// What devices told of their constraints, and what was found by trial.
    told: BTreeMap<String, Constraints>,
    /// A small buffer of each heap that was asked about, by the heap's name.
    probes: BTreeMap<String, Storage>,
    /// What each screen shows, for as long as it does.
    on_screen: BTreeMap<Role, Vec<Mapping>>,
    case: Running,
}

/// What a picture is held against that is not the target.
struct Doubts {
    /// What the reader would have seen of the frame before.
    before: Option<Picture>,
    /// What it would have seen with one mistake, by what that is.
    slips: Vec<(String, Picture)>,
}

/// What is recorded while one case runs.
#[derive(Default)]
struct Running {
    name: String,
    artifacts: PathBuf,
    golden: GoldenMode,
    within: Duration,
    facts: Vec<(&'static str, String)>,
    agreed: Agreed,
    disagreed: Vec<Finding>,
    record: Record,
    /// What devices told of their constraints, and had not told before.
    told: Vec<Told>,
    /// Whether the case has chosen how a frame lies, and asked no device: then each may refuse it.
    chose_layout: bool,
    /// Devices that take part in a buffer until the case ends.
    attached: Vec<Attachment>,
    /// What CRCs were held against.
    wholes: BTreeMap<Role, crc::Whole>,
    said_before: Vec<String>,
    concluded: bool,
    /// Who else may make dma-bufs, when they were first counted.
    who_else_shares: OnceLock<Option<String>>,
    /// How many Vulkan objects there had been, and how much of their memory drivers used.
    objects_before: u64,
    heap_before: HeapUse,
}

impl Cx {
    /// How many files this process has open, if procfs is there to tell.
    pub fn open_files(&self) -> Observed<usize> {
        const LIST: &str = "/proc/self/fd";
        let entries = again(|| std::fs::read_dir(LIST));
        let entries = entries.map_err(|error| NotObservable(Error::new("read", LIST, error).to_string()))?;
        // The ledger's come and go.
        Ok(entries.count() - ledger::own_files())
    }

    /// By how much more than usual is tried where there is no end to what could be tried: `HANDOVER_EFFORT`, 1 unless set.
    ///
    /// # Errors
    /// That holds no number from 1 to 100,000.
    pub fn effort(&self) -> Result<u32> {
        Self::effort_asked()
    }

    pub(crate) fn effort_asked() -> Result<u32> {
        Ok(asked::number("HANDOVER_EFFORT", 1..=100_000)?.unwrap_or(1))
    }

    /// Keeps a figure for the report, by name with its unit: `cx.figure("stall_ms", 3.2)`.
    pub fn figure(&mut self, name: &str, value: f64) {
        self.case.record.figures.insert(name.to_owned(), value);
    }

    /// States a fact that every finding of this case will show: `cx.fact("buffer", &shared)`.
    ///
    /// What was stated before is not stated again.
    pub fn fact(&mut self, label: &'static str, text: impl fmt::Display) {
        let fact = (label, text.to_string());
        if !self.case.facts.contains(&fact) {
            self.case.facts.push(fact);
        }
    }

    /// `gpu` makes a frame, exports it, and draws the pattern of `stamp` over what the CPU seeded: the pattern of the stamp
    /// before, so that a stale picture is told from a wrong one, in a buffer that could not be right by chance.
    ///
    /// # Errors
    /// The driver fails.
    pub fn draw(&mut self, gpu: &Gpu, frame: &NewFrame, stamp: u32) -> Result<Drawn, Trouble> {
        let (image, buffer) = self.make(gpu, frame)?;
        self.fact("drawn by", gpu.identity());
        let before = Pattern { stamp: stamp.wrapping_sub(1) }.picture(frame.fourcc, frame.size)?;
        self.cpu_writes(&buffer, &before)?;
        self.mapped(&Guest::Gpu(gpu), &buffer, Access::Write, |_, _| Ok(image.draw_pattern(stamp)?))?;
        let picture = Pattern { stamp }.picture(frame.fourcc, frame.size)?;
        Ok(Drawn { image, buffer, target: Target { picture, before: Some(before) } })
    }

    /// `gpu` makes a frame and exports it; nobody draws.
    ///
    /// # Errors
    /// The driver fails.
    pub fn make(&mut self, gpu: &Gpu, frame: &NewFrame) -> Result<(Image, Buffer), Trouble> {
        let image = frame.unless_refused(gpu.create_image(&frame.request()?))?;
        let shared = image.export_dmabuf()?;
        let buffer = self.publish(Guest::Gpu(gpu), shared)?;
        Ok((image, buffer))
    }

    /// As [`Self::make`], without binding the image to its memory.
    ///
    /// # Errors
    /// The driver fails.
    pub fn prepare(&mut self, gpu: &Gpu, frame: &NewFrame) -> Result<(Unbound, Buffer), Trouble> {
        let unbound = frame.unless_refused(gpu.prepare_image(&frame.request()?, Features::ALL))?;
        let shared = unbound.export_dmabuf()?;
        let buffer = self.publish(Guest::Gpu(gpu), shared)?;
        Ok((unbound, buffer))
    }

    /// The exporter draws the pattern of `stamp` over what is in `drawn`.
    ///
    /// # Errors
    /// The driver fails.
    pub fn redraw(&mut self, gpu: &Gpu, drawn: &mut Drawn, stamp: u32) -> Result<(), Trouble> {
        let Drawn { image, buffer, target } = drawn;
        self.mapped(&Guest::Gpu(gpu), buffer, Access::Write, |_, _| Ok(image.draw_pattern(stamp)?))?;
        let picture = Pattern { stamp }.picture(image.fourcc(), image.size())?;
        target.before = Some(std::mem::replace(&mut target.picture, picture));
        Ok(())
    }

    /// `gpu` imports `buffer` and draws the pattern of `stamp` into it, over what the CPU seeded as in [`Self::draw`].
    ///
    /// # Errors
    /// The import or the draw fails.
    pub fn draw_into(&mut self, gpu: &Gpu, buffer: &Buffer, stamp: u32) -> Result<Target, Trouble> {
        self.fact("drawn by", gpu.identity());
        let Wish { fourccs, size } = buffer.wish();
        let target = Target::stamped(stamp, fourccs[0], *size)?;
        if let Some(before) = &target.before {
            self.cpu_writes(buffer, before)?;
        }
        self.import(gpu, buffer, &ImportRequest::default())?.draw_pattern(stamp)?;
        Ok(target)
    }

    /// The CPU writes `picture` into `buffer`.
    ///
    /// # Errors
    /// The buffer can't be mapped or addressed.
    pub fn cpu_writes(&mut self, buffer: &Buffer, picture: &Picture) -> Result<(), Trouble> {
        self.mapped(&Guest::Cpu, buffer, Access::Write, |_, shared| Ok(shared.write(picture)?))
    }

    /// A LINEAR frame in pages of nobody's, with a layout that all of `guests` take.
    ///
    /// # Errors
    /// This machine has no udmabuf, or a device can't be asked for its constraints.
    pub fn udmabuf(&mut self, fourcc: Fourcc, size: Size, guests: &[Guest<'_>]) -> Result<Buffer, Trouble> {
        let heap = self.devices.heaps(Kind::Udmabuf).map_err(Trouble::Skip)?;
        self.share(fourcc, size, Heaps::new(heap), guests)
    }

    /// `reader` sees `actual`, and must see `target` to the bit.
    ///
    /// # Errors
    /// The two can't be compared, or the images can't be saved. A difference is not an error here: [`Self::agree`] reports
    /// it when all readers have been asked.
    pub fn sees(&mut self, reader: impl fmt::Display, target: &Target, actual: &Picture) -> Result<()> {
        self.sees_within(reader, target, actual, &Tolerance::Exact, &Suspects::default())
    }

    /// As [`Self::sees`], within `tolerance`; a difference is held against `suspects`, too.
    pub(crate) fn sees_within(
        &mut self,
        reader: impl fmt::Display,
        target: &Target,
        actual: &Picture,
        tolerance: &Tolerance,
        suspects: &Suspects<'_>,
    ) -> Result<()> {
        if target.picture.fourcc.yuv().is_some() {
            return self.sees_planes(&reader.to_string(), target, actual, &[]);
        }
        let before = || Ok(Doubts { before: target.before.clone(), slips: Vec::new() });
        self.sees_or_doubts(reader, &target.picture, actual, tolerance, suspects, before)
    }

    /// As [`Self::sees_within`] for packed RGB; what a difference is then held against is computed only if there is one.
    fn sees_or_doubts(
        &mut self,
        reader: impl fmt::Display,
        target: &Picture,
        actual: &Picture,
        tolerance: &Tolerance,
        suspects: &Suspects<'_>,
        doubts: impl FnOnce() -> Result<Doubts>,
    ) -> Result<()> {
        let reader = reader.to_string();
        let Some(difference) = compare(target, actual, tolerance)? else {
            self.case.agreed.push(reader);
            return Ok(());
        };
        let mut known: Vec<Known<'_>> = suspects.known.to_vec();
        let doubts = doubts();
        let none = Doubts { before: None, slips: Vec::new() };
        let Doubts { before, slips } = doubts.as_ref().unwrap_or(&none);
        let slips: Vec<_> = slips.iter().map(|(name, picture)| Known { name, picture }).collect();
        known.extend(before.iter().map(|picture| Known { name: "the frame that was in the buffer before", picture }));
        let like = guess(target, actual, &Suspects { known: &known, slips: &slips, ..*suspects });
        let finding = Finding::differs(format!("{reader} does not see the target"), &difference, like.as_ref());
        // What fails on the way to an explanation must not cost the finding.
        let unexplained = doubts.err().map(|error| error.to_string());
        let unsaved = self.save(&reader, target, actual).err().map(|error| error.to_string());
        self.case.disagreed.push(finding.maybe("not seen", unexplained).maybe("not saved", unsaved));
        Ok(())
    }

    /// Two values that must be equal, one of them observed.
    pub fn equals<T: PartialEq + fmt::Display>(&mut self, what: impl fmt::Display, target: T, actual: T) {
        self.compares(what, target, actual, None);
    }

    /// As [`Self::equals`], with what a difference looks like.
    pub fn equals_else<T: PartialEq + fmt::Display>(
        &mut self,
        what: impl fmt::Display,
        target: T,
        actual: T,
        like: &str,
    ) {
        self.compares(what, target, actual, Some(like));
    }

    fn compares<T: PartialEq + fmt::Display>(
        &mut self,
        what: impl fmt::Display,
        target: T,
        actual: T,
        like: Option<&str>,
    ) {
        if target == actual {
            self.case.agreed.push(what.to_string());
            return;
        }
        let (target, actual) = (target.to_string(), actual.to_string());
        // Long values are read one below the other.
        let short = [&target, &actual].iter().all(|value| (1..=SHORT).contains(&value.len()) && !value.contains('\n'));
        let finding = match short {
            true => Finding::new(format!("{what}: {actual}, not {target}")),
            false => Finding::new(format!("{what} is not what it must be")),
        };
        let finding = finding.row("target", target).row("actual", actual);
        self.case.disagreed.push(finding.maybe("like", like.map(str::to_owned)));
    }

    /// What was observed must be what it was before. Where it can't be observed, that is stated, and the rest goes on.
    pub fn unchanged<T: PartialEq + fmt::Display>(
        &mut self,
        what: impl fmt::Display,
        before: &Observed<T>,
        after: &Observed<T>,
    ) {
        match (before, after) {
            (Ok(before), Ok(after)) => self.equals(what, before, after),
            (Err(why), _) | (_, Err(why)) => self.fact("not observed", format!("{what}: {}", why.0)),
        }
    }

    /// `reader` sees the words `actual`, and must see `target`.
    ///
    /// # Errors
    /// They are not of one length.
    pub fn sees_words(&mut self, reader: impl fmt::Display, target: &[u32], actual: &[u32]) -> Result<()> {
        let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        self.sees_bytes(reader, &bytes(target), &bytes(actual))
    }

    /// `reader` sees the bytes `actual`, and must see `target`.
    ///
    /// # Errors
    /// They are not of one length.
    pub fn sees_bytes(&mut self, reader: impl fmt::Display, target: &[u8], actual: &[u8]) -> Result<()> {
        match compare_bytes(target, actual)? {
            None => self.case.agreed.push(reader.to_string()),
            Some(difference) => {
                let what = format!("{reader} does not see the target");
                let mut finding = Finding::bytes_differ(what, &difference);
                if let Some(shape) = moved_bytes(target, actual) {
                    finding = finding.row("shape", shape);
                }
                self.case.disagreed.push(finding);
            }
        }
        Ok(())
    }

    /// The CPU looks at the words of `span` in `dmabuf`.
    ///
    /// # Errors
    /// The buffer can't be mapped.
    pub fn cpu_sees_words(&mut self, dmabuf: &Dmabuf, span: Span, target: &[u32]) -> Result<()> {
        let bytes = dmabuf.map()?.read(span.offset..span.offset + span.size)?;
        let words: Vec<u32> = bytes.as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        self.sees_words(Role::Cpu, target, &words)
    }

    /// Two observations of different things that must not look the same.
    ///
    /// # Errors
    /// A skip if one of them could not be made.
    pub fn differ<T: PartialEq>(&mut self, what: &str, one: Observed<T>, other: Observed<T>) -> Result<(), Trouble> {
        let skip = |why: NotObservable| Trouble::Skip(format!("{what}: {why}"));
        let differ = one.map_err(skip)? != other.map_err(skip)?;
        self.claim(what, differ, || {
            Finding::new(format!("{what} look the same, but the frames differ in every pixel"))
                .row("like", "a frame that was shown in the place of another one, or observed once for both")
        });
        Ok(())
    }

    /// `picture` must be the golden of this case, or becomes it when goldens are being blessed.
    ///
    /// # Errors
    /// The golden is missing or damaged, or may not be written.
    pub fn golden(&mut self, gpu: &Gpu, picture: &Picture, tolerance: &Tolerance) -> Result<()> {
        let goldens = Goldens::open();
        if self.case.golden == GoldenMode::Bless {
            let identity = gpu.identity();
            let origin = Origin::today(identity.driver_name.clone(), identity.driver_info.clone());
            let path =
                goldens.bless(&self.case.name, picture, &Blessing::from_environment(origin, golden::REFERENCE))?;
            self.case.record.blessed.push(path.display().to_string());
        }
        let checked = goldens.check(&self.case.name, picture, tolerance);
        if checked.is_err() {
            // Without a golden there is nothing to compare with, but the picture must be there to be looked at.
            png::save(picture, &self.folder_for("golden")?.join("actual.png"))?;
        }
        match checked? {
            None => self.case.agreed.push("golden".to_owned()),
            Some(mismatch) => {
                let unsaved = self.save("golden", &mismatch.target, picture).err().map(|error| error.to_string());
                let finding = mismatch.finding(&format!("{} does not render its golden", gpu.identity()));
                self.case.disagreed.push(finding.maybe("not saved", unsaved));
            }
        }
        Ok(())
    }

    /// A claim that is not about pixels: `finding` says what is wrong if it does not hold.
    pub fn claim(&mut self, what: impl fmt::Display, holds: bool, finding: impl FnOnce() -> Finding) {
        if holds { self.case.agreed.push(what.to_string()) } else { self.case.disagreed.push(finding()) }
    }

    /// What was found wrong so far, taken off the case: for cases that provoke it.
    pub fn provoked(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.case.disagreed)
    }

    /// Whether a reader has disagreed: then there is something to report, and not much more to learn.
    pub fn disagrees(&self) -> bool {
        !self.case.disagreed.is_empty()
    }

    /// Ends a case: it passes if at least one reader was asked and all of them saw their targets.
    ///
    /// # Errors
    /// The finding, with what the other readers saw.
    pub fn agree(&mut self) -> Outcome {
        self.case.concluded = true;
        let disagreed = std::mem::take(&mut self.case.disagreed);
        let Some((first, others)) = disagreed.split_first() else {
            if self.case.agreed.is_empty() {
                return Err(Finding::new("the case looked at nothing, so it shows nothing").into());
            }
            return Ok(());
        };
        let told = others.len().min(ALSO);
        let mut finding =
            others[..told].iter().fold(first.clone(), |finding, other| finding.row("also", &other.summary));
        if others.len() > told {
            finding = finding.row("also", format!("{} findings more", others.len() - told));
        }
        finding = finding.row("agree", self.case.agreed.to_string());
        Err(Trouble::Fail(Finding { of: disagreed, ..self.with_facts(finding) }))
    }

    /// What the case leaves behind that nobody keeps.
    fn close_ledger(&mut self) -> ledger::Closing {
        let failed = self.devices.look_away().err();
        let imbalances = self.devices.imbalances();
        // What a screen shows it shows until it shows something else.
        let shown = self.on_screen.values().flatten().map(|mapping| mapping.storage());
        let kept = shown.flat_map(|storage| {
            let pages = storage.pages.iter().map(|pages| ledger::kept(pages, "pages of what a screen shows"));
            pages.chain([ledger::kept(&*storage.shared.dmabuf.fd, "what a screen shows")])
        });
        let mut closing = ledger::end(kept, self.devices.shown());
        closing.findings.extend(imbalances);
        closing.findings.extend(failed.as_ref().map(Finding::from_error));
        closing
    }

    fn with_facts(&self, finding: Finding) -> Finding {
        self.case.facts.iter().fold(finding, |finding, (label, text)| finding.row(*label, text.clone()))
    }
}

impl Bench for Cx {
    fn new() -> Self {
        // Before any case counts the files.
        scratch::open();
        Self::default()
    }

    fn identify(&mut self, role: Role) -> Option<DeviceIdentity> {
        self.devices.identify(role)
    }

    fn missing(&mut self, need: &Need) -> Result<Option<String>, Trouble> {
        match self.lacks(need) {
            Err(Unplayed::Absent(why)) => Ok(Some(why)),
            Err(broken) => Err(broken.into()),
            Ok(lack) => Ok(lack),
        }
    }

    fn begin(&mut self, start: CaseStart) {
        // Nobody had a case since the last one ended.
        let live = ledger::buffers();
        self.observer().begin(live);
        ledger::begin();
        self.case = Running {
            name: start.name,
            artifacts: start.artifacts,
            golden: start.golden,
            within: start.within,
            said_before: self.devices.objections(),
            objects_before: objects::made_so_far(),
            heap_before: self.devices.heap_use(),
            ..Running::default()
        };
    }

    fn end(&mut self, held: bool) -> CaseNotes {
        let mut case = std::mem::take(&mut self.case);
        // They hold on to their buffers.
        case.attached.clear();
        case.wholes.clear();
        let unconcluded = (held && !case.concluded)
            .then(|| "the case ended without asking its readers: its last line must be cx.agree()".to_owned());
        // Where buffers lay is recorded by each mapping.
        let stated = case.facts.into_iter().filter(|(label, _)| *label != "placement");
        let agreed = (!case.agreed.is_empty()).then(|| ("agree", case.agreed.to_string()));
        let facts = stated.chain(agreed).map(|(label, text)| (label.to_owned(), text)).collect();
        // A body that skips or fails on its way to cx.agree() does not take back what its readers have seen.
        let unreported = case.disagreed.into_iter().map(|finding| finding.to_string());
        let (of_peers, unseen) = self.devices.unburden_peers();
        let of_peers = of_peers.into_iter().map(|finding| finding.to_string());
        let objections = self.devices.objections();
        self.devices.forget_broken();
        self.forget_unplugged();
        let closing = self.close_ledger();
        if self.devices.has_closed_one() {
            heap::give_back();
        }
        if objects::made_so_far() != case.objects_before {
            heap_use::note(&mut case.record, &case.heap_before, &self.devices.heap_use());
        }
        let unseen: Vec<String> = closing.unobserved.into_iter().chain(unseen.into_iter().map(|why| why.0)).collect();
        if !unseen.is_empty() {
            case.record.unobserved.insert(Witness::Ledger, unseen.join("; "));
        }
        let left = closing.findings.into_iter().map(|finding| finding.to_string());
        CaseNotes {
            findings: unconcluded.into_iter().chain(unreported).chain(of_peers).chain(objections).chain(left).collect(),
            record: Record { facts, ..case.record },
            told: case.told,
            before: case.said_before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_saw_is_reported_when_the_body_ends_early() {
        let mut cx = Cx::default();
        cx.equals("the pitch in bytes", 1000, 1088);
        // The body skips here, and never comes to `cx.agree()`.
        let notes = cx.end(false);
        assert!(notes.findings[0].starts_with("the pitch in bytes: "), "{:?}", notes.findings);
    }

    #[test]
    fn a_body_that_asks_nobody_or_does_not_conclude_shows_nothing() {
        let mut cx = Cx::default();
        assert!(matches!(cx.agree(), Err(Trouble::Fail(_))));
        cx.end(false);
        cx.equals("the pitch in bytes", 1088, 1088);
        assert!(cx.end(true).findings[0].contains("cx.agree()"));
    }
}
