//! What is a case, as data: its name, the two sides, what it needs, and the body that makes the claim.
//!
//! Nothing here opens a device or runs a body. Names are a function of the source alone, so that listing
//! cases touches no device and a name means the same claim on every machine.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::finding::Finding;
use crate::matching::holds;

mod record;
mod role;

pub use record::{MappingRecord, Record, Told};
pub use role::Role;

/// One thing a case needs of the machine; whether it is there is for [`Bench::missing`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A device that plays this role.
    Device(Role),
    /// The role can hand out a buffer of this format (fourcc, with or without a modifier's name).
    Exports {
        /// The exporter.
        role: Role,
        /// The format, such as `AB24` or `AB24 LINEAR`.
        format: String,
    },
    /// The role can take in a buffer of this format.
    Imports {
        /// The importer.
        role: Role,
        /// The format, such as `AB24` or `AB24 LINEAR`.
        format: String,
    },
    /// The role can draw to a buffer of this format that it took in.
    Draws {
        /// The importer.
        role: Role,
        /// The format, such as `AB24`.
        format: String,
    },
    /// The screen writes back what it scans out.
    Writeback,
    /// The screen reports a CRC of what it scans out.
    Crc,
    /// One of the two: somebody sees what is on the screen.
    Seen,
    /// The kernel can be told to have no memory.
    FailingAllocations,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Device(role) => write!(f, "{role}"),
            Need::Exports { role, format } => write!(f, "{role} that exports {format}"),
            Need::Imports { role, format } => write!(f, "{role} that imports {format}"),
            Need::Draws { role, format } => write!(f, "{role} that draws {format}"),
            Need::Writeback => write!(f, "{} with writeback", Role::Screen),
            Need::Crc => write!(f, "{} with a CRC", Role::Screen),
            Need::Seen => write!(f, "{} with writeback or a CRC", Role::Screen),
            Need::FailingAllocations => f.write_str("a kernel whose allocations can be made to fail"),
        }
    }
}

/// A way in which the harness sees what a device did, in addition to the readers that a case asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// Vulkan's validation layer.
    Validation,
    /// The screen's writeback.
    Writeback,
    /// The screen's CRC.
    Crc,
    /// The ledger of what is open before and after: files, dma-bufs, handles.
    Ledger,
    /// What the kernel says of itself.
    KernelLog,
    /// How much memory of its device a driver uses.
    DriverHeap,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Witness::Validation => "validation",
            Witness::Writeback => "writeback",
            Witness::Crc => "crc",
            Witness::Ledger => "ledger",
            Witness::KernelLog => "kernel_log",
            Witness::DriverHeap => "driver_heap",
        })
    }
}

/// Who did not see a case, and why not.
pub type Unobserved = BTreeMap<Witness, String>;

/// A defect that is known of one device, and how it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which device has it: a part of its name and driver, such as `vkms`, or parts with `…` between, such as `llvmpipe…Mesa 25.0`.
    /// Elsewhere the case must pass.
    pub on: String,
    /// Where the defect is described: a URL, or a file beside the cases that is ready to be filed upstream.
    pub url: String,
    /// A part of the first line of the finding with which the case must fail; of several one is enough. `…` stands for any text
    /// up to a part that the finding must have as well, in its first line or a later one.
    pub matching: Vec<String>,
}

impl Known {
    /// Whether `device` is one that has it.
    pub fn is_on(&self, device: &DeviceIdentity) -> bool {
        holds(&device.to_string(), &self.on)
    }
}

/// The name of a deliberate fault under which a case must fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

/// Why a body did not show its claim to be true.
#[derive(Debug)]
pub enum Trouble {
    /// The claim cannot be tried here; the text names what is missing.
    Skip(String),
    /// The claim is false, or something on the way to it failed.
    Fail(Finding),
}

impl From<Finding> for Trouble {
    fn from(finding: Finding) -> Trouble {
        Trouble::Fail(finding)
    }
}

/// What a body returns: `Ok` when the claim holds.
pub type Outcome = Result<(), Trouble>;

