//! How does a machine without a GPU get devices?
//!
//! By a user-mode kernel (User Mode Linux) with vkms, vgem, udmabuf and V4L2's virtual devices, and
//! a root filesystem with two Mesa versions. Both are built once from Debian's packages and cached;
//! the kernel is then an ordinary process that starts in a fraction of a second, without root.
//!
//! This file knows what a sandbox is made of. How the parts are built, how the kernel starts and
//! what happens inside it is said in the modules below it. It opens no device.

mod apt;
mod boot;
mod cache;
mod cmdline;
mod control;
mod environment;
mod guest;
pub mod host_packages;
pub mod kernel;
mod kernel_build;
mod log;
mod processor;
mod progress;
mod rootfs;
mod setup_error;
mod shares;
mod tool;
mod wire;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

pub use guest::guest_main;
pub use progress::{Progress, Shown, Silent};
pub use setup_error::SetupError;

use crate::kernel::{Command, Error, Kernel, KernelInfo, Running};
use cache::Cache;
use kernel_build::Flavour;
use wire::Job;

/// Whether a variable of this name passes from the host into the sandbox.
pub fn passes_in(name: &str) -> bool {
    environment::passes(name.as_ref())
}

/// Free space that a build takes at its peak, MiB.
const KERNEL_MIB: u64 = 1000;
const ROOT_MIB: u64 = 800;

/// The kernel that a sandbox runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The fast one that Handover builds.
    #[default]
    Usual,
    /// The one that Handover builds to report its own defects, see `ci/sandbox/kernel-debug.config`.
    Debug,
    /// A user-mode Linux binary of the user's own.
    File(PathBuf),
}

impl Which {
    /// Which of those that are built, or the file.
    fn flavour(self) -> Result<Flavour, PathBuf> {
        match self {
            Self::Usual => Ok(Flavour::Usual),
            Self::Debug => Ok(Flavour::Debug),
            Self::File(path) => Err(path),
        }
    }
}

/// A user-mode kernel and a root filesystem, ready to run commands.
#[derive(Clone, Debug)]
pub struct Sandbox {
    kernel: PathBuf,
    kernel_record: Option<kernel_build::Record>,
    root: PathBuf,
    root_record: Option<rootfs::Record>,
    kernel_args: Vec<String>,
    shares: Vec<PathBuf>,
    init: Option<PathBuf>,
    set_up: Vec<(&'static str, Duration)>,
}

/// A Vulkan driver of a sandbox, by the manifest that the Vulkan loader reads.
#[derive(Clone, Debug)]
pub struct VulkanDriver {
    /// The manifest's path inside the sandbox.
    pub manifest: PathBuf,
    /// The same file as the host sees it.
    pub on_host: PathBuf,
}

impl Sandbox {
    /// The sandbox of this user, built now where it is not there yet.
    ///
    /// # Errors
    /// If something to build with is missing or a build fails; nothing half-made stays behind.
    pub fn ensure(progress: &mut dyn Progress) -> Result<Self, SetupError> {
        Self::with_parts(Which::Usual, None, progress)
    }

    /// The sandbox of this user, if it was built before.
    #[must_use]
    pub fn cached() -> Option<Self> {
        Self::cached_with(Flavour::Usual)
    }

    /// The same with the kernel that reports its own defects.
    #[must_use]
    pub fn cached_debug() -> Option<Self> {
        Self::cached_with(Flavour::Debug)
    }

    fn cached_with(flavour: Flavour) -> Option<Self> {
        let cache = Cache::of_user().ok()?;
        let kernel = cache.get(&flavour.name())?;
        let root = cache.get(&rootfs::name())?;
        let (kernel, record) = kernel_build::open(&kernel).ok()?;
        Some(Self::of(kernel, Some(record), root, Vec::new()))
    }

