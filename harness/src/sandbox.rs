//! How does a machine without a GPU get devices?
//!
//! By a user-mode kernel (User Mode Linux) with vkms, vgem, udmabuf and V4L2's virtual devices, and
//! a root filesystem with two Mesa versions. Both are built once from Debian's packages and cached;
//! the kernel is then an ordinary process that starts in a fraction of a second, without root.

mod boot;
mod cmdline;
mod control;
mod environment;
mod guest;
mod log;
mod shares;
mod wire;

use std::path::PathBuf;

pub use guest::guest_main;

use crate::kernel::{Command, Error, Kernel, KernelInfo, Running};
use wire::Job;

/// A user-mode kernel and a root filesystem, ready to run commands.
#[derive(Clone, Debug)]
pub struct Sandbox {
    kernel: PathBuf,
    root: PathBuf,
    kernel_args: Vec<String>,
    shares: Vec<PathBuf>,
}

impl Sandbox {
    /// x
    pub fn new(kernel: PathBuf, root: PathBuf, kernel_args: Vec<String>, shares: Vec<PathBuf>) -> Self {
        Self { kernel, root, kernel_args, shares }
    }
}

impl Kernel for Sandbox {
    fn describe(&self) -> KernelInfo {
        todo!()
    }

    fn spawn(&self, command: &Command) -> Result<Running, Error> {
        let here = std::env::current_dir().map_err(Error::system("finding the present directory"))?;
        let cwd = command.cwd.as_ref().map_or(here.clone(), |dir| here.join(dir));
        let init = std::env::current_exe().map_err(Error::system("finding this program"))?;
        let mut wanted = vec![shares::workspace_of(&cwd), cwd.clone()];
        wanted.extend(init.parent().map(PathBuf::from));
        wanted.extend(std::env::var_os("CARGO_TARGET_DIR").map(|dir| here.join(dir)));
        let mut asked = self.shares.clone();
        asked.extend(command.shares.iter().map(|dir| here.join(dir)));
        let shares = shares::choose(&asked, &wanted).map_err(Error::Refused)?;
        let job = Job {
            root: self.root.clone(),
            shares,
            cwd,
            program: command.program.clone(),
            args: command.args.clone(),
            env: environment::compose(&[], std::env::vars_os(), &command.env),
        };
        boot::boot(&self.kernel, &self.kernel_args, &init, &job, command.deadline)
    }
}
