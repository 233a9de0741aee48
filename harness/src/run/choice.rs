//! Where does a run take place, and by which rules is it judged? What the user chose, and what follows from it.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{journal, processors};
use crate::kernel::{Host, Kernel};
use crate::lane::{Lane, LaneError, On, SandboxKernel};
use crate::sandbox::{self, Sandbox, SetupError, Shown, Which};

/// Why a command ends without having done what it was asked.
#[derive(Debug)]
pub enum Refusal {
    /// The user can put it right on the command line or in a file.
    Usage(String),
    /// The machine is in the way.
    Machine(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Refusal::Usage(what) | Refusal::Machine(what)) = self;
        f.write_str(what)
    }
}

impl std::error::Error for Refusal {}

impl From<LaneError> for Refusal {
    fn from(error: LaneError) -> Refusal {
        Refusal::Usage(error.to_string())
    }
}

/// What a sandbox is made of, where it is not the usual one.
#[derive(Args, Clone, Debug, Default)]
pub struct Parts {
    /// `debug` for a kernel that reports its own defects (lockdep, KASAN, kmemleak; built once, and several times slower), or
    /// a user-mode Linux binary of your own
    #[arg(long, value_name = "debug|PATH", value_parser = which)]
    kernel: Option<Which>,
    /// A parameter for the sandbox's kernel, such as vkms.enable_cursor=1 (may be repeated)
    #[arg(long, value_name = "ARG")]
    kernel_arg: Vec<String>,
    /// A root filesystem to use instead of the one that Handover makes; it is not written to
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// A directory that the sandbox shall see at the same path, writable (may be repeated)
    #[arg(long, value_name = "DIR")]
    share: Vec<PathBuf>,
}

/// The file called `debug` in the present directory is `./debug`.
fn which(text: &str) -> Result<Which, String> {
    match text {
        "" => Err("it is empty; give `debug` or the path of a user-mode Linux binary".into()),
        "debug" => Ok(Which::Debug),
        path => Ok(Which::File(path.into())),
    }
}

impl Parts {
    /// An option that was given, if any was.
    #[must_use]
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            (self.kernel.is_some(), "--kernel"),
            (!self.kernel_arg.is_empty(), "--kernel-arg"),
            (self.root.is_some(), "--root"),
            (!self.share.is_empty(), "--share"),
        ];
        given.iter().find(|(given, _)| *given).map(|(_, option)| *option)
    }

    /// The sandbox of these parts; what is missing of it is built.
    ///
    /// # Errors
    /// As [`Sandbox::ensure`].
    pub fn sandbox(&self, progress: &mut dyn sandbox::Progress) -> Result<Sandbox, SetupError> {
        let sandbox = Sandbox::with_parts(self.kernel.clone().unwrap_or_default(), self.root.clone(), progress)?;
        Ok(sandbox.kernel_args(self.kernel_arg.iter().cloned()).shares(self.share.iter().cloned()))
    }
}

/// A place and its rules.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Where cases run.
    pub on: On,
    /// The rules; on the host there are none unless a lane is named.
    pub lane: Option<Lane>,
    /// The file of the lane, if one was named.
    pub file: Option<PathBuf>,
}

impl Choice {
    /// What follows from `--on` and `--lane`: the lane says where; without one the host is the place if it has a display card
    /// and a render node, and else the sandbox.
    ///
    /// # Errors
    /// When the lane file cannot be used, or the two contradict each other.
    pub fn new(on: Option<On>, lane: Option<&Path>) -> Result<Choice, Refusal> {
        let Some(file) = lane else {
            let on = on.unwrap_or_else(|| if Host::has_devices() { On::Host } else { On::Sandbox });
            let lane = match on {
                On::Sandbox => Some(Lane::sandbox()?),
                On::Host => None,
            };
            return Ok(Choice { on, lane, file: None });
        };
        let lane = Lane::read(file)?;
        match on {
            Some(on) if on != lane.on => Err(Refusal::Usage(format!(
                "lane {} runs on the {}, which contradicts `--on {on}`",
                lane.name, lane.on
            ))),
            _ => Ok(Choice { on: lane.on, lane: Some(lane), file: Some(file.to_owned()) }),
        }
    }

