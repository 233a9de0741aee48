//! Why is there no sandbox?

use std::io;
use std::path::PathBuf;

/// Why the sandbox could not be set up, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// User-mode Linux is for another processor.
    #[error("the sandbox needs an x86-64 processor and this is {arch}: use --on host on a machine with devices")]
    Processor {
        /// This machine's architecture.
        arch: &'static str,
    },
    /// The host has the kernel and the files that it has.
    #[error("{option} is about the sandbox and means nothing with --on host: leave one of them out")]
    NotOnHost {
        /// The option that was given.
        option: &'static str,
    },
    /// Something to build with is not installed.
    #[error("the sandbox cannot be built without {}; install with\n  {command}", .packages.join(", "))]
    Packages {
        /// The packages that are missing.
        packages: Vec<String>,
        /// The one command that installs them.
        command: String,
    },
    /// There is no place for what is built.
    #[error("no cache directory: neither XDG_CACHE_HOME nor HOME is set to an absolute path")]
    NoCacheDir,
    /// There is too little room for what is built.
    #[error(
        "{dir:?} has room for {have_mib} MiB and building the sandbox's {what} takes {need_mib} MiB: make room, or set XDG_CACHE_HOME to a directory with room"
    )]
    NoRoom {
        /// Kernel or root filesystem.
        what: &'static str,
        /// The cache directory.
        dir: PathBuf,
        /// Free space, MiB.
        have_mib: u64,
        /// Needed space, MiB.
        need_mib: u64,
    },
    /// It is not known where Debian packages come from.
    #[error(
        "no Debian archive is known: this machine's package sources name none; set HANDOVER_DEBIAN_MIRROR to the address of one, or install the package debootstrap, which knows the default"
    )]
    NoMirror,
    /// The archive did not answer, or not as it should.
    #[error(
        "the Debian archive {mirror} could not be used; is there a network? HANDOVER_DEBIAN_MIRROR names another\n{source}"
    )]
    Archive {
        /// The archive's address.
        mirror: String,
        /// What apt said.
        source: Box<SetupError>,
    },
    /// The archive lacks a package.
    #[error("the Debian archive {mirror} has no {what}")]
    NotInArchive {
        /// The package.
        what: String,
        /// The archive's address.
        mirror: String,
    },
    /// A source is not as the one that we know, so that we can't change it.
    #[error("{file} of {source_package} is not as the sandbox's kernel needs it: {why}")]
    OtherSource {
        /// Debian's source package.
        source_package: String,
        /// The file in it.
        file: &'static str,
        /// What is unexpected there.
        why: String,
    },
    /// A tool failed.
    #[error("{what} failed: {program} {how}\n{output}")]
    Tool {
        /// What it was to do.
        what: String,
        /// The tool.
        program: String,
        /// How it ended.
        how: String,
        /// The end of what it printed.
        output: String,
    },
    /// The system refused something that should work.
    #[error("{doing} failed: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl SetupError {
    /// Whether the disk was full: the system says so by its number, tools by its text.
    pub(super) fn is_full_disk(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::Tool { output, .. } => output.contains("No space left on device"),
            Self::Archive { source, .. } => source.is_full_disk(),
            _ => false,
        }
    }

    /// For `map_err`: what was being done when the system refused.
    pub(super) fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source: source.into() }
    }
}