/// Whether golden images are compared or written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoldenMode {
    /// Compare; a missing golden is a failure.
    #[default]
    Check,
    /// Write what was rendered as the new golden.
    Bless,
}

/// A device as its own driver names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceIdentity {
    /// The device's name, such as `llvmpipe (LLVM 19.1.7, 256 bits)`.
    pub name: String,
    /// The driver with its version, such as `Mesa 26.1.6`.
    pub driver: String,
}

impl fmt::Display for DeviceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.driver.as_str() {
            "" => f.write_str(&self.name),
            driver => write!(f, "{} ({driver})", self.name),
        }
    }
}

/// What a bench is told when a case begins.
#[derive(Clone, Debug)]
pub struct CaseStart {
    /// The case's name.
    pub name: String,
    /// Where the case may leave images; not created yet.
    pub artifacts: PathBuf,
    /// Whether golden images are compared or written.
    pub golden: GoldenMode,
    /// The time that it has, after which its worker is killed.
    pub within: Duration,
}

/// What a bench knows when a case has ended, beyond what its body said.
#[derive(Clone, Debug, Default)]
pub struct CaseNotes {
    /// Each of these fails the case whatever its body said: validation messages, things left open.
    pub findings: Vec<String>,
    /// What is kept of it.
    pub record: Record,
    /// What devices told of their constraints for the first time since the bench was made.
    pub told: Vec<Told>,
    /// Objections that were raised between the case before and this one, and are no fault of this one.
    pub before: Vec<String>,
}

/// The devices and facilities that bodies work with; one per worker process, kept over many cases.
pub trait Bench {
    /// A bench with no device open yet.
    fn new() -> Self;
    /// Which device plays `role`, if one does. Opens it when it was not open.
    fn identify(&mut self, role: Role) -> Option<DeviceIdentity>;
    /// What the machine has instead of `need`, or `None` when the need is met.
    ///
    /// # Errors
    /// That can't be said, because a device that may be there fails.
    fn missing(&mut self, need: &Need) -> Result<Option<String>, Trouble>;
    /// A case begins: everything that is recorded per case starts afresh.
    fn begin(&mut self, start: CaseStart);
    /// The case ended, with its claim shown to hold or not; called after a panic of its body too.
    fn end(&mut self, held: bool) -> CaseNotes;
}

/// The body of a case.
pub type Body<B> = Box<dyn Fn(&mut B) -> Outcome + Send + Sync>;

/// Everything about a case except its body.
#[derive(Clone, Debug)]
pub struct CaseInfo {
    /// `family::claim_in_present_tense[::parameters]`.
    pub name: String,
    /// Who hands the buffer out.
    pub exporter: Option<Role>,
    /// Who takes it in.
    pub importer: Option<Role>,
    /// What the machine must have, else the case is skipped with the first one that is missing.
    pub needs: Vec<Need>,
    /// What a worker opens for it beside devices that play roles, and keeps for others that name the same, or closes again.
    pub opens: Vec<String>,
    /// The defects that make the case fail today.
    pub known: Vec<Known>,
    /// The faults that this case claims to catch.
    pub must_fail_under: Vec<Fault>,
    /// What its message holds when it fails by what it claims, if any finding of its own would not do.
    pub fails_with: Option<String>,
}

impl CaseInfo {
    /// Every role that the case names, each once.
    pub fn roles(&self) -> Vec<Role> {
        let needed = self.needs.iter().filter_map(|need| match need {
            Need::Device(role) | Need::Exports { role, .. } | Need::Imports { role, .. } | Need::Draws { role, .. } => {
                Some(*role)
            }
            Need::Writeback | Need::Crc | Need::Seen => Some(Role::Screen),
            Need::FailingAllocations => None,
        });
        let named = self.exporter.into_iter().chain(self.importer).chain(needed);
        let mut roles: Vec<Role> = named.collect();
        roles.sort();
        roles.dedup();
        roles
    }
}

/// One claim about a device or a pair of devices.
pub struct Case<B> {
    /// What is known without running it.
    pub info: CaseInfo,
    /// What tries the claim.
    pub body: Body<B>,
}

