//! How does a case run on a driver or a kernel that is broken on purpose?
//!
//! As ever: supervisor and worker are those of every run, and neither knows. All that differs is what a worker finds around
//! it: which Vulkan driver the loader is told of, or who stands between it and its kernel.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use handover_faults::made::mark_of;
use handover_faults::{Fault, Kind, Seam};
use serde_json::{Value, json};

use super::stop::Stop;
use super::supervisor::{Settings, Supervisor};
use super::{CASE_WITHIN, whole_millis};
use crate::case::{CaseInfo, GoldenMode, Role};
use crate::detection::{Run, Trial, readers_of};
use crate::kernel::Command;
use crate::matching::holds;
use crate::procfs;
use crate::report::{CaseReport, ReportDir};
use crate::sandbox::Sandbox;
use crate::verdict::Verdict;

/// The faulty driver's library, as cargo names it.
const LIBRARY: &str = "libhandover_faulty_vulkan.so";

/// The library that is both EGL's vendor and GBM's backend.
const EGL_GBM: &str = "libhandover_faulty_egl_gbm.so";

/// Where Mesa's own backend of GBM is, from the library folder of a root filesystem.
const GBM_BACKEND: &str = "gbm/dri_gbm.so";

/// Environment variable that names what is broken in a process: for the worker of a trial, and for nobody else.
pub(crate) const NAME: &str = "HANDOVER_FAULT";

/// Deadline of a case under a fault. Cases take some milliseconds, and one that hangs shows nothing.
const FAULTY_WITHIN: Duration = Duration::from_secs(10);

/// Deadline of a worker's start.
const START_WITHIN: Duration = Duration::from_secs(60);

/// How often each of so many faults was made, by the file that they count in. Of one alone every byte counts, whatever it is.
fn counts(fired: &Path, faults: usize) -> Vec<u64> {
    match faults {
        0 | 1 => vec![fs::metadata(fired).map_or(0, |file| file.len())],
        _ => {
            let marks = fs::read(fired).unwrap_or_default();
            let count = |place| marks.iter().filter(|mark| **mark == mark_of(place)).count() as u64;
            (0..faults).map(count).collect()
        }
    }
}

/// Where faults are tried.
pub struct Injection {
    sandbox: Sandbox,
    /// This program, which is its own worker.
    program: PathBuf,
    /// The faulty driver's library.
    library: PathBuf,
    /// The library that is EGL's vendor and GBM's backend.
    egl_gbm: PathBuf,
    /// A directory for what each fault leaves.
    folder: PathBuf,
    /// How often nothing was broken.
    plain: AtomicUsize,
    stop: Stop,
}

/// What is run under a fault.
pub struct Work<'c> {
    /// First these.
    pub first: Vec<&'c CaseInfo>,
    /// Then these, until the time is over.
    pub others: Vec<&'c CaseInfo>,
}

impl Injection {
    /// Faults in `sandbox`, with what they leave in `folder`.
    ///
    /// # Errors
    /// A faulty library is not beside this program, or there is no telling which drivers the sandbox has.
    pub fn new(sandbox: Sandbox, folder: PathBuf, stop: Stop) -> Result<Injection, String> {
        let program =
            procfs::this_program().map_err(|error| format!("the path of this program cannot be found: {error}"))?;
        let library = library_beside(&program, LIBRARY)?;
        let egl_gbm = library_beside(&program, EGL_GBM)?;
        if sandbox.vulkan_drivers().is_none() {
            return Err(
                "which Vulkan drivers a root filesystem of your own has is not known here; leave --root out".into()
            );
        }
        Ok(Injection { sandbox, program, library, egl_gbm, folder, plain: AtomicUsize::new(0), stop })
    }

    /// Runs `work` under `fault`, or under none, in a kernel of its own; others are begun until `others_for` has passed.
    pub fn trial(&self, fault: Option<&Fault>, work: &Work<'_>, others_for: Duration) -> Trial {
        self.together(fault.as_slice(), work, others_for).pop().unwrap_or_default()
    }

    /// Runs `work` under `faults` of one seam, all of them at once: a trial of each, with the same runs.
    pub fn together(&self, faults: &[&Fault], work: &Work<'_>, others_for: Duration) -> Vec<Trial> {
        let began = Instant::now();
        let count = faults.len().max(1);
        let failed = |error| vec![Trial { error: Some(error), ..Trial::default() }; count];
        let mut trials = self.tried(faults, work, others_for).unwrap_or_else(failed);
        // Of what they share each has its part.
        let wall_ms = whole_millis(began.elapsed()) / count as u64;
        trials.iter_mut().for_each(|trial| trial.wall_ms = wall_ms);
        trials
    }

