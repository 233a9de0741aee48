//! What must hold beyond the verdicts, so that a run which tested nothing is not green?
//!
//! A lane file names the devices that must have answered, the cases that must run and the skips that are allowed.
//! This file reads and judges; it runs nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::case::{Role, Witness};
use crate::matching::holds;
use crate::report::{CaseReport, Machine};
use crate::verdict::Verdict;

/// The lane of the sandbox, used where no lane is named.
const SANDBOX: &str = include_str!("../../ci/lanes/sandbox.toml");

/// Where cases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// In the user-mode kernel with its own devices.
    Sandbox,
    /// In the kernel of this machine, on its devices.
    Host,
}

impl std::fmt::Display for On {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            On::Sandbox => "sandbox",
            On::Host => "host",
        })
    }
}

/// The rules of one lane.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// The lane's name; a file without one is named after the file.
    #[serde(default)]
    pub name: String,
    /// Where its cases run.
    pub on: On,
    /// Whether this lane may bless golden images.
    #[serde(default)]
    pub reference: bool,
    /// Workers at once.
    pub jobs: Option<usize>,
    /// Deadline of one case, in s.
    pub timeout_s: Option<u64>,
    /// For each role, a part of the name or driver of the device that must have answered.
    #[serde(default)]
    pub devices: BTreeMap<Role, String>,
    /// The cases that a run without filters has in this lane; every one if it is empty. Patterns as below.
    #[serde(default)]
    pub only: Vec<String>,
    /// Cases that must get a verdict other than skip; `*` stands for any text, and in a file `{a,b}` for either.
    #[serde(default)]
    pub must_run: Vec<String>,
    /// The cases that `handover walk` walks, if it is not told others. Patterns as above.
    #[serde(default)]
    pub walk: Vec<String>,
    /// Cases of these that are walked by less than everything.
    #[serde(default)]
    pub walk_by: Vec<WalkBy>,
    /// What `handover walk` finds in drivers of others, and where it is described.
    #[serde(default)]
    pub walk_known: Vec<WalkKnown>,
    /// Who must have seen every case that passes and in which it can have a part.
    #[serde(default)]
    pub must_observe: Vec<Witness>,
    /// Skips that are no finding.
    #[serde(default)]
    pub may_skip: Vec<MaySkip>,
    /// Added to the environment of the workers.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The kernel of the sandbox, if it is not the usual one.
    pub kernel: Option<SandboxKernel>,
    /// Arguments for the kernel of the sandbox.
    #[serde(default)]
    pub kernel_args: Vec<String>,
}

/// Another kernel than the usual one, for a lane of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxKernel {
    /// The one that reports its own defects.
    Debug,
}

/// How the release of that kernel ends; see `CONFIG_LOCALVERSION` in `ci/sandbox/kernel-debug.config`.
pub const DEBUG_RELEASE: &str = "-debug";

/// A skip that a lane allows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaySkip {
    /// Which cases; `*` stands for any text, and in a file `{a,b}` for either.
    pub case: String,
    /// A part of the reason with which they skip.
    pub reason: String,
    /// Why that is as it should be here.
    pub because: String,
}

/// A case that `handover walk` walks by less than everything, if it is not told which cases.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalkBy {
    /// The case. A pattern as above.
    pub case: String,
    /// By what, as for its `--by`.
    pub by: Vec<String>,
    /// Why not by the rest.
    pub because: String,
}

/// A defect that `handover walk` shows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalkKnown {
    /// A part of what is wrong, with the call in brackets and what the case said; `…` stands for any text between.
    pub matching: String,
    /// Where it is described: a file beside the cases.
    pub finding: String,
}

impl WalkKnown {
    /// Whether that is what `text` says.
    pub fn shows(&self, text: &str) -> bool {
        holds(text, &self.matching)
    }
}

/// The rule that a skip breaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// The case is among those that must run.
    MustRun,
    /// Nothing allows it.
    MayNotSkip,
}

impl Lane {
    /// The lane of the sandbox.
    ///
    /// # Errors
    /// Only if the file that was compiled in is wrong.
    pub fn sandbox() -> Result<Lane, LaneError> {
        Lane::parse(Path::new("ci/lanes/sandbox.toml"), SANDBOX)
    }