impl<B> Case<B> {
    /// Names the exporter, and needs it.
    pub fn from(&mut self, role: Role) -> &mut Self {
        self.info.exporter = Some(role);
        self.needs(Need::Device(role))
    }

    /// Names the importer, and needs it.
    pub fn to(&mut self, role: Role) -> &mut Self {
        self.info.importer = Some(role);
        self.needs(Need::Device(role))
    }

    /// Adds one need.
    pub fn needs(&mut self, need: Need) -> &mut Self {
        if !self.info.needs.contains(&need) {
            self.info.needs.push(need);
        }
        self
    }

    /// Lists the case as failing today on the device `on` because of the defect at `url`, with `matching` in its message.
    ///
    /// There it must fail just so: a pass, or another failure, is red. A case with several findings lists a text for each:
    /// one that is not listed is red, whatever the others are, and so is a text that no finding shows any more. `…` in
    /// `matching` stands for any text between.
    pub fn known(&mut self, on: &str, url: &str, matching: &str) -> &mut Self {
        self.known_as_one_of(on, url, &[matching])
    }

    /// [`Self::known`] of a finding whose text is one of several, as it happens.
    pub fn known_as_one_of(&mut self, on: &str, url: &str, matching: &[&str]) -> &mut Self {
        let matching = matching.iter().map(ToString::to_string).collect();
        self.info.known.push(Known { on: on.to_owned(), url: url.to_owned(), matching });
        self
    }

    /// States that the case catches the fault of this name.
    pub fn must_fail_under(&mut self, fault: &str) -> &mut Self {
        self.info.must_fail_under.push(Fault(fault.to_owned()));
        self
    }

    /// States what the message holds when the claim is what is false; `…` stands for any text between.
    ///
    /// A fault must fail a case of each claim by what it claims. Any finding of its own is that, and a call that fails on the
    /// way is not; so this is for cases that look at more than they claim, or whose claim is about a call that fails.
    pub fn fails_with(&mut self, words: &str) -> &mut Self {
        self.info.fails_with = Some(words.to_owned());
        self
    }
}

/// How many combinations of what can be varied become cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// A [covering set](crate::covering).
    #[default]
    Covering,
    /// All of them.
    Exhaustive,
}

/// The list that each cases file adds to.
pub struct Cases<B> {
    list: Vec<Case<B>>,
    problems: Vec<String>,
    extent: Extent,
}

impl<B> Cases<B> {
    /// Adds a case and returns it for its roles, needs and known defect.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        body: impl Fn(&mut B) -> Outcome + Send + Sync + 'static,
    ) -> &mut Case<B> {
        self.list.push(Case {
            info: CaseInfo {
                name: name.into(),
                exporter: None,
                importer: None,
                needs: Vec::new(),
                opens: Vec::new(),
                known: Vec::new(),
                must_fail_under: Vec::new(),
                fails_with: None,
            },
            body: Box::new(body),
        });
        self.list.last_mut().expect("a case was pushed just now")
    }

    /// What is wrong with what was asked for, so that there can be no list.
    pub fn problem(&mut self, why: impl fmt::Display) {
        self.problems.push(why.to_string());
    }

    /// How many combinations are asked for.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The cases that `register` adds, in that order.
    ///
    /// # Errors
    /// As [`Self::collect_to`].
    pub fn collect(register: impl FnOnce(&mut Cases<B>)) -> Result<Vec<Case<B>>, RegistrationError> {
        Self::collect_to(Extent::default(), register)
    }

    /// The cases that `register` adds for `extent`, in that order.
    ///
    /// # Errors
    /// States the [problems](Self::problem), and names every case whose name is ill-formed or taken, and every known
    /// defect that would match anything.
    pub fn collect_to(extent: Extent, register: impl FnOnce(&mut Cases<B>)) -> Result<Vec<Case<B>>, RegistrationError> {
        let mut cases = Cases { list: Vec::new(), problems: Vec::new(), extent };
        register(&mut cases);
        let mut problems = std::mem::take(&mut cases.problems);
        let mut seen = HashSet::new();
        for case in &cases.list {
            let name = &case.info.name;
            if let Err(why) = check_name(name) {
                problems.push(format!("`{name}`: {why}"));
            }
            if !seen.insert(name.as_str()) {
                problems.push(format!("`{name}` is registered twice"));
            }
            for known in &case.info.known {
                let texts = [&known.on, &known.url].into_iter().chain(&known.matching);
                if known.matching.is_empty() || texts.into_iter().any(|text| text.trim().is_empty()) {
                    problems
                        .push(format!("`{name}`: .known(on, url, matching) with an empty text would match anything"));
                }
            }
        }
        match problems.is_empty() {
            true => Ok(cases.list),
            false => Err(RegistrationError { problems }),
        }
    }
}