    /// The same from `HANDOVER_ON` and `HANDOVER_LANE`, where there is no command line of ours.
    ///
    /// # Errors
    /// As [`Choice::new`], and when `HANDOVER_ON` is neither `sandbox` nor `host`.
    pub fn from_environment() -> Result<Choice, Refusal> {
        let on = match std::env::var("HANDOVER_ON").as_deref() {
            Ok("sandbox") => Some(On::Sandbox),
            Ok("host") => Some(On::Host),
            Ok("") | Err(_) => None,
            Ok(other) => {
                return Err(Refusal::Usage(format!("HANDOVER_ON is `{other}`; it can be `sandbox` or `host`")));
            }
        };
        let lane = std::env::var_os("HANDOVER_LANE").filter(|path| !path.is_empty());
        Choice::new(on, lane.as_deref().map(Path::new))
    }

    /// Starts nothing yet; [`Kernel::spawn`] does. A sandbox that is not there yet is built, which takes minutes.
    ///
    /// # Errors
    /// When the sandbox can't be built, or one of its `parts` is given for the host.
    pub fn kernel(&self, parts: &Parts) -> Result<Box<dyn Kernel>, Refusal> {
        match (self.on, parts.given()) {
            (On::Host, Some(option)) => Err(Refusal::Usage(SetupError::NotOnHost { option }.to_string())),
            (On::Host, None) => Ok(Box::new(Host)),
            (On::Sandbox, _) => {
                let debug = self.lane.as_ref().is_some_and(|lane| lane.kernel == Some(SandboxKernel::Debug));
                let parts = match &parts.kernel {
                    None if debug => &Parts { kernel: Some(Which::Debug), ..parts.clone() },
                    _ => parts,
                };
                let sandbox =
                    parts.sandbox(&mut Shown::default()).map_err(|error| Refusal::Machine(error.to_string()))?;
                let lane_args = self.lane.iter().flat_map(|lane| lane.kernel_args.iter().cloned());
                Ok(Box::new(sandbox.kernel_args(lane_args)))
            }
        }
    }

    /// The lane with a digest of its file, if it has one: two of the same name may differ.
    pub fn rules(&self) -> Option<String> {
        let text = self.file.as_ref().map(|file| std::fs::read_to_string(file).unwrap_or_default());
        let name = &self.lane.as_ref()?.name;
        Some(text.map_or_else(|| name.clone(), |text| format!("{name} ({})", journal::digest([text.as_str()]))))
    }

    /// Workers at once: what was asked for, or what the lane says, or what suits the place.
    pub fn jobs(&self, asked: Option<usize>) -> usize {
        let suitable = match self.on {
            On::Host => processors(),
            // Each is a kernel of its own, with its own memory and its own slow start of drivers.
            On::Sandbox => processors().min(2),
        };
        asked.or(self.lane.as_ref().and_then(|lane| lane.jobs)).unwrap_or(suitable)
    }

    /// The command that runs one case of this choice with these `parts`, without the case's name.
    pub fn again(&self, exhaustive: bool, parts: &Parts) -> String {
        let exhaustive = if exhaustive { " --exhaustive" } else { "" };
        let kernel = match &parts.kernel {
            None | Some(Which::Usual) => String::new(),
            Some(Which::Debug) => " --kernel debug".to_owned(),
            Some(Which::File(path)) => format!(" --kernel {}", word(&path.to_string_lossy())),
        };
        let Parts { kernel_arg, root, share, .. } = parts;
        let others: String = (kernel_arg.iter().map(|arg| ("kernel-arg", arg.as_str().into())))
            .chain(root.iter().map(|root| ("root", root.to_string_lossy())))
            .chain(share.iter().map(|share| ("share", share.to_string_lossy())))
            .map(|(option, value)| format!(" --{option} {}", word(&value)))
            .collect();
        match &self.file {
            Some(file) => {
                format!("handover run{exhaustive}{kernel}{others} --lane {} --exact", word(&file.to_string_lossy()))
            }
            None => format!("handover run{exhaustive}{kernel}{others} --on {} --exact", self.on),
        }
    }
}

/// One word of a shell's command line.
pub(crate) fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./=:,+@%".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_all_that_it_was_given_as_words() {
        let choice = Choice { on: On::Sandbox, lane: None, file: Some("my lanes/a.toml".into()) };
        let parts = Parts {
            kernel: Some(Which::File("/k/linux".into())),
            kernel_arg: vec!["vkms.enable_cursor=1".into()],
            root: Some("/r".into()),
            share: vec!["/it's".into()],
        };
        assert_eq!(
            choice.again(true, &parts),
            r"handover run --exhaustive --kernel /k/linux --kernel-arg vkms.enable_cursor=1 --root /r --share '/it'\''s' \
              --lane 'my lanes/a.toml' --exact"
                .replace("\\\n", "")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        );
    }
}
