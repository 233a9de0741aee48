//! Everything a case stands on: the harness of Handover.

pub mod channel;
pub mod compare;
pub mod compose;
pub mod dmabuf;
pub mod error;
pub mod finding;
pub mod format;
pub mod frame;
pub mod guess;
pub mod pattern;
pub mod picture;
//! Handover.

pub mod kernel;
pub mod sandbox;
pub mod case;
pub mod cli;
pub mod finding;
pub mod junit;
pub mod kernel;
pub mod lane;
pub mod report;
pub mod run;
pub mod verdict;
pub mod kms;
pub mod picture;
pub mod udmabuf;