/// Cases that cannot be registered as they are written.
#[derive(Debug, thiserror::Error)]
#[error("the list of cases is not valid:\n  {}", problems.join("\n  "))]
pub struct RegistrationError {
    /// One line per case at fault.
    pub problems: Vec<String>,
}

/// Says what is wrong with a case name, if anything is.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_name(name: &str) -> Result<(), String> {
    let segments: Vec<&str> = name.split("::").collect();
    if segments.len() < 2 {
        return Err("a name is family::claim_in_present_tense, with ::parameters if it has any".into());
    }
    for (i, segment) in segments.iter().enumerate() {
        let is_parameter = i >= 2;
        // Parameters hold fourccs such as AB24, which are case-sensitive; the claim reads as words.
        let legal = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || (is_parameter && c.is_ascii_uppercase())
        };
        if segment.is_empty() {
            return Err("a part between `::` is empty".into());
        }
        if let Some(bad) = segment.chars().find(|&c| !legal(c)) {
            let valid = if is_parameter { "a-z, A-Z, 0-9 and _" } else { "a-z, 0-9 and _" };
            return Err(format!("{bad:?} in `{segment}`; a {} may hold {valid}", part(i)));
        }
        if !is_parameter && !segment.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(format!("`{segment}` does not begin with a letter"));
        }
    }
    if segments[1].starts_with("test_") {
        return Err("a claim is a sentence in the present tense, not `test_…`".into());
    }
    Ok(())
}

fn part(index: usize) -> &'static str {
    match index {
        0 => "family",
        1 => "claim",
        _ => "parameter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_claims() {
        for good in [
            "dma_buf::arrives_bit_exact",
            "vulkan_vulkan::arrives_bit_exact::AB24_linear_250x3",
            "scanout::shows_what_was_drawn::XR24::overlay",
        ] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for (bad, expected) in [
            ("arrives", "family::claim"),
            ("dma_buf::", "empty"),
            ("Dma::arrives", "'D' in `Dma`"),
            ("dma_buf::arrives::a b", "' ' in `a b`"),
            ("dma_buf::test_arrives", "present tense"),
            ("dma_buf::2nd_import_works", "begin with a letter"),
        ] {
            let why = check_name(bad).expect_err(bad);
            assert!(why.contains(expected), "{bad}: {why}");
        }
    }

    #[test]
    fn every_bad_registration_is_named_at_once() {
        let error = Cases::<()>::collect(|cases| {
            cases.add("a::b_works", |_| Ok(()));
            cases.add("a::b_works", |_| Ok(()));
            cases.add("oops", |_| Ok(()));
            cases.add("a::c_works", |_| Ok(())).known("llvmpipe", "https://example.org/1", " ");
        })
        .err()
        .expect("three problems");
        assert_eq!(error.problems.len(), 3, "{error}");
        assert!(error.to_string().contains("`a::b_works` is registered twice"), "{error}");
    }

    #[test]
    fn a_side_is_also_a_need() {
        let cases = Cases::<()>::collect(|cases| {
            cases.add("a::b_works", |_| Ok(())).from(Role::GpuA).to(Role::GpuA).needs(Need::Writeback);
        })
        .unwrap();
        assert_eq!(cases[0].info.needs, [Need::Device(Role::GpuA), Need::Writeback]);
        assert_eq!(Need::Imports { role: Role::GpuB, format: "AB24".into() }.to_string(), "gpu_b that imports AB24");
    }
}