    /// Reads a lane file.
    ///
    /// # Errors
    /// Names the file, the line, and the keys that would be valid.
    pub fn read(path: &Path) -> Result<Lane, LaneError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| LaneError { path: path.to_owned(), what: format!("cannot be read: {error}") })?;
        Lane::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Lane, LaneError> {
        let wrong = |what: String| LaneError { path: path.to_owned(), what };
        let mut lane: Lane = toml::from_str(text).map_err(|error| wrong(format!("is not valid: {error}")))?;
        if lane.name.is_empty() {
            lane.name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        }
        if lane.jobs == Some(0) {
            return Err(wrong("is not valid: `jobs` must be at least 1".into()));
        }
        if let Some(timeout_s) = lane.timeout_s.filter(|timeout_s| !(1..=86_400).contains(timeout_s)) {
            return Err(wrong(format!("is not valid: `timeout_s` is {timeout_s}; it can be 1 to 86400")));
        }
        if lane.walk_known.iter().any(|known| known.matching.trim().is_empty()) {
            return Err(wrong("is not valid: a `walk_known` has an empty `matching`, which would allow any".into()));
        }
        for skip in &lane.may_skip {
            if skip.reason.trim().is_empty() {
                return Err(wrong(format!(
                    "is not valid: `may_skip` of {:?} has an empty `reason`, which would allow any",
                    skip.case
                )));
            }
        }
        lane.spell_out();
        Ok(lane)
    }

    /// Makes one pattern of each that `{a,b}` stands for: every one of them has to name a case.
    fn spell_out(&mut self) {
        let each = |walk: &WalkBy| {
            alternatives(&walk.case).into_iter().map(|case| WalkBy { case, ..walk.clone() }).collect::<Vec<_>>()
        };
        self.walk_by = self.walk_by.iter().flat_map(each).collect();
        for patterns in [&mut self.only, &mut self.must_run, &mut self.walk] {
            *patterns = patterns.iter().flat_map(|pattern| alternatives(pattern)).collect();
        }
        let each = |skip: &MaySkip| {
            alternatives(&skip.case).into_iter().map(|case| MaySkip { case, ..skip.clone() }).collect::<Vec<_>>()
        };
        self.may_skip = self.may_skip.iter().flat_map(each).collect();
    }

    /// Checks that every pattern names a case.
    ///
    /// # Errors
    /// Names the patterns that match none: a renamed case must not slip out of its lane.
    pub fn check_patterns(&self, names: &[&str]) -> Result<(), LaneError> {
        let skips = self.may_skip.iter().map(|skip| &skip.case);
        let walks = self.walk.iter().chain(self.walk_by.iter().map(|walk| &walk.case));
        let patterns = self.only.iter().chain(&self.must_run).chain(walks).chain(skips);
        let unknown: Vec<&str> =
            patterns.filter(|pattern| !names.iter().any(|name| glob(pattern, name))).map(String::as_str).collect();
        match unknown.as_slice() {
            [] => Ok(()),
            unknown => Err(LaneError {
                path: PathBuf::from(&self.name),
                what: format!("names cases that do not exist: {}", unknown.join(", ")),
            }),
        }
    }

    /// Whether a run without filters has the case `name`.
    pub fn has(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| glob(pattern, name))
    }

    /// Why a case may skip with this reason, if it may.
    pub fn allows_skip(&self, case: &str, reason: &str) -> Option<&str> {
        let allowing = self.may_skip.iter().find(|skip| glob(&skip.case, case) && reason.contains(&skip.reason));
        allowing.map(|skip| skip.because.as_str())
    }

    /// What the lane finds wrong with one case.
    pub fn judge_case(&self, case: &CaseReport) -> Option<String> {
        let (rule, reason) = self.broken_by(case)?;
        Some(format!("{} was skipped, {}: {reason}", case.name, self.words(rule)))
    }

    /// What the lane finds wrong with each of `cases`; those that skip for the same reason are one line.
    pub fn judge_cases(&self, cases: &[CaseReport]) -> Vec<String> {
        let mut groups: Vec<((Broken, &str), Vec<&str>)> = Vec::new();
        for case in cases {
            let Some(broken) = self.broken_by(case) else { continue };
            match groups.iter_mut().find(|(other, _)| *other == broken) {
                Some((_, names)) => names.push(&case.name),
                None => groups.push((broken, vec![&case.name])),
            }
        }
        let text = |((rule, reason), names): ((Broken, &str), Vec<&str>)| match names.as_slice() {
            [name] => format!("{name} was skipped, {}: {reason}", self.words(rule)),
            names => {
                let (count, first) = (names.len(), names.first().unwrap_or(&""));
                format!("{count} cases were skipped, {}: {reason}; the first is {first}", self.words(rule))
            }
        };
        groups.into_iter().map(text).collect()
    }

    fn broken_by<'c>(&self, case: &'c CaseReport) -> Option<(Broken, &'c str)> {
        let (Verdict::Skip, Some(reason)) = (case.verdict, &case.reason) else {
            return None;
        };
        if self.must_run.iter().any(|pattern| glob(pattern, &case.name)) {
            return Some((Broken::MustRun, reason));
        }
        self.allows_skip(&case.name, reason).is_none().then_some((Broken::MayNotSkip, reason))
    }

    fn words(&self, rule: Broken) -> String {
        match rule {
            Broken::MustRun => format!("but must run in lane {}", self.name),
            Broken::MayNotSkip => format!("and lane {} does not allow that", self.name),
        }
    }

    /// What the lane finds wrong with the devices that answered. `whole` is false when only some cases were asked for:
    /// then a device that nobody needed is not missed.
    pub fn judge_devices(&self, machine: &Machine, whole: bool) -> Vec<String> {
        let mut problems = Vec::new();
        if let (Some(SandboxKernel::Debug), Some(release)) = (self.kernel, &machine.kernel)
            && !release.ends_with(DEBUG_RELEASE)
        {
            problems.push(format!(
                "the kernel is {release}, which does not report its own defects; lane {} demands one that ends in \
                 `{DEBUG_RELEASE}`",
                self.name
            ));
        }
        for (role, part) in &self.devices {
            let answered = machine.devices.get(role).map_or(&[][..], Vec::as_slice);
            if answered.is_empty() && whole {
                problems.push(format!("no device answered as {role}; lane {} demands `{part}`", self.name));
            }
            for device in answered {
                if !device.to_string().contains(part.as_str()) {
                    problems.push(format!("{role} is {device}; lane {} demands `{part}`", self.name));
                }
            }
        }
        problems
    }

    /// The cases that must run and got no verdict.
    pub fn judge_missing(&self, names: &[&str], cases: &[CaseReport]) -> Vec<String> {
        names
            .iter()
            .filter(|name| self.must_run.iter().any(|pattern| glob(pattern, name)))
            .filter(|name| !cases.iter().any(|case| case.name == **name))
            .map(|name| format!("{name} has no verdict, but must run in lane {}", self.name))
            .collect()
    }
}

