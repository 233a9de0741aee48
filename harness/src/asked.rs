//! Which numbers does the environment ask for?

use std::ops::RangeInclusive;

use crate::error::{Error, Result};

/// The number that the variable `name` holds, or `None` if it is unset or empty.
///
/// # Errors
/// It holds something else than a number in `valid`; the error names both.
pub fn number(name: &'static str, valid: RangeInclusive<u32>) -> Result<Option<u32>> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    parse(name, &value.to_string_lossy(), valid).map(Some)
}

fn parse(name: &'static str, text: &str, valid: RangeInclusive<u32>) -> Result<u32> {
    let number = text.trim().parse().ok().filter(|number| valid.contains(number));
    number.ok_or_else(|| {
        let (least, most) = valid.into_inner();
        Error::input(
            "reading the environment",
            name,
            format!("`{text}`; a number from {least} to {most} would be valid"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_number_is_refused_with_what_would_be_valid() {
        assert_eq!(parse("HANDOVER_STRENGTH", " 4", 1..=4).expect("valid"), 4);
        for wrong in ["many", "0", "5", "-1", "2.0"] {
            let said = parse("HANDOVER_STRENGTH", wrong, 1..=4).expect_err("invalid").to_string();
            assert!(
                said.contains("HANDOVER_STRENGTH") && said.contains(&format!("`{wrong}`; a number from 1 to 4")),
                "{said}"
            );
        }
    }
}
