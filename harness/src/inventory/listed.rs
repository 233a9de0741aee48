//! What one line of the inventory is: the thing itself, or its name and why it can't be had.
//!
//! It holds no knowledge of any device.

use serde::{Deserialize, Serialize};

/// Something that was looked for: there with its facts, or not there with the reason.
///
/// In JSON the reason is `{"name": …, "unavailable": …}`; everything else is the thing itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Listed<T> {
    /// It can't be had.
    Unavailable(Unavailable),
    /// It is there.
    Present(T),
}

/// The name of a thing and why it can't be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// Path or name of what was looked for.
    pub name: String,
    /// The failed call with its answer, and what would make the thing available.
    #[serde(rename = "unavailable")]
    pub why: String,
}

impl<T> Listed<T> {
    /// `name` can't be had because of `why`.
    pub fn unavailable(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Unavailable(Unavailable { name: name.into(), why: why.into() })
    }

    /// The thing, if it is there.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(thing) => Some(thing),
            Self::Unavailable(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        name: String,
    }

    #[test]
    fn both_sides_survive_json() {
        let list = vec![
            Listed::Present(Thing { name: "system".into() }),
            Listed::unavailable("/dev/dri/card0", "open: EACCES"),
        ];
        let json = serde_json::to_string(&list).expect("plain data");
        assert_eq!(json, r#"[{"name":"system"},{"name":"/dev/dri/card0","unavailable":"open: EACCES"}]"#);
        assert_eq!(serde_json::from_str::<Vec<Listed<Thing>>>(&json).expect("own JSON"), list);
    }
}