    fn tried(&self, faults: &[&Fault], work: &Work<'_>, others_for: Duration) -> Result<Vec<Trial>, String> {
        // It becomes part of paths, one of which is emptied.
        if let Some(fault) = faults.iter().find(|fault| !fault.has_a_proper_name()) {
            return Err(format!("`{}` is no name for a fault: those have a-z, 0-9 and -", fault.name));
        }
        // Those without a fault run side by side.
        let plain = || format!("none-{}", self.plain.fetch_add(1, Ordering::Relaxed));
        let names = |between: &str| faults.iter().map(|fault| fault.name).collect::<Vec<_>>().join(between);
        let name = if faults.is_empty() { plain() } else { names("+") };
        let folder = self.folder.join(&name);
        // What an earlier run left must not pass for this one's.
        let _ = fs::remove_dir_all(&folder);
        let report = ReportDir::open(&folder).map_err(|error| error.to_string())?;
        let fired = report.path().join("fired");
        let worker = match faults {
            [] => self.worker(),
            faults => self.worker_under(faults, report.path(), &fired)?,
        };
        // Under a fault a case is to fail, and a fresh kernel would cost more than all cases; whatever is red otherwise shall
        // say whether it is so again.
        let is_to_fail = faults.iter().any(|fault| fault.kind == Kind::Fault);
        let again =
            if faults.is_empty() { "handover run".to_owned() } else { format!("handover faults {}", names(" ")) };
        let settings = Settings {
            kernel: Box::new(self.sandbox.clone()),
            worker: super::with_folders(worker, report.path()),
            case_within: if is_to_fail { FAULTY_WITHIN } else { CASE_WITHIN },
            repeat: !is_to_fail,
            start_within: START_WITHIN,
            report,
            golden: GoldenMode::Check,
            again,
        };
        let supervisor = Supervisor::new(settings, self.stop.clone());
        let began = Instant::now();
        let mut halted = None;
        let mut trials = vec![Trial::default(); faults.len().max(1)];
        for (at, case) in work.first.iter().chain(&work.others).enumerate() {
            if at >= work.first.len() && began.elapsed() >= others_for {
                break;
            }
            let claimed = is_to_fail && faults.iter().any(|fault| claims(case, fault));
            // Whoever looks at moments may have come late, and whoever has much to do may not have come to its end: on a
            // machine that is busy with other things a claim has one try more.
            let again = |report: &CaseReport| {
                let beside = report.verdict == Verdict::Fail && case.fails_with.is_some() && !is_own(case, report);
                claimed && (matches!(report.verdict, Verdict::Pass | Verdict::Timeout) || beside)
            };
            let tried = supervisor.run(case).and_then(|report| match again(&report) {
                // One that fails beside the point is no better than one that does not fail.
                true => {
                    let second = supervisor.run(case)?;
                    let is_worse = report.verdict == Verdict::Fail && second.verdict != Verdict::Fail;
                    Ok(if is_worse { (report, false) } else { (second, true) })
                }
                false => Ok((report, false)),
            });
            match tried {
                Ok((report, second)) => {
                    let now = counts(&fired, faults.len());
                    for (n, (trial, now)) in trials.iter_mut().zip(now).enumerate() {
                        let claims = faults.get(n).is_some_and(|fault| claims(case, fault));
                        let run = run(case, &report, claims, (now.saturating_sub(trial.fired), now));
                        trial.runs.push(Run { second, ..run });
                        trial.fired = now;
                    }
                }
                Err(halt) => {
                    halted = Some(halt.to_string());
                    break;
                }
            }
        }
        let problems = supervisor.finish().problems;
        for (trial, fired) in trials.iter_mut().zip(counts(&fired, faults.len())) {
            (trial.fired, trial.problems, trial.error) = (fired, problems.clone(), halted.clone());
        }
        Ok(trials)
    }

    /// A worker as every run has it.
    fn worker(&self) -> Command {
        Command::new(&self.program).args(["worker"])
    }