/// The patterns that `pattern` stands for: `x::{a,b}` for `x::a` and `x::b`.
pub fn alternatives(pattern: &str) -> Vec<String> {
    let braces = pattern.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (inside, after))) = braces else {
        return vec![pattern.to_owned()];
    };
    let rests = alternatives(after);
    inside.split(',').flat_map(|one| rests.iter().map(move |rest| format!("{before}{one}{rest}"))).collect()
}

/// Whether `text` matches `pattern`, in which `*` stands for any text.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A lane file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the lane file {} {what}", path.display())]
pub struct LaneError {
    path: PathBuf,
    what: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::DeviceIdentity;
    use crate::report::samples;

    fn lane(text: &str) -> Lane {
        Lane::parse(Path::new("here/lab.toml"), text).unwrap()
    }

    fn skipped(name: &str, reason: &str) -> CaseReport {
        CaseReport { reason: Some(reason.into()), ..samples::case(name, Verdict::Skip) }
    }

    #[test]
    fn the_lane_of_the_debugging_kernel_is_valid() {
        let lane = Lane::parse(Path::new("sandbox-debug.toml"), include_str!("../../ci/lanes/sandbox-debug.toml"));
        let lane = lane.unwrap();
        assert_eq!((lane.on, lane.kernel), (On::Sandbox, Some(SandboxKernel::Debug)));
        assert!(!lane.only.is_empty());
    }

    #[test]
    fn the_lane_of_the_sandbox_is_valid() {
        let lane = Lane::sandbox().unwrap();
        assert_eq!((lane.name.as_str(), lane.on, lane.reference), ("sandbox", On::Sandbox, true));
    }

