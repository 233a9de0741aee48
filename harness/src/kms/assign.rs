//! Which plane shows which layer?
//!
//! Pure, so that cards which lack a kind of plane need not be at hand.

use std::fmt;

use super::PlaneKind;

impl fmt::Display for PlaneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Primary => "primary",
            Self::Overlay => "overlay",
            Self::Cursor => "cursor",
        })
    }
}

/// For each of some layers, the lowest first, the place of its plane among `planes`, the lowest first: the next one above that of
/// the layer before, of the kind that it wants if it wants one.
///
/// # Errors
/// There is no such plane: says which layer stays without, and what planes there are.
pub(super) fn assign(planes: &[PlaneKind], layers: &[Option<PlaneKind>]) -> Result<Vec<usize>, String> {
    let mut free = 0;
    let mut assigned = Vec::new();
    for (n, wanted) in layers.iter().enumerate() {
        let suits = |kind: &PlaneKind| wanted.is_none_or(|wanted| wanted == *kind);
        let Some(above) = planes.iter().skip(free).position(suits) else {
            let kind = wanted.map_or(String::new(), |kind| format!("{kind} "));
            let where_ = if n == 0 { String::new() } else { format!(" above that of layer {}", n - 1) };
            return Err(format!("layer {n} lacks the {kind}plane{where_}; {}", told(planes)));
        };
        assigned.push(free + above);
        free += above + 1;
    }
    Ok(assigned)
}

/// `its planes, from below: 1 primary, 8 overlay, 1 cursor`.
pub(super) fn told(planes: &[PlaneKind]) -> String {
    if planes.is_empty() {
        return "it has no plane".to_owned();
    }
    let runs = planes.chunk_by(|one, other| one == other).map(|run| format!("{} {}", run.len(), run[0]));
    format!("its planes, from below: {}", runs.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::PlaneKind::{Cursor, Overlay, Primary};
    use super::*;

    #[test]
    fn layers_take_the_next_plane_or_the_next_of_their_kind() {
        let planes = [Primary, Overlay, Overlay, Cursor];
        assert_eq!(assign(&planes, &[None, None]), Ok(vec![0, 1]));
        assert_eq!(assign(&planes, &[None, Some(Cursor)]), Ok(vec![0, 3]));
        assert_eq!(assign(&planes, &[Some(Overlay), None, None]), Ok(vec![1, 2, 3]));
        assert_eq!(assign(&planes, &[]), Ok(vec![]));
    }

    #[test]
    fn a_card_without_such_a_plane_says_what_it_has() {
        let why = assign(&[Primary, Cursor], &[None, Some(Overlay)]).expect_err("no overlay");
        assert_eq!(
            why,
            "layer 1 lacks the overlay plane above that of layer 0; its planes, from below: 1 primary, 1 cursor"
        );
        // An overlay below the layer before does not count.
        assert!(assign(&[Overlay, Primary], &[Some(Primary), Some(Overlay)]).is_err());
        assert!(assign(&[Primary], &[None, None]).expect_err("one plane").contains("1 primary"));
        assert_eq!(assign(&[], &[None]), Err("layer 0 lacks the plane; it has no plane".to_owned()));
    }
}
