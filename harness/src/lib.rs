//! Everything a case stands on: the harness of Handover. There is no case in it; those are the crate `handover-cases`.
//!
//! # The way a frame takes
//!
//! The modules, in the order in which a case meets them.
//!
//! 1. A **case** is a claim as data, with a body: [`case`]. It works with [`cx`]; what it may name is in [`prelude`].
//! 2. **Devices** play roles: [`devices`] opens who plays which, [`vk`] is a Vulkan device, [`gles`] one of OpenGL ES, [`kms`] a
//!    screen, [`gbm`] a DRM device through libgbm, [`v4l2`] a video device, [`udmabuf`] and [`dma_heap`] memory of nobody's,
//!    [`peer`] a device in another process, reached over a [`channel`]. [`inventory`] lists what a machine has, apart from any case. For claims about every handover all of
//!    them are [`ends`], alike as exporters and importers; [`covering`] says which combinations are tried.
//! 3. A **frame** is size, fourcc, modifier and planes: [`frame`], with [`mod@format`] for what the bytes of a pixel mean.
//! 4. It is **shared** as a [`dmabuf`], whose storage is agreed on by everybody who takes part, and moves when they change:
//!    [`share`]. It is drawn with what is known in advance: a stamped [`pattern`] whose every pixel can be computed, or a
//!    [`scene`] that is rendered. Frames in YUV, plane by plane, are [`yuv`].
//! 5. It is **observed** by readers that share no code with each other: a device's own read-back, the CPU by its own
//!    addressing ([`picture`]), a screen by writeback and CRC, whose target [`compose`] computes. Where its storage lies is
//!    observed, too: [`placement`] asks the kernel at every mapping, and holds the answer against the device's constraints.
//! 6. It is **compared**: [`compare`] says what differs, [`golden`] what was rendered before, [`guess`] what the difference
//!    looks like, [`png`] shows it to a person, [`plot`] shows times.
//! 7. A **verdict** follows: [`error`](mod@error) and [`finding`] are the words, [`verdict`] weighs them, [`report`] keeps
//!    them, [`junit`] and the page of [`report::html`] are views of it, a [`lane`] says what must hold beyond them.
//!    A finding about somebody else's driver has a [`reproduction`] that needs nothing of this crate.
//!
//! Before and after each case the [`ledger`] asks what is open, and a difference fails it.
//!
//! Around all that, [`run`] gives each case a worker and a deadline, [`kernel`] is where a command runs, [`sandbox`] the
//! user-mode kernel that this can be (both are a crate of their own, `handover-sandbox`, which knows nothing of the rest), and
//! [`cli`] the command. [`faults`] has the kernel run out of memory where a case wants that, and [`fence`] has fences that
//! signal when a case wants it; [`disturb`] has any case meet failing system calls, signals and dying peers, which
//! `handover walk` does one by one.
//!
//! # What always holds
//!
//! - Listing cases touches no device. A name depends on the source alone, never on the machine.
//! - A case has no unsafe code and names no type of `ash` or `drm`: it reads like the sentence it claims.
//! - Pure code (frames, patterns, comparisons, verdicts, texts) is apart by file from code that talks to a driver, and
//!   imports neither `ash` nor `drm`. It needs no device to be tested.
//! - `unsafe` is denied, and opened per file with a reason. `tests/tidy.rs` holds the list of those files.
//! - What a driver answers is checked before it is used, never unwrapped. Every wait has a deadline.
//! - Fds are `OwnedFd` and `BorrowedFd`. What a device makes is closed when its owner is dropped.
//! - Only [`cli`] prints, and the commands it hands over to: those of [`inventory`], and the set-up of the
//!   [`sandbox`], which takes minutes.
//! - Nothing in the repository is written but goldens, and those only by `handover bless`.
//! - A skip says what is missing. A lane that does not allow it makes the run red.
//!
//! What of this shows in the text of the source is held by `tests/tidy.rs`, the rest by the lints in `Cargo.toml` and by
//! review.

pub use handover_sandbox::{self as sandbox, kernel};

pub mod asked;
pub mod case;
pub mod channel;
pub mod cli;
pub mod compare;
pub mod compose;
pub mod covering;
pub mod cx;
pub mod detection;
pub mod devices;
pub mod disturb;
pub mod dma_heap;
pub mod dmabuf;
pub mod ends;
pub mod error;
pub mod faults;
pub mod fence;
pub mod finding;
pub mod format;
pub mod frame;
pub mod gbm;
pub mod gles;
pub mod golden;
pub mod guess;
pub mod interrupt;

pub mod inventory;
mod ioctl;
pub mod junit;
pub mod kms;
pub mod lane;
pub mod ledger;
pub mod matching;
mod node;
pub mod observed;
pub mod pattern;
pub mod peer;
pub mod picture;
pub mod placement;
pub mod plot;
pub mod png;
pub mod prelude;
mod procfs;
pub mod report;
pub mod reproduction;
mod restart;
mod rows;
pub mod run;
pub mod scene;
pub mod share;
pub mod stray;
mod texel;
pub mod udmabuf;
pub mod v4l2;
pub mod verdict;
pub mod vk;
mod wait;
pub mod yuv;
