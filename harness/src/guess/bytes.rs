//! What do wrong bytes look like that are no picture?

use crate::compare::{counted, grouped};

/// So many bytes are looked for elsewhere; in what is not repetitive they are found only where they belong.
const WINDOW: usize = 32;

/// Says how far off `actual` was read, if it is `target` from another byte on.
pub fn moved_bytes(target: &[u8], actual: &[u8]) -> Option<String> {
    if let Some(shape) = unwritten(target, actual) {
        return Some(shape);
    }
    // From the middle, where what comes from outside is furthest away.
    let middle = actual.len() / 2;
    let window = actual.get(middle..middle + WINDOW)?;
    let mut places = target.windows(WINDOW).enumerate().filter(|(_, other)| *other == window).map(|(at, _)| at);
    let found = places.next()?;
    if places.next().is_some() || found == middle {
        return None;
    }
    let (from, to) =
        if found > middle { (&target[found - middle..], actual) } else { (target, &actual[middle - found..]) };
    let pairs = || from.iter().zip(to);
    let (predicted, right) = (pairs().count(), pairs().filter(|(from, to)| from == to).count());
    if right * 100 <= predicted * 95 || predicted * 3 < target.len() {
        return None;
    }
    let way = if found > middle { "large" } else { "small" };
    let (right, predicted) = (grouped(right as u64), counted(predicted as u64, "byte"));
    Some(format!("like an offset {} B too {way}; explains {right} of {predicted}", found.abs_diff(middle)))
}

/// If all that differs is 0, and reaches up to the end.
fn unwritten(target: &[u8], actual: &[u8]) -> Option<String> {
    let first = target.iter().zip(actual).position(|(target, actual)| target != actual)?;
    if actual[first..].iter().any(|byte| *byte != 0) {
        return None;
    }
    Some(match first {
        0 => "like a buffer that nobody wrote: every byte is 0x00".to_owned(),
        _ => format!("like a partial update: from byte {first} on every byte is 0x00, the others the target"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: u32) -> Vec<u8> {
        let mixed = |n: u32| (n ^ n >> 15).wrapping_mul(0x85EB_CA6B);
        (0..count).map(|n| (mixed(n.wrapping_mul(0x9E37_79B1)) >> 24) as u8).collect()
    }

    #[test]
    fn bytes_from_further_on_and_from_before_are_found_out() {
        let all = noise(20_000);
        let target = &all[4096..14_096];
        let text = moved_bytes(target, &all[8192..18_192]).expect("found");
        assert_eq!(text, "like an offset 4096 B too large; explains 5904 of 5904 bytes");
        let text = moved_bytes(target, &all[..10_000]).expect("found");
        assert_eq!(text, "like an offset 4096 B too small; explains 5904 of 5904 bytes");
    }

    #[test]
    fn what_is_elsewhere_by_chance_or_nowhere_is_no_move() {
        let target = noise(10_000);
        let other: Vec<u8> = target.iter().map(|byte| byte ^ 0x5a).collect();
        assert_eq!(moved_bytes(&target, &other), None);
        assert_eq!(moved_bytes(&[0; 1000], &[0; 1000]), None);
        assert_eq!(moved_bytes(&[], &[]), None);
    }
}