    #[test]
    fn unknown_keys_and_roles_name_the_valid_ones() {
        for (text, expected) in [
            ("on = \"host\"\nmust_runn = []", "expected one of"),
            ("on = \"moon\"", "`sandbox`"),
            ("on = \"host\"\n[devices]\ngpu_c = \"x\"", "`gpu_b`"),
            ("on = \"host\"\nmust_observe = [\"x\"]", "`writeback`"),
            ("on = \"host\"\njobs = 0", "at least 1"),
            ("on = \"host\"\n[[may_skip]]\ncase = \"*\"\nreason = \"\"\nbecause = \"\"", "empty `reason`"),
        ] {
            let error = Lane::parse(Path::new("lab.toml"), text).unwrap_err().to_string();
            assert!(error.contains("lab.toml") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a::b", "a::b", true),
            ("a::b", "a::bc", false),
            ("a::*", "a::b::c", true),
            ("*::AB24*", "a::b::AB24_x", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("ab*b", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn braces_stand_for_each_of_what_they_hold() {
        assert_eq!(alternatives("a::{b,c}_*::{d,e}"), ["a::b_*::d", "a::b_*::e", "a::c_*::d", "a::c_*::e"]);
        assert_eq!(alternatives("a::{b"), ["a::{b"]);
        let lane = lane(
            "on = \"host\"\nmust_run = [\"{a,b}::must\"]\n\
             [[may_skip]]\ncase = \"a::{b,c}\"\nreason = \"gpu_b\"\nbecause = \"one GPU here\"",
        );
        assert_eq!(lane.allows_skip("a::c", "needs gpu_b"), Some("one GPU here"));
        assert_eq!(lane.allows_skip("a::d", "needs gpu_b"), None);
        let unknown = lane.check_patterns(&["a::must", "b::must", "a::b"]).unwrap_err().to_string();
        assert!(unknown.ends_with("names cases that do not exist: a::c"), "{unknown}");
    }

    #[test]
    fn a_skip_is_red_unless_allowed_for_this_case_and_reason() {
        let lane = lane(
            "on = \"host\"\nmust_run = [\"a::must_*\"]\n\
             [[may_skip]]\ncase = \"a::*\"\nreason = \"gpu_b\"\nbecause = \"one GPU here\"",
        );
        assert_eq!(lane.judge_case(&skipped("a::b_works", "needs gpu_b; there is one GPU")), None);
        let other = lane.judge_case(&skipped("a::b_works", "needs screen")).unwrap();
        assert!(other.contains("lane lab does not allow that: needs screen"), "{other}");
        let must = lane.judge_case(&skipped("a::must_work", "needs gpu_b")).unwrap();
        assert!(must.contains("must run in lane lab"), "{must}");
        let many = ["a::b_sees", "a::must_work", "a::b_works", "a::c_works"].map(|name| skipped(name, "needs screen"));
        assert_eq!(
            lane.judge_cases(&many),
            [
                "3 cases were skipped, and lane lab does not allow that: needs screen; the first is a::b_sees",
                "a::must_work was skipped, but must run in lane lab: needs screen"
            ]
        );
        assert_eq!(lane.judge_missing(&["a::must_work", "a::b_works"], &[]).len(), 1);
        assert!(lane.check_patterns(&["b::works"]).unwrap_err().to_string().contains("a::must_*"));
    }

    #[test]
    fn a_lane_may_have_some_of_the_cases() {
        let all = lane("on = \"sandbox\"");
        assert!(all.has("a::b_works"));
        let some = lane("on = \"sandbox\"\nonly = [\"a::{b,c}_*\"]");
        assert!(some.has("a::b_works") && some.has("a::c_works") && !some.has("a::d_works"));
        let unknown = some.check_patterns(&["a::b_works"]).unwrap_err().to_string();
        assert!(unknown.ends_with("do not exist: a::c_*"), "{unknown}");
    }

    #[test]
    fn the_usual_kernel_is_red_where_the_other_must_run() {
        let lane = lane("on = \"sandbox\"\nkernel = \"debug\"");
        let on =
            |release: &str| lane.judge_devices(&Machine { kernel: Some(release.into()), ..Machine::default() }, true);
        assert_eq!(on("7.3.4-sandbox-debug"), [""; 0]);
        assert!(on("7.3.4-sandbox")[0].contains("does not report its own defects"));
    }

    #[test]
    fn the_wrong_driver_is_red() {
        let lane = lane("on = \"host\"\n[devices]\ngpu_a = \"llvmpipe\"\nscreen = \"vkms\"");
        let real = DeviceIdentity { name: "Radeon".into(), driver: "radv".into() };
        let machine = Machine { devices: [(Role::GpuA, vec![real])].into(), ..Machine::default() };
        assert_eq!(
            lane.judge_devices(&machine, true),
            [
                "gpu_a is Radeon (radv); lane lab demands `llvmpipe`",
                "no device answered as screen; lane lab demands `vkms`"
            ]
        );
        assert_eq!(lane.judge_devices(&machine, false).len(), 1);
    }
}