    /// A worker that meets `faults`, which count in the file `fired`. Several are of one seam, and share.
    fn worker_under(&self, faults: &[&Fault], folder: &Path, fired: &Path) -> Result<Command, String> {
        let names = faults.iter().map(|fault| fault.name).collect::<Vec<_>>().join(",");
        let seam = faults.first().map_or(Seam::Kernel, |fault| fault.seam);
        if faults.len() > 1 && faults.iter().any(|fault| fault.seam != seam || !fault.shares) {
            return Err(format!("{names} can't be made at once: they don't share, or are of several seams"));
        }
        let worker = match seam {
            Seam::VulkanA => self.on_faulty_driver(0, folder)?,
            Seam::VulkanB => self.on_faulty_driver(1, folder)?,
            Seam::EglGbm => self.on_faulty_libraries(folder)?,
            // The program has it in itself, and puts it in where its environment says so.
            Seam::Core => self.worker(),
            Seam::Kernel => Command::new(&self.program)
                .args(["seam", &names, "--"])
                .args([self.program.as_os_str(), "worker".as_ref()]),
        };
        Ok(worker.env(NAME, names).env("HANDOVER_FAULT_COUNT", fired))
    }

    /// A worker whose libEGL and libgbm load our library, which hands everything on to Mesa's.
    fn on_faulty_libraries(&self, folder: &Path) -> Result<Command, String> {
        let library = &self.egl_gbm;
        let unusable = |error: std::io::Error| format!("{}: {error}", folder.display());
        let manifest = folder.join("vendor.json");
        let text = json!({ "file_format_version": "1.0.0", "ICD": { "library_path": library } });
        fs::write(&manifest, text.to_string()).map_err(unusable)?;
        // libgbm finds a backend by the name of its file.
        fs::copy(library, folder.join("faulty_gbm.so")).map_err(unusable)?;
        let worker = self.worker().env("__EGL_VENDOR_LIBRARY_FILENAMES", manifest);
        let worker = worker.env("GBM_BACKENDS_PATH", folder).env("GBM_BACKEND", "faulty");
        let architecture = std::env::consts::ARCH;
        Ok(worker.env("HANDOVER_FAULT_GBM", format!("/usr/lib/{architecture}-linux-gnu/{GBM_BACKEND}")))
    }

    /// A worker whose driver number `which` is the faulty one, which hands everything on to the one that was there.
    fn on_faulty_driver(&self, which: usize, folder: &Path) -> Result<Command, String> {
        let drivers = self.sandbox.vulkan_drivers().ok_or("the sandbox has no drivers that are known")?;
        let manifest = &drivers[which].on_host;
        let unusable = |why: String| format!("the manifest {}: {why}", manifest.display());
        let text = fs::read(manifest).map_err(|error| unusable(error.to_string()))?;
        let mut icd: Value = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
        let real =
            icd["ICD"]["library_path"].as_str().ok_or_else(|| unusable("it names no library".into()))?.to_owned();
        icd["ICD"]["library_path"] = json!(self.library);
        let ours = folder.join("driver.json");
        fs::write(&ours, icd.to_string()).map_err(|error| format!("{}: {error}", ours.display()))?;
        let mut manifests = drivers.map(|driver| driver.manifest);
        manifests[which] = ours;
        let files = manifests.map(|path| path.display().to_string()).join(":");
        Ok(self.worker().env("VK_DRIVER_FILES", files).env("HANDOVER_FAULT_DRIVER", real))
    }
}

/// Whether `case` claims to see `fault`: it names it, and works with the device that has it.
///
/// A claim is written for every device that plays a part; a case of `gpu_b` alone has nothing to do with `gpu_a`'s driver.
pub fn claims(case: &CaseInfo, fault: &Fault) -> bool {
    case.must_fail_under.iter().any(|claimed| claimed.0 == fault.name) && meets(case, fault)
}

/// Whether `case` works with the device that has `fault`.
pub fn meets(case: &CaseInfo, fault: &Fault) -> bool {
    let role = match fault.seam {
        Seam::VulkanA => Some(Role::GpuA),
        Seam::VulkanB => Some(Role::GpuB),
        // What is below everybody concerns everybody.
        _ => None,
    };
    role.is_none_or(|role| case.roles().contains(&role))
}

fn message_of(report: &CaseReport) -> String {
    report.message.clone().or_else(|| report.reason.clone()).unwrap_or_default()
}

/// Whether `case` fails by what it claims, and not in a call on the way.
fn is_own(case: &CaseInfo, report: &CaseReport) -> bool {
    match &case.fails_with {
        Some(words) => holds(&message_of(report), words),
        None => report.attempts.first().is_some_and(|first| !first.on_the_way),
    }
}