    /// A sandbox with another kernel or a root filesystem of the user's own; what is not given as a file is built.
    ///
    /// # Errors
    /// As [`Sandbox::ensure`].
    pub fn with_parts(kernel: Which, root: Option<PathBuf>, progress: &mut dyn Progress) -> Result<Self, SetupError> {
        if std::env::consts::ARCH != "x86_64" {
            return Err(SetupError::Processor { arch: std::env::consts::ARCH });
        }
        let mut beside = progress.beside();
        let root_entry = || match root {
            Some(root) => Ok((root, None)),
            None => entry("root filesystem", &rootfs::name(), ROOT_MIB, rootfs::build, &mut *beside),
        };
        let kernel_entry = |progress: &mut dyn Progress| match kernel.flavour() {
            Err(file) => Ok((file, None, None)),
            Ok(flavour) => {
                let build = |dir: &Path, progress: &mut dyn Progress| kernel_build::build(flavour, dir, progress);
                let (entry, took) = entry("kernel", &flavour.name(), KERNEL_MIB, build, progress)?;
                let (kernel, record) = kernel_build::open(&entry)?;
                Ok((kernel, Some(record), took))
            }
        };
        // Each waits for archives and for tools that use one processor; together they wait once.
        let (root, kernel) = thread::scope(|scope| {
            let root = scope.spawn(root_entry);
            let kernel = kernel_entry(progress);
            (root.join(), kernel)
        });
        let (root, root_took) = root.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (kernel, record, kernel_took) = kernel?;
        let set_up = [("kernel", kernel_took), ("root filesystem", root_took)];
        let set_up = set_up.into_iter().filter_map(|(what, took)| Some((what, took?))).collect();
        Ok(Self::of(kernel, record, root, set_up))
    }

