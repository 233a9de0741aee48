//! Who saw what had to be seen: the names of the first ones, and how many there were.

use std::fmt;

/// So many are named; a case of thousands of frames has thousands of them.
const NAMED: usize = 32;

/// Readers that saw their targets.
#[derive(Default)]
pub(super) struct Agreed {
    named: Vec<String>,
    more: usize,
}

impl Agreed {
    /// One more. A name that a sentence goes on behind a comma is listed without it.
    pub(super) fn push(&mut self, mut reader: String) {
        reader.truncate(reader.trim_end_matches(',').len());
        if self.named.len() < NAMED { self.named.push(reader) } else { self.more += 1 }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.named[..], self.more) {
            ([], _) => f.write_str("nobody"),
            (named, 0) => f.write_str(&named.join(", ")),
            (named, more) => write!(f, "{} and {more} more", named.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_and_the_rest_counted() {
        let mut agreed = Agreed::default();
        assert_eq!(agreed.to_string(), "nobody");
        let mut two = Agreed::default();
        ["gpu_b, whose image it is,", "gpu_a"].into_iter().for_each(|reader| two.push(reader.to_owned()));
        assert_eq!(two.to_string(), "gpu_b, whose image it is, gpu_a");
        (1..=NAMED).for_each(|n| agreed.push(n.to_string()));
        assert!(agreed.to_string().ends_with("31, 32"), "{agreed}");
        agreed.push("33".to_owned());
        assert!(agreed.to_string().ends_with("31, 32 and 1 more"), "{agreed}");
    }
}