fn run(case: &CaseInfo, report: &CaseReport, claims: bool, (fired, fired_by_then): (u64, u64)) -> Run {
    let message = message_of(report);
    let own = is_own(case, report);
    let fact = |label: &'static str| {
        report.record.facts.iter().filter(move |(of, _)| of == label).map(|(_, text)| text.clone())
    };
    let unobserved = report.record.unobserved.iter().map(|(witness, why)| format!("{witness}: {why}"));
    Run {
        name: report.name.clone(),
        claims,
        verdict: report.verdict,
        message,
        own,
        duration_ms: report.duration_ms,
        fired,
        fired_by_then,
        second: false,
        red_without: false,
        skipped_without: false,
        readers: fact("agree").flat_map(|agree| readers_of(&agree)).collect(),
        blind: fact("not shown").chain(unobserved).collect(),
        missing: None,
    }
}

/// What cases come to without any fault.
#[derive(Default)]
pub struct Without {
    red: BTreeSet<String>,
    skipped: BTreeSet<String>,
    /// Those that fail as they are listed.
    as_listed: BTreeSet<String>,
    /// All that were run.
    known: BTreeSet<String>,
}

impl Without {
    /// What these runs came to.
    pub fn add(&mut self, runs: &[Run]) {
        for run in runs {
            self.known.insert(run.name.clone());
            match run.verdict {
                verdict if verdict.is_red() => _ = self.red.insert(run.name.clone()),
                Verdict::Skip => _ = self.skipped.insert(run.name.clone()),
                Verdict::Known => _ = self.as_listed.insert(run.name.clone()),
                _ => {}
            }
        }
    }

    /// The cases of `trials`, each with its fault, that would show something if they are not so without, and of which that is not
    /// known.
    pub fn open<'t>(&self, trials: impl IntoIterator<Item = (&'t Fault, &'t Trial)>) -> BTreeSet<&'t str> {
        let runs = trials.into_iter().flat_map(|(fault, trial)| trial.runs.iter().map(move |run| (fault, run)));
        let open = runs.filter(|(fault, run)| run.shows(fault)).map(|(_, run)| run.name.as_str());
        open.filter(|name| !self.known.contains(*name)).collect()
    }

    /// Notes in each of `runs` what it comes to without.
    pub fn held_against(&self, runs: &mut [Run]) {
        for run in runs {
            run.red_without = self.red.contains(&run.name);
            run.skipped_without = self.skipped.contains(&run.name);
        }
    }

    /// The names of those that fail by a defect that is listed.
    pub fn as_listed(&self) -> &BTreeSet<String> {
        &self.as_listed
    }

    /// The names of those that are red.
    pub fn red(&self) -> Vec<String> {
        self.red.iter().cloned().collect()
    }
}

/// Where cargo puts the faulty driver: with what it builds for others, beside its programs or below them.
fn library_beside(program: &Path, library: &str) -> Result<PathBuf, String> {
    let folder = program.parent().unwrap_or(Path::new("."));
    // Below is what was built last; beside is a link to it, which cargo renews only when the driver itself is asked for.
    let places = [folder.join("deps").join(library), folder.join(library)];
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let [one, other] = places.map(|path| path.display().to_string());
        format!(
            "the faulty library is neither {one} nor {other}; `cargo build` makes it together with this program, \
             and whoever moves one has to take the other along"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_faults_each_has_its_own_count() {
        let folder = tempfile::tempdir().unwrap();
        let fired = folder.path().join("fired");
        assert_eq!((counts(&fired, 1), counts(&fired, 3)), (vec![0], vec![0, 0, 0]));
        fs::write(&fired, [0, 2, 0, 0].map(mark_of)).unwrap();
        assert_eq!((counts(&fired, 1), counts(&fired, 3)), (vec![4], vec![3, 0, 1]));
    }

    #[test]
    fn the_driver_is_found_where_cargo_puts_it_or_missed_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("handover");
        let why = library_beside(&program, LIBRARY).unwrap_err();
        assert!(why.contains("deps/libhandover_faulty_vulkan.so") && why.contains("cargo build"), "{why}");
        fs::create_dir(folder.path().join("deps")).unwrap();
        let below = folder.path().join("deps").join(LIBRARY);
        fs::write(&below, "").unwrap();
        assert_eq!(library_beside(&program, LIBRARY), Ok(below));
    }
}
