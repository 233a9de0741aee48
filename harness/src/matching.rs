//! Does a text hold words one after the other, whatever stands between? So is a known finding told from others.

/// Whether `text` holds the parts of `matching` one after the other; `…` stands for any text between two. How either is wrapped
/// does not matter.
pub fn holds(text: &str, matching: &str) -> bool {
    let text = one_line(text);
    let mut rest = text.as_str();
    matching.split('…').map(one_line).all(|part| match rest.find(&part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// The same of a finding, whose first line must hold the first part.
pub(crate) fn shows(finding: &str, matching: &str) -> bool {
    let headline = finding.lines().next().unwrap_or("");
    let first = matching.split('…').next().unwrap_or("");
    holds(headline, first) && holds(finding, matching)
}

/// A text as if it had not been wrapped.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_in_their_order_with_any_text_between() {
        let text = "the screen does not see\n    the target\n  like   an origin";
        assert!(holds(text, "does not see the target") && holds(text, "screen…like an…origin"));
        assert!(
            !holds(text, "origin…screen") && !holds(text, "screen…screen"),
            "each is looked for behind the one before"
        );
        assert!(shows(text, "not see…the target") && !shows(text, "the target") && !shows(text, "like…origin"));
    }
}
