//! What is learned in a run beside its verdicts, and what of that is new.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::memory::Peaks;
use super::protocol::Hello;
use crate::case::{DeviceIdentity, Role, Told};
use crate::report::Machine;

/// What is known about a run beside its verdicts.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When the first worker was started.
    pub started: Option<Instant>,
    /// From then to the first verdict.
    pub to_first_verdict: Option<Duration>,
    /// Workers started, replacements included.
    pub workers_started: usize,
    /// Workers of which nobody has seen how they closed their devices: those that run, and those that were lost with the
    /// supervisor of a run that goes on here.
    pub unclosed: usize,
    /// What the first worker said about where it runs.
    pub hello: Option<Hello>,
    /// The devices that answered.
    pub devices: BTreeMap<Role, BTreeSet<DeviceIdentity>>,
    /// What devices told of their constraints: each device's answers once, for whatever frames it gave them.
    pub told: Vec<Told>,
    /// How much memory it took.
    pub memory: Peaks,
    /// Oddities that belong to no case.
    pub notes: Vec<String>,
    /// What makes the run red and is no case's fault.
    pub problems: Vec<String>,
    /// Why the run cannot go on.
    pub broken: Option<String>,
    /// What of it is new.
    pub(super) news: News,
}

impl Seen {
    /// Notes an oddity.
    pub(super) fn note(&mut self, note: String) {
        self.news.notes.push(note.clone());
        self.notes.push(note);
    }

    /// Notes what makes the run red and is no finding of one case.
    pub(super) fn object(&mut self, objections: Vec<String>) {
        self.news.problems.extend_from_slice(&objections);
        self.problems.extend(objections);
    }

    /// Notes what devices told of their constraints.
    pub(super) fn heard(&mut self, told: &[Told]) {
        // Also what one that is known takes in: that is not as it was.
        self.news.told.extend_from_slice(told);
        told.iter().for_each(|new| add(&mut self.told, new));
    }

    /// Notes the devices of a case that ended, and when the first one did.
    pub(super) fn saw(&mut self, devices: &BTreeMap<Role, DeviceIdentity>) {
        let started = self.started;
        self.to_first_verdict = self.to_first_verdict.or(started.map(|started| started.elapsed()));
        for (role, device) in devices {
            if self.devices.entry(*role).or_default().insert(device.clone()) {
                self.news.devices.push((*role, device.clone()));
            }
        }
    }

    /// Takes what was learned by a supervisor that is no more for its own; of several, in their order.
    pub(super) fn recall(&mut self, news: &News) {
        self.unclosed = news.unclosed;
        if self.hello.is_none() {
            self.hello.clone_from(&news.hello);
        }
        for (role, device) in &news.devices {
            self.devices.entry(*role).or_default().insert(device.clone());
        }
        news.told.iter().for_each(|told| add(&mut self.told, told));
        self.notes.extend_from_slice(&news.notes);
        self.problems.extend_from_slice(&news.problems);
    }
}

/// Adds what a device told, unless that device is there with the same answer, for whatever frames.
pub(super) fn add(all: &mut Vec<Told>, told: &Told) {
    if !all.iter_mut().any(|before| before.takes_in(told)) {
        all.push(told.clone());
    }
}

/// What was learned beside the verdicts since it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct News {
    /// What the first worker said about where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello>,
    /// Devices that answered for the first time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<(Role, DeviceIdentity)>,
    /// What devices told for the first time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Told>,
    /// Oddities that belong to no case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What makes the run red and is no case's fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// How many workers there are that have not closed their devices.
    pub unclosed: usize,
}

impl News {
    /// What of it is said about the machine.
    pub fn tell(&self, machine: &mut Machine) {
        if let Some(hello) = &self.hello {
            hello.tell(machine);
        }
        for (role, device) in &self.devices {
            machine.devices.entry(*role).or_default().push(device.clone());
        }
    }
}
