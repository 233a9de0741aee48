//! Everything a case stands on: the harness of Handover.

pub mod case;
pub mod channel;
pub mod cli;
pub mod compare;
pub mod compose;
pub mod dmabuf;
pub mod error;
pub mod finding;
pub mod format;
pub mod frame;
pub mod golden;
pub mod guess;
pub mod junit;
pub mod kernel;
pub mod kms;
pub mod lane;
pub mod pattern;
pub mod picture;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod udmabuf;
pub mod verdict;
pub mod png;
