//! Could this be observed at all, and if not, why not?
//!
//! Whatever the harness looks at to judge code under test may be missing on a machine: a tracing file system, a writeback
//! connector, root. Then there is no observation, which is never a pass of the claim that needs one.

use serde::{Deserialize, Serialize};

/// An observation, or why this device or machine can't make it.
pub type Observed<T> = Result<T, NotObservable>;

/// Why something can't be observed here. Never a pass of the claim that needs it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("not observable: {0}")]
pub struct NotObservable(pub String);