    fn of(
        kernel: PathBuf,
        kernel_record: Option<kernel_build::Record>,
        root: PathBuf,
        set_up: Vec<(&'static str, Duration)>,
    ) -> Self {
        Self {
            kernel,
            kernel_record,
            root_record: rootfs::record(&root),
            root,
            kernel_args: Vec::new(),
            shares: Vec::new(),
            init: None,
            set_up,
        }
    }

    /// Adds parameters to the kernel's command line; they win over the usual ones.
    #[must_use]
    pub fn kernel_args(mut self, args: impl IntoIterator<Item = String>) -> Self {
        self.kernel_args.extend(args);
        self
    }

    /// Shows host directories to every command, writable and at the same paths.
    #[must_use]
    pub fn shares(mut self, dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        self.shares.extend(dirs);
        self
    }

    /// Starts another program than this one as the guest's init: one whose `main` begins with
    /// [`guest_main`]. For programs whose `main` is not their own, such as tests.
    #[must_use]
    pub fn init(mut self, program: impl Into<PathBuf>) -> Self {
        self.init = Some(program.into());
        self
    }

    /// The Vulkan drivers of this root filesystem, reference first, if Handover made it.
    #[must_use]
    pub fn vulkan_drivers(&self) -> Option<[VulkanDriver; 2]> {
        let record = self.root_record.as_ref()?;
        let driver = |driver: &rootfs::Driver| VulkanDriver {
            manifest: driver.icd.clone().into(),
            on_host: self.root.join(driver.icd.trim_start_matches('/')),
        };
        Some([driver(&record.gpu_a), driver(&record.gpu_b)])
    }

    /// What every command finds in its environment because of this root filesystem.
    fn variables(&self) -> Vec<(OsString, OsString)> {
        let Some(record) = &self.root_record else {
            return Vec::new();
        };
        let (a, b) = (&record.gpu_a, &record.gpu_b);
        [
            ("VK_DRIVER_FILES", format!("{}:{}", a.icd, b.icd)),
            ("HANDOVER_GPU_A", format!("Mesa {}", a.mesa)),
            ("HANDOVER_GPU_B", format!("Mesa {}", b.mesa)),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into()
    }

    fn check_parts(&self) -> Result<(), Error> {
        let refuse = |option, path: &Path, why| Err(Error::Refused(format!("{option} {path:?}: {why}")));
        if !self.kernel.is_file() {
            return refuse("--kernel", &self.kernel, "no such file; give a user-mode Linux binary");
        }
        if !self.root.is_dir() {
            return refuse("--root", &self.root, "no such directory; give the top of a root filesystem");
        }
        if !["usr", "bin"].iter().any(|dir| self.root.join(dir).is_dir()) {
            let why = "no root filesystem: it has neither usr nor bin; give the top of one, as debootstrap makes it";
            return refuse("--root", &self.root, why);
        }
        Ok(())
    }
}

/// An entry of the user's cache, built if it is not there; then with the time that took.
fn entry(
    what: &'static str,
    name: &str,
    need_mib: u64,
    build: impl FnOnce(&Path, &mut dyn Progress) -> Result<(), SetupError>,
    progress: &mut dyn Progress,
) -> Result<(PathBuf, Option<Duration>), SetupError> {
    let cache = Cache::of_user()?;
    if let Some(ready) = cache.get(name) {
        return Ok((ready, None));
    }
    let began = Instant::now();
    let packages = host_packages::missing();
    if !packages.is_empty() {
        let command = host_packages::install_command(&packages);
        return Err(SetupError::Packages { packages, command });
    }
    let no_room = |have_mib| SetupError::NoRoom { what, dir: cache.dir().to_owned(), have_mib, need_mib };
    let built = cache.get_or_build(name, progress, |dir, progress| {
        match free_mib(dir) {
            Some(have_mib) if have_mib < need_mib => return Err(no_room(have_mib)),
            _ => {}
        }
        build(dir, progress).map_err(|error| match free_mib(dir) {
            Some(have_mib) if error.is_full_disk() => no_room(have_mib),
            _ => error,
        })
    });
    Ok((built?, Some(began.elapsed())))
}

fn free_mib(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize) >> 20)
}

impl Kernel for Sandbox {
    fn describe(&self) -> KernelInfo {
        let (release, kernel) = match &self.kernel_record {
            Some(record) => (record.release.clone(), record.source.clone()),
            None => (String::new(), self.kernel.display().to_string()),
        };
        let mesa = self
            .root_record
            .iter()
            .flat_map(|record| [&record.gpu_a, &record.gpu_b].map(|driver| driver.package.clone()));
        KernelInfo { name: "sandbox".into(), release, kernel, mesa: mesa.collect() }
    }

    fn set_up(&self) -> &[(&'static str, Duration)] {
        &self.set_up
    }

    fn spawn(&self, command: &Command) -> Result<Running, Error> {
        self.check_parts()?;
        let here = std::env::current_dir().map_err(Error::system("finding the present directory"))?;
        let this = std::env::current_exe().map_err(Error::system("finding this program"))?;
        let init = self.init.as_ref().unwrap_or(&this);
        let cwd = command.cwd.as_ref().map_or(here.clone(), |dir| here.join(dir));
        let program = Path::new(&command.program);

        let mut wanted = vec![shares::workspace_of(&cwd), cwd.clone()];
        wanted.extend([&this, init].iter().filter_map(|file| file.parent()).map(PathBuf::from));
        wanted.extend(std::env::var_os("CARGO_TARGET_DIR").map(|dir| here.join(dir)));
        if program.components().count() > 1 {
            wanted.extend(cwd.join(program).parent().map(PathBuf::from));
        }
        let asked: Vec<PathBuf> = self.shares.iter().chain(&command.shares).map(|dir| here.join(dir)).collect();
        let job = Job {
            root: here.join(&self.root),
            shares: shares::choose(&asked, &wanted).map_err(Error::Refused)?,
            cwd,
            program: command.program.clone(),
            args: command.args.clone(),
            env: environment::compose(&self.variables(), std::env::vars_os(), &command.env),
        };
        boot::boot(&here.join(&self.kernel), &self.kernel_args, init, &job, command.deadline)
    }
}
