//! What do supervisor and worker say to each other? One JSON value per line, in both directions.
//!
//! The supervisor writes requests to the worker's standard input. The worker's answers leave on what was
//! its standard output when it started; see [`super::worker`] for why it is moved away from there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::case::{DeviceIdentity, GoldenMode, Record, Role, Told};
use crate::disturb::{Call, Disturbance, Held, Met};
use crate::report::Machine;
use crate::verdict::Verdict;

/// The longest answer that the supervisor reads, in bytes; a longer line is no answer.
pub const MAX_LINE: u64 = 4 << 20;

/// The line on the worker's standard error that ends the output of one case.
pub const END_OF_OUTPUT: &[u8] = b"\x1ehandover: end of case\n";

/// Supervisor to worker, instead of a request: where are you? The worker answers while its case runs, or hangs.
pub const WHERE: &str = "where";

/// Supervisor to worker: run this case.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The case's full name.
    pub run: String,
    /// Where its images go, as the worker sees that directory.
    pub artifacts: PathBuf,
    /// Whether golden images are compared or written.
    pub golden: GoldenMode,
    /// The time that it has, after which its worker is killed.
    pub within: Duration,
    /// What is to happen to it while it runs, in a worker that was started for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbance: Option<Disturbance>,
    /// What was held before: what is freed by and by gets a moment for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// Worker to supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// The worker is ready; sent once, before any request is read.
    Hello(Hello),
    /// The case that was asked for begins. What happens from here on is blamed on it.
    Began,
    /// The devices that play the roles of the case are open, or nobody plays one, and its body begins. Not said if all that was
    /// said before.
    Devices(BTreeMap<Role, Option<DeviceIdentity>>),
    /// This call of the case is about to meet its disturbance, which the worker may not live to tell.
    Met(Call),
    /// What the case is doing, to who asked [`WHERE`].
    At {
        /// In which call it is, or after which one.
        place: String,
    },
    /// The case ended.
    Done(Box<Done>),
    /// The devices are closed; sent last.
    Closed {
        /// What was objected to since the last case ended.
        objections: Vec<String>,
    },
}

/// What a worker knows about where it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Release of the kernel under the worker.
    pub kernel: String,
    /// Why the kernel log cannot be read, if it cannot.
    pub no_kernel_log: Option<String>,
}

impl Hello {
    /// What of it is said about the machine.
    pub fn tell(&self, machine: &mut Machine) {
        machine.kernel = Some(self.kernel.clone());
        machine.kernel_log = match &self.no_kernel_log {
            None => "read".into(),
            Some(why) => format!("not readable: {why}"),
        };
    }
}

/// How a case ended inside a worker that lived to tell.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    /// Pass, fail or skip.
    pub verdict: Verdict,
    /// The finding or the reason of the skip.
    pub text: String,
    /// Each finding by itself.
    #[serde(default)]
    pub findings: Vec<String>,
    /// How many of them, the first ones, are what the body of the case said; the others were found when it had ended.
    #[serde(default)]
    pub of_the_body: usize,
    /// Whether its body ended by a call that failed on the way to what it claims.
    #[serde(default)]
    pub on_the_way: bool,
    /// From begin to end, in ms.
    pub duration_ms: f64,
    /// The kernel's lines during the case.
    pub kernel_log: Vec<String>,
    /// What else it leaves for the report.
    pub record: Record,
    /// What devices told of their constraints for the first time in this worker.
    #[serde(default)]
    pub told: Vec<Told>,
    /// The highest resident set of the worker so far, in KiB.
    #[serde(default)]
    pub peak_kib: Option<u64>,
    /// What was objected to between the case before and this one.
    #[serde(default)]
    pub before: Vec<String>,
    /// What came of the disturbance that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<Met>,
}
