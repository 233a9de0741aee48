//! A kernel that does one thing wrong, chosen by name: system calls are changed on their way.
//!
//! # How
//!
//! By seccomp's user notification ("Seccomp BPF (SECure COMPuting with filters)" in the kernel's documentation). A
//! process puts a [filter](Filter) on itself and then becomes the command; whatever system call the filter names waits
//! until the *supervisor*, a process beside it, has [answered](Answer) it. The supervisor reads and rewrites the
//! call's argument in the caller's memory and lets the call go on, or makes the call itself on a copy of the caller's
//! fd, or only says what it returned. See [`run`] for who starts whom.
//!
//! Other ways were weighed.
//!
//! - `LD_PRELOAD` sees libc's wrappers and not the raw system calls of drm-rs and rustix, half of what there is to see.
//! - ptrace sees everything, but stops every thread at each of its system calls twice, is seen by the command
//!   (`TracerPid`), and takes the place of a debugger. A filter costs nothing for the calls that it does not name.
//! - A second sandbox kernel with switches in its drivers would be the most real, but is another four minutes of
//!   building, one patch per fault to keep in step with the kernel, and works in the sandbox alone.
//!
//! Limits. A call's registers can't be changed, only what they point to; so the supervisor makes a call itself where it
//! must change an fd, a size or a result. Such a call is seen by the kernel's trace events as the supervisor's. The
//! caller's memory is opened as a debugger would, so the supervisor needs `CAP_SYS_PTRACE` or the same user
//! without Yama's restrictions: in the sandbox it is root.
//!
//! # What for
//!
//! [`faults`] lists faults and controls for `handover faults`. Whoever wants another change of system calls in one of
//! his own threads, say "the n-th call fails with ENOMEM", has [`Listener::install`] and [`Listener::serve`].

pub mod call;
pub mod faults;
pub mod fields;
pub mod filter;
pub mod listener;
pub mod perform;
pub mod run;

pub use call::{Answer, Call};
pub use filter::Filter;
pub use listener::Listener;
